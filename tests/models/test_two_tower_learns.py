"""The two-tower model keeps what every retriever keeps, and learns what there is to learn."""

import pytest

from tests.retriever_contract import check_learning, check_retriever
from tfrecall._keras import keras
from tfrecall.data.batches import examples
from tfrecall.models.two_tower import TwoTower
from tfrecall.schema.features import Categorical, Schema
from tfrecall.tasks.full_softmax import FullSoftmax
from tfrecall.tasks.in_batch import InBatchSoftmax

SCHEMA = Schema(query=[Categorical("user_id", 16)], candidate=[Categorical("item_id", 16)])


def fit(train, task=None, epochs=4):
    keras.utils.set_random_seed(1)
    model = TwoTower(SCHEMA, [16], task=task)
    model.adapt(train)
    model.compile(keras.optimizers.Adagrad(0.1))
    dataset = examples(train, 256, encode=model.encode, forms=model.forms)
    model.fit(dataset, epochs=epochs, verbose=0)
    return model.retriever()


@pytest.mark.slow
def test_keeps_the_contract_of_retrievers():
    check_retriever(lambda train: fit(train, epochs=1))


@pytest.mark.slow
@pytest.mark.parametrize("task", [InBatchSoftmax, FullSoftmax])
def test_beats_popularity_where_there_is_structure_and_stays_at_chance_where_there_is_none(task):
    check_learning(lambda train: fit(train, task()), margin=0.3)
