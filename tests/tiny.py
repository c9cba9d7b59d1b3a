"""A log and a model that are small enough for tests and have a feature of every kind."""

from datetime import date, timedelta

import polars as pl

from tests.built_once import fit_once
from tfrecall.data import Interactions, synthetic
from tfrecall.index import Annoy
from tfrecall.schema.features import Bucketized, Categorical, MultiCategorical, Numeric, Schema, Text

N_USERS, N_ITEMS, N_ROWS = 60, 40, 900
ANNOY = Annoy(n_trees=5, tune_k=10)
SCHEMA = Schema(
    query=[
        Categorical("user_id", 4),
        Categorical("home_town", 4),
        Categorical("born", 4),
        Categorical("level", 4),
        MultiCategorical("tags", 4),
        Numeric("age"),
        Bucketized("timestamp", 5, 4),
        Categorical("device", 4),
    ],
    candidate=[
        Categorical("item_id", 4),
        Text("title", 50, 4),
        MultiCategorical("genres", 4),
        Numeric("price"),
    ],
)


def tiny_interactions() -> Interactions:
    data = synthetic(N_USERS, N_ITEMS, N_ROWS, seed=3)
    user, item, event = pl.int_range(N_USERS + 1), pl.int_range(N_ITEMS), pl.int_range(N_ROWS)
    absent = pl.DataFrame({"user_id": ["absent"], "segment": ["g1"]})
    users = pl.concat([data.users, absent]).with_columns(
        pl.when(user % 7 > 0).then(pl.format("Town {}", user % 3)).alias("home_town"),
        pl.lit(date(1980, 1, 1)).add(timedelta(days=1) * (user % 4)).alias("born"),
        (user % 5).alias("level"),
        pl.format("a{},b{}", user % 2, user % 3).str.split(",").list.head(user % 3).alias("tags"),
        (user % 50 + 20).alias("age"),
    )
    items = data.items.with_columns(
        pl.format("x{},y{}", item % 2, item % 3).str.split(",").list.head(item % 3).alias("genres"),
        (item * 1.5).alias("price"),
        pl.lit(date(2001, 2, 3)).alias("released"),
    )
    log = data.log.with_columns(
        device=pl.when(event % 3 == 0).then(pl.lit("web")).otherwise(pl.lit("app"))
    )
    return Interactions.from_frame(log, users=users, items=items, name="tiny")


def tiny_two_tower(data: Interactions, seed: int = 1):
    from tfrecall.models.two_tower import TwoTower

    model = TwoTower(SCHEMA, layer_sizes=[8], name="tiny")
    fit_once(model, data, epochs=2, batch_size=256, seed=seed, verbose=0)
    return model
