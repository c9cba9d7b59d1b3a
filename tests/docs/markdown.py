"""The documentation as files: its pages, code blocks, headings and links."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
# Files of the project that are read outside the built pages, too.
DOORS = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md")]
OTHERS = [
    ROOT / name
    for name in ("benchmarks/README.md", "examples/shop/README.md", "saved_models/README.md")
]


def pages() -> list[Path]:
    """The pages of `docs/` that are files of their own, and the doors of the project."""
    return sorted(DOORS + [path for path in DOCS.rglob("*.md") if not path.is_symlink()])


def name(path: Path) -> str:
    """What a page is called in the name of a test."""
    return str(path.relative_to(ROOT))


def blocks(path: Path, language: str = "[a-z]*") -> list[str]:
    """The fenced blocks of a page in a language, without the fences, in order."""
    found = re.findall(rf"^```{language}\n(.*?)^```", path.read_text("utf-8"), re.DOTALL | re.MULTILINE)
    return [str(block) for block in found]


def examples(path: Path) -> list[tuple[str, str | None]]:
    """The Python blocks of a page, each with the block of text that shows what it prints, if one follows."""
    fenced = re.findall(r"^```([a-z]*)\n(.*?)^```", path.read_text("utf-8"), re.DOTALL | re.MULTILINE)
    after = [*fenced[1:], ("", "")]
    return [
        (code, text if following == "text" else None)
        for (language, code), (following, text) in zip(fenced, after, strict=True)
        if language == "python"
    ]


def prose(path: Path) -> str:
    """A page without its fenced blocks, indented ones included."""
    return re.sub(r"^ *```.*?^ *```", "", path.read_text("utf-8"), flags=re.DOTALL | re.MULTILINE)


def links(path: Path) -> list[str]:
    """The targets of a page's links and pictures."""
    return re.findall(r"\]\(([^)\s]+)\)", prose(path))


def anchors(path: Path) -> set[str]:
    """The anchors of a page's headings, as Markdown's table of contents makes them."""
    found = set()
    for heading in re.findall(r"^#+ (.+)$", prose(path), re.MULTILINE):
        told = re.search(r"\{ *#(\S+) *\}", heading)
        plain = re.sub(r"[^\w\s-]", "", heading.lower()).strip()
        found.add(told[1] if told else re.sub(r"[-\s]+", "-", plain))
    return found
