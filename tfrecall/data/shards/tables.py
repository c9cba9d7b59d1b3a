"""User and item tables of a partitioned log, and the notes on what was dropped."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from tfrecall.core.columns import ITEM, USER
from tfrecall.data import assembly, checks
from tfrecall.data.assembly import side_table
from tfrecall.data.cleaning import missing_note, note_spellings, repeats_note
from tfrecall.data.filters import left_out, steps_within_users
from tfrecall.data.frames import to_polars
from tfrecall.data.shaping import drop_columns, split_lists
from tfrecall.data.shards.gather import (
    Counts,
    absent_file,
    days_file,
    items_file,
    lost_file,
    users_file,
)
from tfrecall.data.shards.manifest import PLACE
from tfrecall.data.shards.settings import Settings
from tfrecall.errors import DataError


@dataclass(frozen=True)
class Sides:
    """The user and the item table as they were given, checked; None without one; and notes on them."""

    users: pl.DataFrame | None
    items: pl.DataFrame | None
    notes: tuple[str, ...] = ()


def side_tables(raw: Sequence[Any], columns: Sequence[str], settings: Settings) -> Sides:
    """The user and the item table, cleaned and checked as beside a log in memory.

    Args:
        raw: the tables as read or given; None without one.
        columns: names of the columns of the log as read.
        settings: how tables are cleaned.
    """
    whats = ("users table", "items table")
    frames = [
        None if one is None else to_polars(one, what) for one, what in zip(raw, whats, strict=True)
    ]
    given = {name: one for name, one in zip(("users", "items"), frames, strict=True) if one is not None}
    # The columns of the log may be named, too; its rows are shaped piece by piece.
    log = pl.DataFrame(schema=dict.fromkeys(columns, pl.String))
    shaped = drop_columns({"log": log, **given}, settings.ignored)
    shaped = split_lists(shaped, settings.list_separators)
    notes: list[str] = []
    users, items = (
        side_table(shaped[name], key, column, settings.cleaning, notes.append)
        if name in shaped
        else None
        for name, key, column in (
            ("users", USER, settings.columns.user_id),
            ("items", ITEM, settings.columns.item_id),
        )
    )
    return Sides(users, items, tuple(notes))


def refuse_shared_columns(columns: Collection[str], sides: Sides) -> None:
    """Refuses a column name that occurs in two tables."""
    log = pl.DataFrame(schema=dict.fromkeys(columns, pl.String))
    none = pl.DataFrame()
    checks.refuse_shared_columns(
        log,
        none if sides.users is None else sides.users,
        none if sides.items is None else sides.items,
    )


def seen_users(folder: Path, partitions: int) -> pl.DataFrame:
    """Users of the log with their first places, in order of first appearance."""
    files = [users_file(folder, partition) for partition in range(partitions)]
    return pl.concat([pl.read_parquet(file, glob=False) for file in files]).sort(PLACE)


def seen_items(folder: Path, partitions: int) -> pl.DataFrame:
    """Items of the log with their first places and their events after each filter, first ones first."""
    total: pl.DataFrame | None = None
    for partition in range(partitions):
        part = pl.read_parquet(items_file(folder, partition), glob=False)
        # One after another: the items of all partitions at once may be many times the catalogue.
        both = part if total is None else pl.concat([total, part])
        total = both.group_by(ITEM).agg(pl.col(PLACE).min(), pl.col("^events_.*$").sum())
    assert total is not None
    return total.sort(PLACE)


def complete(
    folder: Path,
    sides: Sides,
    users: pl.DataFrame,
    items: pl.DataFrame,
    counts: Sequence[Counts],
    policy: str,
    note: Callable[[str], None],
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The whole user and item table.

    Args:
        folder: where the gathered partitions lie.
        sides: the tables as given.
        users, items: ids of the log, from `seen_users` and `seen_items`.
        counts: numbers of the partitions.
        policy: treatment of items that the item table lacks.
        note: receives sentences on what was added or dropped.

    Raises:
        DataError: if items are missing and refused, or ids are spelt otherwise.
    """
    own_items = _with_items(folder, sides.items, items, counts, policy, note)
    if sides.users is None:
        return users.select(USER), own_items
    missing = users.select(USER).join(sides.users, on=USER, how="anti", maintain_order="left")
    if not missing.height:
        return sides.users, own_items
    doubt = assembly.spelling_doubt(users[USER], sides.users[USER], missing.height, "users table")
    note(assembly.added_users(missing.height, doubt))
    return pl.concat([sides.users, missing], how="diagonal"), own_items


def _with_items(
    folder: Path,
    table: pl.DataFrame | None,
    seen: pl.DataFrame,
    counts: Sequence[Counts],
    policy: str,
    note: Callable[[str], None],
) -> pl.DataFrame:
    if table is None:
        return seen.select(ITEM)
    files = [absent_file(folder, partition) for partition in range(len(counts))]
    absent = _firsts(pl.concat([pl.read_parquet(file, glob=False) for file in files]))
    if not absent.height:
        return table
    # With "drop" their events are gone already, and they are not among the seen.
    ids = _firsts(pl.concat([seen.select(ITEM, PLACE), absent]))[ITEM]
    doubt = assembly.spelling_doubt(ids, table[ITEM], absent.height, "items table")
    events = sum(one.missing for one in counts), sum(one.kept for one in counts)
    first = int(absent[PLACE][0]) + 1, absent[ITEM][0]
    note(assembly.missing_items_note(policy, absent.height, events, first, doubt))
    return pl.concat([table, absent.select(ITEM)], how="diagonal") if policy == "add" else table


def _firsts(ids: pl.DataFrame) -> pl.DataFrame:
    """Distinct items with their first places, in order of first appearance."""
    return ids.group_by(ITEM).agg(pl.col(PLACE).min()).sort(PLACE)


def cleaning_notes(
    folder: Path, counts: Sequence[Counts], users: pl.DataFrame, items: pl.DataFrame
) -> list[str]:
    """Notes on repeated rows and rows without ids.

    Raises:
        DataError: if no row is left.
    """
    rows = sum(one.rows for one in counts)
    repeated = sum(one.repeated for one in counts)
    notes = [repeats_note(repeated, rows)] if repeated else []
    files = [lost_file(folder, partition) for partition in range(len(counts))]
    lost = pl.concat([pl.read_parquet(file, glob=False) for file in files]).sort(PLACE)
    left = rows - repeated
    for word, seen in (("user", users[USER]), ("item", items[ITEM])):
        values = lost.filter(pl.col("role") == word)["value"]
        if len(values):
            notes.append(missing_note(values, left, word, "log"))
            left -= len(values)
        note_spellings(seen, word, "log", notes)
    if rows and not left:
        raise DataError(
            f"No row of the log has a user and an item: {'; '.join(notes)}. "
            "Are the columns the right ones?"
        )
    return notes


def time_notes(folder: Path, partitions: int, kind: str, settings: Settings) -> list[str]:
    """Notes on how times were read, and doubts."""
    if settings.columns.timestamp == assembly.FILE_ORDER:
        return assembly.time_notes(None, kind, settings.times)
    files = [days_file(folder, partition) for partition in range(partitions)]
    days = pl.concat([pl.read_parquet(file, glob=False) for file in files])
    return assembly.time_notes(days, kind, settings.times)


def filter_notes(
    counts: Sequence[Counts], items: pl.DataFrame, settings: Settings
) -> tuple[list[str], dict[str, int]]:
    """Notes on the filters before the minima, and the number of rows that each left out.

    Raises:
        DataError: if one leaves nothing.
    """
    notes, lost = [], {}
    for n, step in enumerate(steps_within_users(**settings.within_users), start=1):
        before, after = (
            (
                sum(one.steps[k][0] for one in counts),
                sum(one.steps[k][1] for one in counts),
                int((items[f"events_{k}"] > 0).sum()),
            )
            for k in (n - 1, n)
        )
        numbers = dict(zip(("rows", "users", "items"), zip(before, after, strict=True), strict=True))
        notes.append(left_out(step.name, step.word, **numbers))
        lost[step.name] = before[0] - after[0]
    return notes, lost


def refuse_too_small(users: pl.Series, items: pl.Series, rows: int, why: str) -> None:
    """Refuses a log that is empty, or has a single user or item; the ids are distinct."""
    checks.refuse_empty(rows, why)
    for ids, word in ((users, "user"), (items, "item")):
        if len(ids) == 1:
            raise checks.only_one(word, ids[0], rows, why)
