"""Tables from files: CSV, TSV, Parquet, JSON lines."""

import codecs
import glob
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import polars as pl

from tfrecall.data.frames import require, to_polars
from tfrecall.data.interactions import Interactions
from tfrecall.errors import DataError, nearest


def drop_columns(tables: dict[str, pl.DataFrame], names: Iterable[str]) -> dict[str, pl.DataFrame]:
    """The tables without some columns, each named as `table.column`.

    Raises:
        MissingColumnError: if a column is not there.
    """
    there = [f"{key}.{column}" for key, table in tables.items() for column in table.columns]
    for name in names:
        require(there, name, "data", "`ignore_columns` names, with its table, what is not to be read.")
    dropped = set(names)
    return {
        key: table.select(column for column in table.columns if f"{key}.{column}" not in dropped)
        for key, table in tables.items()
    }


def split_lists(
    tables: dict[str, pl.DataFrame], separators: Mapping[str, str]
) -> dict[str, pl.DataFrame]:
    """The tables with lists in place of columns of text, in whichever tables have them.

    Blanks around values go, and so do empty values: an empty text is an empty list.

    Raises:
        MissingColumnError: if no table has the column.
        DataError: if it does not hold text.
    """
    there = [column for table in tables.values() for column in table.columns]
    for name, separator in separators.items():
        require(there, name, "data", "`list_separators` names columns of text that hold lists.")
        having = {key: table for key, table in tables.items() if name in table.columns}
        for key, table in having.items():
            if table[name].dtype != pl.String:
                raise DataError(
                    f'The column "{name}" of the {key} is to be split at {separator!r}, but it holds '
                    f"{table[name].dtype}. Take it out of `list_separators`."
                )
            tables = {**tables, key: table.with_columns(_lists(table[name], separator))}
    return tables


def _lists(column: pl.Series, separator: str) -> pl.Series:
    # Value by value, not list by list: the distinct texts are few beside the rows.
    texts = column.unique()
    values = texts.str.split(separator).list.eval(pl.element().str.strip_chars())
    lists = values.list.eval(pl.element().filter(pl.element() != ""))
    table = pl.DataFrame({"text": texts, column.name: lists})
    joined = column.to_frame("text").join(
        table, on="text", how="left", maintain_order="left", nulls_equal=True
    )
    return joined[column.name]


SEPARATORS = {".csv": ",", ".tsv": "\t", ".tab": "\t"}
JSON_LINES = (".jsonl", ".ndjson")
PARQUET = (".parquet", ".pq")
SUFFIXES = (*SEPARATORS, *PARQUET, *JSON_LINES)

# Rows of a CSV file that its column types are guessed from before all of them are asked.
GUESS_ROWS = 10_000


def read(
    path: str | Path,
    *,
    users: Any = None,
    items: Any = None,
    user_id: str = "user_id",
    item_id: str = "item_id",
    ignore_columns: Iterable[str] = (),
    list_separators: Mapping[str, str] | None = None,
    **options: Any,
) -> Interactions:
    """Reads a log from a file, a folder or a pattern, and its tables.

    Ids of CSV files stay as they are written ("007" is not 7). The kind is told by the suffix:
    .csv, .tsv, .parquet, .jsonl; .csv.gz and .tsv.gz, too. CSV is UTF-8, with commas between the
    columns, whose names stand in the first line. The files of a folder or pattern are read in the
    order of their names, must be of one kind and have the same columns.

    Args:
        path: a file, a folder with files of one kind, or a pattern such as `logs/2024-*.parquet`.
        users: the user table: a path of the same kinds, or a frame.
        items: the item table, likewise.
        user_id: the name of that column; likewise `item_id`.
        ignore_columns: columns to leave out, each with its table: `log.price`, `items.photo`.
        list_separators: columns of text that hold lists, and what stands between the values.
        **options: as for `Interactions.from_frame`. Without `name` the data is named after the file.

    Raises:
        DataError: if a file cannot be read or its content cannot be used.
    """
    options.setdefault("name", Path(path).name.split(".")[0].strip("*?-_") or "log")
    keys = (user_id, item_id)
    tables = {
        "log": read_table(path, "log", keys),
        "users": read_table(users, "users table", keys) if _is_path(users) else users,
        "items": read_table(items, "items table", keys) if _is_path(items) else items,
    }
    given = {
        name: to_polars(table, name if name == "log" else f"{name} table")
        for name, table in tables.items()
        if table is not None
    }
    given = split_lists(drop_columns(given, ignore_columns), list_separators or {})
    return Interactions.from_frame(
        given["log"],
        users=given.get("users"),
        items=given.get("items"),
        user_id=user_id,
        item_id=item_id,
        **options,
    )


def _is_path(table: Any) -> bool:
    return isinstance(table, str | Path)


def read_table(path: str | Path, what: str = "table", keys: Iterable[str] = ()) -> pl.DataFrame:
    """Reads one table; Polars' errors are translated here, once.

    Args:
        path: a file, a folder or a pattern.
        what: what messages call the table.
        keys: columns that stay as they are written, where the file does not know types.
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
            # The whole file is asked for its fields: one that comes late would be lost.
            parts = [pl.read_ndjson(file, infer_schema_length=None) for file in files]
            return pl.concat(parts, how="diagonal_relaxed")
        return _read_parquet(files, path)
    except (pl.exceptions.PolarsError, OSError, UnicodeDecodeError) as error:
        if kind not in PARQUET:
            _refuse_other_encodings(files, what)
        reason = str(error).strip().splitlines() or [type(error).__name__]
        raise DataError(
            f"The {what} {path} cannot be read as {kind.lstrip('.')}: {reason[0]}. "
            "Repair or rewrite the file; the suffix must tell its kind."
        ) from error


def _files(path: Path, what: str) -> list[Path]:
    """The files that a path stands for, ordered by name."""
    if path.is_dir():
        inside = (file for file in path.rglob("*") if file.is_file())
        # Spark, Hadoop and macOS leave such files beside the data: _SUCCESS, .part.crc, ._part.
        files = sorted(file for file in inside if not file.name.startswith(("_", ".")))
        found = f"there are no files in the folder {path}."
    elif path.exists():
        files, found = [path], ""
    else:
        names = glob.glob(str(path), recursive=True)
        files = sorted(Path(name) for name in names if Path(name).is_file())
        found = f"there is no file {path}.{_nearest_file(path)}"
    if not files:
        raise DataError(
            f"The {what} was not found: {found} Give a file, a folder or a pattern of "
            f"{', '.join(SUFFIXES)}."
        )
    return files


def _nearest_file(path: Path) -> str:
    if not path.parent.is_dir():
        return f" There is no folder {path.parent} either."
    return nearest(path.name, (file.name for file in path.parent.iterdir()))


def _one_kind(files: list[Path], path: Path, what: str) -> str:
    """The suffix that all files share, without the one of compression."""
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
        except pl.exceptions.ComputeError:  # a type that only shows further down
            part = pl.read_csv(
                file, separator=separator, schema_overrides=strings, infer_schema_length=None
            )
        parts.append(part)
    return pl.concat(parts, how="vertical_relaxed")


def _refuse_other_separators(names: list[str], file: Path, separator: str) -> None:
    other = next((mark for mark in ";\t|," if mark in names[0]), None)
    if len(names) == 1 and other is not None and other != separator:
        raise DataError(
            f"{file} seems to be separated by {other!r} instead of {separator!r}: its first line is "
            f"{names[0]!r}. Write it with {separator!r}; a file with tabs is a .tsv."
        )


def _refuse_repeated_names(names: list[str], file: Path) -> None:
    """Polars gives the second of two equal names an ending."""
    found = (re.fullmatch(r"(.*)_duplicated_\d+", name, re.DOTALL) for name in names)
    repeated = sorted({match[1] for match in found if match and match[1] in names})
    if repeated:
        raise DataError(
            f"{file} has columns of the same name: {', '.join(repeated)}. Rename or drop one of each."
        )


def _read_parquet(files: list[Path], path: Path) -> pl.DataFrame:
    if path.is_dir() and any("=" in part for part in files[0].relative_to(path).parts[:-1]):
        return pl.read_parquet(path, hive_partitioning=True)  # folders such as day=2024-05-31
    return pl.read_parquet(files, hive_partitioning=False)


def _refuse_other_encodings(files: list[Path], what: str) -> None:
    """Refuses a file that is not UTF-8, naming the line and byte that is not."""
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
