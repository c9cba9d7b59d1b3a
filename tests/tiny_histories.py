"""A log and a model with histories, small enough for tests."""

import polars as pl

from tfrecall.data import Interactions, synthetic
from tfrecall.encoders import Windows
from tfrecall.schema import Categorical, ExampleAge, History, Schema

N_GROUPS = 4
LENGTH, LIKED = 5, 3
SCHEMA = Schema(
    query=[
        Categorical("user_id", 4),
        Categorical("device", 4),
        History("history", Categorical("item_id", 8), LENGTH, Windows([LENGTH, 1])),
        History("liked", Categorical("group", 4), LIKED, min_rating=4),
        ExampleAge(),
    ],
    candidate=[Categorical("item_id", 8)],
)


def history_interactions() -> Interactions:
    """Users keep to the items of their group; `absent` has no events, `i40` is in none."""
    data = synthetic(60, 40, 900, structure=0.95, n_groups=N_GROUPS, seed=5)
    event = pl.int_range(len(data))
    log = data.log.with_columns(
        rating=event * 7 % 5 + 1,
        device=pl.when(event % 3 == 0).then(pl.lit("web")).otherwise(pl.lit("app")),
    )
    absent = pl.DataFrame({"user_id": ["absent"], "segment": ["g1"]})
    unused = pl.DataFrame({"item_id": ["i40"], "group": ["g0"], "title": ["Never had"]})
    return Interactions.from_frame(
        log,
        users=pl.concat([data.users, absent]),
        items=pl.concat([data.items, unused]),
        name="histories",
    )


def history_two_tower(data: Interactions):
    from tfrecall.models.two_tower import TwoTower
    from tfrecall.tasks.full_softmax import FullSoftmax
    from tfrecall.training import fit

    model = TwoTower(
        SCHEMA, layer_sizes=[8], candidate_layer_sizes=[], task=FullSoftmax(), name="histories"
    )
    fit(model, data, epochs=15, batch_size=64, learning_rate=0.1, seed=1, verbose=0)
    return model


def newest(data: Interactions, user: str, length: int, least_rating: float = 0) -> list[str]:
    """The last items of a user, oldest first, row by row."""
    events = [
        (time, place, item)
        for place, (who, item, time, rating) in enumerate(
            data.log.select("user_id", "item_id", "timestamp", "rating").iter_rows()
        )
        if who == user and rating >= least_rating
    ]
    return [item for _, _, item in sorted(events)][-length:]
