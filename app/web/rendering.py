"""Templates to pages, in the language of whoever reads them.

template, values, a Problem -> HTML with its Content-Language, Vary and the problem's status
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from flask import Flask, Response, make_response, render_template

from app.context import current_context
from app.http.problems import Problem
from app.http.request_id import request_id
from app.web.external_links import gbif, wikipedia
from app.web.translations import (
    ENGLISH,
    current_language,
    format_percent,
    messages,
    text,
    use_language,
)
from model.imaging.decode import FORMAT_NAMES

# Of the sheet in style.css, by day and by night: the browser's frame around the page.
THEME_COLORS: Final = {"light": "#f3efe3", "dark": "#131915"}


@dataclass(frozen=True)
class ProblemWords:
    """What a page says of a problem.

    Attributes:
        title: A few words.
        detail: A sentence or two: in English with what was got, else by the problem's code.
    """

    title: str
    detail: str


def init_rendering(app: Flask) -> None:
    """Give the templates of `app` the words."""
    app.jinja_env.globals.update(
        text=text,
        format_percent=format_percent,
        language=current_language,
        english=ENGLISH,
        wikipedia=wikipedia,
        gbif=gbif,
        paper=THEME_COLORS,
    )


def render_page(
    template: str,
    *,
    only_in: str | None = None,
    problem: Problem | None = None,
    **values: Any,
) -> Response:
    """Make a page of a template.

    Args:
        template: Its file.
        only_in: The one language that the template is written in, where it is not in all.
        problem: What the page tells of, and whose status and headers it has.
        values: For the template.
    """
    if only_in is not None:
        use_language(only_in)
    words = problem and _words_of(problem)
    response = make_response(render_template(template, problem=words, **values))
    response.content_language.add(current_language())
    if only_in is None:
        response.vary.add("Accept-Language")
    if problem is not None:
        response.status_code = problem.status
        response.headers.update(problem.headers)
    return response


def render_error_page(problem: Problem) -> Response:
    """Render a problem as a page."""
    return render_page("error.html", problem=problem)


def limits() -> dict[str, Any]:
    """Return what photos are taken, for the placeholders of messages."""
    settings = current_context().settings
    return {
        "formats": FORMAT_NAMES.replace(" or ", text("language.or")),
        "mib": settings.max_body_mib,
        "megapixels": settings.max_megapixels,
        "side": settings.min_side,
    }


def script_texts() -> dict[str, Any]:
    """Return what page.js says, and by what it writes numbers."""
    return {
        **messages("script"),
        "busy": text("titles.429"),
        "decimal": text("language.decimal"),
        "details": details(),
    }


def details() -> dict[str, str]:
    """Return what is said of problems by their codes; nothing in English, the service's own."""
    values = {**limits(), "id": request_id()}
    return {code: detail.format(**values) for code, detail in messages("details").items()}


def _words_of(problem: Problem) -> ProblemWords:
    titles = messages("titles")
    return ProblemWords(
        titles.get(str(problem.status), titles["other"]),
        details().get(problem.code, problem.detail),
    )
