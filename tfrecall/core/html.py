"""Tables in HTML for notebooks, in the colours of the notebook; every text is escaped."""

import html
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from tfrecall.core.text import one_line

# Rows of a table: a notebook shows the beginning, as it does of a frame.
MOST_ROWS = 20
# Letters of a cell; the whole text is in its tooltip.
_LETTERS = 80


def html_table(rows: Sequence[Mapping[str, Any]], caption: str = "", most: int = MOST_ROWS) -> str:
    """A table with the keys of the rows as columns.

    Args:
        rows: one mapping a row; a missing key is an empty cell.
        caption: text above the table.
        most: rows to write; a sentence names the number of the others.

    >>> html_table([{"item": "<b>"}])
    '<table><thead><tr><th>item</th></tr></thead><tbody><tr><td>&lt;b&gt;</td></tr></tbody></table>'
    """
    columns = list(dict.fromkeys(name for row in rows[:most] for name in row))
    head = "".join(f"<th>{_cell(name)}</th>" for name in columns)
    body = "".join(
        f"<tr>{''.join(_data(row.get(name)) for name in columns)}</tr>" for row in rows[:most]
    )
    title = f"<caption>{escaped(caption)}</caption>" if caption else ""
    more = f"<p>and {len(rows) - most:,} more</p>" if len(rows) > most else ""
    return f"<table>{title}<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>{more}"


def html_facts(title: str, facts: Mapping[str, Any]) -> str:
    """A title with a table of names and values."""
    rows = "".join(f"<tr><th>{_cell(name)}</th>{_data(value)}</tr>" for name, value in facts.items())
    return f"<div><p><b>{escaped(title)}</b></p><table><tbody>{rows}</tbody></table></div>"


def html_list(texts: Iterable[str]) -> str:
    """A list of sentences; the empty text without any."""
    items = "".join(f"<li>{escaped(text)}</li>" for text in texts)
    return f"<ul>{items}</ul>" if items else ""


def escaped(text: str) -> str:
    """A text as HTML, its control characters written out.

    >>> escaped("a & b")
    'a &amp; b'
    """
    return html.escape(one_line(text))


def _data(value: Any) -> str:
    kind = ' style="text-align:right"' if isinstance(value, int | float) else ""
    return f"<td{kind}>{_cell(value)}</td>"


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.4g}" if abs(value) < 1e6 else f"{value:.10g}"
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    return cut(", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value))


def cut(text: str) -> str:
    """A text as HTML, of 80 letters at most; the whole of a longer one is in its tooltip.

    >>> cut("Heat & Dust")
    'Heat &amp; Dust'
    """
    if len(text) <= _LETTERS:
        return escaped(text)
    return f'<span title="{escaped(text)}">{escaped(text[: _LETTERS - 1])}…</span>'
