"""Recommendations for all users of a release, written as Parquet in bounded memory, by any engine."""

from collections.abc import Iterable, Iterator, Sequence, Sized
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from tfrecall.batch.parquet import blocks, parquet_stream
from tfrecall.batch.parts import Opening, new_parts, part_name
from tfrecall.core.progress import LogProgress, ProgressReporter
from tfrecall.engines import Engine
from tfrecall.errors import ConfigError, DataError
from tfrecall.index.search import Hits
from tfrecall.release.base import Release

SCHEMA = pa.schema(
    [
        pa.field("user_id", pa.string(), nullable=False),
        pa.field("rank", pa.int32(), nullable=False),
        pa.field("item_id", pa.string(), nullable=False),
        pa.field("score", pa.float32(), nullable=False),
    ]
)
# At k = 10 a row group has 40,960 rows, enough for readers to decode it efficiently, and a block of
# queries takes about 50 MB.
BLOCK_USERS = 4096
# A part of 16 blocks takes seconds to minutes, beside which the start of a task is short.
_BLOCKS_OF_PART = 16
# With fewer users than that a part, they are cut into about as many parts, for as many workers.
_PARTS = 16
_ASKED = pa.schema([pa.field("user_id", pa.string(), nullable=False)])


@dataclass(frozen=True)
class Bulk:
    """Counts of a finished job.

    Attributes:
        file: path of the Parquet file, or of the directory of parts.
        users: number of requested users, repeated ones counted each time.
        rows: number of recommendations of all users.
        unknown: number of users outside the training log.
    """

    file: Path
    users: int
    rows: int
    unknown: int


def recommend_all(
    release: Release,
    users: Iterable[str] | None = None,
    k: int = 10,
    out: str | Path = "recommendations.parquet",
    *,
    exclude: Sequence[str] = (),
    exclude_seen: bool | None = None,
    allow: Sequence[str] | None = None,
    index: str | None = None,
    block_users: int = BLOCK_USERS,
    engine: Engine | None = None,
    trust: bool = False,
    progress: ProgressReporter | None = None,
) -> Bulk:
    """Write recommendations for many users as Parquet: `user_id`, `rank` from 1, `item_id`, `score`.

    Memory holds one block of users at a time; `users` may be a generator. A user without any allowed
    item has no rows. Histories are those at the end of the training data. The file appears when it is
    complete; an earlier one is replaced.

    With an engine `out` is a new directory of files, in the order of the users as their names are sorted.
    Its rows are those of the one file. Each process of the engine opens the release once.

    Args:
        release: release of a retriever, a baseline or a pipeline.
        users: user ids; None for all users of the release, those without events too.
        k: length of a list, from 1 to the size of the catalogue.
        out: path of the Parquet file, or of a directory that is missing.
        exclude: ids to leave out of all lists.
        exclude_seen: whether lists leave out seen items; None for the release's default.
        allow: ids to which all lists are restricted; None for no restriction.
        index: `exact` or `annoy`; None for the release's default.
        block_users: number of users in one block of queries, and in one row group.
        engine: where the users are answered, in parts of whole blocks; None for this process and one file.
        trust: of the workers of an engine, as for `load`.
        progress: receives the number of finished and of all users after each block, with an engine of
            parts; None logs them to the logger "tfrecall".

    Raises:
        ConfigError: if `k`, the index or the block is impossible.
        DataError: if a user id is not a string.
        ExportError: if the file or the directory cannot be written, or the directory exists.
        EngineError: if a worker died.

    Example:

    >>> import tempfile
    >>> import tfrecall as tr
    >>> log = tr.data.synthetic(n_users=20, n_items=10, n_rows=100)
    >>> release = tr.export(tr.Popularity().fit(log), tempfile.mkdtemp())
    >>> done = recommend_all(release, ["u1", "u2"], k=3, out=release.root / "lists.parquet")
    >>> done.users, done.rows
    (2, 6)
    """
    if block_users < 1:
        raise ConfigError(f"`block_users` must be 1 or more. Received: {block_users}.")
    progress = progress or LogProgress()
    everyone: Iterable[str] = release.users.ids if users is None else users
    if engine is not None:
        options: dict[str, Any] = {"k": k, "exclude": list(exclude), "exclude_seen": exclude_seen}
        options |= {"allow": None if allow is None else list(allow), "index": index}
        options["block_users"] = block_users
        opening = Opening.of(release, trust)
        return _in_parts(engine, opening, release, everyone, Path(out), options, progress)
    # A generator has no length: progress then reports a total of 0.
    total = len(everyone) if isinstance(everyone, Sized) else 0
    file, done, written, unknown = Path(out), 0, 0, 0
    # Converted to Arrow once; each block takes its ids by row, without a Python string a recommendation.
    ids = pa.array(release.item_ids.tolist(), pa.string())
    with parquet_stream(file, SCHEMA.with_metadata(_origin(release))) as writer:
        for block in blocks(_checked(everyone), block_users):
            asked, hits = release.find(
                block, k, exclude=exclude, exclude_seen=exclude_seen, allow=allow, index=index
            )
            table = _table(block, hits, ids)
            if len(table):
                writer.write_table(table)
            done, written = done + len(block), written + len(table)
            unknown += len(block) - int(asked.known.sum())
            progress.progress("recommend", done, total, "users")
    return Bulk(file, done, written, unknown)


def _in_parts(
    engine: Engine,
    opening: Opening,
    release: Release,
    users: Iterable[str],
    out: Path,
    options: dict[str, Any],
    progress: ProgressReporter,
) -> Bulk:
    with new_parts(out) as (scratch, staged), opening.shared(release):
        # Lists of users travel by file: a task stays small, and `users` may be a generator.
        asked = list(_write_asked(users, options["block_users"], scratch))
        work = partial(_answer, opening, staged, len(asked), options)
        done = engine.map(work, list(enumerate(asked)), title="recommend", progress=progress)
    counts = np.array(done).sum(axis=0)
    return Bulk(out, *map(int, counts))


def _write_asked(users: Iterable[str], block_users: int, scratch: Path) -> Iterator[Path]:
    """Write the users of each part and yield its file; without users there is one part."""
    most = block_users * _BLOCKS_OF_PART
    if isinstance(users, Sized):
        # Whole blocks: the same queries stand together as in one file, so scores are the same to the bit.
        most = min(most, block_users * -(-len(users) // (block_users * _PARTS)) or block_users)
    lists = blocks(_checked(users), most)
    for place, part in enumerate(_at_least_one(lists)):
        file = scratch / f"{place}.parquet"
        pq.write_table(pa.table([pa.array(part, pa.string())], schema=_ASKED), file)
        yield file


def _at_least_one(lists: Iterator[list[str]]) -> Iterator[list[str]]:
    yield next(lists, [])
    yield from lists


def _answer(
    opening: Opening, staged: Path, parts: int, options: dict[str, Any], task: tuple[int, Path]
) -> tuple[int, int, int]:
    """Answer one part, in a worker."""
    place, asked = task
    users = pq.read_table(asked)["user_id"].to_pylist()
    bulk = recommend_all(
        opening.open(),
        users,
        out=staged / part_name(place, parts),
        progress=ProgressReporter(),
        **options,
    )
    return bulk.users, bulk.rows, bulk.unknown


def _checked(users: Iterable[str]) -> Iterator[str]:
    if isinstance(users, str):
        raise DataError(f'`users` are the ids of users, a list of strings. Received: "{users}".')
    for user in users:
        if not isinstance(user, str):
            raise DataError(f"`users` are the ids of users, strings. Received: {user!r}.")
        yield user


def _table(users: list[str], hits: Hits, ids: pa.Array) -> pa.Table:
    """One row a recommendation, in the order of the users, for each the best item first."""
    # `nonzero` goes row by row, so users keep their order; padding of short lists (-1) is left out.
    of_user, place = np.nonzero(hits.rows >= 0)
    columns = [
        pa.array(users, pa.string()).take(pa.array(of_user)),
        pa.array((place + 1).astype(np.int32)),
        ids.take(pa.array(hits.rows[of_user, place])),
        pa.array(hits.scores[of_user, place]),
    ]
    return pa.Table.from_arrays(columns, schema=SCHEMA)


def _origin(release: Release) -> dict[str, str]:
    """Name, version and fingerprint of the model, for the metadata of the file."""
    return {
        "tfrecall.model": release.name,
        "tfrecall.version": str(release.version),
        "tfrecall.fingerprint": release.manifest["model"]["fingerprint"],
    }
