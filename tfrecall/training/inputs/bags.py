"""What users have at any time, one row a user, beside the rows of a batch."""

from typing import Any

import numpy as np

from tfrecall._keras import tf
from tfrecall.core.ragged import offsets_of, ranges
from tfrecall.data.interactions import Interactions
from tfrecall.data.sequences import Events
from tfrecall.models.base import EncodesBatches
from tfrecall.schema.features import History


class Bags:
    """The `anytime` histories of a model, for batches of some rows.

    A batch holds each of its users once, however many rows the user has there: most of the time the
    vectors of a user's items are added up once instead of once a row.

    Args:
        model: an adapted model.
        rows: what batches are made of.
        log: what users have. If it is `rows` itself, each row is left out of its own bag.
    """

    def __init__(self, model: EncodesBatches, rows: Interactions, log: Interactions) -> None:
        self._layers = [layer for layer in model.query_tower.histories if layer.spec.anytime]
        self._users = tf.constant(_users(rows, log))
        index = model.history_index(log)
        self._lists = {
            name: _List(spec, index, log, rows is log) for name, spec in model.schema.bags.items()
        }

    def joined(self, encoded: dict[str, Any], rows: tf.Tensor) -> dict[str, Any]:
        """Puts the bags of the users of some rows to what is encoded of them."""
        distinct, places = tf.unique(tf.gather(self._users, rows))
        lists = {name: bag.of(distinct, places, rows) for name, bag in self._lists.items()}
        layers = {layer.name: lists[layer.spec.column] for layer in self._layers}
        return {**encoded, "query": {**encoded["query"], **layers}}


class _List:
    """One bag of all users, and what of it is each row of the log itself."""

    def __init__(self, spec: History, index: np.ndarray, log: Interactions, leave_out: bool) -> None:
        events, offsets = Events.build(log, spec, index), log.histories.offsets
        ends = events.counts[offsets[1:]]
        starts = np.maximum(events.counts[offsets[:-1]], ends - spec.history_length)
        lengths = np.append(ends - starts, 0)  # the last row is that of a user without events
        places = ranges(np.append(starts, 0), lengths)
        self._items = tf.RaggedTensor.from_row_splits(events.items[places], offsets_of(lengths))
        self._own = tf.constant(_own(events, starts, log)) if leave_out else None

    def of(self, users: tf.Tensor, places: tf.Tensor, rows: tf.Tensor) -> dict[str, Any]:
        bag: dict[str, Any] = {"items": tf.gather(self._items, users), "rows": places}
        if self._own is not None:
            bag["left_out"] = tf.gather(self._own, rows)
        return bag


def _own(events: Events, starts: np.ndarray, log: Interactions) -> np.ndarray:
    """For each row of the log its item in the user's bag, 0 where it is not in it: int32 `[n_rows]`."""
    counts, order = events.counts, log.histories.order
    there = (np.diff(counts) > 0) & (counts[:-1] >= starts[log.user_rows[order]])
    own = np.zeros(len(log), np.int32)
    own[order[there]] = events.items[counts[:-1][there]]
    return own


def _users(rows: Interactions, log: Interactions) -> np.ndarray:
    """The row in the log's user table of each row's user; one beyond its end for others."""
    users = log.user_vocabulary.rows(rows.log["user_id"])
    return np.where(users < 0, log.users.height, users).astype(np.int64)
