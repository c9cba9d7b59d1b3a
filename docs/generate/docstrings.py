"""Docstrings as the pages show them: doctests as code, call arguments as lists, one parameter a row."""

import ast
import re
from collections.abc import Iterator
from typing import Any

from griffe import AliasResolutionError, Extension

# Pydantic's checked integers.
_NUMBERS = ("PositiveInt", "NonNegativeInt")
_BODY = r"((?:(?:    .*)?\n?)+?)(?=^\S|\Z)"
# Sections that the documentation tool's Google style does not know.
_LISTS = re.compile(rf"^(Call arguments):\n{_BODY}", re.MULTILINE)
_REFERENCES = re.compile(rf"^References?:\n{_BODY}", re.MULTILINE)
# Of a class: what calling it gives, not what its constructor returns.
_RETURNS = re.compile(rf"^Returns:\n{_BODY}", re.MULTILINE)
_ENTRY = re.compile(r"^(\w+(?:, \w+)*): ", re.MULTILINE)
_SEVERAL = re.compile(r"^    (\*{0,2}\w+(?:, \*{0,2}\w+)+)(: .*\n?(?:^     .*\n?)*)", re.MULTILINE)
_DOCTEST = re.compile(r"(?:^[ ]*>>> .*\n?)(?:^[ ]*\S.*\n?)*", re.MULTILINE)


class Docstrings(Extension):
    """Rewrites docstrings before they are parsed, and checked types to the types they check."""

    def on_instance(self, *, obj: Any, **kwargs: Any) -> None:
        """Rewrite the docstring of one object."""
        if obj.docstring:
            obj.docstring.value = readable(obj.docstring.value, is_class=obj.is_class)

    def on_package(self, *, pkg: Any, **kwargs: Any) -> None:
        """Rewrite the types of attributes, once every module is read."""
        for module in _modules(pkg):
            for cls in module.classes.values():
                for attribute in cls.attributes.values():
                    if attribute.annotation is not None:
                        attribute.annotation = plain_type(str(attribute.annotation), module)


def _modules(package: Any) -> Iterator[Any]:
    yield package
    for module in package.modules.values():
        if not module.is_alias:
            yield from _modules(module)


def plain_type(annotation: str, module: Any) -> str:
    """Give the type behind a checked one, as a reader of the pages knows it.

    `Rate`, which is `Annotated[float, Field(ge=0, lt=1)]`, becomes `float`.
    """
    return ast.unparse(_Plain(module).visit(ast.parse(annotation, mode="eval").body))


class _Plain(ast.NodeTransformer):
    """Replaces checked types and the names of such types."""

    def __init__(self, module: Any) -> None:
        self.module = module

    def visit_Subscript(self, node: ast.Subscript) -> ast.AST:
        if isinstance(node.value, ast.Name) and node.value.id == "Annotated":
            return self.visit(node.slice.elts[0])  # type: ignore[attr-defined]
        return self.generic_visit(node)

    def visit_Name(self, node: ast.Name) -> ast.AST:
        if node.id in _NUMBERS:
            return ast.Name("int")
        member = self.module.members.get(node.id)
        if member is None:
            return node
        try:
            target = member.final_target if member.is_alias else member
        except AliasResolutionError:  # of another package
            return node
        value = str(target.value) if target.is_attribute else ""
        if not value.startswith("Annotated["):
            return node
        return _Plain(target.module).visit(ast.parse(value, mode="eval").body)


def readable(doc: str, is_class: bool = False) -> str:
    """Rewrite a docstring for the pages.

    Args:
        doc: in Google form, without the indentation of its place.
        is_class: whether it is of a class, whose `Returns:` is of its call.

    Example:

    >>> print(readable("Add.\\n\\n>>> 1 + 1\\n2"))
    Add.
    <BLANKLINE>
    ```pycon
    >>> 1 + 1
    2
    ```
    <BLANKLINE>
    """
    doc = _SEVERAL.sub(_split, doc)
    doc = re.sub(r"^Examples?:\n", "**Example**\n\n", doc, flags=re.MULTILINE)
    doc = _LISTS.sub(_list, doc)
    doc = _REFERENCES.sub(lambda match: f"**Reference**\n\n{_dedent(match[1])}\n\n", doc)
    if is_class:
        doc = _RETURNS.sub(lambda match: f"**Returns**\n\n{_dedent(match[1])}\n\n", doc)
    return _DOCTEST.sub(_code, doc)


def _split(entry: re.Match[str]) -> str:
    """Give each of several parameters its own entry."""
    text = entry[2] if entry[2].endswith("\n") else f"{entry[2]}\n"
    return "".join(f"    {name}{text}" for name in entry[1].split(", "))


def _list(section: re.Match[str]) -> str:
    body = _ENTRY.sub(lambda name: f"- `{name[1]}`: ", _dedent(section[2]))
    # Lines that go on with an entry keep to its item.
    lines = [line if line.startswith("- ") else f"  {line.strip()}" for line in body.splitlines()]
    return f"**{section[1]}**\n\n" + "\n".join(lines) + "\n\n"


def _dedent(text: str) -> str:
    return re.sub(r"^    ", "", text, flags=re.MULTILINE).strip()


def _code(block: re.Match[str]) -> str:
    text = block[0]
    indent = len(text) - len(text.lstrip(" "))
    lines = [line[indent:] for line in text.splitlines()]
    return "```pycon\n" + "\n".join(lines).rstrip() + "\n```\n"
