"""The OpenAPI document of the service, from the forms that decode requests and encode answers."""

import inspect
import re
from functools import cache
from typing import Any

import msgspec

from tfrecall.serving.operations import OPERATIONS, Operation, Problem, Sentence
from tfrecall.serving.web import SENTENCES

DESCRIPTION = """Recommendations of releases of `tfrecall`.

Bodies are JSON objects of up to 1 MB; an unknown field is refused with the nearest name, of a field given
twice the last one counts. `X-Request-Timeout-Ms` is the time after which nobody waits for an answer,
`X-Release` names a release as `release` of a body does, and `traceparent` or `X-Request-ID` gives the id of a
request, which answers have in `X-Request-ID`."""

_ERRORS = {
    400: "The request cannot be used as it is.",
    401: "The token is missing or wrong.",
    404: "No such release, version or item.",
    408: "The body took too long to arrive.",
    413: "The body is too large.",
    415: "The body is said to be something else than JSON.",
    421: "The header Host has a name that is not this service's.",
    429: "Too many requests wait already; `Retry-After` says when to try again.",
    431: "The headers are too large.",
    500: "The request failed through no fault of its own.",
    503: "The service starts or stops.",
    504: "The deadline passed.",
}
_EVERYWHERE = (401, 421, 431, 500)
_HEADERS = (
    ("X-Request-Timeout-Ms", "Milliseconds until nobody waits for the answer.", {"type": "number"}),
    ("X-Release", "Name of the release.", {"type": "string"}),
    ("traceparent", "W3C Trace Context.", {"type": "string"}),
)
_TEXTS = {"/metrics": "text/plain"}
_ATTRIBUTE = re.compile(r"^    ([a-z_]+(?:, [a-z_]+)*): (.+(?:\n        .+)*)", re.MULTILINE)


@cache
def document() -> dict[str, Any]:
    """The document, version 3.1."""
    schemas, components = _schemas()
    paths: dict[str, Any] = {}
    for operation in OPERATIONS:
        told = _operation(operation, schemas)
        paths.setdefault(operation.path, {})[operation.method.lower()] = told
    return {
        "openapi": "3.1.0",
        "info": {"title": "tfrecall", "version": "1", "description": DESCRIPTION},
        "security": [{}, {"bearer": []}],
        "paths": paths,
        "components": {
            "schemas": components,
            "securitySchemes": {"bearer": {"type": "http", "scheme": "bearer"}},
        },
    }


def _schemas() -> tuple[dict[Any, Any], dict[str, Any]]:
    """Form -> its schema, and the named schemas, whose attributes have the words of docstrings."""
    forms = [form for one in OPERATIONS for form in (one.asked, one.answered) if form is not None]
    forms = [*dict.fromkeys(forms), Problem, Sentence]
    found, components = msgspec.json.schema_components(
        forms, ref_template="#/components/schemas/{name}"
    )
    for schema in components.values():
        text = inspect.cleandoc(schema.get("description", ""))
        for names, words in _ATTRIBUTE.findall(text):
            for name in names.split(", "):
                schema["properties"][name]["description"] = " ".join(words.split()).replace(
                    "None", "null"
                )
        schema["description"] = text.partition("\n\nAttributes:")[0]
    return dict(zip(forms, found, strict=True)), components


def _operation(one: Operation, schemas: dict[Any, Any]) -> dict[str, Any]:
    names = re.findall(r"{(\w+)}", one.path)
    parameters: list[dict[str, Any]] = [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string"}} for name in names
    ]
    parameters += [
        {"name": name, "in": "query", "description": words, "schema": _query_schema(name)}
        for name, words in one.query
    ]
    told: dict[str, Any] = {
        "operationId": f"{one.method.lower()}{re.sub(r'[^a-z0-9]+', '_', one.path.lower())}".rstrip(
            "_"
        ),
        "tags": [one.tag],
        "summary": one.summary,
        "parameters": parameters,
        "responses": _responses(one, schemas),
    }
    if one.asked is not None:
        parameters += [
            {"name": name, "in": "header", "description": words, "schema": schema}
            for name, words, schema in _HEADERS
            if name != "X-Release" or not names
        ]
        content = {"schema": schemas[one.asked], "example": one.example}
        told["requestBody"] = {"required": True, "content": {"application/json": content}}
    return told


def _query_schema(name: str) -> dict[str, Any]:
    return {"type": "integer", "minimum": 1} if name == "k" else {"type": "string"}


def _responses(one: Operation, schemas: dict[Any, Any]) -> dict[str, Any]:
    schema = schemas[one.answered] if one.answered is not None else {"type": "object"}
    kind = _TEXTS.get(one.path, "application/json")
    content: dict[str, Any] = {"schema": {"type": "string"} if kind != "application/json" else schema}
    if one.answer is not None:
        content["example"] = one.answer
    responses: dict[str, Any] = {"200": {"description": "The answer.", "content": {kind: content}}}
    problem = schemas[Sentence if one.path.startswith(SENTENCES) else Problem]
    for status in sorted({*one.errors, *_EVERYWHERE}):
        error = {"schema": problem if "ready" not in one.path or status != 503 else {"type": "object"}}
        responses[str(status)] = {
            "description": _ERRORS[status],
            "content": {"application/json": error},
        }
        if status in (429, 503):
            responses[str(status)]["headers"] = {
                "Retry-After": {"description": "Seconds.", "schema": {"type": "integer"}}
            }
    return responses
