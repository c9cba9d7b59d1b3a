"""Columns without which a log can be read: those that `tr.data.read` would refuse are ignored."""

from collections.abc import Callable
from dataclasses import dataclass

import polars as pl

from tfrecall.data import checks
from tfrecall.data.inspection.raw_tables import RawTables
from tfrecall.errors import DataError

CANONICAL = ("user_id", "item_id", "timestamp", "rating", "weight")


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
    def ignored(self) -> tuple[str, ...]:
        return tuple(self.reasons)


def find_conflicts(raw: RawTables) -> Conflicts:
    """Find columns that no model needs and `tr.data.read` would refuse."""
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


def _refusal(check: Callable[..., object], column: pl.Series | pl.DataFrame, what: str) -> str:
    try:
        check(column, what)
    except DataError as error:
        return str(error)
    return ""
