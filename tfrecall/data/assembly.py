"""Construction of a checked log, user table and item table from raw frames."""

import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import polars as pl

from tfrecall.core.arguments import argument
from tfrecall.core.columns import ITEM, TIMESTAMP, USER
from tfrecall.core.vocabulary import Vocabulary
from tfrecall.data import checks
from tfrecall.data.cleaning import Cleaned, Cleaning, clean_ids, other_spelling, without_repeats
from tfrecall.data.frames import find_name, first_true, rename, require, require_roles, to_polars
from tfrecall.data.null_words import without_null_words
from tfrecall.data.time_doubts import doubts
from tfrecall.data.timestamps import TimeForm, to_seconds
from tfrecall.errors import ConfigError, DataError, nearest

MISSING_ITEMS = ("refuse", "add", "drop")
# Name of the column of times for a log without times.
FILE_ORDER = ""
# Share of the log's ids that a table lacks from which another spelling of its ids is refused.
MOSTLY_MISSING = 0.5

logger = logging.getLogger("tfrecall")


class Columns(NamedTuple):
    """Names of the columns of a raw log by role; None for no such column."""

    user_id: str = "user_id"
    item_id: str = "item_id"
    timestamp: str = "timestamp"
    rating: str | None = None
    weight: str | None = None


@dataclass
class Tables:
    """The parts of an `Interactions` under construction."""

    log: pl.DataFrame
    users: pl.DataFrame
    items: pl.DataFrame
    notes: list[str] = field(default_factory=list)

    def note(self, text: str) -> None:
        """Records what was filtered, repaired or recognised, and logs it."""
        self.notes.append(text)
        logger.info(text)


def assemble(
    frame: Any,
    users: Any,
    items: Any,
    columns: Columns,
    missing_items: str,
    times: TimeForm,
    cleaning: Cleaning | None = None,
) -> Tables:
    """Checks and completes the tables; arguments as for `Interactions.from_frame`."""
    if missing_items not in MISSING_ITEMS:
        raise ConfigError(
            f"{argument('missing_items')} must be one of {list(MISSING_ITEMS)}. "
            f'Received: "{missing_items}".'
            f"{nearest(missing_items, MISSING_ITEMS)}"
        )
    cleaning = cleaning or Cleaning()
    cleaned = clean_log(to_polars(frame, "log"), columns, cleaning)
    log, kind = canonical_log(cleaned.frame, columns, times, "; ".join(cleaned.notes))
    tables = Tables(log, log.clear(), log.clear())
    for text in cleaned.notes:
        tables.note(text)
    tables.users = side_table(users, USER, columns.user_id, cleaning, tables.note)
    tables.items = side_table(items, ITEM, columns.item_id, cleaning, tables.note)
    if columns.timestamp == FILE_ORDER:
        kind = "no times: the order of the file is the order of the events"
    tables.note(f"timestamps read as {kind}")
    if columns.timestamp != FILE_ORDER:
        if (log[TIMESTAMP] == log[TIMESTAMP][0]).all():
            tables.note("all timestamps are equal: the order of the file is the order of the events")
        else:
            # A declared unit or format is not doubted.
            for text in doubts(log[TIMESTAMP], kind, declared=times.is_given):
                tables.note(text)
    checks.refuse_shared_columns(tables.log, tables.users, tables.items)
    # Items before users: a user whose events are all dropped is not added to the users.
    if items is not None:
        _treat_missing_items(tables, missing_items)
    else:
        tables.items = _missing(tables.log, tables.items, ITEM)
    if users is not None:
        _add_missing_users(tables)
    else:
        tables.users = _missing(tables.log, tables.users, USER)
    return tables


def clean_log(frame: pl.DataFrame, columns: Columns, rules: Cleaning) -> Cleaned:
    """The log without repeated rows and rows without ids; refused if no row is left."""
    user, item, timestamp = (find_name(frame.columns, name) for name in columns[:3])
    once = without_repeats(frame, timestamp, rules)
    cleaned = clean_ids(once.frame, {"user": user, "item": item}, rules, "log")
    if frame.height and not cleaned.frame.height:
        raise DataError(
            f"No row of the log has a user and an item: {'; '.join(cleaned.notes)}. "
            "Are the columns the right ones?"
        )
    roles = {name for name in columns[2:] if name}
    log, nulls = without_null_words(cleaned.frame, {user, item}, roles, rules.null_values, "log")
    return Cleaned(log, [*once.notes, *cleaned.notes, *nulls.values()], once.repeated)


def canonical_log(
    frame: pl.DataFrame, columns: Columns, times: TimeForm, cleaned: str = ""
) -> tuple[pl.DataFrame, str]:
    """The log with canonical names and types, keys first, and the kind of its timestamps.

    Args:
        frame: the log, cleaned.
        columns: its columns by role.
        times: how times are written, as somebody said.
        cleaned: sentences about rows that were dropped before.
    """
    given = {key: name for key, name in columns._asdict().items() if name is not None}
    if given[TIMESTAMP] == FILE_ORDER:
        frame = _without_times(frame)
        given[TIMESTAMP] = TIMESTAMP
    given = {key: find_name(frame.columns, name) for key, name in given.items()}
    require_roles(frame.columns, given, "log")
    log = rename(frame, given, "log")
    if not log.height:
        checks.refuse_too_small(log)
    seconds, kind = to_seconds(log[TIMESTAMP], times.unit, form=times.form)
    series = [
        checks.as_ids(log[USER], "log"),
        checks.as_ids(log[ITEM], "log"),
        seconds,
    ]
    if "rating" in log.columns:
        series.append(checks.as_number(log["rating"], "log"))
    if "weight" in log.columns:
        series.append(checks.as_number(log["weight"], "log", at_least=0.0))
    names = [one.name for one in series]
    context = checks.plain(log.drop(names))
    checks.refuse_not_finite(context, "log")
    log = pl.DataFrame([*series, *context.get_columns()])
    checks.refuse_too_small(log, f" after cleaning ({cleaned})" if cleaned else "")
    return log, kind


def _without_times(frame: pl.DataFrame) -> pl.DataFrame:
    """Adds equal times, so that the order of the file orders the events."""
    if TIMESTAMP in frame.columns:
        raise DataError(
            'The log has a column "timestamp" that was not named as the time: the order of the file would '
            "count instead. Name it as the time, or drop it."
        )
    return frame.with_columns(timestamp=pl.lit(0.0))


def side_table(
    frame: Any,
    key: str,
    given: str,
    rules: Cleaning | None = None,
    note: Callable[[str], None] = logger.info,
) -> pl.DataFrame:
    """Cleans and checks a user or item table and puts its key first; None gives a table without rows."""
    if frame is None:
        return pl.DataFrame(schema={key: pl.String})
    what = f"{key.removesuffix('_id')}s table"
    table = to_polars(frame, what)
    # A table from another `Interactions` has the canonical name already.
    given = find_name(table.columns, given)
    name = key if given not in table.columns and key in table.columns else given
    require(
        table.columns, name, what, f"It must have the column that {argument(key)} names in the log."
    )
    cleaned = clean_ids(table, {key.removesuffix("_id"): name}, rules or Cleaning(), what)
    words = (rules or Cleaning()).null_values
    table, nulls = without_null_words(cleaned.frame, {name}, (), words, what)
    for text in (*cleaned.notes, *nulls.values()):
        note(text)
    table = rename(table, {key: name}, what)
    ids = checks.as_ids(table[key], what)
    rest = checks.plain(table.drop(key))
    checks.refuse_not_finite(rest, what)
    table = pl.DataFrame([ids, *rest.get_columns()])
    checks.refuse_duplicates(table, key, what)
    return table


def _missing(log: pl.DataFrame, table: pl.DataFrame, key: str) -> pl.DataFrame:
    """Distinct ids of the log that the table lacks, in order of first appearance."""
    ids = log.select(pl.col(key).unique(maintain_order=True))
    return ids.join(table, on=key, how="anti", maintain_order="left")


def _refuse_other_spelling(tables: Tables, key: str, missing: int) -> str:
    """Refuses a table whose ids are mostly spelt otherwise; a doubt about fewer is returned in words."""
    table = tables.users if key == USER else tables.items
    text = other_spelling(tables.log[key], table[key], f"{key.removesuffix('_id')}s table")
    if text and missing >= MOSTLY_MISSING * tables.log[key].n_unique():
        raise DataError(text)
    return f" {text}" if text else ""


def _add_missing_users(tables: Tables) -> None:
    missing = _missing(tables.log, tables.users, USER)
    if missing.height:
        doubt = _refuse_other_spelling(tables, USER, missing.height)
        tables.users = pl.concat([tables.users, missing], how="diagonal")
        tables.note(
            f"{missing.height:,} users of the log were not in the users table and were added "
            f"without features{'.' if doubt else ''}{doubt}"
        )


def _treat_missing_items(tables: Tables, policy: str) -> None:
    missing = _missing(tables.log, tables.items, ITEM)
    if not missing.height:
        return
    doubt = _refuse_other_spelling(tables, ITEM, missing.height)
    absent = pl.Series(Vocabulary(tables.items[ITEM]).rows(tables.log[ITEM]) < 0)
    count = f"{missing.height:,} items of the log ({absent.sum():,} of {len(absent):,} events)"
    if policy == "refuse":
        raise DataError(
            f"{count} are not in the items table, the first in row {first_true(absent):,}: "
            f'"{missing["item_id"][0]}". Choose what to do with them: '
            f"{argument('missing_items', 'add')} keeps them without features, "
            f"{argument('missing_items', 'drop')} removes their events.{doubt}"
        )
    if policy == "add":
        tables.items = pl.concat([tables.items, missing], how="diagonal")
        tables.note(f"{count} were not in the items table and were added without features")
        return
    tables.log = tables.log.filter(~absent)
    tables.note(f"{count} were not in the items table; these events were dropped")
    checks.refuse_too_small(tables.log, " after the events of missing items were dropped")
