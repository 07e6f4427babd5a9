"""Progressive web app: manifest, service worker and the offline page that the worker caches.

Phones offer the installed app as a target for photos shared from a gallery. They send a form to the
share address. The worker passes its photos to the start page; without the worker, the start page's
route classifies the photo.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Final, cast

from flask import Blueprint, Response, current_app, jsonify, make_response, render_template, url_for

from app.http.route_options import route_options
from app.http.uploads import MULTIPART, PHOTO_FIELD
from app.web.language_choice import add_language_headers
from app.web.rendering import THEME_COLORS, render_page
from app.web.styles import joined_styles
from app.web.translations import LANGUAGE_PARAMETER, current_language, text

# Served below the mount path, so that the worker's scope is this service and no other on the host.
pwa: Final = Blueprint("pwa", __name__)

_ICON: Final = "icon.svg"
_ICONS: Final = (
    (_ICON, "any", "any"),
    ("icon-192.png", "192x192", "any"),
    ("icon-512.png", "512x512", "any"),
    ("icon-maskable.png", "512x512", "maskable"),
)
_MEDIA_TYPES: Final = {".svg": "image/svg+xml", ".png": "image/png"}


@pwa.get("/manifest.webmanifest")
@route_options(is_public=True)
def manifest() -> Response:
    """Return the web app manifest (https://www.w3.org/TR/appmanifest/)."""
    home = url_for("pages.index")
    response = jsonify(
        id=home,
        start_url=home,
        scope=home,
        name="Petalscope",
        short_name="Petalscope",
        description=text("page.description"),
        lang=current_language(),
        display="standalone",
        share_target={
            "action": url_for("pages.share"),
            "method": "POST",
            "enctype": MULTIPART,
            "params": {"files": [{"name": PHOTO_FIELD, "accept": ["image/*"]}]},
        },
        background_color=THEME_COLORS["light"],
        theme_color=THEME_COLORS["light"],
        icons=[
            {
                "src": url_for("static", filename=name),
                "sizes": sizes,
                "type": _MEDIA_TYPES[Path(name).suffix],
                "purpose": purpose,
            }
            for name, sizes, purpose in _ICONS
        ],
    )
    response.mimetype = "application/manifest+json"
    add_language_headers(response)
    return response


@pwa.get("/offline")
def offline() -> Response:
    """Render the offline page, which the service worker caches."""
    return render_page("offline.html")


@pwa.get("/service-worker.js")
def worker() -> Response:
    """Return the service worker, with a hash of the cached content in its cache name."""
    digest = hashlib.sha256(render_page("offline.html").get_data())
    folder = Path(cast(str, current_app.static_folder))
    digest.update(joined_styles())
    digest.update((folder / _ICON).read_bytes())
    script = render_template(
        "service-worker.js",
        version=digest.hexdigest()[:16],
        offline=url_for("pwa.offline"),
        share=url_for("pages.share"),
        start=url_for("pages.index"),
        photo_field=PHOTO_FIELD,
        language_parameter=LANGUAGE_PARAMETER,
        assets=[url_for("styles.sheet"), url_for("static", filename=_ICON)],
    )
    response = make_response(script)
    response.mimetype = "text/javascript"
    add_language_headers(response)
    response.cache_control.no_cache = True
    return response
