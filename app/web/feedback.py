"""Pages of the feedback, registered only if it is on. They work without JavaScript."""

from __future__ import annotations

from typing import Final

from flask import Blueprint, Response, request

from app.feedback.submission import delete_feedback, submit_feedback
from app.http.problems import Problem
from app.http.route_options import route_options
from app.web.rendering import render_page

feedback_pages: Final = Blueprint("feedback_pages", __name__)


@feedback_pages.get("/your-feedback")
def index() -> Response:
    """Render the form that deletes feedback."""
    return render_page("feedback.html")


@feedback_pages.post("/your-feedback")
@route_options(takes_photos=True)
def submit() -> Response:
    """Store the feedback of the form, and render its deletion code."""
    try:
        receipt = submit_feedback()
    except Problem as problem:
        return render_page("feedback.html", problem=problem, is_refused=True)
    return render_page("feedback.html", receipt=receipt)


@feedback_pages.post("/your-feedback/delete")
def delete() -> Response:
    """Delete the feedback with the code in the form."""
    try:
        delete_feedback(request.form.get("code", ""))
    except Problem as problem:
        return render_page("feedback.html", problem=problem)
    return render_page("feedback.html", is_deleted=True)
