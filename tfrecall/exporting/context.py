"""Context of a release: query features and seen items of users, columns of items."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import polars as pl

from tfrecall.core.raw import Form
from tfrecall.data.context_columns import EventContext
from tfrecall.data.histories import latest
from tfrecall.data.interactions import Interactions
from tfrecall.data.sequences import Events
from tfrecall.release.histories import UserContexts, UserHistories
from tfrecall.release.parts import TIMES
from tfrecall.schema.features import History


def write_context(
    directory: Path,
    items: pl.DataFrame,
    data: Interactions | None,
    forms: dict[str, Form],
    histories: Mapping[str, UserHistories] | None = None,
) -> list[str]:
    """Write the files that `tfrecall.release.users.UserStore` reads.

    Users keep the order of the user table. Users without events have their values of that table, null in
    the columns of the log, and an empty history.

    Args:
        directory: a new directory.
        items: the item table, in catalogue order.
        data: the training log; None writes a release that knows no users.
        forms: the columns that the query model takes.
        histories: the columns among `forms` that are histories, from `past_items`.

    Returns:
        Names of the histories that have files of their own; the others are the seen items.
    """
    directory.mkdir()
    items.write_parquet(directory / "items.parquet")
    histories = histories or {}
    forms = {column: form for column, form in forms.items() if column not in histories}
    if data is None:
        users, offsets, seen = nobody(forms), np.zeros(1, np.int64), np.zeros(0, np.int32)
        times = np.zeros(0)
    else:
        users = latest(data, list(forms))
        offsets, seen, times = data.histories.offsets, data.histories.items, data.event_times
    users.write_parquet(directory / "users.parquet")
    np.save(directory / "seen_offsets.npy", offsets)
    np.save(directory / "seen_items.npy", seen)
    np.save(directory / TIMES, times)
    # A history of all events is the seen items, which are written already: identity, not equality, as
    # `past_items` passes the array through. `UserHistories.load` falls back to them.
    stored = [name for name, past in histories.items() if past.items is not seen]
    for name in stored:
        histories[name].newest().save(directory, name)
    return stored


def past_items(
    data: Interactions, specs: Mapping[str, History], index: np.ndarray
) -> dict[str, UserHistories]:
    """Histories of all users at the end of the log, with their context columns.

    A list that leaves no event out is a view of `data.histories`.

    Args:
        data: the training log.
        specs: the history features.
        index: history index of each catalogue row, 0 for items that histories leave out.
    """
    past, ids = data.histories, data.item_vocabulary.ids
    # `Events.build` replaces catalogue row r by `rows[r]` and drops the event where that is 0. A release
    # stores catalogue rows, not history indexes: row + 1 here, minus 1 below.
    rows = np.where(index > 0, np.arange(1, len(index) + 1), 0)
    contexts = {name: EventContext.of(data, name) for spec in specs.values() for name in spec.context}
    places = {
        column: contexts[name].places
        for spec in specs.values()
        for name, column in spec.context_columns.items()
    }
    histories: dict[str, UserHistories] = {}
    for name, spec in specs.items():
        events = Events.build(data, spec, rows, places)
        # counts[i] is the number of kept events before event i, so it maps offsets of the whole log to
        # offsets of the kept events.
        whole = len(events.items) == len(data)
        offsets = past.offsets if whole else events.counts[past.offsets]
        items = past.items if whole else events.items - 1
        histories[name] = UserHistories(offsets, items, spec.history_length, ids)
        for context, column in spec.context_columns.items():
            codes, values = events.context[context], contexts[context].values
            histories[column] = UserContexts(offsets, codes, spec.history_length, values)
    return histories


def nobody(forms: dict[str, Form]) -> pl.DataFrame:
    """An empty user table, of a model without a training log."""
    types = {
        "string": pl.String(),
        "strings": pl.List(pl.String),
        "number": pl.Float64(),
        "vector": pl.List(pl.Float32),
    }
    return pl.DataFrame(schema={"user_id": pl.String(), **{c: types[f] for c, f in forms.items()}})
