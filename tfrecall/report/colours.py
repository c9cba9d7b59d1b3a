"""Colours of pages and pictures, for light and dark screens."""

import re
from pathlib import Path

# Text keeps a contrast of 4.5 against its page, as WCAG asks, coloured lines one of 3. A picture brings the
# page along as its background: no grey is readable on white and on dark grey alike.
LIGHT = {
    "page": "#ffffff", "box": "#f4f5f7", "text": "#1c2024", "soft": "#5d6670", "line": "#d9dde2",
    "c0": "#1f6fc4", "c1": "#b85c00", "c2": "#1c8560", "c3": "#9141b8",
    "c4": "#b3264c", "c5": "#756500", "c6": "#007086", "c7": "#7b838c",
}  # fmt: skip
DARK = {
    "page": "#14171a", "box": "#1f2428", "text": "#e6e9ec", "soft": "#9ea8b2", "line": "#343b42",
    "c0": "#6bb1ff", "c1": "#ffa657", "c2": "#56cf9f", "c3": "#cf94f0",
    "c4": "#ff7b9c", "c5": "#d8c24a", "c6": "#4cc4dd", "c7": "#8d969f",
}  # fmt: skip

_TEMPLATES = Path(__file__).parent / "templates"
_DARK = "@media (prefers-color-scheme: dark)"


def variables() -> str:
    """Rules that give a page its colours as CSS variables."""
    light, dark = (
        " ".join(f"--{name}: {colour};" for name, colour in colours.items())
        for colours in (LIGHT, DARK)
    )
    return f":root {{ {light} }}\n{_DARK} {{ :root {{ {dark} }} }}"


def chart_rules() -> str:
    """Rules of charts with the colours written out, for viewers of SVG that know no CSS variables."""
    rules = (_TEMPLATES / "charts.css").read_text("utf-8")
    light, dark = (_written_out(rules, colours) for colours in (LIGHT, DARK))
    return f"{light}{_DARK} {{\n{dark}}}"


def _written_out(rules: str, colours: dict[str, str]) -> str:
    return re.sub(r"var\(--(\w+)\)", lambda found: colours[found[1]], rules)
