"""Route options, declared by a decorator on the view function."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from flask import Flask, current_app, request

_ATTRIBUTE: Final = "route_options"

_View = TypeVar("_View", bound=Callable[..., Any])


@dataclass(frozen=True)
class RouteOptions:
    """Options of a route for access control, logging, CORS and rate limits.

    Attributes:
        is_public: The route needs neither an API key nor a trusted host name.
        is_quiet: Requests are logged at debug level.
        allows_cors: Pages of the allowed origins may use the route.
        takes_photos: Each photo in a POST counts against the rate limits.
    """

    is_public: bool = False
    is_quiet: bool = False
    allows_cors: bool = False
    takes_photos: bool = False


_DEFAULT: Final = RouteOptions()


def route_options(
    *,
    is_public: bool = False,
    is_quiet: bool = False,
    allows_cors: bool = False,
    takes_photos: bool = False,
) -> Callable[[_View], _View]:
    """Decorate a view function with its `RouteOptions`; put it below the route decorator."""
    options = RouteOptions(is_public, is_quiet, allows_cors, takes_photos)

    def mark(view: _View) -> _View:
        setattr(view, _ATTRIBUTE, options)
        return view

    return mark


def options_of(app: Flask, endpoint: str | None) -> RouteOptions:
    """Return the options of an endpoint, or the defaults if it has none."""
    view = app.view_functions.get(endpoint or "")
    return getattr(view, _ATTRIBUTE, _DEFAULT)


def current_route_options() -> RouteOptions:
    """Return the options of the current request's route."""
    return options_of(current_app, request.endpoint)
