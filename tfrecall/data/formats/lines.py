"""Lines of delimited text: lines with too few or too many columns, open quotes, bytes that are no UTF-8."""

import codecs
import csv
import io
from collections.abc import Iterator
from pathlib import Path
from typing import IO, NamedTuple

import numpy as np

from tfrecall.data.formats.compression import opened
from tfrecall.data.formats.dialect import long_values
from tfrecall.errors import DataError

# Bytes read at a time: a few copies of it are all the memory that a check takes.
BLOCK_BYTES = 1 << 24
# First bytes of what people rename by mistake.
FORMATS = {
    b"\x1f\x8b": "compressed (.gz)",
    b"\x28\xb5\x2f\xfd": "compressed (.zst)",
    b"PK\x03\x04": "an archive (.zip) or a spreadsheet (.xlsx)",
    b"\xd0\xcf\x11\xe0": "a spreadsheet (.xls)",
    b"PAR1": "a Parquet file (.parquet)",
}
UTF16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


class Misfit(NamedTuple):
    """A line with another number of columns than the first.

    Attributes:
        line: its number, from 1.
        columns: its number of columns; 0 for a quote that is opened in the line and not closed.
        text: the line.
    """

    line: int
    columns: int
    text: str


def blocks(file: Path, eol: bytes, skip: int = 0) -> Iterator[bytes]:
    """Yields the content of a file from line `skip` on, in blocks of whole lines with their marks."""
    rest = b""
    with opened(file) as stream:
        for _ in range(skip):
            _skip_line(stream, eol)
        while block := stream.read(BLOCK_BYTES):
            whole, mark, rest = (rest + block).rpartition(eol)
            if mark:
                yield whole + mark
    if rest:
        yield rest + eol


def _skip_line(stream: IO[bytes], eol: bytes) -> None:
    if eol == b"\n":
        stream.readline()
        return
    while (byte := stream.read(1)) and byte != eol:
        pass


def refuse_other_formats(head: bytes, file: Path, what: str) -> None:
    """Refuses a file that is no text although its name says so, by its first bytes.

    Raises:
        DataError: if it is compressed, a spreadsheet or Parquet.
    """
    for start, kind in FORMATS.items():
        if head.startswith(start):
            raise DataError(
                f"The {what} file {file} is {kind}, and no text. Give it the name of its "
                "kind, or export it as text."
            )


def has_quotes(file: Path) -> bool:
    """Whether a quote occurs in a file."""
    with opened(file) as stream:
        while block := stream.read(BLOCK_BYTES):
            if b'"' in block:
                return True
    return False


def count_lines(file: Path, eol: str, skip: int = 0) -> int:
    """Number of lines of a file from line `skip` on, whatever its quotes, without empty ones."""
    count = 0
    for block in blocks(file, eol.encode(), skip):
        marks = np.flatnonzero(np.frombuffer(block, np.uint8) == ord(eol))
        lengths = np.diff(marks, prepend=-1)
        count += int((lengths > 1).sum())
    return count


def misfits(
    file: Path, separator: str, eol: str, columns: int, quoted: bool, skip: int = 0
) -> Iterator[Misfit]:
    """Yields lines with another number of columns than `columns`; empty lines are none.

    Args:
        file: the file.
        separator: the mark between columns.
        eol: the last character of a line.
        columns: the number of columns of the first line.
        quoted: whether quotes may hold separators, but no ends of lines.
        skip: number of lines before the names of the columns.
    """
    start = 1 + skip
    for block in blocks(file, eol.encode(), skip):
        values = np.frombuffer(block, np.uint8)
        ends = np.flatnonzero(values == ord(eol))
        begins = np.concatenate([[0], ends[:-1] + 1])
        counts = np.add.reduceat(values == ord(separator), begins, dtype=np.int64) + 1
        suspects = counts != columns
        if quoted:  # a separator may be part of a value
            suspects |= np.logical_or.reduceat(values == ord('"'), begins)
        for row in np.flatnonzero(suspects):
            text = block[begins[row] : ends[row]].decode("utf-8", "replace").rstrip("\r")
            found = int(counts[row])
            if quoted and '"' in text:
                with long_values():
                    found = len(next(csv.reader([text], delimiter=separator)))
            if text.strip() and found != columns:
                yield Misfit(start + int(row), found, text)
        start += len(ends)


def quoted_misfits(file: Path, separator: str, columns: int, skip: int = 0) -> Iterator[Misfit]:
    """Yields lines as `misfits`, where values in quotes may go over several lines; slower."""
    with opened(file) as stream, long_values():
        lines = io.TextIOWrapper(stream, "utf-8-sig", "replace", newline="")
        for _ in range(skip):
            next(lines, None)
        reader = csv.reader(lines, delimiter=separator, strict=True)
        begin = 1 + skip
        while True:
            try:
                fields = next(reader)
            except StopIteration:
                return
            except csv.Error:  # an open quote, or text behind a closed one
                yield Misfit(begin, 0, _line(file, begin))
                return
            if fields and fields != [""] and len(fields) != columns:
                yield Misfit(begin, len(fields), separator.join(fields))
            begin = skip + reader.line_num + 1


def _line(file: Path, number: int) -> str:
    with opened(file) as stream:
        line = next((line for n, line in enumerate(stream, start=1) if n == number), b"")
    return line.decode("utf-8", "replace").rstrip("\r\n")


def refuse_misfits(file: Path, what: str, found: Iterator[Misfit], columns: int, skip: int = 0) -> None:
    """Refuses a file with a line of another number of columns; the message names the first and counts.

    Args:
        file: the file.
        what: name of the table in the message.
        found: the lines.
        columns: the number of columns of the first line.
        skip: number of lines before it.

    Raises:
        DataError: if there is one.
    """
    first = next(found, None)
    if first is None:
        return
    shown = first.text if len(first.text) <= 100 else f"{first.text[:100]}..."
    if not first.columns:
        raise DataError(
            f"The {what} file {file} has a quote in line {first.line:,} that is not closed, or is closed "
            f"within a value: {shown!r}. Write quotes inside of values twice, or remove them."
        )
    alike, others = True, 0
    for other in found:
        others += 1
        alike &= other.columns == first.columns
    hint = _hint(file, first, columns, skip) if others and alike else ""
    more = f", and {others:,} more lines have another number than that too" if others else ""
    raise DataError(
        f"The {what} file {file} is broken in line {first.line:,}: {first.columns} columns instead of the "
        f"{columns} of the first line{more}: {shown!r}. {hint or 'Repair or remove such lines.'}"
    )


def _hint(file: Path, first: Misfit, columns: int, skip: int) -> str:
    """The remedy where all other lines have one number of columns: the first line is not what it should be."""
    if columns == 1 and first.line > skip + 1:  # a title above the names
        return (
            f"The names of the columns seem to stand there: tail -n +{first.line} {file.name} > "
            f"rows-{file.name} removes the lines before."
        )
    # R writes no name above its row numbers.
    return "Does the first line have the names of all columns, of row numbers too? Repair or remove it."


def refuse_other_encodings(file: Path, what: str) -> None:
    """Refuses a file that is not UTF-8; the message names the first bad line and byte.

    Raises:
        DataError: if it is not.
    """
    with opened(file) as lines:
        for number, line in enumerate(lines, start=1):
            wide = number == 1 and (line.startswith(UTF16) or b"\0" in line[:100])
            try:
                line.decode("utf-8")
                if not wide:
                    continue
                position = 0
            except UnicodeDecodeError as error:
                position = error.start
            raise DataError(
                f"The {what} file {file} is not UTF-8: line {number:,} has the byte "
                f"0x{line[position]:02x} at position {position + 1:,}. Convert it: "
                f"iconv -f {'UTF-16' if wide else 'LATIN1'} -t UTF-8 {file.name} > utf8-{file.name}"
            )
