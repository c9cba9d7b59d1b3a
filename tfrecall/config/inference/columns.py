"""Column decisions: the feature that a column becomes, or the reason it is left out."""

import re
from dataclasses import dataclass
from typing import Any

import polars as pl

from tfrecall.data.inspection.columns import ID_WORDS, looks_like_time, words_of
from tfrecall.data.inspection.profiles import Profile, profile
from tfrecall.schema.features import RESERVED, check_column

# Mean rows a value below which an embedding of the value learns little more than its single row.
ROWS_PER_VALUE, ROWS_PER_PHRASE = 2, 5
# Bytes above which a text is a document, not a title: all rows are padded to the words of the longest.
LONGEST_TEXT = 5_000
LONGEST_LIST = 500
MAX_TOKENS = 10_000
# Buckets of a number: enough for a shape, few enough that each holds many rows.
NUM_BUCKETS = 20
# Distinct whole numbers up to which they are classes. Buckets take no nulls, so with nulls the limit is higher.
FEWER_VALUES, FEW_VALUES = 12, 100
SEPARATORS = ("|", ";", ",")


@dataclass(frozen=True)
class ColumnDecision:
    """Feature settings of one column, or None, with the reason.

    Attributes:
        table: `log`, `users` or `items`.
        column: name of the column.
        feature: settings of the feature; None leaves the column out.
        why: the reason, in words.
        separator: mark between values, if the texts are to be split into lists.
    """

    table: str
    column: str
    feature: dict[str, Any] | None
    why: str
    separator: str | None = None


def decide(table: str, column: pl.Series, *, gaps: str = "") -> ColumnDecision:
    """Decide by content whether a column is a feature, and of which kind.

    Args:
        table: `log`, `users` or `items`.
        column: one value a row of the table.
        gaps: why rows without a value will be added, to complete "a number that ..."; empty if none will.
    """
    stats = profile(table, column)
    reason = _no_feature(stats) or (_too_long(stats) if stats.longest else "")
    if reason:
        return _left_out(stats, reason)
    if column.dtype == pl.Boolean:
        return _categorical(stats, "yes or no")
    if column.dtype in (pl.List, pl.Array):
        return _decide_list(stats, column)
    if column.dtype.is_numeric():
        return _decide_number(stats, gaps)
    if column.dtype.is_temporal():
        return _decide_time(stats)
    if column.dtype in (pl.String, pl.Categorical, pl.Enum):
        return _decide_text(stats, column.cast(pl.String))
    return _left_out(stats, f"holds {column.dtype}, for which there is no feature")


def _no_feature(stats: Profile) -> str:
    """The reason why a column of any type is useless as a feature; empty if there is none."""
    try:
        check_column(stats.name)
    except ValueError as error:
        # The message of `check_column` ends with the proposed name in quotes.
        better = str(error).rsplit('"', 2)[-2]
        return (
            "its name cannot be a feature: letters, digits and underscores only, a letter first; rename "
            f"it to {better} to use it"
        )
    if stats.name in RESERVED and stats.table != "items":
        return "its name is that of an argument of the exported model; rename it to use it"
    if stats.is_empty:
        return "is empty in every row"
    if stats.is_constant:
        return "has the same value in every row"
    return ""


def _too_long(stats: Profile) -> str:
    if stats.dtype == "String" and (stats.longest or 0) > LONGEST_TEXT:
        return (
            f"holds texts of up to {stats.longest:,} bytes: documents, not titles; a column with a "
            "summary or with keywords could be a feature"
        )
    if stats.dtype.startswith("List(Float"):
        return (
            f"holds {stats.dtype} of up to {stats.longest:,} numbers; an embedding is a feature if you say so: "
            f'{{ type = "vector", column = "{stats.name}", length = {stats.longest} }}'
        )
    if stats.dtype.startswith("List") and (stats.longest or 0) > LONGEST_LIST:
        return f"holds lists of up to {stats.longest:,} values; shorter ones could be a feature"
    return ""


def _decide_list(stats: Profile, column: pl.Series) -> ColumnDecision:
    inner = getattr(column.dtype, "inner", None)
    if inner is None or not (inner.is_integer() or inner in (pl.String, pl.Categorical, pl.Enum)):
        return _left_out(
            stats, f"holds {column.dtype}; lists of texts or whole numbers can be features"
        )
    empty = f", {stats.nulls:,} rows without" if stats.nulls else ""
    return _lists(stats, f"lists of values{empty}")


def _decide_number(stats: Profile, gaps: str) -> ColumnDecision:
    whole = "Int" in stats.dtype
    code = whole and words_of(stats.name)[-1] in ID_WORDS | {"zip", "postcode", "plz"}
    # In a small table even ages may all differ, so only codes or long tables are taken for identifiers.
    if whole and stats.is_distinct and (code or stats.rows > FEW_VALUES):
        return _left_out(stats, "has another number in every row: it identifies the row")
    if code:
        return _decide_codes(stats)
    complete = not stats.nulls and not gaps
    if whole and stats.distinct <= (FEW_VALUES if not complete else FEWER_VALUES):
        gap = "" if complete else "; a gap is unknown"
        return _categorical(stats, f"whole numbers, {stats.distinct} different{gap}")
    if complete:
        settings = {"type": "bucketized", "num_buckets": NUM_BUCKETS}
        return ColumnDecision(
            stats.table, stats.name, settings, f"numbers, {stats.distinct:,} different"
        )
    reason = gaps or f"has no value in {stats.nulls:,} of {stats.rows:,} rows"
    return _left_out(
        stats, f"a number that {reason}, and none stands for not known; fill it in to use it"
    )


def _decide_codes(stats: Profile) -> ColumnDecision:
    if stats.distinct * ROWS_PER_VALUE > stats.rows:
        return _left_out(stats, f"codes, {stats.distinct:,} in {stats.rows:,} rows: too rare to learn")
    return _categorical(stats, f"codes, {stats.distinct:,} different")


def _decide_time(stats: Profile) -> ColumnDecision:
    return _left_out(
        stats,
        f"{stats.dtype.split('(')[0].lower()}; add a column with the year, or with a number of days",
    )


def _decide_text(stats: Profile, column: pl.Series) -> ColumnDecision:
    if looks_like_time(column, by_itself=True):
        return _left_out(stats, "dates as text; add a column with the year, or with a number of days")
    if separator := _separator(stats, column):
        return _lists(stats, f"lists written with {separator!r} between the values", separator)
    if column.drop_nulls().str.contains(r"^\s*[+-]?\d+\s*$").all():  # codes with leading zeros
        return _decide_codes(stats)
    # Phrases are worth splitting into words, so as whole values they must recur more often.
    many_words = (stats.mean_words or 0) >= 1.5
    needed = ROWS_PER_PHRASE if many_words else ROWS_PER_VALUE
    if stats.distinct * needed <= stats.rows:
        return _categorical(stats, f"{stats.distinct:,} different values in {stats.rows:,} rows")
    if many_words:
        settings = {"type": "text", "max_tokens": MAX_TOKENS}
        why = f"free text, {stats.mean_words:.1f} words on average, {stats.distinct:,} different"
        return ColumnDecision(stats.table, stats.name, settings, why)
    return _left_out(
        stats, f"{stats.distinct:,} different values in {stats.rows:,} rows: too rare to learn"
    )


def _separator(stats: Profile, column: pl.Series) -> str | None:
    """The mark between list values, if splitting at it gives few, short, recurring values.

    Values must recur in other texts too; otherwise a comma would split "Paris, France".
    """
    texts = column.drop_nulls().unique()
    for mark in SEPARATORS:
        parts = texts.str.split(mark)
        # Fewer than a fifth of the texts hold the mark: punctuation, not a list.
        if float((parts.list.len() > 1).mean() or 0) < 0.2:  # type: ignore[arg-type]
            continue
        values = parts.explode().str.strip_chars()
        values = values.filter(values != "")
        words = float(values.str.count_matches(r"\S+").mean() or 0)
        distinct = values.n_unique()
        # `values` come from distinct texts, so a value that is 1.5 times as frequent as distinct recurs in
        # other texts. "|" is never punctuation and need not prove it.
        often = distinct * ROWS_PER_PHRASE <= stats.rows
        elsewhere = mark == "|" or distinct * 1.5 <= len(values)
        if often and elsewhere and words <= 3:
            return mark
    return None


def _categorical(stats: Profile, why: str) -> ColumnDecision:
    return ColumnDecision(stats.table, stats.name, {"type": "categorical"}, why)


def _lists(stats: Profile, why: str, separator: str | None = None) -> ColumnDecision:
    return ColumnDecision(stats.table, stats.name, {"type": "multi_categorical"}, why, separator)


def _left_out(stats: Profile, why: str) -> ColumnDecision:
    return ColumnDecision(stats.table, stats.name, None, why)


def plain_name(name: str) -> str:
    """Convert a name to one that a recipe and a folder may have.

    >>> plain_name("my log/2024")
    'my_log_2024'
    """
    return re.sub(r"[^\w.-]+", "_", name).strip("._") or "log"
