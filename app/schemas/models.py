"""The shapes of what the API answers, as JSON Schema, and an example of each.

Each schema lists what is always there as required; a service may say more than it lists.
"""

from __future__ import annotations

from typing import Any, Final

from werkzeug.http import HTTP_STATUS_CODES

from app.http.problems import Code

Json = dict[str, Any]

_TEXT: Final[Json] = {"type": "string"}
_NUMBER: Final[Json] = {"type": "number"}
_WHOLE: Final[Json] = {"type": "integer"}


def _described(schema: Json, description: str) -> Json:
    return {**schema, "description": description}


def _or_null(schema: Json) -> Json:
    return {**schema, "type": [schema["type"], "null"]}


def _list_of(schema: Json) -> Json:
    return {"type": "array", "items": schema}


def _map_of(schema: Json) -> Json:
    return {"type": "object", "additionalProperties": schema}


def _object(properties: Json, *optional: str) -> Json:
    required = [name for name in properties if name not in optional]
    return {"type": "object", "properties": properties, "required": required}


def ref(name: str) -> Json:
    """Refer to a schema by its name."""
    return {"$ref": f"#/components/schemas/{name}"}


_CLASS_ID: Final = _described(_TEXT, "The class's id: the name of its folder in the data set.")
_NAME: Final = _described(_TEXT, "The common name as the data set spells it.")
_DISPLAY_NAME: Final = _described(_TEXT, "The common name as people write it, in English.")
_OTHER_NAMES: Final = _described(_list_of(_TEXT), "Other common names.")
_NOTE: Final = _described(_TEXT, "Where the name misleads; may be empty.")
_TRANSLATED_NAME: Final = _described(
    _or_null(_TEXT), "The common name; null where none is certain, and the English one fits."
)
_REQUEST_ID: Final = _described(_TEXT, "By which the service's log tells more.")


def _translations(words: Json) -> Json:
    return _described(
        _map_of(_object(words)),
        "The same in other languages, by their code: `de`; all of them, whatever the request's "
        "Accept-Language says.",
    )


_VERDICT: Final[Json] = {
    "predictions": _described(
        {**_list_of(ref("Prediction")), "minItems": 1}, "The likeliest name first."
    ),
    "verdict": {
        "enum": ["known", "unsure", "unknown", "unchecked"],
        "description": "`unchecked` for a model without an OOD rule, `unknown` if the OOD score "
        "is below the threshold, `unsure` if the top name has less than half of the probability, "
        "otherwise `known`.",
    },
    "ood": {
        "anyOf": [ref("Ood"), {"type": "null"}],
        "description": "Out-of-distribution check; null if the model has no OOD rule.",
    },
}

SCHEMAS: Final[Json] = {
    "About": _object(
        {
            "name": _TEXT,
            "version": _described(_TEXT, "Of the service."),
            "links": _described(_map_of(_TEXT), "The path of each route, by its name."),
        }
    ),
    "Prediction": _object(
        {
            "class_id": _CLASS_ID,
            "name": _NAME,
            "display_name": _DISPLAY_NAME,
            "translations": _translations({"display_name": _TRANSLATED_NAME}),
            "probability": {"type": "number", "minimum": 0, "maximum": 1},
            "scientific_name": _described(
                _or_null(_TEXT), "A species or a genus; null where neither is certain."
            ),
            "url": _described(_TEXT, "The path of the flower's page."),
            "activation_map": _described(
                {"type": "string", "pattern": "^data:image/png;base64,"},
                "With `explain=1`: a transparent PNG to lay over the upright photo, coloured where "
                "the photo looks like this flower.",
            ),
        },
        "activation_map",
    ),
    "Answer": _object(
        {
            **_VERDICT,
            "photos": _described(
                {**_list_of(ref("PhotoAnswer")), "minItems": 1, "maxItems": 5},
                "With `combine=1`: the answer to each photo alone, in their order.",
            ),
            "model": _object({"architecture": _TEXT, "checkpoint": _TEXT, "version": _TEXT}),
            "request_id": _REQUEST_ID,
        },
        "photos",
    ),
    "PhotoAnswer": _object(_VERDICT),
    "Ood": _object(
        {
            "score": _described(_NUMBER, "Higher looks more like one of the flowers."),
            "threshold": _described(_NUMBER, "Lowest score of a known photo."),
            "is_known": _described({"type": "boolean"}, "True if the score reaches the threshold."),
        }
    ),
    "Label": _object({"class_id": _CLASS_ID, "name": _NAME}),
    "Labels": _object(
        {"labels": _described(_list_of(ref("Label")), "In the order of the model's logits.")}
    ),
    "Flower": _object(
        {
            "class_id": _CLASS_ID,
            "name": _NAME,
            "display_name": _DISPLAY_NAME,
            "scientific_name": _described(
                _or_null(_TEXT),
                "As narrow as is certain: a genus where the name or the photos fit several "
                "species, null where nothing is certain.",
            ),
            "rank": {"enum": ["species", "genus", "hybrid", "cultivar", "uncertain"]},
            "family": _or_null(_TEXT),
            "synonyms": _described(_list_of(_TEXT), "Other scientific names."),
            "other_names": _OTHER_NAMES,
            "note": _NOTE,
            "translations": _translations(
                {
                    "display_name": _TRANSLATED_NAME,
                    "other_names": _OTHER_NAMES,
                    "note": _NOTE,
                }
            ),
            "url": _described(_TEXT, "The path of its page."),
        }
    ),
    "Flowers": _object(
        {
            "flowers": _described(_list_of(ref("Flower")), "By name."),
            "sources": _described(_map_of(_TEXT), "What the facts rest on."),
        }
    ),
    "Model": _object(
        {
            "format_version": _WHOLE,
            "architecture": _object(
                {
                    "backbone": _described(_TEXT, "timm's name of it."),
                    "num_classes": _WHOLE,
                    "hidden_layers": _list_of(_WHOLE),
                    "dropout": _NUMBER,
                }
            ),
            "classes": _described(_list_of(ref("Label")), "In the order of the logits."),
            "transform": _object(
                {
                    "resize": _described(_WHOLE, "The shorter side, in pixels."),
                    "crop": _described(_WHOLE, "The central square that is seen, in pixels."),
                    "interpolation": _TEXT,
                    "mean": _list_of(_NUMBER),
                    "std": _list_of(_NUMBER),
                }
            ),
            "temperature": _described(_NUMBER, "What logits are divided by before the softmax."),
            "training": _described({"type": "object"}, "The options it was trained with."),
            "metrics": _described(
                _map_of(_map_of(_NUMBER)), "What was measured on each set of photos."
            ),
            "versions": _described(_map_of(_TEXT), "Of the libraries that trained it."),
            "revision": _described(_TEXT, "Of the source that trained it."),
            "created": _described(_TEXT, "ISO 8601, in UTC."),
            "ood_rule": {
                "anyOf": [
                    _object(
                        {
                            "score": _TEXT,
                            "threshold": _NUMBER,
                            "logit_adjustment": _described(
                                _list_of(_NUMBER),
                                "What is taken off the logits before they are scored, by class; "
                                "empty for nothing.",
                            ),
                        }
                    ),
                    {"type": "null"},
                ],
                "description": "By which a photo may show none of the flowers.",
            },
            "checkpoint": _described(_TEXT, "The file's name."),
            "version": _described(_TEXT, "The first digits of the file's SHA-256."),
            "device": _described(_TEXT, "Where it runs."),
        }
    ),
    "Status": _object({"status": _TEXT}),
    "Problem": _object(
        {
            "type": {"const": "about:blank"},
            "title": _described(_TEXT, "The status in words."),
            "status": {"type": "integer", "minimum": 400, "maximum": 599},
            "code": {
                **_TEXT,
                "description": "What was wrong, in one word for programs; later versions may know "
                "more of them.",
                "examples": list(Code),
            },
            "detail": _described(_TEXT, "What was wrong and what would be right, for people."),
            "request_id": _REQUEST_ID,
        }
    ),
}

_ID: Final = "0f5a3c1e9b7d4286a1c0e4d2b3f59687"
_LILY: Final[Json] = {"class_id": "18", "name": "peruvian lily"}
_MODEL: Final[Json] = {
    "architecture": "tf_efficientnet_lite2",
    "checkpoint": "tf_efficientnet_lite2.onnx",
    "version": "0123456789ab",
}
_FLOWER: Final[Json] = {
    **_LILY,
    "display_name": "Peruvian lily",
    "scientific_name": "Alstroemeria",
    "rank": "genus",
    "family": "Alstroemeriaceae",
    "synonyms": [],
    "other_names": ["lily of the Incas", "alstroemeria"],
    "note": "A name for the whole genus and its garden hybrids.",
    "translations": {
        "de": {
            "display_name": "Inkalilie",
            "other_names": ["Alstroemerie"],
            "note": "Ein Name für die ganze Gattung und ihre Gartenhybriden.",
        }
    },
    "url": "/flowers/18-peruvian-lily",
}

EXAMPLES: Final[Json] = {
    "Answer": {
        "predictions": [
            {
                **_LILY,
                "display_name": "Peruvian lily",
                "translations": {"de": {"display_name": "Inkalilie"}},
                "probability": 0.97,
                "scientific_name": "Alstroemeria",
                "url": "/flowers/18-peruvian-lily",
            },
            {
                "class_id": "6",
                "name": "tiger lily",
                "display_name": "Tiger lily",
                "translations": {"de": {"display_name": "Tigerlilie"}},
                "probability": 0.02,
                "scientific_name": "Lilium lancifolium",
                "url": "/flowers/6-tiger-lily",
            },
        ],
        "verdict": "known",
        "ood": {"score": 11.2, "threshold": 7.5, "is_known": True},
        "model": _MODEL,
        "request_id": _ID,
    },
    "About": {
        "name": "Petalscope",
        "version": "0.1.0",
        "links": {"predict": "/predict", "openapi": "/openapi.json"},
    },
    "Labels": {"labels": [_LILY, {"class_id": "6", "name": "tiger lily"}]},
    "Flower": _FLOWER,
    "Flowers": {"flowers": [_FLOWER], "sources": {"names": "Nilsback and Zisserman (2008)."}},
    "Model": {
        "format_version": 2,
        "architecture": {
            "backbone": "tf_efficientnet_lite2",
            "num_classes": 2,
            "hidden_layers": [],
            "dropout": 0.0,
        },
        "classes": [_LILY, {"class_id": "6", "name": "tiger lily"}],
        "transform": {
            "resize": 288,
            "crop": 288,
            "interpolation": "bicubic",
            "mean": [0.5, 0.5, 0.5],
            "std": [0.5, 0.5, 0.5],
        },
        "temperature": 0.9,
        "training": {"epochs": 18},
        "metrics": {"valid": {"n": 818, "top1": 0.98}},
        "versions": {"torch": "2.14.0"},
        "revision": "0123456",
        "created": "2026-11-24T12:00:00+00:00",
        "ood_rule": {"score": "max_logit", "threshold": 7.5, "logit_adjustment": []},
        "checkpoint": "tf_efficientnet_lite2.onnx",
        "version": "0123456789ab",
        "device": "cpu",
    },
}


def problem_example(code: Code, detail: str) -> Json:
    """Return an example of a refusal."""
    return {
        "type": "about:blank",
        "title": HTTP_STATUS_CODES[code.status],
        "status": code.status,
        "code": code,
        "detail": detail,
        "request_id": _ID,
    }
