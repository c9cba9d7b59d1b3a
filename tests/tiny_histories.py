"""A log and a model with histories, small enough for tests."""

import polars as pl

from tests.built_once import fit_once
from tfrecall.data import Interactions, synthetic
from tfrecall.schema.encoders import Windows
from tfrecall.schema.features import Categorical, ExampleAge, History, Schema

N_GROUPS = 4
LENGTH, LIKED = 5, 3
CONTEXT = ("rating", "gap")
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
# The same with what is known of events; `liked` has the groups and the ids of what was liked.
CONTEXT_SCHEMA = Schema(
    query=[
        Categorical("user_id", 4),
        History("history", Categorical("item_id", 8), LENGTH, Windows([LENGTH, 1]), context=CONTEXT),
        History("liked", Categorical("group", 4), LIKED, min_rating=4),
        History("liked", Categorical("item_id", 4), LIKED, min_rating=4, context=("device",)),
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


def history_two_tower(data: Interactions, schema: Schema = SCHEMA, epochs: int = 15):
    from tfrecall.models.two_tower import TwoTower
    from tfrecall.tasks.full_softmax import FullSoftmax

    model = TwoTower(
        schema, layer_sizes=[8], candidate_layer_sizes=[], task=FullSoftmax(), name="histories"
    )
    fit_once(model, data, epochs=epochs, batch_size=64, learning_rate=0.1, seed=1, verbose=0)
    return model


def past(data: Interactions, user: str, length: int, least_rating: float = 0) -> dict[str, list[str]]:
    """The last events of a user, oldest first, row by row: ids and what is known of each."""
    columns = ["user_id", "item_id", "timestamp", "rating", "device"]
    events = [
        (time, place, item, rating, device)
        for place, (who, item, time, rating, device) in enumerate(data.log.select(columns).iter_rows())
        if who == user
    ]
    found, last = [], None
    for time, _, item, rating, device in sorted(events):
        if rating >= least_rating:
            found.append((item, f"{rating:.0f}", _gap(time, last), device))
        last = time
    lists = zip(*found[-length:], strict=True) if found else [()] * 4
    names = ("items", "rating", "gap", "device")
    return {name: list(values) for name, values in zip(names, lists, strict=True)}


def _gap(time: float, last: float | None) -> str:
    """In words; no gap in the log is longer than days."""
    if last is None:
        return "start"
    seconds = time - last
    for name, least in (("days", 86400), ("hours", 3600), ("minutes", 60)):
        if seconds >= least:
            return name
    return "seconds"


def newest(data: Interactions, user: str, length: int, least_rating: float = 0) -> list[str]:
    """The last items of a user, oldest first, row by row."""
    return past(data, user, length, least_rating)["items"]
