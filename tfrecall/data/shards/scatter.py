"""Second pass over a log: rows of each piece checked, and put into partitions by their users."""

import io
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl

from tfrecall.core.columns import USER
from tfrecall.core.storage import atomic_file
from tfrecall.core.vocabulary import Vocabulary
from tfrecall.data.assembly import named_log, typed_log
from tfrecall.data.cleaning import clean_ids
from tfrecall.data.null_words import without_null_words
from tfrecall.data.shards import witnesses
from tfrecall.data.shards.manifest import PLACE, ROW
from tfrecall.data.shards.pieces import Piece, Source
from tfrecall.data.shards.settings import Decisions, Settings
from tfrecall.data.shards.survey import shaped
from tfrecall.errors import DataError


@dataclass(frozen=True)
class Scattered:
    """What a piece became: two files, each with one range of rows a partition.

    Attributes:
        number: number of the piece.
        kept: bytes at which the ranges of checked rows end.
        dropped: bytes at which the ranges of rows without a user or an item end.
        kind: how times were read; empty without a row.
        schema: names and types of the columns.
    """

    number: int
    kept: tuple[int, ...]
    dropped: tuple[int, ...]
    kind: str
    schema: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Scatter:
    """The task of the second pass, called with a piece and the row that it starts at.

    Attributes:
        source: how pieces are read.
        settings: how the log is cleaned.
        decisions: what was recognised in the whole log.
        folder: where the files are put.
        partitions: number of partitions.
        is_whole: whether the log is a single piece, so that rows in messages are those of the log.
    """

    source: Source
    settings: Settings
    decisions: Decisions
    folder: Path
    partitions: int
    is_whole: bool

    def __call__(self, task: tuple[Piece, int]) -> Scattered:
        piece, start = task
        frame = self.source.read(piece)
        try:
            kept, dropped, kind = self._checked(frame, start)
        except DataError as error:
            if self.is_whole:
                raise
            rows = f"rows {start + 1:,} to {start + frame.height:,}"
            raise type(error)(f"{error} (Counted within {rows} of the log.)") from error
        schema = tuple((name, str(dtype)) for name, dtype in kept.schema.items())
        own = partition_of(kept[USER], self.partitions)
        # Equal rows meet, whatever they lack.
        other = (dropped[ROW] % self.partitions).cast(pl.Int64).to_numpy()
        return Scattered(
            piece.number,
            self._write(kept, own, kept_file(self.folder, piece.number)),
            self._write(dropped, other, dropped_file(self.folder, piece.number)),
            kind,
            schema,
        )

    def _checked(self, frame: pl.DataFrame, start: int) -> tuple[pl.DataFrame, pl.DataFrame, str]:
        """The checked rows, those without an id, and how times are read."""
        settings = self.settings
        marks = [
            pl.Series(PLACE, np.arange(start, start + frame.height, dtype=np.int64)),
            _row_hashes(frame) if self.decisions.repeats else _no_hashes(start, frame.height),
        ]
        log = shaped(frame, settings).with_columns(marks)
        cleaned, dropped = _with_ids(log, settings)
        marks = [cleaned[name] for name in (PLACE, ROW)]
        own = cleaned.drop(PLACE, ROW)
        ids, roles = settings.id_columns(own), {name for name in settings.columns[2:] if name}
        words = settings.cleaning.null_values
        log = witnesses.behind(own, self.decisions.hints)
        log, _ = without_null_words(log, set(ids.values()), roles, words, "log")
        log = named_log(log, settings.columns)
        log, kind = typed_log(log, settings.times, own.height, self.decisions.calendar)
        return log.with_columns(marks), dropped, kind if own.height else ""

    def _write(self, table: pl.DataFrame, owners: np.ndarray, file: Path) -> tuple[int, ...]:
        """Writes rows in the order of their partitions, and gives the byte where each one's range ends."""
        rows = table[np.argsort(owners, kind="stable")]
        first, ends = 0, []
        with atomic_file(file) as stream:
            for last in np.cumsum(np.bincount(owners, minlength=self.partitions)).tolist():
                # Each range is a stream of its own: a partition reads its bytes alone. In one Parquet file
                # it reads what the file says of all ranges too, and that as often as there are partitions.
                part = io.BytesIO()
                rows.slice(first, last - first).write_ipc_stream(part, compression="lz4")
                stream.write(part.getbuffer())
                first = last
                ends.append(stream.tell())
        return tuple(ends)


def read_range(file: Path, ends: tuple[int, ...], partition: int) -> pl.DataFrame:
    """The rows of one partition in a file of a piece.

    Args:
        file: the file.
        ends: bytes at which the ranges of the partitions end.
        partition: number of the partition.
    """
    start = ends[partition - 1] if partition else 0
    with file.open("rb") as stream:
        stream.seek(start)
        return pl.read_ipc_stream(io.BytesIO(stream.read(ends[partition] - start)))


def kept_file(folder: Path, piece: int) -> Path:
    """Where the checked rows of a piece lie."""
    return folder / f"piece-{piece:06d}.arrows"


def dropped_file(folder: Path, piece: int) -> Path:
    """Where the rows of a piece without a user or an item lie."""
    return folder / f"dropped-{piece:06d}.arrows"


def partition_of(users: pl.Series, partitions: int) -> np.ndarray:
    """The partition of each user: int64 `[n_rows]`.

    CRC-32 of the id in UTF-8, modulo the number of partitions: the same in every version and on every machine.

    >>> partition_of(pl.Series(["7", "8", "7"]), 4).tolist()
    [2, 3, 2]
    """
    distinct = users.unique(maintain_order=True)
    owners = np.array([zlib.crc32(one.encode()) % partitions for one in distinct], dtype=np.int64)
    return owners[Vocabulary(distinct).rows(users)]


def _row_hashes(frame: pl.DataFrame) -> pl.Series:
    """A hash of each row as read, equal for equal rows of all pieces."""
    # Codes of categories differ from piece to piece.
    kinds = [name for name, dtype in frame.schema.items() if dtype in (pl.Categorical, pl.Enum)]
    return frame.with_columns(pl.col(kinds).cast(pl.String)).hash_rows(seed=1).alias(ROW)


def _no_hashes(start: int, rows: int) -> pl.Series:
    """Numbers that make each row another one."""
    return pl.Series(ROW, np.arange(start, start + rows, dtype=np.uint64))


def _with_ids(log: pl.DataFrame, settings: Settings) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The rows with clean ids, and the others with the role that they lack and what stands in its place."""
    parts = []
    for word, name in settings.id_columns(log).items():
        before = log
        log = clean_ids(log, {word: name}, settings.cleaning, "log").frame
        gone = before.join(log.select(PLACE), on=PLACE, how="anti", maintain_order="left")
        if name in gone.columns:
            parts.append(
                gone.select(
                    PLACE, ROW, pl.lit(word).alias("role"), pl.col(name).cast(pl.String).alias("value")
                )
            )
    schema = {PLACE: pl.Int64, ROW: pl.UInt64, "role": pl.String, "value": pl.String}
    return log, pl.concat([pl.DataFrame(schema=schema), *parts])
