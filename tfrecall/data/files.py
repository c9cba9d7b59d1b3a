"""One table from files: CSV, TSV, Parquet, JSON lines."""

import codecs
import glob
import json
import mmap
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import polars as pl

from tfrecall.errors import DataError, nearest

SEPARATORS = {".csv": ",", ".tsv": "\t", ".tab": "\t"}
JSON_LINES = (".jsonl", ".ndjson")
PARQUET = (".parquet", ".pq")
SUFFIXES = (*SEPARATORS, *PARQUET, *JSON_LINES)

# First rows of a CSV file that its column types are inferred from; all rows if these mislead.
GUESS_ROWS = 10_000
# A code, not a number: a leading zero before two or more digits. Hours and months ("08") stay numbers.
CODE = r"^\s*[+-]?0\d\d"
# A JSON escape of a UTF-16 surrogate, half a character: whole ones beyond U+FFFF are two in a row.
SURROGATE = rb"\\u[dD][89a-fA-F]"


def read_table(path: str | Path, what: str = "table", keys: Iterable[str] = ()) -> pl.DataFrame:
    """Reads one table.

    Args:
        path: a file, a folder or a pattern.
        what: name of the table in messages.
        keys: columns that stay as written where the file knows no types (CSV).

    Raises:
        DataError: if a file is missing, empty, of an unknown kind, not UTF-8 or damaged.
    """
    path = Path(path)
    files = _files(path, what)
    kind = _one_kind(files, path, what)
    for file in files:
        if not file.stat().st_size:
            raise DataError(f"The {what} file {file} is empty. Give a file with columns and rows.")
    try:
        if kind in SEPARATORS:
            return _read_csv(files, SEPARATORS[kind], list(keys))
        if kind in JSON_LINES:
            for file in files:
                _refuse_surrogates(file, what)
            # Fields are inferred from the whole file: one that first occurs late would be lost.
            parts = [pl.read_ndjson(file, infer_schema_length=None) for file in files]
            return pl.concat(parts, how="diagonal_relaxed")
        return _read_parquet(files, path)
    except (pl.exceptions.PolarsError, OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        if kind not in PARQUET:
            _refuse_other_encodings(files, what)
        reason = str(error).strip().splitlines() or [type(error).__name__]
        raise DataError(
            f"The {what} {path} cannot be read as {kind.lstrip('.')}: {reason[0]}. "
            "Repair or rewrite the file; the suffix must tell its kind."
        ) from error


def as_written(table: pl.DataFrame, path: str | Path, names: Iterable[str]) -> pl.DataFrame:
    """Replaces columns of a table that was read from CSV by their text; other kinds of files know types.

    Args:
        table: the table as `read_table` gave it.
        path: the path it was read from.
        names: the columns; those that are text already, or missing, are left alone.
    """
    names = [name for name in names if name in table.columns and table[name].dtype != pl.String]
    files = _files(Path(path), "table") if names else []
    if not files or (kind := _kind(files[0])) not in SEPARATORS:
        return table
    return table.with_columns(pl.concat([_texts(file, SEPARATORS[kind], names) for file in files]))


def _texts(file: Path, separator: str, names: list[str]) -> pl.DataFrame:
    return pl.read_csv(file, separator=separator, columns=names, infer_schema=False)


def _files(path: Path, what: str) -> list[Path]:
    """The files of a path, ordered by name."""
    if path.is_dir():
        inside = (file for file in path.rglob("*") if file.is_file())
        # Spark, Hadoop and macOS write such files next to the data: _SUCCESS, .part.crc, ._part.
        files = sorted(file for file in inside if not file.name.startswith(("_", ".")))
        problem = f"there are no files in the folder {path}."
    elif path.exists():
        files, problem = [path], ""
    else:
        names = glob.glob(str(path), recursive=True)
        files = sorted(Path(name) for name in names if Path(name).is_file())
        problem = f"there is no file {path}.{_nearest_file(path)}"
    if not files:
        raise DataError(
            f"The {what} was not found: {problem} Give a file, a folder or a pattern of "
            f"{', '.join(SUFFIXES)}."
        )
    return files


def _nearest_file(path: Path) -> str:
    if not path.parent.is_dir():
        return f" There is no folder {path.parent} either."
    return nearest(path.name, (file.name for file in path.parent.iterdir()))


def _one_kind(files: list[Path], path: Path, what: str) -> str:
    """The suffix of all files, without that of compression; several are refused."""
    examples = {_kind(file): file.name for file in reversed(files)}
    if len(examples) > 1:
        shown = list(examples.items())[:5]
        listed = ", ".join(f"{kind or 'no suffix'} ({name})" for kind, name in shown)
        raise DataError(
            f"The {what} {path} mixes kinds of files: {listed}. "
            "Give a folder with one kind, or a pattern such as folder/*.parquet."
        )
    kind = next(iter(examples))
    if kind not in SUFFIXES:
        raise DataError(
            f'The {what} {files[0]} has a suffix that is not known: "{kind}".'
            f"{nearest(kind, SUFFIXES)} Known: {', '.join(SUFFIXES)}, and .csv.gz."
        )
    return kind


def _kind(file: Path) -> str:
    suffix = file.suffix.lower()
    if suffix == ".gz" and Path(file.stem).suffix.lower() in SEPARATORS:
        return Path(file.stem).suffix.lower()
    return suffix


def _read_csv(files: list[Path], separator: str, keys: list[str]) -> pl.DataFrame:
    parts = []
    for file in files:
        # The first line alone, so that a wrong separator or a repeated name is found before any row.
        names = pl.read_csv(file, separator=separator, n_rows=0, infer_schema=False).columns
        if any("\N{REPLACEMENT CHARACTER}" in name for name in names):
            _refuse_other_encodings([file], "table")
        _refuse_other_separators(names, file, separator)
        _refuse_repeated_names(names, file)
        strings = {name: pl.String for name in keys if name in names}
        try:
            part = pl.read_csv(
                file,
                separator=separator,
                schema_overrides=strings,
                infer_schema_length=GUESS_ROWS,
            )
        except pl.exceptions.ComputeError:  # a value beyond the first rows has another type
            part = pl.read_csv(
                file, separator=separator, schema_overrides=strings, infer_schema_length=None
            )
        parts.append(_with_codes(part, file, separator))
    return pl.concat(parts, how="vertical_relaxed")


def _with_codes(table: pl.DataFrame, file: Path, separator: str) -> pl.DataFrame:
    """Restores the text of whole-number columns with leading zeros: "02139" and "2139" are two codes."""
    whole = [column.name for column in table.iter_columns() if column.dtype.is_integer()]
    if not whole:
        return table
    # Read a second time: the inference of types has dropped the zeros already.
    texts = _texts(file, separator, whole)
    codes = [column for column in texts.iter_columns() if column.str.contains(CODE).any()]
    return table.with_columns(codes)


def _refuse_other_separators(names: list[str], file: Path, separator: str) -> None:
    other = next((mark for mark in ";\t|," if mark in names[0]), None)
    if len(names) == 1 and other is not None and other != separator:
        raise DataError(
            f"{file} seems to be separated by {other!r} instead of {separator!r}: its first line is "
            f"{names[0]!r}. Write it with {separator!r}; a file with tabs is a .tsv."
        )


def _refuse_repeated_names(names: list[str], file: Path) -> None:
    """Refuses repeated names of columns; Polars renames the second to `<name>_duplicated_0`."""
    matches = (re.fullmatch(r"(.*)_duplicated_\d+", name, re.DOTALL) for name in names)
    repeated = sorted({match[1] for match in matches if match and match[1] in names})
    if repeated:
        raise DataError(
            f"{file} has columns of the same name: {', '.join(repeated)}. Rename or drop one of each."
        )


def _read_parquet(files: list[Path], path: Path) -> pl.DataFrame:
    if path.is_dir() and any("=" in part for part in files[0].relative_to(path).parts[:-1]):
        return pl.read_parquet(path, hive_partitioning=True)  # folders such as day=2024-05-31
    return pl.read_parquet(files, hive_partitioning=False)


def _refuse_other_encodings(files: list[Path], what: str) -> None:
    """Refuses a file that is not UTF-8; the message names the first bad line and byte."""
    for file in files:
        if file.suffix.lower() == ".gz":
            continue
        with file.open("rb") as lines:
            for number, line in enumerate(lines, start=1):
                try:
                    line.decode("utf-8")
                except UnicodeDecodeError as error:
                    wide = line.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
                    raise DataError(
                        f"The {what} file {file} is not UTF-8: line {number:,} has the byte "
                        f"0x{line[error.start]:02x} at position {error.start + 1:,}. Convert it: "
                        f"iconv -f {'UTF-16' if wide else 'LATIN1'} -t UTF-8 {file.name} > utf8-{file.name}"
                    ) from error


def _refuse_surrogates(file: Path, what: str) -> None:
    """Refuses half characters (`\\ud800` alone), which Polars drops: two ids would become one."""
    with file.open("rb") as lines:
        # One search over the mapped file first: hardly any file has such an escape.
        with mmap.mmap(lines.fileno(), 0, access=mmap.ACCESS_READ) as content:
            if not re.search(SURROGATE, content):
                return
        for number, line in enumerate(lines, start=1):
            if not re.search(SURROGATE, line):
                continue
            for name, text in _strings(json.loads(line)):
                if re.search("[\ud800-\udfff]", text):
                    raise DataError(
                        f'The {what} file {file} has half a character in "{name}" of line {number:,}: '
                        f"{text!r}. A lone surrogate is no Unicode text: repair or remove the row."
                    )


def _strings(value: Any, name: str = "") -> Iterator[tuple[str, str]]:
    """All texts in a value of JSON, each with the name of its field."""
    if isinstance(value, str):
        yield name, value
    elif isinstance(value, dict):
        for key, inner in value.items():
            yield from _strings(inner, name or key)
    elif isinstance(value, list):
        for inner in value:
            yield from _strings(inner, name)
