"""Parameters of `POST /predict`, from the query string and from the fields of a form or JSON."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from flask import request

from app.http.json_body import JSON
from app.http.parameters import bad_parameter, check_names, flag
from app.http.problems import Code, Problem
from app.inference.activation_overlays import MAX_EXPLAINED
from app.schemas.operations import PREDICT_PARAMETERS

_WHOLE_NUMBER: Final = re.compile(r"[0-9]{1,6}")


@dataclass(frozen=True)
class PredictParameters:
    """Validated parameters of one `POST /predict`.

    Attributes:
        top_k: Number of predictions, from 1 to the number of classes.
        explain: Add an activation map to each prediction.
        combine: Combine several photos of one plant.
    """

    top_k: int
    explain: bool
    combine: bool


def read_parameters(class_count: int, default_top_k: int) -> PredictParameters:
    """Return the parameters of the current request.

    Call `check_query` first. The first access to the form reads the body, so callers that limit
    how many bodies are read at once call this function inside the limit.

    Args:
        class_count: Number of classes, the maximum of `top_k`.
        default_top_k: `top_k` of a request without one.

    Raises:
        Problem: 422, for an unknown JSON member, a repeated parameter or a value out of range.
    """
    # Apps add fields of their own to a form, but write JSON for this API alone.
    if request.mimetype == JSON:
        check_names(request.form, PREDICT_PARAMETERS)
    return _parameters(_values, class_count, default_top_k)


def check_query(class_count: int) -> None:
    """Validate the query string alone, before the body is read.

    Raises:
        Problem: 422, for an unknown query parameter, a repeated one or a value out of range.
    """
    if request.args:
        check_names(request.args, PREDICT_PARAMETERS)
        _parameters(request.args.getlist, class_count, default_top_k=1)


def _parameters(
    values: Callable[[str], list[str]], class_count: int, default_top_k: int
) -> PredictParameters:
    parameters = PredictParameters(
        _top_k(values("top_k"), class_count) or default_top_k,
        flag("explain", values("explain")),
        flag("combine", values("combine")),
    )
    if parameters.explain and parameters.top_k > MAX_EXPLAINED:
        raise Problem(
            Code.INVALID_PARAMETER,
            f"The parameter top_k is {parameters.top_k}; with explain it must be at most "
            f"{MAX_EXPLAINED}.",
        )
    return parameters


def _values(name: str) -> list[str]:
    return [*request.args.getlist(name), *request.form.getlist(name)]


def _top_k(values: list[str], class_count: int) -> int | None:
    if not values:
        return None
    text = values[0]
    if len(values) > 1 or not _WHOLE_NUMBER.fullmatch(text) or not 1 <= int(text) <= class_count:
        raise bad_parameter("top_k", values, f"one whole number from 1 to {class_count}")
    return int(text)
