"""Logs from files, with their user and item tables."""

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl

from tfrecall.core.arguments import argument
from tfrecall.core.columns import ITEM
from tfrecall.data.assembly import Columns, side_table
from tfrecall.data.cleaning import Cleaning, without_repeats
from tfrecall.data.files import read_table
from tfrecall.data.formats.text_types import NULL_VALUES
from tfrecall.data.frames import find_name, to_polars
from tfrecall.data.inspection.raw_tables import ReadTables, guess_tables
from tfrecall.data.interactions import Interactions
from tfrecall.data.shaping import drop_columns, split_lists
from tfrecall.data.shards.manifest import is_shards, read_manifest
from tfrecall.data.shards.settings import refuse_contradictions
from tfrecall.errors import ConfigError

logger = logging.getLogger("tfrecall")


def read(
    path: str | Path,
    *,
    users: Any = None,
    items: Any = None,
    user_id: str | None = None,
    item_id: str | None = None,
    infer: bool = False,
    separator: str | None = None,
    ignore_columns: Iterable[str] = (),
    list_separators: Mapping[str, str] | None = None,
    **options: Any,
) -> Interactions:
    """Reads a log and its tables from files.

    The suffix tells the kind: .csv, .tsv, .psv, .txt and .dat are text, .parquet and .pq Parquet, .jsonl,
    .ndjson and .json lines of JSON objects or one array of them; .gz, .zst and .zip behind it (`log.csv.zip`)
    are unpacked. Text is UTF-8 with names in the first line, or below a line `sep=;` and comments behind `#`;
    commas, semicolons, tabs or bars between the columns are recognised, decimal commas too where the columns
    have another mark. Ids of text files, and codes such as "02139", stay as written. Fields of nested columns
    become columns: `id` in `user` is `user_id`, and may be named "user.id". The files of a folder or pattern
    are read in the order of their names, must be of one kind and have the same columns.

    A folder that `tfrecall prepare` wrote is read as the log that it was made of. Settings that differ from
    those of the preparation are refused.

    Args:
        path: a file, a folder with files of one kind, or a pattern such as `logs/2024-*.parquet`.
        users: the user table: a path of the same kinds, or a frame.
        items: the item table: a path of the same kinds, or a frame.
        user_id: name of the user column, in the log and in `users`; None for "user_id".
        item_id: name of the item column, in the log and in `items`; None for "item_id".
        infer: whether columns of users, items, times and ratings that are not named are found by names and
            content, as the command line does; a log without times is then taken in its order. Notes say what
            was found.
        separator: the mark between columns of text files that have it in their first line; None recognises
            commas, semicolons, tabs and bars in each file.
        ignore_columns: columns to leave out, each with its table: `log.price`, `items.photo`.
        list_separators: columns of text that hold lists, and the mark between the values.
        **options: as for `Interactions.from_frame`: `timestamp`, `rating`, `weight`, `name` (by default
            that of the file), `missing_items`, `unit`, `timestamp_format`, `null_values`, `repeated_rows`,
            `id_spelling`. `timestamp=""` takes a log without times in its order.

    Returns:
        The checked log.

    Raises:
        DataError: if a file cannot be read or its content cannot be used.
        MissingColumnError: if a column does not exist.

    Example:

    >>> import pathlib, tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = pathlib.Path(folder) / "log.csv"
    ...     _ = path.write_text("user_id,item_id,timestamp\\n007,a,0\\n8,b,60\\n")
    ...     read(path).log.rows()
    [('007', 'a', 0.0), ('8', 'b', 60.0)]
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = pathlib.Path(folder) / "orders.csv"
    ...     _ = path.write_text("customer;sku;bought_at\\nA;1;31/05/2024 12:30\\nB;2;01/06/2024 08:15\\n")
    ...     read(path, infer=True).notes[0]
    'The user is taken from the column "customer", by its name; `user_id` names another.'
    """
    if is_shards(path):
        given = {"separator": separator, "ignore_columns": ignore_columns, **options}
        given |= {"user_id": user_id, "item_id": item_id, "list_separators": list_separators}
        return _prepared(Path(path), users, items, given)
    options.setdefault("name", _name_of(path))
    named = {
        "user_id": user_id,
        "item_id": item_id,
        **{role: options.pop(role, None) for role in ("timestamp", "rating", "weight")},
    }
    if infer:
        words = tuple(options.get("null_values", NULL_VALUES))
        tables, roles, _ = guess_tables(Path(path), users, items, named, separator, Cleaning(words))
        columns, found = roles.columns, ReadTables(*tables, roles.messages)
    else:
        columns = _columns(named)
        found = _read_tables(path, users, items, columns, separator)
    return _log_of(found, columns, ignore_columns, list_separators, options)


def read_again(
    found: ReadTables | Interactions,
    path: str | Path,
    *,
    users: Any = None,
    items: Any = None,
    separator: str | None = None,
    ignore_columns: Iterable[str] = (),
    list_separators: Mapping[str, str] | None = None,
    **options: Any,
) -> Interactions:
    """The log that `read` gives for named columns, from tables that were read already.

    Args:
        found: what was read from the files of the other arguments.
        path, users, items, separator, ignore_columns, list_separators, **options: as for `read`.
    """
    if isinstance(found, Interactions):
        given = {"separator": separator, "ignore_columns": ignore_columns, **options}
        given["list_separators"] = list_separators
        return _prepared(Path(path), users, items, given, found)
    options.setdefault("name", _name_of(path))
    named = {role: options.pop(role, None) for role in Columns._fields}
    return _log_of(found, _columns(named), ignore_columns, list_separators, options)


def _log_of(
    found: ReadTables,
    columns: Columns,
    ignore_columns: Iterable[str],
    list_separators: Mapping[str, str] | None,
    options: dict[str, Any],
) -> Interactions:
    """The checked log of tables; options as for `Interactions.from_frame`, and `repeated_rows`."""
    tables = {"log": found.log, "users": found.users, "items": found.items}
    given = {name: table for name, table in tables.items() if table is not None}
    # Before columns are dropped: two lines of an order may differ in nothing else.
    rules = Cleaning(repeated_rows=options.pop("repeated_rows", "drop"))
    timestamp = find_name(given["log"].columns, columns.timestamp)
    once = without_repeats(given["log"], timestamp, rules)
    given = split_lists(
        drop_columns({**given, "log": once.frame}, ignore_columns), list_separators or {}
    )
    data = Interactions.from_frame(
        given["log"],
        users=given.get("users"),
        items=given.get("items"),
        **columns._asdict(),
        repeated_rows="keep",
        **options,
    )
    for note in (*found.notes, *once.notes):
        logger.info(note)
    return replace(data, notes=(*found.notes, *once.notes, *data.notes))


def _name_of(path: str | Path) -> str:
    return Path(path).name.split(".")[0].strip("*?-_") or "log"


def _columns(named: Mapping[str, str | None]) -> Columns:
    return Columns(**{role: name for role, name in named.items() if name is not None})


def _prepared(
    path: Path, users: Any, items: Any, given: dict[str, Any], data: Interactions | None = None
) -> Interactions:
    """The log of a folder of shards, whose settings must not be others than those that were given.

    Args:
        path: the folder.
        users, items, given: as for `read`.
        data: its log, if it was read already.
    """
    for name, table in (("users", users), ("items", items)):
        if table is not None:
            raise ConfigError(
                f"{path} holds shards with their user and item tables. Received {argument(name)} beside them. "
                "Leave it out, or prepare the log again with it."
            )
    name = given.pop("name", None)
    refuse_contradictions(read_manifest(path).settings, given, path)
    data = Interactions.from_shards(path) if data is None else data
    return replace(data, name=name) if name else data


def read_items(
    path: str | Path,
    item_id: str = "item_id",
    *,
    separator: str | None = None,
    ignore_columns: Iterable[str] = (),
    list_separators: Mapping[str, str] | None = None,
    null_values: Sequence[str] = NULL_VALUES,
    id_spelling: str = "as_written",
) -> pl.DataFrame:
    """Reads an item table alone, as `read` reads it beside its log.

    Args:
        path: a file, a folder or a pattern, of the kinds of `read`.
        item_id: name of the column of ids.
        separator, null_values, id_spelling: as for `read`.
        ignore_columns: columns to leave out; those of other tables, and ones that are not there, are ignored.
        list_separators: columns of text that hold lists, and the mark; other columns, and lists, are ignored.

    Raises:
        DataError: if a file cannot be read, or an id occurs twice.
        MissingColumnError: if there is no column of ids.
    """
    table = read_table(
        path, "items table", {item_id, item_id.replace(".", "_")}, separator, logger.info
    )
    ignored = [name.removeprefix("items.") for name in ignore_columns if name.startswith("items.")]
    table = table.drop(name for name in ignored if name in table.columns)
    given = {name: mark for name, mark in (list_separators or {}).items() if name in table.columns}
    texts = {name: mark for name, mark in given.items() if table[name].dtype == pl.String}
    (table,) = split_lists({"items": table}, texts).values()
    rules = Cleaning(tuple(null_values), id_spelling=id_spelling)
    return side_table(table, ITEM, item_id, rules)


def _read_tables(
    log: Any, users: Any, items: Any, columns: Columns, separator: str | None
) -> ReadTables:
    """The log, the user and the item table, with ids as written."""
    # A path into a nested column of text is that of its name in the flat table.
    keys = {name for key in columns[:2] for name in (key, key.replace(".", "_"))}
    notes: list[str] = []

    def frame(table: Any, what: str) -> Any:
        if _is_path(table):
            return read_table(table, what, keys, separator, notes.append)
        return None if table is None else to_polars(table, what)

    frames = frame(log, "log"), frame(users, "users table"), frame(items, "items table")
    return ReadTables(*frames, tuple(notes))


def _is_path(table: Any) -> bool:
    return isinstance(table, str | Path)
