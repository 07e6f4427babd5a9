"""Photos that the page uploads, which Playwright cannot read from its forms."""

from __future__ import annotations

from playwright.sync_api import Page


def record_uploads(page: Page) -> None:
    """Record the photos that the page sends from now on."""
    page.evaluate(
        """() => {
            window.uploads = [];
            const { send } = XMLHttpRequest.prototype;
            XMLHttpRequest.prototype.send = function (body) {
                window.uploads.push(body.get("image"));
                send.call(this, body);
            };
        }"""
    )


def uploads(page: Page) -> list[bytes]:
    """Return the recorded photos, oldest first."""
    values = page.evaluate(
        """() => Promise.all(window.uploads.map(
            async (photo) => [...new Uint8Array(await photo.arrayBuffer())]))"""
    )
    return [bytes(value) for value in values]
