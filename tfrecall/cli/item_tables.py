"""Tables of items for a release, read as the run of the release read its own."""

from pathlib import Path

import polars as pl

from tfrecall.core.columns import ITEM
from tfrecall.data.tables import read_items
from tfrecall.release.base import Release

# Settings of `[data]` that say how an item table is written.
_SETTINGS = ("separator", "ignore_columns", "list_separators", "null_values", "id_spelling")


def items_of(path: Path, release: Release, notes: list[str]) -> pl.DataFrame:
    """Read a table of items by the settings of the run that made a release.

    Args:
        path: the table.
        release: the release; one that was exported without a configuration has the default settings.
        notes: receives a sentence on columns that the release does not have.
    """
    data = release.manifest.get("config", {}).get("data", {})
    settings = {name: data[name] for name in _SETTINGS if name in data}
    table = read_items(path, data.get("item_column", ITEM), **settings)
    more = [name for name in table.columns if name not in release.items.columns]
    if more:
        notes.append(f"The items of the release have no column {', '.join(more)}: left out.")
    return table
