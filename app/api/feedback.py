"""JSON routes of the feedback, registered only if it is on."""

from __future__ import annotations

from typing import Final

from flask import Blueprint, Response

from app.feedback.submission import delete_feedback, submit_feedback
from app.http.route_options import route_options
from app.schemas.responses import FeedbackReceipt

feedback_api: Final = Blueprint("feedback", __name__)


@feedback_api.post("/feedback")
@route_options(allows_cors=True, takes_photos=True)
def submit() -> Response:
    """Store a correction and, with consent, the photo."""
    receipt = submit_feedback()
    return FeedbackReceipt(
        deletion_code=receipt.deletion_code, has_photo=receipt.has_photo
    ).to_response()


@feedback_api.delete("/feedback/<code>")
@route_options(allows_cors=True)
def delete(code: str) -> Response:
    """Delete the feedback with a deletion code."""
    delete_feedback(code)
    return Response(status=204)
