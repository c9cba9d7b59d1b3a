"""Ranges of a file of delimited text, and how its columns are read."""

from collections.abc import Collection, Iterator, Mapping
from copy import copy
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np
import polars as pl

from tfrecall.data.formats.compression import COMPRESSED
from tfrecall.data.formats.delimited import TextFile, is_unnamed
from tfrecall.data.formats.lines import blocks, has_quotes


class Range(NamedTuple):
    """Bytes of a file, whole lines below the names."""

    start: int
    stop: int


@dataclass(frozen=True)
class Mode:
    """How the columns of a file are read.

    Attributes:
        types: type of each column as the file names it; None reads text.
        loose: columns of text that may hold numbers.
        filled: columns without a name that hold values; others of that kind are left out.
        columns: names and types of the columns, where the file is one piece and was read already.
    """

    types: Mapping[str, Any] | None
    loose: frozenset[str]
    filled: frozenset[str] = frozenset()
    columns: Mapping[str, Any] | None = None

    def schema(self, text: TextFile) -> dict[str, pl.DataType]:
        """Names and types of the columns."""
        if self.columns is not None:
            return dict(self.columns)
        types = self.types or {}
        named = {name: types.get(raw, pl.String()) for raw, name in text.raw_names.items()}
        return {n: kind for n, kind in named.items() if not is_unnamed(n) or n in self.filled}


@dataclass(frozen=True)
class Found:
    """What a range says about its file.

    Attributes:
        broken: whether its lines cannot be read in the mode.
        short: whether the last column has nulls, as lines have that end too early.
        headers: whether a line repeats the names.
        filled: columns without a name that hold values.
        whole: names and types of the columns and the loose ones, of a file that is one piece.
        hints: witnesses for the types of columns.
    """

    broken: bool = False
    short: bool = False
    headers: bool = False
    filled: frozenset[str] = frozenset()
    whole: tuple[dict[str, Any], frozenset[str]] | None = None
    hints: pl.DataFrame = field(default_factory=pl.DataFrame)

    def contradicts(self, mode: Mode) -> bool:
        """Whether the file must be read in another mode."""
        if self.whole is not None:
            return self.whole != (mode.columns, mode.loose)
        return self.broken or self.headers or not self.filled <= mode.filled


def first_mode(text: TextFile, keys: Collection[str]) -> Mode:
    """The mode by the first rows of a file."""
    if not _is_divisible(text):
        return Mode(None, frozenset(), columns={})
    try:
        types, loose = text.guess(text.file, set(keys))
    except pl.exceptions.PolarsError:
        return _as_text(text, keys)
    return Mode(types, frozenset(loose))


def _as_text(text: TextFile, keys: Collection[str]) -> Mode:
    return Mode(None, frozenset(text.names) - set(keys))


def ranges(text: TextFile, mode: Mode, size: int) -> Iterator[Range]:
    """Yields ranges of about so many bytes; the whole file at once if its lines cannot be told apart."""
    if mode.columns is not None:
        yield Range(0, 0)
        return
    mark = text.dialect.eol.encode()
    length = text.file.stat().st_size
    with text.file.open("rb") as stream:
        start = min(behind(stream, mark, 0), length)
        if start == length:  # names and no rows
            yield Range(length, length)
        while start < length:
            stop = behind(stream, mark, start + size - 1) if start + size < length else length
            yield Range(start, stop)
            start = stop


def behind(stream: Any, mark: bytes, place: int) -> int:
    """The place behind the first end of a line from a place on."""
    stream.seek(place)
    while block := stream.read(1 << 16):
        if (found := block.find(mark)) >= 0:
            return int(place + found + 1)
        place += len(block)
    return int(place)


def _is_divisible(text: TextFile) -> bool:
    """Whether each line of a file is a row, and the file lies plain on disk with its names on top."""
    if text.file.suffix.lower() in COMPRESSED or text.preamble.lines:
        return False
    with text.file.open("rb") as stream:
        if not stream.readline().strip():
            return False
    return text.dialect.quote is None or not has_quotes(text.file) or not _has_open_quotes(text)


def _has_open_quotes(text: TextFile) -> bool:
    """Whether quotes within some line do not pair: its value may go on in the next line."""
    mark = text.dialect.eol.encode()
    for block in blocks(text.file, mark):
        values = np.frombuffer(block, np.uint8)
        ends = np.flatnonzero(values == ord(mark))
        quotes = np.cumsum(values == ord('"'), dtype=np.int64)[ends]
        if (quotes % 2).any():
            return True
    return False


def read(text: TextFile, mode: Mode, rows: Range, keys: Collection[str]) -> pl.DataFrame:
    """The rows of a range, under clean names.

    Raises:
        PolarsError: if its lines cannot be read in the mode.
        DataError: if they are broken.
    """
    if mode.columns is not None:
        return _whole(text, keys)[0]
    frame = _scan(text, mode, rows)
    if frame.width and frame.to_series(-1).has_nulls():
        frame = frame.filter(~pl.all_horizontal(pl.all().is_null()))
    frame = frame.filter(~text.is_header(frame))
    return frame.select(list(mode.schema(text)))


def _whole(text: TextFile, keys: Collection[str]) -> tuple[pl.DataFrame, frozenset[str]]:
    """The whole file, and its columns of text that may hold numbers."""
    # A copy: what reading finds out about the file must not depend on earlier pieces of this process.
    frame, loose = copy(text).read(set(keys), lambda _: None)
    return frame, frozenset(loose)


def _scan(text: TextFile, mode: Mode, rows: Range) -> pl.DataFrame:
    with text.file.open("rb") as stream:
        names = behind(stream, text.dialect.eol.encode(), 0)
        stream.seek(0)
        head = stream.read(names)
        stream.seek(rows.start)
        body = stream.read(rows.stop - rows.start)
    types: dict[str, Any] = (
        {"infer_schema": False} if mode.types is None else {"schema_overrides": dict(mode.types)}
    )
    frame = text.scan(head + body, **types)
    frame.columns = text.names
    return frame


def look(text: TextFile, mode: Mode, rows: Range, keys: Collection[str]) -> Found:
    """Reads a range in a mode, and tells what speaks against it."""
    if mode.columns is not None:
        frame, loose = _whole(text, keys)
        return Found(whole=(dict(frame.schema), loose))
    try:
        frame = _scan(text, mode, rows)
    except pl.exceptions.PolarsError:
        return Found(broken=True)
    unnamed = [c for c in frame.iter_columns() if is_unnamed(c.name)]
    return Found(
        short=bool(frame.width and frame.to_series(-1).has_nulls()),
        headers=mode.loose != frozenset(text.names) - set(keys) and bool(text.is_header(frame).any()),
        filled=frozenset(c.name for c in unnamed if c.null_count() < len(c)),
    )


def corrected(text: TextFile, mode: Mode, found: Found, keys: Collection[str]) -> Mode:
    """The mode of a file after what one of its ranges said."""
    if found.whole is not None:
        columns, loose = found.whole
        return Mode(None, loose, columns=columns)
    if found.broken:
        # Read at once it is refused by its line, or its quotes turn out to be plain characters.
        return _as_text(text, keys) if mode.types is not None else Mode(None, frozenset(), columns={})
    if found.headers:
        mode = replace(mode, loose=frozenset(text.names) - set(keys))
    return replace(mode, filled=mode.filled | found.filled)
