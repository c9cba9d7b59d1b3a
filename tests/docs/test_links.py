"""Links, paths, commands and make targets that the documentation names exist."""

import re
import shlex
from functools import cache
from pathlib import Path

import pytest

from docs.generate import api, commands
from tests.docs.markdown import DOORS, OTHERS, ROOT, anchors, blocks, links, name, pages, prose

EVERY = [*pages(), *OTHERS]
# Classes of Keras and of TensorFlow Recommenders.
FOREIGN = {"Discretization", "Embedding", "StringLookup", "TextVectorization"}
FOREIGN |= {"FactorizedTopK", "Retrieval"}
# Headers of HTTP.
FOREIGN |= {"Host"}
# Places that runs and readers make, not the project.
MADE = ("saved_models/", "/tmp/", "path/to/")


@pytest.mark.parametrize("page", EVERY, ids=name)
def test_internal_links_resolve(page):
    for link in links(page):
        if link.startswith(("http:", "https:", "mailto:")):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), f"{link} in {name(page)}"
        if anchor:
            assert anchor in anchors(target), f"{link} in {name(page)}"


@pytest.mark.parametrize("page", EVERY, ids=name)
def test_paths_in_code_exist(page):
    text = page.read_text("utf-8")
    for path in re.findall(r"`((?:tfrecall|tests|docs|benchmarks|notebooks|examples)/[\w./-]*)`", text):
        if not path.startswith(MADE):
            assert (ROOT / path).exists(), f"`{path}` in {name(page)}"


@pytest.mark.parametrize("page", EVERY, ids=name)
def test_commands_and_their_options_exist(page):
    known = dict(commands.commands())
    text = re.sub(r"\\\n\s*", " ", page.read_text("utf-8"))
    for line in re.findall(r"(?:^\$? ?|`)(tfrecall [a-z][^`\n#]*)", text, re.MULTILINE):
        words = shlex.split(line.split("  ")[0])
        path = next(
            (path for path in (" ".join(words[:3]), " ".join(words[:2])) if path in known), None
        )
        groups = {" ".join(path.split()[:2]) for path in known if path.count(" ") == 2}
        assert path or " ".join(words[:2]) in groups, f"{line} in {name(page)}"
        options = [word.split("=")[0] for word in words if re.match(r"--?[a-z]", word)]
        if path:
            assert set(options) <= {*commands.options(known[path]), "--help"}, f"{line} in {name(page)}"


@pytest.mark.parametrize("page", EVERY, ids=name)
def test_make_targets_exist(page):
    targets = set(
        re.findall(r"^([a-z-]+):", ROOT.joinpath("Makefile").read_text("utf-8"), re.MULTILINE)
    )
    fenced = re.findall(r"^make ([^\n#]*)", "\n".join(blocks(page)), re.MULTILINE)
    inline = re.findall(r"`make ([^`]*)`", page.read_text("utf-8"))
    for line in [*fenced, *inline]:
        named = re.findall(r"(?<!\S)([a-z-]+)(?!\S)", line)
        assert set(named) <= targets, f"make {line} in {name(page)}"


@cache
def defined() -> set[str]:
    """Names of classes, functions and constants of the package."""
    text = "\n".join(path.read_text("utf-8") for path in (ROOT / "tfrecall").rglob("*.py"))
    return {
        *re.findall(r"^\s*(?:class|def) (\w+)", text, re.MULTILINE),
        *re.findall(r"^(\w+)\b.* = ", text, re.MULTILINE),
    }


@pytest.mark.parametrize("page", EVERY, ids=name)
def test_classes_in_code_exist(page):
    named = re.findall(r"`(?:\w+\.)*([A-Z][a-z]+\w*)(?:\([^`]*)?`", prose(page))
    assert set(named) <= defined() | FOREIGN, name(page)


@pytest.mark.parametrize("page", EVERY, ids=name)
def test_public_names_in_code_exist(page):
    public = api.public_names()
    for path in re.findall(r"`tr\.([\w.]+)", prose(page)):
        assert path in public or path.rpartition(".")[0] in public, f"tr.{path} in {name(page)}"


def test_every_page_is_in_the_navigation():
    menu = ROOT.joinpath("mkdocs.yml").read_text("utf-8")
    docs = ROOT / "docs"
    for page in docs.rglob("*.md"):
        assert f" {page.relative_to(docs)}\n" in menu + "\n"


def test_doors_are_there():
    assert all(path.exists() for path in DOORS)
    for page in ("contributing.md", "security.md", "changelog.md"):
        assert Path(ROOT, "docs", page).resolve().parent == ROOT
