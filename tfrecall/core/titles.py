"""Readable names of items."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import polars as pl

from tfrecall.core.text import caseless, folded
from tfrecall.errors import DataError, nearest

# Items named by a message where a title fits several.
_LISTED = 10
_TESTS = (str.__eq__, str.startswith, str.__contains__)
_NAMES = ("title", "name", "label")


def title_column(items: pl.DataFrame, features: Iterable[Mapping[str, Any]] = ()) -> str | None:
    """Finds the column of an item table that holds names; None if there is none.

    Takes the first text feature of the candidate; without one, the first text column with title, name or
    label in its name.

    Args:
        items: the item table.
        features: features of the candidate, in the plain form of a schema.
    """
    texts = [name for name, dtype in items.schema.items() if dtype == pl.String and name != "item_id"]
    free = [f["column"] for f in features if f["type"] == "text" and f["column"] in texts]
    named = [name for name in texts if any(word in name.lower() for word in _NAMES)]
    return next(iter([*free, *named]), None)


def titles(items: pl.DataFrame, column: str | None) -> pl.Series:
    """The title of each item, or its id if the title is null.

    >>> titles(pl.DataFrame({"item_id": ["1", "2"], "title": ["Alien", None]}), "title").to_list()
    ['Alien', '2']
    """
    if column is None:
        return items["item_id"]
    return items.select(pl.coalesce(column, "item_id").alias("title"))["title"]


def item_of_title(text: str, names: pl.Series, item_ids: Sequence[str]) -> str:
    """Finds the one item of a title, regardless of case, accents and blanks around it.

    The whole title with its accents counts most, then the whole title, then its beginning, then any part of it.

    Args:
        text: a title or a part of it.
        names: the title of each item.
        item_ids: the id of each item.

    Raises:
        DataError: if no title fits, with the nearest; if several do, with their items.

    >>> item_of_title("toy", pl.Series(["Toy Story (1995)", "Alien (1979)", "A toy"]), ["1", "2", "3"])
    '1'
    """
    forms = ((caseless, str.__eq__), *((folded, test) for test in _TESTS))
    # Made one after another: most titles are found by the first.
    fits = (_fitting(text, names, form, test) for form, test in forms)
    rows = next((found for found in fits if found), [])
    if len(rows) == 1:
        return str(item_ids[rows[0]])
    if not rows:
        raise DataError(
            f"No item has the title {text!r}.{nearest(text, names)} Give a part of a title, or the id."
        )
    listed = "; ".join(f'"{names[row]}" ({item_ids[row]})' for row in rows[:_LISTED])
    more = f"; and {len(rows) - _LISTED:,} more" if len(rows) > _LISTED else ""
    raise DataError(
        f"{len(rows):,} items fit the title {text!r}: {listed}{more}. Give more of the title, or the id."
    )


def _fitting(
    text: str,
    names: Iterable[str],
    form: Callable[[str], str],
    test: Callable[[str, str], bool],
) -> list[int]:
    """Rows of the names that fit in a form; none for an empty text."""
    wanted = form(text)
    return [row for row, name in enumerate(names) if test(form(name), wanted)] if wanted else []
