"""Pieces of a log: ranges of rows that a task reads, as all of them together would be read."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import polars as pl

from tfrecall.core.progress import ProgressReporter
from tfrecall.data.files import PARQUET, SEPARATORS, TableFiles, scan_parquet
from tfrecall.data.formats.delimited import TextFile, aligned, typed
from tfrecall.data.formats.json_tables import read_json
from tfrecall.data.frames import flat
from tfrecall.data.shards import json_ranges, text_ranges, witnesses
from tfrecall.data.shards.text_ranges import Mode, Range
from tfrecall.engines import Engine
from tfrecall.errors import DataError

# Rows of Parquet and bytes of text that one task reads.
PIECE_ROWS, PIECE_BYTES = 1_000_000, 1 << 26


@dataclass(frozen=True)
class Piece:
    """A part of a log.

    Attributes:
        number: its place among the pieces.
        start, stop: rows of the log in Parquet, or bytes of a file of text or JSON; 0 to 0 for all.
        file: number of its file; 0 for Parquet, whose files are cut as one table.
    """

    number: int
    start: int = 0
    stop: int = 0
    file: int = 0


@dataclass(frozen=True)
class Source:
    """How pieces of a log are read; small, so that each task can have it.

    Attributes:
        path: the log as it was given.
        files: its files.
        kind: their suffix, without that of compression.
        keys: columns of text files that stay as written.
        texts: text files with their marks.
        modes: how columns of each text file are read.
        schema: names and types of the columns of all files together; None for Parquet.
        loose: columns of text that may hold numbers.
        hints: witnesses for the types of columns of text.
    """

    path: Path
    files: tuple[Path, ...]
    kind: str
    keys: frozenset[str] = frozenset()
    texts: tuple[TextFile, ...] = ()
    modes: tuple[Mode, ...] = ()
    schema: dict[str, pl.DataType] | None = None
    loose: frozenset[str] = frozenset()
    hints: pl.DataFrame = field(default_factory=pl.DataFrame)

    def read(self, piece: Piece) -> pl.DataFrame:
        """The rows of a piece, with the types that the whole log has.

        Raises:
            DataError: if they cannot be read.
        """
        try:
            return flat(self._read(piece))
        except (pl.exceptions.PolarsError, OSError, UnicodeDecodeError) as error:
            reason = str(error).strip().splitlines() or [type(error).__name__]
            raise DataError(
                f"The log {self.path} cannot be read as {self.kind.lstrip('.')}: {reason[0]}. "
                "Repair or rewrite the file; the suffix must tell its kind."
            ) from error

    def _read(self, piece: Piece) -> pl.DataFrame:
        if self.kind in PARQUET:
            rows = scan_parquet(list(self.files), self.path).slice(
                piece.start, piece.stop - piece.start
            )
            return rows.collect()
        if self.kind in SEPARATORS:
            frame = self.aligned(piece)
            table = witnesses.behind(frame, self.hints)
            in_commas = all(text.dialect.separator == "," for text in self.texts)
            table = typed(table, set(self.loose), set(self.keys), in_commas, "log", _ignore)
            return table.head(frame.height)
        file, lines = self.files[piece.file], Range(piece.start, piece.stop)
        return self._with_schema(
            json_ranges.read(file, lines) if lines.stop else read_json(file, "log")
        )

    def aligned(self, piece: Piece) -> pl.DataFrame:
        """The rows of a piece of text before columns of text get their types."""
        text, mode = self.texts[piece.file], self.modes[piece.file]
        frame = text_ranges.read(text, mode, Range(piece.start, piece.stop), self.keys)
        return self._with_schema(frame)

    def _with_schema(self, frame: pl.DataFrame) -> pl.DataFrame:
        assert self.schema is not None
        empty = pl.DataFrame(schema=self.schema)
        return pl.concat([empty, frame], how="diagonal_relaxed").select(list(self.schema))


def cut(
    path: str | Path,
    keys: Iterable[str],
    separator: str | None,
    engine: Engine,
    progress: ProgressReporter,
    rows: int = PIECE_ROWS,
    size: int = PIECE_BYTES,
) -> tuple[Source, list[Piece], list[str]]:
    """Cuts a log into pieces.

    Compressed files, text whose values in quotes go over several lines, arrays of JSON, and JSON lines of which
    fields hold several types are one piece each.

    Args:
        path: a file, a folder or a pattern.
        keys: columns of text files that stay as written.
        separator: the mark between columns of text files; None recognises it.
        engine: looks at all pieces where types depend on all rows.
        progress: receives counts.
        rows: most rows of a piece of Parquet.
        size: bytes of a piece of text or JSON.

    Returns:
        How to read, the pieces in the order of the log, and sentences on what was recognised.

    Raises:
        DataError: if files are missing, damaged or do not belong together.
    """
    files = TableFiles(path, "log", separator)
    source = Source(files.path, tuple(files.files), files.kind, frozenset(keys))
    if source.kind in PARQUET:
        return source, _rows(source, rows), []
    if source.kind in SEPARATORS:
        return _texts(source, files, engine, progress, size)
    return _json(source, engine, progress, size)


def _rows(source: Source, rows: int) -> list[Piece]:
    try:
        height = scan_parquet(list(source.files), source.path).select(pl.len()).collect().item()
    except (pl.exceptions.PolarsError, OSError) as error:
        raise DataError(
            f"The log {source.path} cannot be read as parquet: {str(error).splitlines()[0]}. Repair or rewrite "
            "the file; the suffix must tell its kind."
        ) from error
    starts = range(0, height, rows) if height else [0]
    return [Piece(n, start, min(start + rows, height)) for n, start in enumerate(starts)]


def _json(
    source: Source, engine: Engine, progress: ProgressReporter, size: int
) -> tuple[Source, list[Piece], list[str]]:
    """Pieces of JSON; a file whose lines do not agree on the types of their fields is one."""
    files = range(len(source.files))
    cuts = [(n, one) for n in files for one in json_ranges.ranges(source.files[n], size)]
    work = partial(_json_schema, source.files)
    found = engine.map(work, cuts, title="Read the types", progress=progress)
    own = {n: [one for (file, _), one in zip(cuts, found, strict=True) if file == n] for n in files}
    if doubtful := [n for n in files if not json_ranges.agree([schema for schema, _ in own[n]])]:
        whole = [(n, Range(0, 0)) for n in doubtful]
        again = engine.map(work, whole, title="Read the types", progress=progress)
        own |= {n: [one] for n, one in zip(doubtful, again, strict=True)}
        cuts = sorted([*(cut for cut in cuts if cut[0] not in doubtful), *whole])
    pieces = [Piece(n, one.start, one.stop, file) for n, (file, one) in enumerate(cuts)]
    told = [one for n in files for one in own[n]]
    schema = _together([schema for schema, _ in told if schema is not None])
    return replace(source, schema=schema), pieces, [note for _, notes in told for note in notes]


def _json_schema(
    files: tuple[Path, ...], task: tuple[int, Range]
) -> tuple[dict[str, pl.DataType] | None, list[str]]:
    """Names and types of the fields of a range, None where it must not be read alone; and notes."""
    file, rows = files[task[0]], task[1]
    if rows.stop:
        return json_ranges.schema(file, rows), []
    notes: list[str] = []
    return dict(read_json(file, "log", notes.append).schema), notes


def _texts(
    source: Source, files: TableFiles, engine: Engine, progress: ProgressReporter, size: int
) -> tuple[Source, list[Piece], list[str]]:
    texts, keys = tuple(files.texts()), source.keys
    modes = [text_ranges.first_mode(text, keys) for text in texts]
    while True:
        pieces = _ranges(texts, modes, size)
        schemas = [mode.schema(text) for mode, text in zip(modes, texts, strict=True)]
        loose = frozenset(name for mode in modes for name in mode.loose)
        source = replace(
            source, texts=texts, modes=tuple(modes), schema=_together(schemas), loose=loose
        )
        found = engine.map(partial(_look, source), pieces, title="Read the types", progress=progress)
        for piece, one in zip(pieces, found, strict=True):
            modes[piece.file] = text_ranges.corrected(texts[piece.file], modes[piece.file], one, keys)
        if tuple(modes) == source.modes:
            break
    for file in sorted({piece.file for piece, one in zip(pieces, found, strict=True) if one.short}):
        texts[file].refuse_short()
    _refuse_other_columns(texts, schemas)
    return replace(source, hints=witnesses.together([one.hints for one in found])), pieces, []


def _ranges(texts: Sequence[TextFile], modes: Sequence[Mode], size: int) -> list[Piece]:
    cuts = [
        (file, one)
        for file, (text, mode) in enumerate(zip(texts, modes, strict=True))
        for one in text_ranges.ranges(text, mode, size)
    ]
    return [Piece(n, one.start, one.stop, file) for n, (file, one) in enumerate(cuts)]


def _refuse_other_columns(texts: Sequence[TextFile], schemas: Sequence[dict[str, pl.DataType]]) -> None:
    frames = [pl.DataFrame(schema=schema) for schema in schemas]
    for text, frame in zip(texts, frames, strict=True):
        aligned(frame, frames[0], text)


def _look(source: Source, piece: Piece) -> text_ranges.Found:
    """What a piece of text says about the types of its columns."""
    text, mode = source.texts[piece.file], source.modes[piece.file]
    found = text_ranges.look(text, mode, Range(piece.start, piece.stop), source.keys)
    if found.contradicts(mode):
        return found
    frame = source.aligned(piece)
    return replace(found, hints=witnesses.of_columns(frame.drop(source.keys, strict=False)))


def _together(schemas: list[dict[str, pl.DataType]]) -> dict[str, pl.DataType]:
    """Names and types of the columns of all files together."""
    try:
        return dict(
            pl.concat([pl.DataFrame(schema=one) for one in schemas], how="diagonal_relaxed").schema
        )
    except pl.exceptions.PolarsError as error:
        raise DataError(
            f"The files of the log do not belong together: {str(error).splitlines()[0]}. One column must hold "
            "one type of values in all files."
        ) from error


def _ignore(_: str) -> None:
    """Takes the notes of a piece, whose numbers are not those of the log."""
