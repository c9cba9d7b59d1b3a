"""Rendering of templates to HTML, and writing of pages."""

import base64
import hashlib
import itertools
import re
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from tfrecall.core.html import cut
from tfrecall.core.progress import ProgressReporter
from tfrecall.core.seen import Seen
from tfrecall.core.storage import write_atomically
from tfrecall.errors import ExportError
from tfrecall.report.colours import variables

# Pages of fewer sections are seen at a glance.
_SECTIONS = 4


def render(template: str, **values: Any) -> str:
    """Render a template; values that are not markup are escaped. Long pages get a table of contents."""
    return _with_contents(_environment().get_template(template).render(**values))


def _with_contents(html: str) -> str:
    """Number the sections and list them below the title, where there are several."""
    # Texts of data are escaped, so each of these headings is one of the template.
    titles = re.findall(r"<h2>(.*?)</h2>", html)
    if len(titles) < _SECTIONS:
        return html
    numbers = itertools.count(1)
    html = re.sub("<h2>", lambda _: f'<h2 id="section-{next(numbers)}">', html)
    links = (f'<li><a href="#section-{i}">{title}</a></li>' for i, title in enumerate(titles, start=1))
    contents = f'<nav aria-label="Contents"><ol>{"".join(links)}</ol></nav>'
    return html.replace("</h1>", f"</h1>\n{contents}", 1)


def page_or_error(draw: Callable[[], str], progress: ProgressReporter) -> str:
    """Render a report, or a page with the reason if that fails.

    A run draws its report last, after training and export: an error in a chart must not cost those.

    Args:
        draw: renders the report.
        progress: receives a note if `draw` raises.
    """
    try:
        return draw()
    except Exception as error:
        reason = f"The report could not be drawn: {type(error).__name__}: {error}."
        progress.note(f"{reason} Metrics and release are not affected.")
        return render("failed.html", title="No report", reason=reason)


def write_page(file: str | Path, html: str) -> Path:
    """Write a page whole: readers see the old page or the new one, never a part.

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
    script = (Path(__file__).parent / "templates" / "users.js").read_text("utf-8")
    environment.globals.update(
        colours=Markup(variables()), script=Markup(script), policy=Markup(_policy(script))
    )
    environment.filters.update(number=number, figure=figure, rule=rule_name, cut=_cut)
    return environment


def _cut(text: object) -> Markup:
    return Markup(cut(str(text)))  # escaped there


def _policy(script: str) -> str:
    """What a browser may do for a page: show it, show pictures beside it, and run this one script."""
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return (
        "default-src 'none'; style-src 'unsafe-inline'; img-src 'self' data:; "
        f"script-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    )


def number(value: Any) -> str:
    """Format a number for a table; other values become text unchanged.

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
    """Format a metric of rankers with four digits: good rankers often differ in the fourth.

    >>> figure(0.91234), figure(None)
    ('0.9123', '')
    """
    return "" if value is None else f"{value:.4f}"


def finding_text(finding: str | dict[str, str]) -> str:
    """Format a diagnostic; its severity comes first if it has one."""
    if isinstance(finding, str):
        return finding
    return f"{finding['severity'].capitalize()}: {finding['text']}"


def rule_name(rule: str) -> str:
    """Format a rule: `seen_removed` gives "seen items removed"."""
    return f"seen items {Seen(rule).word}"
