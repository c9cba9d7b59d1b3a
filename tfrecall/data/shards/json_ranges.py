"""Ranges of a file of JSON lines."""

import io
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import polars as pl

from tfrecall.data.formats.compression import COMPRESSED
from tfrecall.data.formats.json_tables import BOM, has_surrogates, is_feedback, like_json
from tfrecall.data.shards.text_ranges import Range, behind

LINES = (".jsonl", ".ndjson")


def ranges(file: Path, size: int) -> list[Range]:
    """Ranges of about so many bytes, whole lines; a single one of 0 bytes where the file is read at once.

    An array of objects is no file of lines, and half characters are told of with their lines.
    """
    whole = [Range(0, 0)]
    if file.suffix.lower() in COMPRESSED or file.suffix.lower() not in LINES or is_feedback(file):
        return whole
    length = file.stat().st_size
    if length <= size or has_surrogates(file):
        return whole
    with file.open("rb") as stream:
        head = stream.read(1 << 16)
        if head.startswith(BOM) or not head.lstrip().startswith(b"{"):
            return whole
        starts = [0]
        while starts[-1] < length:
            stop = starts[-1] + size
            starts.append(behind(stream, b"\n", stop - 1) if stop < length else length)
    return [Range(start, stop) for start, stop in pairwise(starts)]


def schema(file: Path, rows: Range) -> dict[str, pl.DataType] | None:
    """Names and types of the fields of a range; None where the file must be read at once.

    That is where a line is broken, or text may be objects or lists of other lines.
    """
    try:
        frame = read(file, rows)
    except pl.exceptions.PolarsError:
        return None
    return None if next(like_json(frame), None) else dict(frame.schema)


def agree(schemas: Sequence[dict[str, pl.DataType] | None]) -> bool:
    """Whether ranges that are read one by one hold what they hold in the whole file.

    Fields may be missing or null in some; whole numbers and fractions are one type. Text beside numbers, or
    objects of other fields, are not.
    """
    kinds: dict[str, set[str]] = {}
    for one in schemas:
        if one is None:
            return False
        for name, dtype in one.items():
            word = "number" if dtype in (pl.Int64, pl.Float64) else str(dtype)
            kinds.setdefault(name, set()).add(word)
    return all(len(words - {"Null"}) <= 1 for words in kinds.values())


def read(file: Path, rows: Range) -> pl.DataFrame:
    """The rows of a range.

    Raises:
        PolarsError: if a line is broken.
    """
    with file.open("rb") as stream:
        stream.seek(rows.start)
        lines = io.BytesIO(stream.read(rows.stop - rows.start))
    return pl.read_ndjson(lines, infer_schema_length=None)
