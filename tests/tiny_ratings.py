"""A log with ratings that follow from user and item, small enough for tests."""

import numpy as np
import polars as pl

from tfrecall.data import Interactions, synthetic
from tfrecall.schema.encoders import RootSum
from tfrecall.schema.features import Categorical, History, MultiCategorical, Schema

N_USERS, N_ITEMS, DIM, BAG = 60, 40, 8, 12
SCHEMA = Schema(
    query=[
        Categorical("user_id", DIM),
        History("rated", Categorical("item_id", DIM), BAG, RootSum(), anytime=True),
        Categorical("device", DIM),
    ],
    candidate=[Categorical("item_id", DIM), MultiCategorical("genres", DIM)],
)
SETTINGS = {
    "layer_sizes": [8],
    "crosses": ["dot", "concat"],
    "biases": ["user_id", "item_id"],
    "label": {"column": "rating", "low": 1, "high": 5},
}


def rating_interactions(rows: int = 2400, *, shuffled: bool = False) -> Interactions:
    """Half the users like what the others dislike, 2 points each way; `absent` has no events.

    Shuffled, the same ratings stand in other rows, so that nothing can be learned.
    """
    data = synthetic(N_USERS, N_ITEMS, rows, structure=0.0, seed=4)
    random = np.random.default_rng(7)
    users, items = data.user_rows, data.item_rows
    taste = np.where((users % 2 == 0) == (items // 2 % 2 == 0), 1.5, -1.5)
    rating = np.clip(np.round(3.2 + taste + random.normal(0, 0.5, rows)), 1, 5)
    if shuffled:
        rating = random.permutation(rating)
    item, event = pl.int_range(N_ITEMS), pl.int_range(rows)
    log = data.log.with_columns(
        rating=pl.Series(rating),
        device=pl.when(event % 3 == 0).then(pl.lit("web")).otherwise(pl.lit("app")),
    )
    table = data.items.with_columns(
        pl.format("x{},y{}", item % 2, item % 3).str.split(",").list.head(item % 3).alias("genres")
    )
    absent = pl.DataFrame({"user_id": ["absent"], "segment": ["g1"]})
    users_table = pl.concat([data.users, absent])
    return Interactions.from_frame(log, users=users_table, items=table, name="ratings")


FIT = {"optimizer": "adam", "learning_rate": 0.01, "batch_size": 256, "verbose": 0}


def rating_ranker(data: Interactions, epochs: int = 3, **settings):
    """A ranker fitted to `data`, anew at each call."""
    from tfrecall.training import fit

    model = untrained_ranker(**settings)
    fit(model, data, epochs=epochs, **FIT)
    return model


def untrained_ranker(**settings):
    from tfrecall.models.ranker import Ranker

    return Ranker(SCHEMA, name="ratings", **{**SETTINGS, **settings})
