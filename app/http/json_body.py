"""Base class of the JSON bodies that the service sends."""

from __future__ import annotations

from typing import Any, Final

from flask import Response
from pydantic import BaseModel, ConfigDict

JSON: Final = "application/json"

JsonObject = dict[str, Any]


class JsonBody(BaseModel):
    """A JSON response body.

    The fields of a subclass are the only definition of a body: they serialize the response and
    generate its schema in the OpenAPI document.
    """

    model_config = ConfigDict(frozen=True)

    def to_response(
        self, *, status: int = 200, mimetype: str = JSON, indent: int | None = None
    ) -> Response:
        """Serialize the body as a response.

        Args:
            status: HTTP status.
            mimetype: Media type, such as "application/problem+json".
            indent: Spaces per level; None for one line.
        """
        text = f"{self.model_dump_json(indent=indent)}\n"
        return Response(text, status, mimetype=mimetype)
