"""HTML rendering: templates in the reader's language, with matching response headers."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlencode

from flask import Flask, Response, make_response, render_template

from app.catalog.files import POISONOUS
from app.catalog.flowers import describe_class, hyphenated_names
from app.context import current_context
from app.http.problems import Problem
from app.http.request_id import request_id
from app.schemas.responses import Prediction
from app.schemas.serialization import picture_of, picture_url, thumbnail_url
from app.web.language_choice import (
    add_language_headers,
    language_links,
    remember_language,
    url_without_language,
)
from app.web.translations import (
    ENGLISH,
    current_language,
    format_decimal,
    format_percent,
    messages,
    text,
    use_language,
)
from model.imaging.formats import format_names

# Colors of the browser's toolbar; equal to --paper in base.css.
THEME_COLORS: Final = {"light": "#f3efe3", "dark": "#131915"}
_ENGLISH_WIKIPEDIA: Final = "https://en.wikipedia.org/w/index.php"
_GBIF: Final = "https://www.gbif.org/species/search"
_CREATIVE_COMMONS: Final = re.compile(r"CC (BY(?:-NC)?(?:-SA|-ND)?) (\d\.\d)")
_SCRIPT_FORMATS: Final = ("decimal", "percent", "less_than", "more_than", "comma", "colon")
_SCRIPT_VERDICTS: Final = (
    "most_likely_name",
    "most_likely_percent",
    "unsure_name",
    "unknown_flower",
    "closest_name",
)
# Names of a known flower that are less likely are in the details.
_MIN_SHOWN_PROBABILITY: Final = 0.01
_SIMILARITY_DECADES: Final = 3  # of probability, from the longest bar to none; also in result.js
_MIN_SIMILARITY: Final = 0.04  # a bar that can be seen


@dataclass(frozen=True)
class ProblemText:
    """Title and detail of a problem, as shown on a page.

    Attributes:
        title: A few words.
        detail: One or two sentences: the problem's own in English, else the message for its code.
    """

    title: str
    detail: str


def init_rendering(app: Flask) -> None:
    """Register the template globals of `app`."""
    app.jinja_env.globals.update(
        text=text,
        format_decimal=format_decimal,
        format_percent=format_percent,
        similarity=_similarity,
        min_shown_probability=_MIN_SHOWN_PROBABILITY,
        language=current_language,
        english=ENGLISH,
        language_links=language_links,
        url_without_language=url_without_language,
        wikipedia_url=_wikipedia_url,
        gbif_url=_gbif_url,
        licence_url=_licence_url,
        picture_of=picture_of,
        picture_url=picture_url,
        thumbnail_url=thumbnail_url,
        theme_colors=THEME_COLORS,
        takes_feedback=_takes_feedback,
    )
    # The messages for the scripts, as the tojson filter writes them: Chinese in half the bytes.
    app.jinja_env.policies["json.dumps_kwargs"] = {"ensure_ascii": False}
    app.jinja_env.tests["poisonous"] = _is_poisonous
    app.jinja_env.filters["hyphenate"] = _hyphenate


def render_page(
    template: str,
    *,
    language: str | None = None,
    problem: Problem | None = None,
    **values: Any,
) -> Response:
    """Render a template as a response.

    Args:
        template: File name of the template.
        language: Language of a template that is not translated; None for the reader's.
        problem: The problem to show; sets the status and headers.
        values: Variables of the template.
    """
    if language is not None:
        use_language(language)
    problem_text = problem and _translate(problem)
    is_translated = language is None
    page = render_template(template, problem=problem_text, is_translated=is_translated, **values)
    response = make_response(page)
    response.content_language.add(current_language())
    if is_translated:
        add_language_headers(response)
        remember_language(response)
    if problem is not None:
        response.status_code = problem.status
        response.headers.update(problem.headers)
    return response


def render_error_page(problem: Problem) -> Response:
    """Render a problem as an error page."""
    return render_page("error.html", problem=problem)


def limits() -> dict[str, Any]:
    """Return the upload limits, for the placeholders of messages."""
    settings = current_context().settings
    formats = format_names(settings.heif).replace(", ", text("language.comma"))
    return {
        "formats": formats.replace(" or ", text("language.or")),
        "heif": settings.heif,
        "mib": settings.max_body_mib,
        "megapixels": settings.max_megapixels,
        "side": settings.min_side,
    }


def script_texts() -> dict[str, Any]:
    """Return the messages and formats that the page's scripts use."""
    return {
        **messages("script"),
        **{name: messages("language")[name] for name in _SCRIPT_FORMATS},
        **{name: messages("verdict")[name] for name in _SCRIPT_VERDICTS},
        "titles": messages("titles"),
        "details": details(),
        "toxicity": messages("toxicity"),
        "hyphenated": _hyphenated_names(),
    }


def details() -> dict[str, str]:
    """Return problem details by code; empty in English, where the problem's own detail is used."""
    values = {**limits(), "id": request_id()}
    return {code: detail.format(**values) for code, detail in messages("details").items()}


def _similarity(probability: float, best: float) -> float:
    """Return the length of a bar without percentage, in (0, 1]; 1 for the best prediction.

    It is linear in the logarithm of the probability, as the logits are. The bars compare the
    names with each other and say nothing about certainty.
    """
    if probability == 0:
        return _MIN_SIMILARITY
    return max(_MIN_SIMILARITY, 1 - math.log10(best / probability) / _SIMILARITY_DECADES)


def _takes_feedback() -> bool:
    """Return True if feedback is on."""
    return current_context().feedback is not None


def _wikipedia_url(scientific_name: str | None, name: str, in_catalog: object) -> str:
    """Return the URL of a Wikipedia search, in the language of the page.

    Common names of the catalog are English, so they are searched in English.
    """
    is_english = in_catalog and not scientific_name
    site = _ENGLISH_WIKIPEDIA if is_english else text("language.wikipedia")
    return f"{site}?{urlencode({'search': scientific_name or name})}"


def _licence_url(licence: str) -> str | None:
    """Return the address of a Creative Commons licence such as "CC BY-SA 4.0", or None."""
    found = _CREATIVE_COMMONS.fullmatch(licence)
    return found and f"https://creativecommons.org/licenses/{found[1].lower()}/{found[2]}/"


def _hyphenated_names() -> dict[str, str]:
    """Return the served flowers' names that have soft hyphens, by plain name."""
    language = current_language()
    flowers = map(describe_class, current_context().classifier.metadata.classes)
    served = {flower.name_in(language) for flower in flowers if flower.in_catalog}
    known = hyphenated_names(language)
    return {name: hyphenated for name, hyphenated in known.items() if name in served}


def _hyphenate(name: str) -> str:
    """Return a flower's name with soft hyphens in its long words, if the catalog has them."""
    return hyphenated_names(current_language()).get(name, name)


def _is_poisonous(prediction: Prediction) -> bool:
    """Return True if a source calls the plant poisonous to people or pets."""
    toxicity = prediction.toxicity
    return toxicity is not None and not POISONOUS.isdisjoint((toxicity.people, toxicity.pets))


def _gbif_url(scientific_name: str) -> str:
    """Return the URL of a GBIF search, without the cultivar, which GBIF does not index."""
    taxon = scientific_name.partition(" '")[0]
    return f"{_GBIF}?{urlencode({'q': taxon})}"


def _translate(problem: Problem) -> ProblemText:
    titles = messages("titles")
    return ProblemText(
        titles.get(problem.code) or titles.get(str(problem.status)) or titles["other"],
        details().get(problem.code, problem.detail),
    )
