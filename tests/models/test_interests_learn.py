"""What several vectors a query can say that one cannot."""

import numpy as np
import polars as pl
import pytest

from tfrecall.data import Interactions, split_leave_last_out
from tfrecall.evaluation import rank
from tfrecall.evaluation.metrics import hit_rate
from tfrecall.models.youtube_dnn import YouTubeDNN
from tfrecall.schema.encoders import Interests
from tfrecall.schema.features import Categorical, History, Schema
from tfrecall.tasks.full_softmax import FullSoftmax
from tfrecall.tasks.sampled_softmax import SampledSoftmax
from tfrecall.training import fit

GROUPS, ITEMS, USERS, EVENTS = 8, 5, 300, 14


@pytest.fixture(scope="module")
def parts():
    """Each user has two tastes out of eight, five items each, and follows either by chance."""
    rng = np.random.default_rng(0)
    rows = []
    for user in range(USERS):
        tastes = rng.choice(GROUPS, 2, replace=False)
        items = tastes[rng.integers(2, size=EVENTS)] * ITEMS + rng.integers(ITEMS, size=EVENTS)
        rows += [(f"u{user}", f"i{item}", float(time)) for time, item in enumerate(items)]
    log = pl.DataFrame(rows, schema=["user_id", "item_id", "timestamp"], orient="row")
    return split_leave_last_out(Interactions.from_frame(log), validation=False)


def share_found(parts, num_interests, task):
    """How often the next item is among the ten that the two tastes of its user have."""
    train, test = parts
    item = Categorical("item_id", 2, unknown_rate=0.0)
    history = History("history", item, 12, Interests(num_interests, units=16), table="candidate")
    schema = Schema(query=[history], candidate=[item])
    model = YouTubeDNN(schema, (), task=task, embedding_stddev=0.5)
    settings = {"optimizer": "adam", "learning_rate": 0.05, "batch_size": 256, "epochs": 15}
    fit(model, train, **settings, verbose=0)
    ranking = rank(model.retriever(), test, seen=train, ks=(10,))
    return hit_rate(ranking.kept.rows, 2 * ITEMS).mean()


@pytest.mark.slow
def test_two_vectors_in_a_plane_point_at_two_tastes_and_one_cannot(parts):
    # In a plane one vector ranks neighbours on the circle first, so of two tastes that lie apart the
    # second comes behind all between: chance is 10 / 40, a perfect answer 1.
    assert share_found(parts, 1, FullSoftmax()) < 0.7
    assert share_found(parts, 2, FullSoftmax()) > 0.95


@pytest.mark.slow
def test_sampled_candidates_do_too(parts):
    assert share_found(parts, 2, SampledSoftmax(num_sampled=20)) > 0.85
