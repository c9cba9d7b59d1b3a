"""Parquet files written row group by row group, whole or not at all."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from tfrecall.core.storage import atomic_file
from tfrecall.errors import ExportError


@contextmanager
def parquet_stream(file: Path, schema: pa.Schema) -> Iterator[pq.ParquetWriter]:
    """Open a Parquet writer; the file takes its place at the end of the block, with one row group a table.

    An existing file is replaced in one step, or stays as it is if something fails.

    Raises:
        ExportError: if it cannot be written.
    """
    try:
        with (
            # Through links: /dev/stdout is one, and would become a file itself.
            atomic_file(Path(os.path.realpath(file))) as stream,
            pq.ParquetWriter(stream, schema, compression="zstd") as writer,
        ):
            yield writer
    except (OSError, pa.ArrowException) as error:
        raise ExportError(
            f"{file} could not be written: {error}. Check the path, the permissions and the free space; "
            "nothing was changed there."
        ) from error


def blocks(values: Iterator[str], size: int) -> Iterator[list[str]]:
    """Cut an iterator into lists of `size`, the last one shorter."""
    block: list[str] = []
    for value in values:
        block.append(value)
        if len(block) == size:
            yield block
            block = []
    if block:
        yield block
