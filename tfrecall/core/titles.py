"""Readable names of items."""

from collections.abc import Iterable, Mapping
from typing import Any

import polars as pl

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
