"""Page copy and script names for tests of the pages."""

from __future__ import annotations

from typing import Any

from app.web.translations import ENGLISH, find_message

# Scripts of the start page that load with the first photo or later.
SCRIPTS_ON_DEMAND = {
    "clipboard.js",
    "combine.js",
    "correction.js",
    "kept_photos.js",
    "menu.js",
    "result_controls.js",
    "select_part.js",
    "send_feedback.js",
    "share_picture.js",
    "square_frame.js",
}

# The script of identification on the device that the page always loads.
OFFER_SCRIPT = "on_device/offer.js"


def message(key: str, language: str = ENGLISH, **values: Any) -> str:
    """Return a message of the page by its key, so that tests do not repeat the copy."""
    return find_message(language, key, values.get("count")).format(**values)
