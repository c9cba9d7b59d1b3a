"""What a column of a table could be as a feature, and why, or why it is none."""

import re
from dataclasses import dataclass
from typing import Any

import polars as pl

from tfrecall.data.inspection.columns import ID_WORDS, looks_like_time, words_of
from tfrecall.data.inspection.profiles import Profile, profile
from tfrecall.schema.features import RESERVED, check_column

# Rows behind a value, on average, from which it says more than the row it stands in.
ROWS_PER_VALUE, ROWS_PER_PHRASE = 2, 5
# A text of more bytes is a document, not a title or a line of description; words of the longest are
# kept for every row.
LONGEST_TEXT = 5_000
LONGEST_LIST = 500
MAX_TOKENS = 10_000
# Buckets of a number: enough for a shape, few enough that each is met often.
NUM_BUCKETS = 20
# Whole numbers are taken as names of classes up to so many; with gaps, which buckets do not take, up
# to more.
FEWER_VALUES, FEW_VALUES = 12, 100
SEPARATORS = ("|", ";", ",")


@dataclass(frozen=True)
class Judged:
    """One column, judged.

    Attributes:
        table: `log`, `users` or `items`.
        column: its name.
        feature: the settings of its feature; None if it is left out.
        why: the reason, in words.
        separator: what stands between the values, if its texts are to be split into lists.
    """

    table: str
    column: str
    feature: dict[str, Any] | None
    why: str
    separator: str | None = None


def judge(table: str, column: pl.Series, *, gaps: str = "") -> Judged:
    """Judges a column by what is in it.

    Args:
        table: `log`, `users` or `items`.
        column: one value a row of the table that it describes.
        gaps: why rows without a value will be added, if they will.
    """
    found = profile(table, column)
    reason = _no_feature(found) or (_too_long(found) if found.longest else "")
    if reason:
        return _left_out(found, reason)
    if column.dtype == pl.Boolean:
        return _categorical(found, "yes or no")
    if column.dtype in (pl.List, pl.Array):
        return _judge_list(found, column)
    if column.dtype.is_numeric():
        return _judge_number(found, gaps)
    if column.dtype.is_temporal():
        return _judge_time(found)
    if column.dtype in (pl.String, pl.Categorical, pl.Enum):
        return _judge_text(found, column.cast(pl.String))
    return _left_out(found, f"holds {column.dtype}, for which there is no feature")


def _no_feature(found: Profile) -> str:
    """What makes any column useless as a feature; empty if nothing does."""
    try:
        check_column(found.name)
    except ValueError as error:
        better = str(error).rsplit('"', 2)[-2]
        return (
            "its name cannot be a feature: letters, digits and underscores only, a letter first; rename "
            f"it to {better} to use it"
        )
    if found.name in RESERVED and found.table != "items":
        return "its name is that of an argument of the exported model; rename it to use it"
    if found.is_empty:
        return "is empty in every row"
    if found.is_constant:
        return "has the same value in every row"
    return ""


def _too_long(found: Profile) -> str:
    if found.dtype == "String" and (found.longest or 0) > LONGEST_TEXT:
        return (
            f"holds texts of up to {found.longest:,} bytes: documents, not titles; a column with a "
            "summary or with keywords could be a feature"
        )
    if found.dtype.startswith("List") and (found.longest or 0) > LONGEST_LIST:
        return f"holds lists of up to {found.longest:,} values; shorter ones could be a feature"
    return ""


def _judge_list(found: Profile, column: pl.Series) -> Judged:
    inner = getattr(column.dtype, "inner", None)
    if inner is None or not (inner.is_integer() or inner in (pl.String, pl.Categorical, pl.Enum)):
        return _left_out(
            found, f"holds {column.dtype}; lists of texts or whole numbers can be features"
        )
    empty = f", {found.nulls:,} rows without" if found.nulls else ""
    return _lists(found, f"lists of values{empty}")


def _judge_number(found: Profile, gaps: str) -> Judged:
    whole = "Int" in found.dtype
    code = whole and words_of(found.name)[-1] in ID_WORDS | {"zip", "postcode", "plz"}
    # In a small table ages may all differ, too.
    if whole and found.is_distinct and (code or found.rows > FEW_VALUES):
        return _left_out(found, "has another number in every row: it identifies the row")
    if code:
        return _judge_codes(found)
    complete = not found.nulls and not gaps
    if whole and found.distinct <= (FEW_VALUES if not complete else FEWER_VALUES):
        gap = "" if complete else "; a gap is unknown"
        return _categorical(found, f"whole numbers, {found.distinct} different{gap}")
    if complete:
        settings = {"type": "bucketized", "num_buckets": NUM_BUCKETS}
        return Judged(found.table, found.name, settings, f"numbers, {found.distinct:,} different")
    reason = gaps or f"has no value in {found.nulls:,} of {found.rows:,} rows"
    return _left_out(
        found, f"a number that {reason}, and none stands for not known; fill it in to use it"
    )


def _judge_codes(found: Profile) -> Judged:
    if found.distinct * ROWS_PER_VALUE > found.rows:
        return _left_out(found, f"codes, {found.distinct:,} in {found.rows:,} rows: too rare to learn")
    return _categorical(found, f"codes, {found.distinct:,} different")


def _judge_time(found: Profile) -> Judged:
    return _left_out(
        found,
        f"{found.dtype.split('(')[0].lower()}; add a column with the year, or with a number of days",
    )


def _judge_text(found: Profile, column: pl.Series) -> Judged:
    if looks_like_time(column, by_itself=True):
        return _left_out(found, "dates as text; add a column with the year, or with a number of days")
    if separator := _separator(found, column):
        return _lists(found, f"lists written with {separator!r} between the values", separator)
    many_words = (found.mean_words or 0) >= 1.5
    needed = ROWS_PER_PHRASE if many_words else ROWS_PER_VALUE
    if found.distinct * needed <= found.rows:
        return _categorical(found, f"{found.distinct:,} different values in {found.rows:,} rows")
    if many_words:
        settings = {"type": "text", "max_tokens": MAX_TOKENS}
        why = f"free text, {found.mean_words:.1f} words on average, {found.distinct:,} different"
        return Judged(found.table, found.name, settings, why)
    return _left_out(
        found, f"{found.distinct:,} different values in {found.rows:,} rows: too rare to learn"
    )


def _separator(found: Profile, column: pl.Series) -> str | None:
    """What stands between values, if splitting there gives few short values that come back.

    They come back in other texts, too, or a comma would take "Paris, France" for two values.
    """
    texts = column.drop_nulls().unique()
    for mark in SEPARATORS:
        parts = texts.str.split(mark)
        if float((parts.list.len() > 1).mean() or 0) < 0.2:  # type: ignore[arg-type]
            continue
        values = parts.explode().str.strip_chars()
        values = values.filter(values != "")
        words = float(values.str.count_matches(r"\S+").mean() or 0)  # type: ignore[arg-type]
        distinct = values.n_unique()
        often = distinct * ROWS_PER_PHRASE <= found.rows
        elsewhere = mark == "|" or distinct * 1.5 <= len(values)
        if often and elsewhere and words <= 3:
            return mark
    return None


def _categorical(found: Profile, why: str) -> Judged:
    return Judged(found.table, found.name, {"type": "categorical"}, why)


def _lists(found: Profile, why: str, separator: str | None = None) -> Judged:
    return Judged(found.table, found.name, {"type": "multi_categorical"}, why, separator)


def _left_out(found: Profile, why: str) -> Judged:
    return Judged(found.table, found.name, None, why)


def plain_name(name: str) -> str:
    """A name that a recipe and a folder may have.

    >>> plain_name("my log/2024")
    'my_log_2024'
    """
    return re.sub(r"[^\w.-]+", "_", name).strip("._") or "log"
