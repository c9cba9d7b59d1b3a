"""Query batches from user ids: features, context and histories at the end of the log."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl

from tfrecall._keras import tf
from tfrecall.core.columns import REQUEST_TIME
from tfrecall.data.histories import latest
from tfrecall.errors import DataError
from tfrecall.layers.event_times import NOW
from tfrecall.models.base import FeatureModel


def paired(user_ids: Sequence[str], item_ids: Sequence[str]) -> tuple[list[str], np.ndarray]:
    """Distinct users, and the place of each pair's user among them: int64 `[n_items]`.

    Raises:
        DataError: if there are neither as many users as items nor a single one.

    >>> paired(["u", "v", "u"], ["a", "b", "c"])
    (['u', 'v'], array([0, 1, 0]))
    """
    if isinstance(user_ids, str) or isinstance(item_ids, str):
        raise DataError("Users and items are lists of ids. Received a single text: put it into a list.")
    if len(user_ids) not in (1, len(item_ids)):
        raise DataError(
            "Each score is of one user and one item. Received: "
            f"{len(user_ids):,} users and {len(item_ids):,} items. Give a user for each item, or a single "
            "one for all."
        )
    # Features of a user are embedded once, however many items are scored. A dictionary keeps the
    # order.
    users = list(dict.fromkeys(map(str, user_ids)))
    place = {user: i for i, user in enumerate(users)}
    places = np.array([place[str(user)] for user in user_ids], dtype=np.int64)
    return users, places if len(places) == len(item_ids) else np.zeros(len(item_ids), np.int64)


def users_asking(model: FeatureModel, user_ids: Sequence[str]) -> dict[str, tf.Tensor]:
    """Raw features of users at the end of the log; unknown users have the unknown values."""
    if model.interactions is None:
        raise DataError(
            "The model was adapted to a dataset, so it knows no users by their ids. Give it batches of raw "
            "features, or adapt it to an interaction log."
        )
    forms, unknowns = model.query_tower.forms, query_defaults(model)
    histories = model.schema.history_columns
    own = {column: form for column, form in forms.items() if column not in histories}
    users = latest(model.interactions, list(own))
    table = pl.DataFrame({"user_id": list(user_ids)}, schema={"user_id": pl.String})
    numbers = [pl.col(c).fill_null(unknowns[c]) for c, form in own.items() if form == "number"]
    queries = table.join(users, on="user_id", how="left", maintain_order="left").with_columns(numbers)
    if model.schema.is_timed:
        queries = queries.with_columns(pl.lit(NOW).alias(REQUEST_TIME))
    raw = model.raw_queries(queries)
    dtypes = {column: spec.dtype for column, spec in model.query_tower.signature.items()}
    return {
        # int32 marks history indexes, taken from the log; the signature has ids, strings, in their
        # place.
        column: tf.constant(values, tf.int32 if values.dtype == np.int32 else dtypes[column])
        for column, values in raw.items()
    }


def query_defaults(model: FeatureModel) -> dict[str, Any]:
    """The value of each query column that stands for unknown."""
    defaults = dict(model.query_tower.unknowns)
    if model.interactions is not None and "timestamp" in defaults:
        # An unknown user asks now; the latest moment that the model knows is the end of training.
        defaults["timestamp"] = model.interactions.log["timestamp"].max()
    return defaults
