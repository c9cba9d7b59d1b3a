"""A retriever and a ranker of one log, small enough for tests, whose queries take different columns."""

from tests.built_once import fit_once
from tests.tiny_ratings import DIM
from tfrecall.data import Interactions
from tfrecall.schema.features import Categorical, History, Schema

LENGTH, N_CANDIDATES = 5, 12
SCHEMA = Schema(
    query=[
        Categorical("user_id", DIM),
        History("history", Categorical("item_id", DIM), LENGTH),
    ],
    candidate=[Categorical("item_id", DIM)],
)


def retriever(data: Interactions):
    from tfrecall.models.two_tower import TwoTower

    model = TwoTower(SCHEMA, layer_sizes=[8], name="finds")
    fit_once(model, data, epochs=2, batch_size=256, learning_rate=0.1, seed=1, verbose=0)
    return model
