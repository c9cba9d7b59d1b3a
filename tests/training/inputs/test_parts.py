"""The parts of a batch that replicas learn from are the batch."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.properties import examples
from tests.tiny_histories import SCHEMA, history_interactions
from tfrecall.core.parts import Part
from tfrecall.data import split_leave_last_out, synthetic
from tfrecall.models.two_tower import TwoTower
from tfrecall.schema.features import Categorical, History, Schema
from tfrecall.schema.negatives import Uniform
from tfrecall.schema.targets import HistoriesConfig
from tfrecall.tasks.pairwise import BPR
from tfrecall.training.inputs.examples import TrainingExamples, validation_examples

pytestmark = pytest.mark.slow


@examples(30)
@given(rows=st.lists(st.integers()), count=st.integers(1, 9))
def test_parts_hold_each_row_once_in_order_and_differ_by_one(rows, count):
    parts = [Part(i, count).of(rows) for i in range(count)]
    assert [row for part in parts for row in part] == rows
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


def adapted(schema, data, **settings):
    model = TwoTower(schema, [4], **settings)
    model.adapt(data)
    return model


def read(batches):
    return [batch["candidate_index"].numpy().tolist() for batch in batches]


def joined(datasets):
    """Targets of each batch of several datasets, behind one another."""
    return [[*itertools.chain(*parts)] for parts in zip(*map(read, datasets), strict=True)]


PLAIN = Schema(query=[Categorical("user_id", 4)], candidate=[Categorical("item_id", 4)])
PAST = Schema(
    query=[History("history", Categorical("item_id", 4), 5)], candidate=[Categorical("item_id", 4)]
)


@pytest.mark.parametrize(
    ("schema", "histories", "count"),
    [
        (PLAIN, HistoriesConfig(), 3),
        (PAST, HistoriesConfig(form="windows"), 3),
        (PAST, HistoriesConfig(form="sequences"), 2),
        (PLAIN, HistoriesConfig(), 4),  # more replicas than rows of the last batch
        (PAST, HistoriesConfig(form="sequences"), 8),
    ],
    ids=["rows", "windows", "sequences", "empty", "empty_sequences"],
)
def test_parts_of_training_batches_are_the_batches_of_each_epoch(schema, histories, count):
    data = synthetic(n_users=20, n_items=15, n_rows=131, seed=1)
    batches = TrainingExamples(adapted(schema, data), data, 64, histories=histories).batches
    for epoch in range(2):
        parts = [batches(epoch, Part(i, count)) for i in range(count)]
        assert joined(parts) == read(batches(epoch))
    # Reading again is the next epoch, of a part as of the whole.
    part = batches(0, Part(0, count))
    read(part)
    assert read(part) == read(batches(1, Part(0, count)))


def test_each_part_has_the_histories_of_its_targets():
    data = history_interactions()
    batches = TrainingExamples(
        adapted(SCHEMA, data), data, 200, histories=HistoriesConfig(form="windows")
    ).batches
    whole, parts = next(iter(batches())), [next(iter(batches(0, Part(i, 2)))) for i in range(2)]
    name = next(name for name, value in whole["query"].items() if isinstance(value, dict))
    both = np.concatenate([part["query"][name]["items"] for part in parts])
    np.testing.assert_array_equal(both, whole["query"][name]["items"])


def test_parts_of_validation_batches_are_the_batches():
    train, validation, _ = split_leave_last_out(history_interactions())
    model = adapted(PAST, train)
    parts = [validation_examples(model, validation, train, 25, Part(i, 2)) for i in range(2)]
    assert joined(parts) == read(validation_examples(model, validation, train, 25))


def test_parts_draw_negatives_of_their_own():
    data = synthetic(n_users=2, n_items=300, n_rows=100, seed=1)
    model = adapted(PLAIN, data, task=BPR(Uniform(8)))
    batches = TrainingExamples(model, data, 100).batches
    first, second = (next(iter(batches(0, Part(i, 2))))["negatives"].numpy() for i in range(2))
    assert first.shape == second.shape == (50, 8)
    # Of some 250 items that a user has not, 50 x 8 draws twice: a cell agrees by chance, one in 250.
    assert (first == second).mean() < 0.1
