"""Unordered histories of users (`anytime`), attached to batches once a user."""

from typing import Any

import numpy as np

from tfrecall._keras import tf
from tfrecall.core.ragged import offsets_of, ranges
from tfrecall.data.interactions import Interactions
from tfrecall.data.sequences import Events
from tfrecall.models.base import FeatureModel
from tfrecall.schema.features import History


class UnorderedHistories:
    """The `anytime` histories of a model, for batches of some rows.

    A batch holds each of its users once, however many rows the user has there: most of the time the
    vectors of a user's items are added up once instead of once a row.

    Args:
        model: an adapted model.
        rows: the rows that batches are made of.
        log: the log with the users' events. If it is `rows` itself, the item of each row is left out of
            its own history, with all further events of the user with it.
    """

    def __init__(self, model: FeatureModel, rows: Interactions, log: Interactions) -> None:
        self._layers = [layer for layer in model.query_tower.histories if layer.spec.anytime]
        self._users = tf.constant(_user_rows(rows, log))
        index = model.history_index(log)
        self._lists = {
            name: _ItemLists(spec, index, log, rows is log) for name, spec in model.schema.bags.items()
        }

    def attach(self, encoded: dict[str, Any], rows: tf.Tensor) -> dict[str, Any]:
        """Adds the histories of the users of some rows to the encoded rows.

        Args:
            encoded: a batch, with its features under `query`.
            rows: int `[n]`, the row of each example of the batch.
        """
        distinct, places = tf.unique(tf.gather(self._users, rows))
        lists = {name: items.batch(distinct, places, rows) for name, items in self._lists.items()}
        layers = {layer.name: lists[layer.spec.column] for layer in self._layers}
        return {**encoded, "query": {**encoded["query"], **layers}}


class _ItemLists:
    """One history of all users, ragged, and the item that each row of the log contributes to it."""

    def __init__(self, spec: History, index: np.ndarray, log: Interactions, leave_out: bool) -> None:
        # Places of two kinds: those among all sorted events of the log (`offsets`), and those among
        # the events that the history admits, which `events.counts` turns the first kind into.
        events, offsets = Events.build(log, spec, index), log.histories.offsets
        # Of each user the newest `history_length` of the events that count: [starts, ends).
        ends = events.counts[offsets[1:]]
        starts = np.maximum(events.counts[offsets[:-1]], ends - spec.history_length)
        lengths = np.append(ends - starts, 0)  # the last row is that of a user without events
        places = ranges(np.append(starts, 0), lengths)
        items = events.items[places]
        self._items = tf.RaggedTensor.from_row_splits(items, offsets_of(lengths))
        self._own: dict[str, tf.Tensor] = {}
        if leave_out:
            own = index[log.item_rows]
            copies = _copies(items, lengths, own, log.user_rows)
            own = np.where(copies > 0, own, 0).astype(np.int32)
            self._own = {"left_out": tf.constant(own), "copies": tf.constant(copies)}

    def batch(self, users: tf.Tensor, places: tf.Tensor, rows: tf.Tensor) -> dict[str, Any]:
        """The lists of some users, and for each example its place among them."""
        encoded: dict[str, Any] = {"items": tf.gather(self._items, users), "rows": places}
        return {**encoded, **{name: tf.gather(of_rows, rows) for name, of_rows in self._own.items()}}


def _copies(items: np.ndarray, lengths: np.ndarray, own: np.ndarray, users: np.ndarray) -> np.ndarray:
    """How often the item of each row stands in the list of its user: int32 `[n_rows]`.

    Args:
        items: indexes of the items of all lists, one list after the other.
        lengths: events of each list.
        own: the index of each row's item, 0 if it is unknown.
        users: the list of each row.
    """
    # A pair of list and item as one number; (-1, 0) is in no list, so that there is one pair at least.
    width = int(max(items.max(initial=0), own.max(initial=0))) + 1
    listed = np.append(np.repeat(np.arange(len(lengths)), lengths) * width + items, -1)
    pairs, counts = np.unique(listed, return_counts=True)
    wanted = users.astype(np.int64) * width + own
    places = np.minimum(np.searchsorted(pairs, wanted), len(pairs) - 1)
    return np.where(pairs[places] == wanted, counts[places], 0).astype(np.int32)


def _user_rows(rows: Interactions, log: Interactions) -> np.ndarray:
    """The row of each row's user in the user table of the log; one beyond its end for unknown users."""
    users = log.user_vocabulary.rows(rows.log["user_id"])
    # A row beyond the end, not -1: `tf.gather` knows no negative places.
    return np.where(users < 0, log.users.height, users).astype(np.int64)
