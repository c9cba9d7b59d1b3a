"""The list of the service's routes, from its OpenAPI document."""

import json
from collections import defaultdict
from typing import Any

from tfrecall.serving.openapi import document

INTRODUCTION = """# HTTP

The routes of `tfrecall serve`, as its OpenAPI document has them. A running service has the document at
`/openapi.json`; [the same file](openapi.json) makes clients in other languages, and tests.

"""


def document_text() -> str:
    """Generate the OpenAPI document."""
    return json.dumps(document(), indent=1, ensure_ascii=False)


def page() -> str:
    """Generate the page: for each heading a table of routes, then bodies and answers by example."""
    told = document()
    by_tag: dict[str, list[tuple[str, str, dict[str, Any]]]] = defaultdict(list)
    for path, methods in told["paths"].items():
        for method, operation in methods.items():
            by_tag[operation["tags"][0]].append((method.upper(), path, operation))
    parts = [INTRODUCTION + told["info"]["description"].split("\n\n", 1)[1]]
    parts += [_section(tag, operations) for tag, operations in by_tag.items()]
    return "\n\n".join([*parts, _fields(told["components"]["schemas"])])


def _section(tag: str, operations: list[tuple[str, str, dict[str, Any]]]) -> str:
    rows = [
        f"| {method} | `{path}` | {operation['summary']} | {_errors(operation)} |"
        for method, path, operation in operations
    ]
    table = "| | path | | errors |\n| --- | --- | --- | --- |\n" + "\n".join(rows)
    examples = [
        _example(path, operation)
        for _, path, operation in operations
        if "requestBody" in operation and "versions" not in path
    ]
    return "\n\n".join([f"## {tag}", table, *examples])


def _errors(operation: dict[str, Any]) -> str:
    return ", ".join(status for status in operation["responses"] if status != "200")


def _example(path: str, operation: dict[str, Any]) -> str:
    asked = operation["requestBody"]["content"]["application/json"]["example"]
    answer = operation["responses"]["200"]["content"]["application/json"].get("example")
    return (
        f"`POST {path}`\n\n```json\n{json.dumps(asked, ensure_ascii=False)}\n```\n\n"
        f"answers\n\n```json\n{json.dumps(answer, indent=1, ensure_ascii=False)}\n```"
    )


def _fields(schemas: dict[str, Any]) -> str:
    """The fields of each form that have a description."""
    parts = ["## Forms"]
    for name, schema in schemas.items():
        rows = [
            f"| `{field}` | {facts['description']} |"
            for field, facts in schema["properties"].items()
            if "description" in facts
        ]
        if rows:
            table = "| field | |\n| --- | --- |\n" + "\n".join(rows)
            parts.append(f"### {name}\n\n{schema['description']}\n\n{table}")
    return "\n\n".join(parts)
