"""Templates to pages, and pages to files."""

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from tfrecall.core.progress import ProgressReporter
from tfrecall.core.storage import write_atomically
from tfrecall.errors import ExportError


def rendered(template: str, **values: Any) -> str:
    """A page; whatever comes from data is escaped."""
    return _environment().get_template(template).render(**values)


def or_why_not(draw: Callable[[], str], progress: ProgressReporter) -> str:
    """The page of a run, or one that says why there is none.

    It is drawn last, when the model is trained and exported: no error in a picture may cost that.

    Args:
        draw: gives the page.
        progress: receives a note if drawing fails.
    """
    try:
        return draw()
    except Exception as error:
        said = f"The report could not be drawn: {type(error).__name__}: {error}."
        progress.note(f"{said} Metrics and release are not affected.")
        return rendered("failed.html", title="No report", told=said)


def write_page(file: str | Path, html: str) -> Path:
    """Writes a page; readers see the page before or this one, never a part.

    Raises:
        ExportError: if it cannot be written.
    """
    file = Path(file)
    try:
        write_atomically(file, html)
    except OSError as error:
        raise ExportError(
            f"The page {file} could not be written: {error}. Choose another file."
        ) from error
    return file


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("tfrecall.report"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
    )
    environment.filters.update(number=number, figure=figure, rule=rule_name)
    return environment


def number(value: Any) -> str:
    """A number as a table shows it; everything else as it is.

    >>> [number(v) for v in (0.12345, 12345, 1234.5, None, "x")]
    ['0.123', '12,345', '1,234.5', '', 'x']
    """
    if value is None:
        return ""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:.3f}" if abs(value) < 100 else f"{value:,.1f}"


def figure(value: float | None) -> str:
    """A metric whose fourth digit tells models apart.

    >>> figure(0.91234), figure(None)
    ('0.9123', '')
    """
    return "" if value is None else f"{value:.4f}"


def told(finding: str | dict[str, str]) -> str:
    """A diagnostic in words, with its weight where it has one."""
    if isinstance(finding, str):
        return finding
    return f"{finding['severity'].capitalize()}: {finding['text']}"


def rule_name(rule: str) -> str:
    """`seen_removed` in words."""
    return f"seen items {rule.removeprefix('seen_')}"
