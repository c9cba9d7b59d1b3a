"""Lines above the names of the columns: `sep=;`, comments; texts divided by several characters."""

import csv
import re
from pathlib import Path
from typing import NamedTuple

from tfrecall.core.arguments import argument
from tfrecall.data.formats.dialect import MARKS, Dialect, long_values, text_lines
from tfrecall.errors import DataError

COMMENT = "#"
# Spreadsheets write and read such a first line: it names the mark.
_SEP = re.compile(r'"?sep=(.)"?', re.IGNORECASE)
# A field that is no name of a column: a number, a date, a time.
_VALUE = re.compile(r"[+-]?\d[\d.,:/TZ +-]*")
# Marks of several characters, each with the options of awk that divide at it.
_WIDE = {
    "::": "-F'::' ",
    "||": "-F'[|][|]' ",
    "~~": "-F'~~' ",
    "^^": "-F'[\\^][\\^]' ",
    " ": "",
}


class Preamble(NamedTuple):
    """Lines of a file before the names of its columns.

    Attributes:
        lines: number of lines, empty ones too.
        separator: the mark that a line `sep=;` names; None without one.
        note: a sentence on the lines that are left out; empty if there are none.
    """

    lines: int = 0
    separator: str | None = None
    note: str = ""


def find_preamble(head: bytes, eol: str, file: Path) -> Preamble:
    r"""Finds the lines before the names: `sep=;`, and comments behind `#`.

    A last comment that divides like the values below it holds the names, as NumPy writes them.

    Args:
        head: the first bytes of the file.
        eol: the last character of a line.
        file: the path, for the note.

    >>> find_preamble(b"# of 2024\nuser,item\na,b\n", "\n", Path("log.csv"))[:2]
    (1, None)
    >>> find_preamble(b"sep=;\nuser;item\na;b\n", "\n", Path("log.csv"))[:2]
    (1, ';')
    """
    lines = text_lines(head, eol)
    first = next((n for n, line in enumerate(lines) if line.strip()), 0)
    match = _SEP.fullmatch(lines[first].strip(" \0")) if lines else None
    separator = match[1] if match else None
    start = first + 1 if match else first
    names = start
    while names < len(lines) and (lines[names].startswith(COMMENT) or not lines[names].strip()):
        names += 1
    comments = [n for n in range(start, names) if lines[n].strip()]
    if names == len(lines):  # comments only, or a header of no rows
        names = comments[-1] if comments else start
    elif comments and _are_names(lines[comments[-1]], lines[names : names + 2], separator):
        names = comments.pop()
    if not match and not comments:
        return Preamble()
    said = [f'the line "sep={separator}" names the mark between columns'] if match else []
    said += ["the comments above the names are left out"] if comments else []
    return Preamble(names, separator, f"in {file.name} {', and '.join(said)}")


def _are_names(comment: str, following: list[str], separator: str | None) -> bool:
    """Whether a comment holds the names of the columns, and not the line that follows it."""
    rows = [comment, *following]
    for mark in [separator] if separator else MARKS:
        with long_values():
            fields = list(csv.reader(rows, delimiter=mark, quoting=csv.QUOTE_NONE))
        if len(fields[0]) > 1 and len({len(row) for row in fields}) == 1:
            # Names above values, as a header is; two lines of names have values only in the third.
            return _has_values(fields[1]) or not (fields[2:] and _has_values(fields[2]))
    return False


def _has_values(fields: list[str]) -> bool:
    return any(_VALUE.fullmatch(field.strip()) for field in fields)


def refuse_wide_marks(head: bytes, dialect: Dialect, skip: int, file: Path, what: str) -> None:
    """Refuses a file whose columns are divided by several characters, or by blanks.

    Args:
        head: the first bytes of the file.
        dialect: its marks, as recognised; a separator that occurs is the right one.
        skip: number of lines before the names.
        file: the path.
        what: name of the table in the message.

    Raises:
        DataError: if all first lines divide into as many columns.
    """
    lines = [line for line in text_lines(head, dialect.eol)[skip:] if line.strip()][:100]
    if len(lines) < 2 or dialect.separator in lines[0]:
        return
    for mark, options in _WIDE.items():
        divided = [line.split() if mark == " " else line.split(mark) for line in lines]
        columns = len(divided[0])
        # Two words a line may be a table of names, three in each line hardly.
        if columns < (3 if mark == " " else 2) or any(len(row) != columns for row in divided):
            continue
        shown = "blanks" if mark == " " else f'"{mark}"'
        name = re.sub(r"\.\w+$", "", file.name)
        single = f", or name it, if it is one blank: {argument('separator', ' ')}" * (mark == " ")
        missing = " Its first line must have the names of the columns." * _has_values(divided[0])
        raise DataError(
            f"The {what} file {file} has {columns} columns with {shown} between them, where one character is "
            f"read. Write tabs: awk {options}-v OFS='\\t' '{{$1=$1; print}}' {file.name} > {name}.tsv{single}."
            f"{missing}"
        )
