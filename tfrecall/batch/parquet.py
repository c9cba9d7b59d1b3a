"""Parquet files written row group by row group, whole or not at all."""

import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from tfrecall.errors import ExportError


@contextmanager
def parquet_stream(file: Path, schema: pa.Schema) -> Iterator[pq.ParquetWriter]:
    """A writer whose file takes its place when all is written; each table becomes a row group.

    A file that was there is replaced in one step, or stays as it is if something fails.

    Raises:
        ExportError: if it cannot be written.
    """
    temporary = file.with_name(f".{file.name}.{uuid.uuid4().hex[:8]}")
    try:
        if file.is_dir():
            raise IsADirectoryError("it is a directory")
        file.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("wb") as stream:
            with pq.ParquetWriter(stream, schema, compression="zstd") as writer:
                yield writer
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(temporary, file)
    except (OSError, pa.ArrowException) as error:
        raise ExportError(
            f"{file} could not be written: {error}. Check the path, the permissions and the free space; "
            "nothing was changed there."
        ) from error
    finally:
        with suppress(OSError):  # of a directory that is none there is nothing to remove
            temporary.unlink(missing_ok=True)


def blocks(values: Iterator[str], size: int) -> Iterator[list[str]]:
    """Cuts an iterator into lists of `size`, the last one shorter."""
    block: list[str] = []
    for value in values:
        block.append(value)
        if len(block) == size:
            yield block
            block = []
    if block:
        yield block
