"""Preparation of logs that do not fit into memory: from files to a folder of shards."""

import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import polars as pl

from tfrecall.core.progress import LogProgress, ProgressReporter
from tfrecall.core.storage import staged_directory, write_atomically
from tfrecall.data import filters
from tfrecall.data.files import read_table
from tfrecall.data.shards.manifest import (
    FORMAT,
    KIND,
    MANIFEST,
    Manifest,
    is_shards,
    read_manifest,
    sealed,
)
from tfrecall.data.shards.passes import Passes
from tfrecall.data.shards.pieces import PIECE_BYTES, PIECE_ROWS, cut
from tfrecall.data.shards.settings import Settings, chosen
from tfrecall.engines import Engine, Local
from tfrecall.errors import ConfigError, ExportError

PARTITIONS = 8
# Each task knows the range of each partition in each piece.
MOST_PARTITIONS = 10_000


def prepare(
    path: str | Path,
    out: str | Path,
    *,
    partitions: int = PARTITIONS,
    engine: Engine | None = None,
    progress: ProgressReporter | None = None,
    users: Any = None,
    items: Any = None,
    filtering: Mapping[str, Any] | None = None,
    name: str | None = None,
    piece_rows: int = PIECE_ROWS,
    piece_bytes: int = PIECE_BYTES,
    **options: Any,
) -> Manifest:
    """Prepares a log of any size: read, cleaned, filtered, grouped by user and sorted by time, in shards.

    `Interactions.from_shards(out)` is equal to `tr.data.read(path)` of the same settings and `filter_log`, in
    every row and table, whatever the engine and the number of partitions. Memory is bounded by the largest
    piece and the largest partition, and by the user and item tables. All events of a user lie in one shard,
    those of a shard user by user and sorted by time, at equal times in the order of the log.

    Args:
        path: the log: a file, a folder or a pattern, as for `tr.data.read`. Parquet is read by rows, text and
            JSON by lines; a compressed file, an array of JSON, one whose quoted values go over several
            lines, and JSON lines whose fields hold several types are one piece each.
        out: the folder to be. A folder of shards is replaced when the new one is finished.
        partitions: number of shards.
        engine: runs the tasks; None for one process.
        progress: receives steps and counts.
        users, items: the user and the item table, as for `tr.data.read`; they are held in memory.
        filtering: arguments of `filter_log`; None filters nothing.
        name: name of the data in tables and reports; None for that of the file.
        piece_rows: most rows of a piece of Parquet.
        piece_bytes: bytes of a piece of text or JSON.
        **options: as for `tr.data.read`, without `infer`.

    Returns:
        The manifest.

    Raises:
        DataError: if the log or a table cannot be used as it is.
        MissingColumnError: if a column is missing.
        ConfigError: if a setting is invalid, or `out` is another folder.
        ExportError: if the shards cannot be written.
        EngineError: if a task or its worker ends the job, as on a full disk.

    Example:

    >>> import pathlib, tempfile
    >>> folder = pathlib.Path(tempfile.mkdtemp())
    >>> _ = (folder / "log.csv").write_text("user_id,item_id,timestamp\\n8,b,60\\n7,a,0\\n7,c,30\\n")
    >>> manifest = prepare(folder / "log.csv", folder / "shards", partitions=2)
    >>> manifest.counts.kept, [shard.users for shard in manifest.partitions]
    (3, [1, 1])
    """
    path, out = Path(path).absolute(), Path(out).absolute()
    _check_places(path, out)
    if not 1 <= partitions <= MOST_PARTITIONS:
        raise ConfigError(
            f"The number of partitions must be from 1 to {MOST_PARTITIONS:,}. Received: {partitions}."
        )
    settings = Settings.of(options, filtering or {})
    # Whether there are ratings is seen later; all else is refused now.
    filters.check(("rating",), **settings.filters)
    progress = progress or LogProgress()
    keys = {key for one in settings.columns[:2] for key in (one, one.replace(".", "_"))}
    separator, notes = options.get("separator"), list[str]()
    raw = [
        read_table(one, what, keys, separator, notes.append) if isinstance(one, str | Path) else one
        for one, what in ((users, "users table"), (items, "items table"))
    ]
    with _written(out), staged_directory(out, replace=out.exists()) as staged:
        work = staged / "work"
        work.mkdir()
        passes = Passes(settings, partitions, engine or Local(), progress, work)
        with progress.step("Cut the log into pieces"):
            source, pieces, said = cut(
                path, keys, separator, passes.engine, progress, piece_rows, piece_bytes
            )
        facts = passes.finish(staged, passes.scatter(source, pieces, raw))
        shutil.rmtree(work)
        facts = {
            "format": FORMAT,
            "kind": KIND,
            "name": name or path.name.split(".")[0].strip("*?-_") or "log",
            "settings": {**chosen(options), **_filters(settings)},
            **facts,
            "notes": [*said, *notes, *facts["notes"]],
        }
        # The last file: a folder without it is none of shards.
        write_atomically(staged / MANIFEST, sealed(facts))
    return read_manifest(out)


@contextmanager
def _written(out: Path) -> Iterator[None]:
    """Translate errors of writing."""
    try:
        yield
    except (OSError, pl.exceptions.PolarsError) as error:
        raise ExportError(
            f"The shards could not be written to {out}: {error}. Check the permissions and the free space "
            "there. What was there before is untouched."
        ) from error


def _check_places(path: Path, out: Path) -> None:
    """Refuses a place for shards that holds something else, or is part of the log."""
    if out.is_relative_to(path) and path.is_dir():
        raise ConfigError(f"{out} is within the log {path}. Give --out a folder beside it.")
    if out.exists() and not is_shards(out):
        raise ConfigError(
            f"{out} exists and is no folder of shards. Give --out a new folder, or one that "
            "`tfrecall prepare` wrote."
        )


def _filters(settings: Settings) -> dict[str, Any]:
    defaults = Settings.of({}, {}).filters
    return {name: value for name, value in settings.filters.items() if value != defaults[name]}
