"""Pictures: panels side by side in one SVG, for notebooks, files and the README."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from markupsafe import Markup

from tfrecall.core.storage import write_atomically
from tfrecall.errors import ConfigError
from tfrecall.report.colours import chart_rules
from tfrecall.report.render import render
from tfrecall.report.svg import COLORS, LETTER, Panel, joined, tag, text_at

SUFFIXES = (".svg", ".html")
# Units around panels, of a title line, of a line of the legend.
_GAP, _TITLE, _LINE = 16, 22, 20
# Width of the sample of a line in the legend, with the space around it.
_KEY = 32


@dataclass(frozen=True)
class Picture:
    """Panels in rows, with one title and one legend; notebooks show it at the end of a cell.

    The SVG has its background, its colours for light and dark screens and nothing to load.

    Attributes:
        title: text above the panels; "" for none.
        panels: the panels, in rows from left to right.
        columns: panels a row.

    Example:

    >>> from tfrecall.report.svg import Series, line_panel
    >>> panel = line_panel("recall", [Series("towers", [(1, 0.1), (10, 0.4)])], x_label="k")
    >>> Picture("Recall at each k", [panel]).svg().startswith("<svg")
    True
    """

    title: str
    panels: Sequence[Panel] = field(repr=False)
    columns: int = 1

    def svg(self) -> str:
        """The picture as text of an SVG file."""
        drawn = [panel for panel in self.panels if panel.content]
        width = _GAP + self.columns * (_GAP + max((p.width for p in drawn), default=0))
        parts, top = [], float(_GAP)
        if self.title:
            top += _TITLE
            parts.append(tag("g", text_at(self.title, width / 2, top - 8, "middle"), class_="title"))
        for start in range(0, len(drawn), self.columns):
            row = drawn[start : start + self.columns]
            parts += [_placed(p, _GAP + i * (_GAP + p.width), top) for i, p in enumerate(row)]
            top += max(panel.height for panel in row) + _TITLE + _GAP
        legend, top = _legend(drawn, width, top)
        return _document(self.title, [*parts, *legend], width, top)

    def _repr_svg_(self) -> str:
        return self.svg()


def save(picture: Picture, path: str | Path) -> None:
    """Write a picture whole; the suffix of the path decides between an SVG file and a page.

    Raises:
        ConfigError: if the suffix is neither `.svg` nor `.html`, or the file cannot be written.
    """
    path = Path(path)
    check_suffix(path)
    if path.suffix.lower() == ".html":
        drawn = Markup(replace(picture, title="").svg())
        text = render("picture.html", title=picture.title or path.stem, picture=drawn)
    else:
        text = picture.svg()
    try:
        write_atomically(path, text)
    except OSError as error:
        raise ConfigError(
            f"The picture {path} cannot be written: {error}. Name another place."
        ) from error


def check_suffix(path: Path) -> None:
    """Raise `ConfigError` for a suffix that `save` refuses; to be called before a long computation."""
    if path.suffix.lower() not in SUFFIXES:
        # Only one name has a suffix to replace: ".png" alone is a hidden file.
        proposed = f"{path.stem or 'picture'}{SUFFIXES[0]}"
        raise ConfigError(
            f"A picture is a file of {' or '.join(SUFFIXES)}. Received: {path}. Name it {proposed}: "
            "browsers and slides show an SVG at any size, and can export other formats."
        )


def _document(label: str, parts: Sequence[Markup], width: float, height: float) -> str:
    style = tag("style", Markup(f"\n{chart_rules()}"))
    page = tag("rect", width="100%", height="100%", class_="page")
    return tag(
        "svg",
        joined([style, page, *parts]),
        xmlns="http://www.w3.org/2000/svg",
        class_="chart",
        width=f"{width:g}",
        height=f"{height:g}",
        viewBox=f"0 0 {width:g} {height:g}",
        role="img",
        aria_label=label,
    )


def _placed(panel: Panel, left: float, top: float) -> Markup:
    """A panel at a place, below its own title."""
    title = tag("g", text_at(panel.label, left + panel.width / 2, top + 12, "middle"), class_="name")
    box = {"x": left, "y": top + _TITLE, "width": panel.width, "height": panel.height}
    return title + tag("svg", joined(list(panel.content)), **box)


def _legend(panels: Sequence[Panel], width: float, top: float) -> tuple[list[Markup], float]:
    """Samples of the lines with their names, in as many lines as they need; none for a single series."""
    longest = max(panels, key=lambda panel: len(panel.names), default=None)
    if longest is None or len(longest.names) < 2:
        return [], top
    parts: list[Markup] = []
    left = float(_GAP)
    for i, name in enumerate(longest.names):
        needed = _KEY + LETTER * len(name) + _GAP
        if left > _GAP and left + needed > width:
            left, top = float(_GAP), top + _LINE
        css = f"line s{min(i, COLORS - 1)}{' dashed' * longest.dashed[i]}"
        parts.append(tag("line", x1=left, x2=left + _KEY - 8, y1=top + 6, y2=top + 6, class_=css))
        parts.append(text_at(name, left + _KEY, top + 10, "start"))
        left += needed
    return parts, top + _LINE + _GAP / 2
