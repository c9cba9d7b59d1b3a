"""Words for no value in columns that are no ids: `NULL`, `nan`, `N/A`."""

from collections.abc import Collection, Iterable, Mapping

import polars as pl

from tfrecall.core.arguments import argument
from tfrecall.data.formats.text_types import narrowed

# Real values of many a column, such as an occupation: they stand for no value only among numbers and times.
REAL_WORDS = frozenset({"none", "na", "-", "nil"})
# Most words that a note lists.
LISTED = 4


def without_null_words(
    frame: pl.DataFrame, ids: Collection[str], roles: Collection[str], words: Iterable[str], what: str
) -> tuple[pl.DataFrame, dict[str, str]]:
    """Makes nulls of words for no value; numbers written between them become numbers.

    Ids are left to `clean_ids`, which drops their rows.

    Args:
        frame: the table as read.
        ids: columns of ids.
        roles: columns of times, ratings and weights, in which "-" and "none" are no values either.
        words: the words; none changes nothing.
        what: name of the table in notes.

    Returns:
        The table, and a note for each column that was changed.

    >>> table = pl.DataFrame({"price": ["1.5", "None", "nan"], "work": ["none", "NULL", "clerk"]})
    >>> table, notes = without_null_words(table, [], [], ["null", "nan", "none"], "users table")
    >>> table.rows(), notes["work"][:23]
    ([(1.5, 'none'), (None, None), (None, 'clerk')], '1 of 3 values of "work"')
    """
    given = {word.strip().lower() for word in words}
    notes: dict[str, str] = {}
    for column in frame.iter_columns():
        if column.dtype != pl.String or column.name in ids or not given:
            continue
        found = _found(column, given)
        if not found:
            continue
        plain, is_number = _without(column, set(found))
        if not is_number and column.name not in roles:
            found = {
                word: count for word, count in found.items() if word.strip().lower() not in REAL_WORDS
            }
            plain = _without(column, set(found))[0] if found else column
        if found:
            frame = frame.with_columns(plain)
            notes[column.name] = _note(column.name, found, len(column), what)
    return frame, notes


def _found(column: pl.Series, words: Collection[str]) -> dict[str, int]:
    """The words that occur in a column, as written, and their numbers."""
    # Titles are longer than words for nothing: few values are looked at.
    longest = max(len(word.encode()) for word in words) + 2
    short = column.filter((column.str.len_bytes() <= longest).fill_null(False))
    counts = short.value_counts(sort=True)
    spelt = counts.to_series(0)
    stripped = spelt.str.strip_chars().str.to_lowercase()
    return dict(counts.filter(stripped.is_in(list(words))).iter_rows())


def _without(column: pl.Series, words: Collection[str]) -> tuple[pl.Series, bool]:
    """A column with nulls in place of words, and whether the rest are numbers or truth values."""
    plain = column.set(column.is_in(list(words)).fill_null(False), None)
    typed = narrowed(plain.to_frame(), [column.name]).to_series()
    return typed, typed.dtype != pl.String


def _note(name: str, found: Mapping[str, int], rows: int, what: str) -> str:
    listed = [f'{count:,} "{word.strip()}"' for word, count in found.items()]
    more = ", ..." if len(listed) > LISTED else ""
    return (
        f'{sum(found.values()):,} of {rows:,} values of "{name}" in the {what} stand for none '
        f"({', '.join(listed[:LISTED])}{more}): they are missing. {argument('null_values')} lists such words"
    )
