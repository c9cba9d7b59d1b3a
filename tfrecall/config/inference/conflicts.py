"""Columns that would have a log refused though it could do without them: they are not read, and said."""

from collections.abc import Callable
from dataclasses import dataclass

import polars as pl

from tfrecall.data import checks
from tfrecall.data.inspection.opening import Opened
from tfrecall.errors import DataError

CANONICAL = ("user_id", "item_id", "timestamp", "rating", "weight")


@dataclass(frozen=True)
class Conflicts:
    """What is not read.

    Attributes:
        reasons: `table.column` to why.
        unusable: of `rating` and `weight`, those that cannot be used.
        said: what people should know about it.
    """

    reasons: dict[str, str]
    unusable: frozenset[str]
    said: tuple[str, ...]

    @property
    def ignored(self) -> tuple[str, ...]:
        return tuple(self.reasons)


def find_conflicts(opened: Opened) -> Conflicts:
    """Looks for columns that no model needs and a run would be refused for."""
    reasons: dict[str, str] = {}
    said, unusable = [], set()
    for key in ("rating", "weight"):
        name = getattr(opened.columns, key)
        if name is not None and (why := _refusal(checks.as_number, opened.log[name], "log")):
            reasons[f"log.{name}"] = f"cannot be the {key}: {why}"
            unusable.add(key)
            said.append(f"No {key} is read. {why}")
    taken: dict[str, str] = {}
    used = {name for name in opened.columns if name}
    # The tables before the log: what stands twice is kept where it describes a thing, not an event.
    for table in sorted(opened.tables, key=("items", "users", "log").index):
        for column in opened.tables[table].iter_columns():
            where = f"{table}.{column.name}"
            is_key = column.name in used if table == "log" else column.name == opened.key(table)
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
    return Conflicts(reasons, frozenset(unusable), tuple(said))


def _refusal(check: Callable[..., object], column: pl.Series | pl.DataFrame, what: str) -> str:
    try:
        check(column, what)
    except DataError as error:
        return str(error)
    return ""
