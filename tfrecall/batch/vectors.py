"""Vectors and ids of a release as Parquet files, for a vector database, by any engine.

items.parquet   item_id, vector, columns of the item table; in catalogue order
users.parquet   user_id, vector, computed after the user's last training event; with several interests
                one row for each, numbered from 0 by `interest`
vectors.json    metric, model, size and SHA-256 of the files

An engine writes the folders `items` and `users` with the same rows in parts.
"""

import json
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from tfrecall.batch.parquet import blocks, parquet_stream
from tfrecall.batch.parts import Opening, part_name
from tfrecall.core.manifests import describe
from tfrecall.core.progress import ProgressReporter
from tfrecall.core.storage import remove_unfinished, staged_directory
from tfrecall.engines import Engine
from tfrecall.errors import ConfigError, ExportError
from tfrecall.release.base import Release

ITEMS, USERS, FACTS = "items.parquet", "users.parquet", "vectors.json"
_FOLDERS = ("items", "users")
_FORMAT = 1
# Rows of one row group, and users embedded in one call.
_BLOCK = 16_384
# Of a part of an engine.
_PART = 4 * _BLOCK


def export_vectors(
    release: Release,
    out: str | Path,
    *,
    columns: Sequence[str] = (),
    users: bool = True,
    engine: Engine | None = None,
    trust: bool = False,
    progress: ProgressReporter | None = None,
) -> dict[str, Any]:
    """Write the vectors of a release; return the contents of `vectors.json`.

    The score of a user and an item is the inner product of their vectors, which is the cosine for a
    model of vectors of length 1. For a user with several vectors (`interests` of `vectors.json`) the
    score is the largest of the inner products. Vectors are fixed-size lists of float32. The directory
    appears whole or not at all; that of an earlier export is replaced.

    Args:
        release: from `load`.
        out: the directory to write.
        columns: columns of the item table to add, for filters of the database.
        users: whether to embed users, too; False needs no TensorFlow.
        engine: where parts of both are written; None for this process and one file each.
        trust: of the workers of an engine, as for `load`.
        progress: receives the number of finished parts of an engine; None logs them to the logger
            "tfrecall".

    Raises:
        MissingColumnError: if the item table lacks a column.
        ConfigError: if a requested column is called `vector`.
        ExportError: if the directory holds foreign files, or cannot be written.
        EngineError: if a worker died.
    """
    release.check_columns(columns)
    if "vector" in columns:
        raise ConfigError('The column "vector" would stand beside the vectors under the same name.')
    directory = Path(out).absolute()
    _check_free(directory)
    try:
        with staged_directory(directory, replace=True) as staged:
            if engine is None:
                _write_items(release, staged / ITEMS, columns)
                if users:
                    _write_users(release, staged / USERS)
            else:
                opening = Opening.of(release, trust)
                with opening.shared(release):
                    tasks = _tasks(release, users)
                    work = partial(_write_part, opening, staged, list(columns))
                    engine.map(work, tasks, title="vectors", progress=progress)
                for file in {file for file, *_ in tasks}:
                    remove_unfinished(staged / Path(file).parent)  # of workers that were killed
            facts = _facts(release, staged, users)
            (staged / FACTS).write_text(json.dumps(facts, indent=2), "utf-8")
    except OSError as error:
        raise ExportError(
            f"The vectors could not be written to {directory}: {error}. Check the permissions and the "
            "free space there."
        ) from error
    return facts


def _check_free(directory: Path) -> None:
    """Refuse a directory with foreign files; a missing, empty or earlier one passes."""
    if not directory.exists():
        return
    if not directory.is_dir():
        raise ExportError(f"{directory} is a file. Name a directory for the vectors.")
    ours = {ITEMS, USERS, FACTS, *_FOLDERS}
    others = sorted({path.name for path in directory.iterdir()} - ours)
    whole = (directory / FACTS).is_file() or not any(directory.iterdir())
    if others or not whole:
        held = ", ".join(others or sorted(path.name for path in directory.iterdir()))
        raise ExportError(f"{directory} holds something else: {held[:200]}. Name a new directory.")


# File, whether it has users, first row and the row behind the last one.
_Task = tuple[str, bool, int, int]


def _tasks(release: Release, users: bool) -> list[_Task]:
    counts = [len(release.item_ids), *([len(release.users.ids)] if users else [])]
    tasks: list[_Task] = []
    for place, (folder, count) in enumerate(zip(_FOLDERS, counts, strict=False)):
        starts = range(0, max(count, 1), _PART)
        tasks += [
            (f"{folder}/{part_name(part, len(starts))}", place == 1, start, min(start + _PART, count))
            for part, start in enumerate(starts)
        ]
    return tasks


def _write_part(opening: Opening, staged: Path, columns: Sequence[str], task: _Task) -> None:
    """Write one part, in a worker."""
    file, of_users, start, stop = task
    if of_users:
        _write_users(opening.open(), staged / file, start, stop)
    else:
        _write_items(opening.open(), staged / file, columns, start, stop)


def _write_items(
    release: Release, file: Path, columns: Sequence[str], first: int = 0, stop: int | None = None
) -> None:
    vectors = np.asarray(release.bundle.exact.vectors)
    wanted = [name for name in dict.fromkeys(columns) if name != "item_id"]
    table = release.catalogue.shown.select(wanted).to_arrow()
    fields = [pa.field("item_id", pa.string(), nullable=False), _vector_field(vectors.shape[1])]
    end = len(vectors) if stop is None else stop
    with parquet_stream(file, pa.schema([*fields, *table.schema])) as writer:
        for start in range(first, end, _BLOCK):
            part = slice(start, min(start + _BLOCK, end))
            ids = pa.array(release.item_ids[part].tolist(), pa.string())
            rest = table.slice(start, len(ids)).columns
            arrays = [ids, _vectors(vectors[part]), *rest]
            writer.write_table(pa.Table.from_arrays(arrays, schema=writer.schema))


def _write_users(release: Release, file: Path, first: int = 0, stop: int | None = None) -> None:
    fields = [pa.field("user_id", pa.string(), nullable=False)]
    interests, dimension = release.interests, release.bundle.exact.dimension
    if interests > 1:
        fields.append(pa.field("interest", pa.int32(), nullable=False))
    fields.append(_vector_field(dimension))
    with parquet_stream(file, pa.schema(fields)) as writer:
        for block in blocks(iter(release.users.ids[first:stop]), _BLOCK):
            vectors = release.embed(release.users.build_queries(block).features)
            # [users, interests, dimension] flattened: the interests of one user stand in adjacent rows.
            rows = [user for user in block for _ in range(interests)]
            arrays = [pa.array(rows, pa.string())]
            if interests > 1:
                arrays.append(pa.array(np.tile(np.arange(interests, dtype=np.int32), len(block))))
            arrays.append(_vectors(vectors.reshape(-1, dimension)))
            writer.write_table(pa.Table.from_arrays(arrays, schema=writer.schema))


def _vector_field(dimension: int) -> pa.Field:
    return pa.field("vector", pa.list_(pa.float32(), dimension), nullable=False)


def _vectors(values: np.ndarray) -> pa.Array:
    flat = pa.array(np.ascontiguousarray(values, dtype=np.float32).ravel())
    return pa.FixedSizeListArray.from_arrays(flat, values.shape[1])


def _facts(release: Release, directory: Path, users: bool) -> dict[str, Any]:
    model = release.manifest["model"]
    files = sorted(directory.rglob("*.parquet"))
    return {
        "format": _FORMAT,
        "model": release.name,
        "version": release.version,
        "fingerprint": model["fingerprint"],
        "metric": "cosine" if model["normalize"] else "inner_product",
        "dimension": model["dimension"],
        # Vectors a user; an item is scored by the one with the largest inner product.
        "interests": release.interests,
        # If not null, items of a user's history are scored by more than their vectors.
        "repeats": release.manifest.get("repeats"),
        "items": len(release.item_ids),
        "users": len(release.users.ids) if users else 0,
        "files": {file.relative_to(directory).as_posix(): describe(file) for file in files},
    }
