"""Refusals of an inferred run: what it leaves out to be able to read a log, and what it cannot mend."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import polars as pl

from tfrecall.data import assembly, checks
from tfrecall.data.assembly import FILE_ORDER, Columns
from tfrecall.data.inspection.raw_tables import RawTables
from tfrecall.data.timestamps import to_seconds
from tfrecall.errors import DataError

CANONICAL = ("user_id", "item_id", "timestamp", "rating", "weight")
# Largest share of events that are dropped because the item table lacks their items.
FEW_MISSING = 0.01


@dataclass(frozen=True)
class Conflicts:
    """Columns to ignore.

    Attributes:
        reasons: `table.column` to the reason.
        unusable: the roles, `rating` or `weight`, whose column cannot be used.
        messages: sentences about unusable columns.
    """

    reasons: dict[str, str]
    unusable: frozenset[str]
    messages: tuple[str, ...]

    @property
    def unread(self) -> dict[str, str]:
        """The reasons without those of roles, of which `messages` tell."""
        return {one: why for one, why in self.reasons.items() if not why.startswith("cannot be the ")}

    @property
    def ignored(self) -> tuple[str, ...]:
        return tuple(self.reasons)


def find_conflicts(raw: RawTables) -> Conflicts:
    """Finds columns that no model needs and `tr.data.read` would refuse."""
    reasons: dict[str, str] = {}
    messages, unusable = [], set()
    for key in ("rating", "weight"):
        name = getattr(raw.columns, key)
        if name is not None and (why := _refusal(checks.as_number, raw.log[name], "log")):
            reasons[f"log.{name}"] = f"cannot be the {key}: {why}"
            unusable.add(key)
            messages.append(f"No {key} is read. {why}")
    taken: dict[str, str] = {}
    used = {name for name in raw.columns if name}
    # Tables before the log: a column of both is kept in the table of items or users that it describes.
    for table in sorted(raw.tables, key=("items", "users", "log").index):
        for column in raw.tables[table].iter_columns():
            where = f"{table}.{column.name}"
            is_key = column.name in used if table == "log" else column.name == raw.key(table)
            if is_key or where in reasons:
                continue
            if column.name in CANONICAL:
                reasons[where] = (
                    f'"{column.name}" is what the package calls a column of the log; rename it'
                )
            elif column.name in taken:
                reasons[where] = f"stands in the {taken[column.name]} table, too, and is read there"
            elif why := _refusal(checks.refuse_not_finite, checks.plain(column.to_frame()), table):
                reasons[where] = why
            else:
                taken[column.name] = table
    return Conflicts(reasons, frozenset(unusable), tuple(messages))


def _refusal(check: Callable[..., object], *arguments: Any) -> str:
    try:
        check(*arguments)
    except DataError as error:
        return str(error)
    return ""


def missing_items_policy(share: float) -> Literal["drop", "add"]:
    """Treatment of items that the item table lacks, by their share of the events.

    A few odd ids are dropped; many would cost events, and their items can still be learned by id.
    """
    return "drop" if share <= FEW_MISSING else "add"


def refusals(raw: RawTables, conflicts: Conflicts, missing_items: str) -> list[str]:
    """Messages of the errors that a run inferred from the tables would raise, all of them instead of the first.

    Args:
        raw: the tables.
        conflicts: the columns that the run ignores.
        missing_items: treatment of items that the item table lacks.
    """
    messages: list[str] = []

    def attempt(check: Callable[..., Any], *arguments: Any) -> None:
        if text := _refusal(check, *arguments):
            messages.append(text)

    columns = Columns(**{**raw.columns._asdict(), **dict.fromkeys(conflicts.unusable)})
    tables = _read_tables(raw, conflicts)
    log = tables["log"]
    attempt(checks.as_ids, log[columns.user_id], "log")
    attempt(checks.as_ids, log[columns.item_id], "log")
    if columns.timestamp != FILE_ORDER:
        attempt(to_seconds, log[columns.timestamp], raw.times.unit, "log", raw.times.form)
    for table in tables:
        if table != "log":
            key = f"{table[:-1]}_id"
            attempt(assembly.side_table, tables[table], key, getattr(columns, key), raw.rules)
    if not messages:  # faults between tables, and of the log as a whole
        users, items = tables.get("users"), tables.get("items")
        attempt(assembly.assemble, log, users, items, columns, missing_items, raw.times, raw.rules)
    return messages


def _read_tables(raw: RawTables, conflicts: Conflicts) -> dict[str, pl.DataFrame]:
    """The tables without the columns that a run ignores."""
    return {
        name: table.select(c for c in table.columns if f"{name}.{c}" not in conflicts.reasons)
        for name, table in raw.tables.items()
    }
