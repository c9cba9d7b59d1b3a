"""Cleaning of a raw log and its tables: ids that are none, ids spelt differently, events logged twice."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import polars as pl

from tfrecall.core.arguments import argument
from tfrecall.data.formats.text_types import NULL_VALUES
from tfrecall.errors import ConfigError, nearest

REPEATED_ROWS = ("drop", "keep")
ID_SPELLINGS = ("as_written", "numbers")

# A whole number, however a program or a spreadsheet spells it: 42, 00042, 42.0, +42.
_WHOLE = r"^(?:\+|(-))?0*(\d+)(?:\.0*)?$"
# Share of a table's missing ids that another spelling must explain: fewer meet by chance.
EXPLAINED = 0.5
# Most values that a note lists.
LISTED = 4


@dataclass(frozen=True)
class Cleaning:
    """Rules of cleaning.

    Attributes:
        null_values: words that stand for no id, whatever their case; their rows are dropped, as are
            rows with null or blank ids, and blanks around ids are removed. Empty: ids stay as they are,
            and null or blank ones are refused. In other columns they are nulls (`null_words`).
        repeated_rows: "drop" keeps one of several rows that are equal in every column, time included:
            retries of a program that logs. "keep" keeps all.
        id_spelling: "numbers" makes "42" of "00042" and "42.0", in every table; "as_written" does not.
    """

    null_values: tuple[str, ...] = NULL_VALUES
    repeated_rows: str = "drop"
    id_spelling: str = "as_written"

    def __post_init__(self) -> None:
        for name, valid in (("repeated_rows", REPEATED_ROWS), ("id_spelling", ID_SPELLINGS)):
            if (given := getattr(self, name)) not in valid:
                raise ConfigError(
                    f"{argument(name)} must be one of {list(valid)}. "
                    f'Received: "{given}".{nearest(given, valid)}'
                )


@dataclass(frozen=True)
class Cleaned:
    """A table after cleaning.

    Attributes:
        frame: the rows that are left.
        notes: sentences on everything that was changed or dropped.
        repeated: rows that were dropped as repetitions.
    """

    frame: pl.DataFrame
    notes: list[str] = field(default_factory=list)
    repeated: int = 0


def without_repeats(frame: pl.DataFrame, timestamp: str, rules: Cleaning) -> Cleaned:
    """Drops rows of a log that repeat an earlier row in every column.

    Args:
        frame: the log as read, with all its columns.
        timestamp: column of times: where there is none, or all are equal, an equal row may be another event.
        rules: the rules.

    >>> log = pl.DataFrame({"who": ["a", "b", "b"], "what": ["x", "x", "x"], "at": [1, 2, 2]})
    >>> without_repeats(log, "at", Cleaning()).frame.height, without_repeats(log, "", Cleaning()).frame.height
    (2, 3)
    """
    if rules.repeated_rows == "keep" or timestamp not in frame.columns or _are_equal(frame[timestamp]):
        return Cleaned(frame)
    # Only rows that share their time can be equal, often few.
    rows = frame[timestamp].is_duplicated().arg_true()
    if not len(rows):
        return Cleaned(frame)
    shared = frame[rows]
    again = repeats(shared, shared.hash_rows(seed=1))
    if not again.any():
        return Cleaned(frame)
    keep = np.ones(frame.height, dtype=bool)
    keep[rows.filter(again).to_numpy()] = False
    kept = frame.filter(pl.Series(keep))
    repeated = frame.height - kept.height
    return Cleaned(kept, [repeats_note(repeated, frame.height)], repeated)


def repeats(rows: pl.DataFrame, hashes: pl.Series) -> pl.Series:
    """Whether each row is equal to an earlier one in every column and in its hash: bool `[n_rows]`.

    Nulls are equal, and NaN are.

    >>> rows = pl.DataFrame({"who": ["a", "b", "a"]})
    >>> repeats(rows, pl.Series([1, 1, 1])).to_list(), repeats(rows, pl.Series([1, 1, 2])).to_list()
    ([False, False, True], [False, False, False])
    """
    # Hashes of 64 bits tell nearly all rows apart; among a billion two that differ may share one.
    places = hashes.is_duplicated().arg_true()
    # The hash goes along: rows as read may differ in columns that are gone.
    doubtful = rows[places].with_columns(hashes[places].alias("__hash__"))
    again = np.zeros(rows.height, dtype=bool)
    first = doubtful.select(pl.struct(pl.all()).is_first_distinct()).to_series()
    again[places.filter(~first).to_numpy()] = True
    return pl.Series(again)


def repeats_note(repeated: int, rows: int) -> str:
    """The note on rows that repeat another one."""
    return (
        f"{repeated:,} of {rows:,} rows of the log ({repeated / rows:.1%}) repeat another row "
        "in every column, time included, and were dropped, as events logged twice. "
        f"{argument('repeated_rows', 'keep')} keeps them"
    )


def _are_equal(times: pl.Series) -> bool:
    if times.dtype.is_nested():  # no times: reading them says so
        return False
    known = times.drop_nulls()
    return bool(len(known) == 0 or (known == known[0]).all())


def clean_ids(frame: pl.DataFrame, ids: Mapping[str, str], rules: Cleaning, what: str) -> Cleaned:
    """Cleans the ids of a table, and drops rows without one.

    Args:
        frame: the table as read.
        ids: the columns of ids: word of the role, "user" or "item", to the name; missing ones are ignored.
        rules: the rules.
        what: name of the table in notes.

    >>> log = pl.DataFrame({"who": ["7 ", "NULL", "8"], "what": ["a", "b", None]})
    >>> cleaned = clean_ids(log, {"user": "who", "item": "what"}, Cleaning(), "log")
    >>> cleaned.frame.rows(), cleaned.notes[0]
    ([('7', 'a')], '1 of 3 rows of the log have no user (1 "NULL") and were dropped. An empty list of \
`null_values` keeps such words as ids')
    """
    notes: list[str] = []
    for word, name in ids.items():
        if name in frame.columns:
            frame = _with_clean_ids(frame, name, word, rules, what, notes)
    return Cleaned(frame, notes)


def _with_clean_ids(
    frame: pl.DataFrame, name: str, word: str, rules: Cleaning, what: str, notes: list[str]
) -> pl.DataFrame:
    """The table with clean ids in one column, without the rows that have none."""
    column = frame[name].fill_nan(None) if frame[name].dtype.is_float() else frame[name]
    # Each distinct id is looked at once: they are few compared with the rows, and mostly clean.
    ids = column.unique(maintain_order=True)
    clean = ids.str.strip_chars() if ids.dtype == pl.String and rules.null_values else ids
    missing = _is_missing(clean, rules.null_values)
    if missing.any():
        gone = column.is_in(ids.filter(missing).implode(), nulls_equal=True)
        notes.append(missing_note(column.filter(gone), frame.height, word, what))
        frame, column = frame.filter(~gone), column.filter(~gone)
        ids, clean = ids.filter(~missing), clean.filter(~missing)
    if clean.dtype != pl.String:
        return frame.with_columns(column)
    if len(padded := ids.filter(clean != ids)):
        count = column.is_in(padded.implode()).sum()
        notes.append(
            f"{count:,} {word} ids of the {what} have blanks around them, such as {padded[0]!r}, which were "
            "removed"
        )
    if rules.id_spelling == "numbers":
        clean = spelt_as_number(clean)
    else:
        note_spellings(clean.unique(maintain_order=True), word, what, notes)
    if (clean != ids).any():
        column = column.replace_strict(ids, clean)
    return frame.with_columns(column)


def missing_note(values: pl.Series, rows: int, word: str, what: str) -> str:
    """The note on rows without an id, by the values that stand for none, in the order of the rows."""
    return (
        f"{len(values):,} of {rows:,} rows of the {what} have no {word} "
        f"({_counted(values)}) and were dropped. An empty list of "
        f"{argument('null_values')} keeps such words as ids"
    )


def _is_missing(ids: pl.Series, null_values: tuple[str, ...]) -> pl.Series:
    """Whether each id stands for none; nowhere without words for it, as such rows are refused then."""
    if not null_values:
        return pl.Series([False], dtype=pl.Boolean).new_from_index(0, len(ids))
    if ids.dtype != pl.String:
        return ids.is_null()
    words = [word.strip().lower() for word in null_values]
    return (
        ids.is_null()
        | (ids == "").fill_null(True)
        | ids.str.to_lowercase().is_in(words).fill_null(True)
    )


def note_spellings(ids: pl.Series, word: str, what: str, notes: list[str]) -> None:
    """Notes ids that stand in one table in two spellings: "42" and "42.0" are two users."""
    spelt = pl.DataFrame({"id": ids, "alike": spelt_as_number(ids)})
    several = spelt.filter(pl.col("alike").is_duplicated())
    if several.height:
        alike = several["id"].filter(several["alike"] == several["alike"][0])
        notes.append(
            f"{several['alike'].n_unique():,} {word}s of the {what} have several spellings, such as "
            f"{', '.join(map(repr, alike[:LISTED]))}, and count as several; if they are one: "
            f"{argument('id_spelling', 'numbers')}"
        )


def _counted(values: pl.Series) -> str:
    """The values that stand for none, with their numbers.

    >>> _counted(pl.Series(["NULL", "NULL", "", None]))
    '2 "NULL", 2 blank'
    """
    texts = values.cast(pl.String).fill_null("").str.strip_chars()
    counts = texts.value_counts(sort=True).rows()
    parts = [f'{count:,} "{text}"' if text else f"{count:,} blank" for text, count in counts[:LISTED]]
    return ", ".join(parts) + (", ..." if len(counts) > LISTED else "")


def spelt_as_number(ids: pl.Series) -> pl.Series:
    """Whole numbers in one spelling: without leading zeros, plus and decimals; other ids are unchanged.

    >>> spelt_as_number(pl.Series(["00042", "42.0", "42", "-07", "0", "4.5", "A042"])).to_list()
    ['42', '42', '42', '-7', '0', '4.5', 'A042']
    """
    return ids.str.strip_chars().str.replace(_WHOLE, "$1$2")


def other_spelling(log: pl.Series, table: pl.Series, what: str) -> str:
    """How ids that a table lacks stand in it in another spelling, with the remedy; empty if they do not.

    Args:
        log: ids of the log.
        table: ids of the user or item table.
        what: name of the table in the sentence.

    >>> other_spelling(pl.Series(["00042"]), pl.Series(["42"]), "items table")
    'The log and the items table spell their ids differently: "00042" of the log is "42" in the items table. \
Of 1 ids of the log 0 are in the items table as written, 1 if whole numbers are spelt alike: \
id_spelling="numbers" does that.'
    """
    ids = log.unique(maintain_order=True)
    missing = ids.filter(~ids.is_in(table.implode()))
    for spell, fix in (
        (
            spelt_as_number,
            f"if whole numbers are spelt alike: {argument('id_spelling', 'numbers')} does that",
        ),
        (_without_case, "if capital letters do not count: write them alike in both files"),
    ):
        theirs = pl.DataFrame({"table": table, "alike": spell(table)}).unique("alike", keep="first")
        ours = pl.DataFrame({"log": missing, "alike": spell(missing)})
        both = ours.join(theirs, on="alike", how="inner", maintain_order="left")
        if both.height and both.height >= EXPLAINED * len(missing):
            found, one = len(ids) - len(missing), both.row(0, named=True)
            return (
                f'The log and the {what} spell their ids differently: "{one["log"]}" of the log is '
                f'"{one["table"]}" in the {what}. Of {len(ids):,} ids of the log {found:,} are in the '
                f"{what} as written, {found + both.height:,} {fix}."
            )
    return ""


def _without_case(ids: pl.Series) -> pl.Series:
    return ids.str.strip_chars().str.to_lowercase()
