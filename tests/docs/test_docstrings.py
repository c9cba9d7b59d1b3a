"""Docstrings of public names answer by themselves: what each parameter is, and an example that runs."""

import ast
import re
from functools import cache
from pathlib import Path

import pytest

import tfrecall
from docs.generate import api
from docs.generate.docstrings import readable
from tests.docs.markdown import ROOT

NAMES = sorted(set(tfrecall.__all__) - set(api.ELSEWHERE))


@cache
def _tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text("utf-8"))


def _module_file(module: str) -> Path:
    path = ROOT.joinpath(*module.split("."))
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


def docstring(place: str) -> str:
    """The docstring of a class or function, read without importing it; a face leads to its origin."""
    module, _, name = place.rpartition(".")
    for node in reversed(_tree(_module_file(module)).body):  # overloads come before the function
        if isinstance(node, ast.ClassDef | ast.FunctionDef) and node.name == name:
            return ast.get_docstring(node) or ""
        if isinstance(node, ast.ImportFrom) and any(alias.name == name for alias in node.names):
            return docstring(f"{node.module}.{name}")
    raise LookupError(place)


@pytest.mark.parametrize("name", NAMES)
def test_public_name_has_an_example_that_runs(name):
    assert ">>>" in docstring(api.place(name))


@pytest.mark.parametrize("name", NAMES)
def test_parameters_are_described_in_the_docstring_itself(name):
    elsewhere = (
        r"^    [\w*, ]+: (?:see|as of|as for)\b.*"
        r"|^(?:Args|Attributes|.*call arguments): *as .*"
    )
    found = re.findall(elsewhere, docstring(api.place(name)), re.MULTILINE)
    assert not found


def test_several_parameters_become_rows_of_their_own():
    doc = "F.\n\nArgs:\n    low, high: the ends,\n        both included.\n"
    assert readable(doc).count(": the ends,\n        both included.") == 2


def test_call_arguments_become_a_list():
    doc = "F.\n\nCall arguments:\n    a: one,\n        or two.\n\nReturns:\n    x.\n"
    assert "- `a`: one,\n  or two.\n\nReturns:" in readable(doc)


def test_returns_of_a_class_are_those_of_its_call():
    assert "**Returns**\n\nx." in readable("C.\n\nReturns:\n    x.\n", is_class=True)
