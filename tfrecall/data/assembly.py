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
from tfrecall.data.time_doubts import days_of, doubts_of_days
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
    check_policy(missing_items)
    cleaning = cleaning or Cleaning()
    cleaned = clean_log(to_polars(frame, "log"), columns, cleaning)
    log, kind = canonical_log(cleaned.frame, columns, times, "; ".join(cleaned.notes))
    tables = Tables(log, log.clear(), log.clear())
    for text in cleaned.notes:
        tables.note(text)
    tables.users = side_table(users, USER, columns.user_id, cleaning, tables.note)
    tables.items = side_table(items, ITEM, columns.item_id, cleaning, tables.note)
    has_times = columns.timestamp != FILE_ORDER
    for text in time_notes(days_of(log[TIMESTAMP]) if has_times else None, kind, times):
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


def time_notes(days: pl.DataFrame | None, kind: str, times: TimeForm) -> list[str]:
    """Notes on how times are read, and doubts.

    Args:
        days: the times of the log (`days_of`); None for a log without times.
        kind: the kind that `to_seconds` gives.
        times: how times are written, as somebody said.
    """
    if days is None:
        return ["timestamps read as no times: the order of the file is the order of the events"]
    notes = [f"timestamps read as {kind}"]
    if days["first"].min() == days["last"].max():
        return [*notes, "all timestamps are equal: the order of the file is the order of the events"]
    # A declared unit or format is not doubted.
    return [*notes, *doubts_of_days(days, kind, declared=times.is_given)]


def check_policy(missing_items: str) -> None:
    """Refuses a treatment of missing items that there is not.

    Raises:
        ConfigError: if it is none of `MISSING_ITEMS`.
    """
    if missing_items not in MISSING_ITEMS:
        raise ConfigError(
            f"{argument('missing_items')} must be one of {list(MISSING_ITEMS)}. "
            f'Received: "{missing_items}".'
            f"{nearest(missing_items, MISSING_ITEMS)}"
        )


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
    log = named_log(frame, columns)
    if not log.height:
        checks.refuse_too_small(log)
    log, kind = typed_log(log, times)
    checks.refuse_too_small(log, f" after cleaning ({cleaned})" if cleaned else "")
    return log, kind


def named_log(frame: pl.DataFrame, columns: Columns) -> pl.DataFrame:
    """The log under canonical names, with equal times where it has none."""
    given = {key: name for key, name in columns._asdict().items() if name is not None}
    if given[TIMESTAMP] == FILE_ORDER:
        frame = _without_times(frame)
        given[TIMESTAMP] = TIMESTAMP
    given = {key: find_name(frame.columns, name) for key, name in given.items()}
    require_roles(frame.columns, given, "log")
    return rename(frame, given, "log")


def typed_log(
    log: pl.DataFrame, times: TimeForm, rows: int | None = None, calendar: bool = True
) -> tuple[pl.DataFrame, str]:
    """The log with canonical types, keys first, and the kind of its timestamps.

    Args:
        log: the log under canonical names.
        times: how times are written, as somebody said.
        rows: number of rows of the log; those behind them, values of other parts of it, only help to recognise
            types and times, and may have nulls. None for all.
        calendar: whether numbers may be dates in digits, years or days of a spreadsheet.
    """
    rows = log.height if rows is None else rows
    own = log.head(rows)
    stamps = pl.concat([own[TIMESTAMP], log[TIMESTAMP][rows:].drop_nulls()])
    seconds, kind = to_seconds(stamps, times.unit, form=times.form, calendar=calendar)
    series = [checks.as_ids(own[USER], "log"), checks.as_ids(own[ITEM], "log"), seconds.head(rows)]
    if "rating" in log.columns:
        series.append(checks.as_number(own["rating"], "log"))
    if "weight" in log.columns:
        series.append(checks.as_number(own["weight"], "log", at_least=0.0))
    context = checks.plain(log.drop([one.name for one in series])).head(rows)
    checks.refuse_not_finite(context, "log")
    return pl.DataFrame([*series, *context.get_columns()]), kind


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


def spelling_doubt(ids: pl.Series, table: pl.Series, missing: int, what: str) -> str:
    """Refuses a table whose ids are mostly spelt otherwise; a doubt about fewer is returned in words.

    Args:
        ids: distinct ids of the log.
        table: ids of the table.
        missing: number of ids that the table lacks.
        what: name of the table.
    """
    text = other_spelling(ids, table, what)
    if text and missing >= MOSTLY_MISSING * len(ids):
        raise DataError(text)
    return f" {text}" if text else ""


def _doubt(tables: Tables, key: str, missing: int) -> str:
    table = tables.users if key == USER else tables.items
    ids = tables.log[key].unique(maintain_order=True)
    return spelling_doubt(ids, table[key], missing, f"{key.removesuffix('_id')}s table")


def added_users(missing: int, doubt: str) -> str:
    """The note on users of the log that the user table lacks."""
    return (
        f"{missing:,} users of the log were not in the users table and were added "
        f"without features{'.' if doubt else ''}{doubt}"
    )


def _add_missing_users(tables: Tables) -> None:
    missing = _missing(tables.log, tables.users, USER)
    if missing.height:
        doubt = _doubt(tables, USER, missing.height)
        tables.users = pl.concat([tables.users, missing], how="diagonal")
        tables.note(added_users(missing.height, doubt))


def missing_items_note(
    policy: str, missing: int, events: tuple[int, int], first: tuple[int, str], doubt: str
) -> str:
    """The note on items of the log that the item table lacks.

    Args:
        policy: their treatment.
        missing: their number.
        events: number of their events, and of all.
        first: row and id of the first of these events.
        doubt: sentence on their spelling.

    Raises:
        DataError: if they are refused.
    """
    count = f"{missing:,} items of the log ({events[0]:,} of {events[1]:,} events)"
    if policy == "refuse":
        raise DataError(
            f"{count} are not in the items table, the first in row {first[0]:,}: "
            f'"{first[1]}". Choose what to do with them: '
            f"{argument('missing_items', 'add')} keeps them without features, "
            f"{argument('missing_items', 'drop')} removes their events.{doubt}"
        )
    if policy == "add":
        return f"{count} were not in the items table and were added without features"
    return f"{count} were not in the items table; these events were dropped"


def _treat_missing_items(tables: Tables, policy: str) -> None:
    missing = _missing(tables.log, tables.items, ITEM)
    if not missing.height:
        return
    doubt = _doubt(tables, ITEM, missing.height)
    absent = pl.Series(Vocabulary(tables.items[ITEM]).rows(tables.log[ITEM]) < 0)
    events, first = (int(absent.sum()), len(absent)), (first_true(absent), missing["item_id"][0])
    tables.note(missing_items_note(policy, missing.height, events, first, doubt))
    if policy == "add":
        tables.items = pl.concat([tables.items, missing], how="diagonal")
        return
    tables.log = tables.log.filter(~absent)
    checks.refuse_too_small(tables.log, " after the events of missing items were dropped")
