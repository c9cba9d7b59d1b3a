"""A model whose queries have several vectors, small enough for tests."""

from tests.built_once import fit_once
from tests.tiny_histories import LENGTH
from tfrecall.data import Interactions
from tfrecall.schema.encoders import Interests, Windows
from tfrecall.schema.features import Categorical, ExampleAge, History, Schema

INTERESTS, DIM = 3, 8
ITEM = Categorical("item_id", DIM, unknown_rate=0.0)
SCHEMA = Schema(
    query=[
        Categorical("device", 4),
        History("history", ITEM, LENGTH, Windows([LENGTH], last=1)),
        History("history", ITEM, LENGTH, Interests(INTERESTS, units=6)),
        ExampleAge(),
    ],
    candidate=[ITEM],
)


def interest_two_tower(data: Interactions):
    from tfrecall.models.two_tower import TwoTower
    from tfrecall.tasks.full_softmax import FullSoftmax

    model = TwoTower(
        SCHEMA, layer_sizes=[DIM], candidate_layer_sizes=[], task=FullSoftmax(), name="interests"
    )
    fit_once(model, data, epochs=10, batch_size=64, learning_rate=0.1, seed=1, verbose=0)
    return model
