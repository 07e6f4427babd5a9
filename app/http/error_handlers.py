"""The app's error handler: HTML for browsers, problem+json (RFC 9457) for other clients.

Exceptions of other libraries never reach a client. The response has the request ID, and the log has
the traceback under that ID.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Final

from flask import Flask, Response, request
from werkzeug.exceptions import (
    ClientDisconnected,
    HTTPException,
    MethodNotAllowed,
    NotFound,
    RequestedRangeNotSatisfiable,
)

from app.http.content_negotiation import PROBLEM_JSON, prefers_html
from app.http.problems import Code, Problem, ProblemDetails, quoted
from app.http.request_id import request_id

_log: Final = logging.getLogger(__name__)


def init_error_handlers(app: Flask, render_error_page: Callable[[Problem], Response]) -> None:
    """Handle every error of `app`, including unknown paths and methods.

    Args:
        app: The app.
        render_error_page: Renders a problem as a page for browsers. Passed in because pages belong
            to `app.web`, which imports this package.
    """

    def handle(error: Exception) -> Response:
        return _render(_to_problem(error), render_error_page)

    app.register_error_handler(Exception, handle)


def _to_problem(error: Exception) -> Problem:
    if isinstance(error, Problem):
        return error
    if isinstance(error, HTTPException) and error.code is not None and error.code < 500:
        return _of_http_exception(error)
    _log.error("unhandled exception", exc_info=error, extra={"fields": {"id": request_id()}})
    return Problem(
        Code.INTERNAL_ERROR,
        "Something went wrong on our side. The service's log has the details under request ID "
        f"{request_id()}.",
    )


def _of_http_exception(error: HTTPException) -> Problem:
    if isinstance(error, NotFound):
        return Problem(Code.NOT_FOUND, f"There is nothing at {quoted(request.path)}.")
    if isinstance(error, MethodNotAllowed):
        allowed = ", ".join(sorted(error.valid_methods or ()))
        return Problem(
            Code.METHOD_NOT_ALLOWED,
            f"{quoted(request.path)} does not accept {quoted(request.method)}; use {allowed}.",
            {"Allow": allowed},
        )
    if isinstance(error, ClientDisconnected):
        return Problem(Code.INCOMPLETE_BODY, "The request ended before its body was complete.")
    if isinstance(error, RequestedRangeNotSatisfiable):
        return Problem(Code.RANGE_NOT_SATISFIABLE, "The Range starts after the end of the file.")
    return Problem(Code.BAD_REQUEST, "The request is malformed.")


def _render(problem: Problem, render_error_page: Callable[[Problem], Response]) -> Response:
    if prefers_html():
        response = render_error_page(problem)
        response.vary.add("Accept")
        return response
    details = ProblemDetails.of(problem.code, problem.detail, request_id())
    response = details.to_response(status=problem.status, mimetype=PROBLEM_JSON)
    response.vary.add("Accept")
    response.headers.update(problem.headers)
    return response
