"""Marks of delimited text: between columns, around values, at the ends of lines."""

import csv
from codecs import BOM_UTF8
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tfrecall.core.arguments import argument
from tfrecall.errors import ConfigError, DataError

MARKS = (",", ";", "\t", "|")
# Separators as people write them in a shell.
SPELT = {"\\t": "\t", "tab": "\t", "comma": ",", "semicolon": ";", "pipe": "|"}
# First bytes and lines that the marks are recognised from: a first line of 100,000 names fits.
HEAD_BYTES, HEAD_LINES = 1 << 22, 100
LONGEST_VALUE = 1 << 30
# Beside white space, which `strip` knows, blanks that nobody sees.
INVISIBLE = "\0\u200b\u200c\u200d\u2060\ufeff"


@dataclass(frozen=True)
class Dialect:
    """Marks of a text.

    Attributes:
        separator: the mark between columns.
        quote: the mark around values that hold separators; None takes quotes as they are.
        eol: the last character of a line.
    """

    separator: str
    quote: str | None = '"'
    eol: str = "\n"

    @property
    def options(self) -> dict[str, Any]:
        """Arguments of `pl.read_csv`."""
        # No pattern: "log[1].csv" is the name of a file.
        return {
            "separator": self.separator,
            "quote_char": self.quote,
            "eol_char": self.eol,
            "glob": False,
        }


def end_of_line(head: bytes) -> str:
    """The last character of a line: files of old Macs have no line feed at all."""
    return "\r" if b"\r" in head and b"\n" not in head else "\n"


def sniff(head: bytes, default: str, given: str | None = None, skip: int = 0) -> Dialect:
    """Recognises the marks from the first lines of a file.

    The separator divides the first line, and if possible all lines into as many columns as the first.

    Args:
        head: the first bytes of the file.
        default: the separator that is taken where several are possible.
        given: the separator that somebody named; None recognises it. A file without it in its first
            line has a single column, or another separator.
        skip: number of lines before the names of the columns.
    """
    eol = end_of_line(head)
    lines = first_lines(head, eol, skip)
    if given is not None and lines and given in lines[0]:
        return Dialect(given, eol=eol)
    divisions = {mark: _columns(lines, mark) for mark in MARKS}
    possible = {mark: counts for mark, counts in divisions.items() if counts and counts[0] > 1}
    if not possible:
        return Dialect(given or default, eol=eol)

    def merit(mark: str) -> tuple[bool, bool, int]:
        counts = possible[mark]
        plain = [line.count(mark) + 1 for line in lines]
        even = len(set(counts)) == 1 or len(set(plain)) == 1
        return even, mark == default, counts[0]

    return Dialect(max(possible, key=merit), eol=eol)


def first_lines(head: bytes, eol: str, skip: int = 0) -> list[str]:
    """The first lines that are not empty, from line `skip` on, without a last one that may be cut."""
    return [text for text in text_lines(head, eol)[skip:] if text.strip()][:HEAD_LINES]


def text_lines(head: bytes, eol: str) -> list[str]:
    """The first lines, empty ones too, without a last one that may be cut."""
    # More than are looked at, as some may be empty or comments; the last part is the rest of the head.
    lines = head.removeprefix(BOM_UTF8).split(eol.encode(), 2 * HEAD_LINES)
    whole = (
        lines[:-1] if len(lines) > 2 * HEAD_LINES or len(head) == HEAD_BYTES > len(lines[0]) else lines
    )
    return [line.decode("utf-8", "replace").rstrip("\r") for line in whole]


def _columns(lines: list[str], mark: str) -> list[int]:
    """Number of columns of each line, if `mark` separates them; nothing if quotes break the lines."""
    try:
        with long_values():
            return [len(row) for row in csv.reader(lines, delimiter=mark) if row]
    except csv.Error:
        return []


@contextmanager
def long_values() -> Iterator[None]:
    """Lets Python's `csv` read documents: its own limit is 131,072 characters a value."""
    before = csv.field_size_limit(LONGEST_VALUE)
    try:
        yield
    finally:
        csv.field_size_limit(before)


def checked_separator(text: str | None) -> str | None:
    r"""A separator as somebody wrote it.

    Raises:
        ConfigError: if it is not one character.

    >>> checked_separator("tab"), checked_separator(";")
    ('\t', ';')
    """
    if text is None:
        return None
    mark = SPELT.get(text.lower(), text)
    if len(mark.encode()) != 1 or mark in '"\r\n':
        raise ConfigError(
            f"{argument('separator')} is one character between the columns of a file. Received: {text!r}. "
            "Give ';', '|', 'tab' or another single character; write tabs where there are several: "
            f"awk -F'{text}' -v OFS='\\t' '{{{{$1=$1; print}}}}' old.txt > new.tsv."
        )
    return mark


def clean_name(name: str) -> str:
    """The name of a column without blanks around it, visible or not.

    >>> clean_name(" user_id ")
    'user_id'
    """
    return name.strip().strip(INVISIBLE).strip()


def refuse_repeated_names(names: list[str], file: Path) -> None:
    """Refuses names that occur twice; columns without a name may be several.

    Raises:
        DataError: if one does.
    """
    seen: set[str] = set()
    repeated = {name for name in names if name and (name in seen or seen.add(name))}  # type: ignore[func-returns-value]
    if repeated:
        listed = ", ".join(sorted(repeated)[:5])
        raise DataError(f"{file} has columns of the same name: {listed}. Rename or drop one of each.")
