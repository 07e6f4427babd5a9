"""What makes the page an app of a phone or desktop, and tells when the service is out of reach.

    GET /manifest.webmanifest -> its name, icons and colours
    GET /service-worker.js    -> what keeps the page `offline` in the browser, by its content
    GET /offline              -> that page

All of them below the path where the service is mounted, so that a worker has the page in its scope
and nothing else of the host.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Final, cast

from flask import Blueprint, Response, current_app, jsonify, make_response, render_template, url_for

from app.http.route_options import route_options
from app.web.rendering import THEME_COLORS, render_page
from app.web.translations import current_language, text

install: Final = Blueprint("install", __name__)

_SHELL: Final = ("style.css", "icon.svg")  # what offline.html is made of
_ICONS: Final = (
    ("icon.svg", "any", "any"),
    ("icon-192.png", "192x192", "any"),
    ("icon-512.png", "512x512", "any"),
    ("icon-maskable.png", "512x512", "maskable"),
)
_KINDS: Final = {".svg": "image/svg+xml", ".png": "image/png"}


@install.get("/manifest.webmanifest")
@route_options(is_public=True)
def manifest() -> Response:
    """Describe the app, as https://www.w3.org/TR/appmanifest/ has it."""
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
        background_color=THEME_COLORS["light"],
        theme_color=THEME_COLORS["light"],
        icons=[
            {
                "src": url_for("static", filename=name),
                "sizes": sizes,
                "type": _KINDS[Path(name).suffix],
                "purpose": purpose,
            }
            for name, sizes, purpose in _ICONS
        ],
    )
    response.mimetype = "application/manifest+json"
    response.vary.add("Accept-Language")
    return response


@install.get("/offline")
def offline() -> Response:
    """Show that the service is out of reach; read while it is not, and kept until then."""
    return render_page("offline.html")


@install.get("/service-worker.js")
def worker() -> Response:
    """Give the worker, with a name for what it keeps that changes with any of it."""
    content = hashlib.sha256(render_template("offline.html").encode())
    folder = Path(cast(str, current_app.static_folder))
    for name in _SHELL:
        content.update((folder / name).read_bytes())
    script = render_template(
        "service-worker.js",
        version=content.hexdigest()[:16],
        offline=url_for("install.offline"),
        shell=[url_for("static", filename=name) for name in _SHELL],
    )
    response = make_response(script)
    response.mimetype = "text/javascript"
    response.vary.add("Accept-Language")
    response.cache_control.no_cache = True
    return response
