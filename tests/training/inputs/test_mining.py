"""Hard negatives stand between the ranks asked for, of the list that the vectors give."""

import numpy as np
import polars as pl
import pytest
from scipy.special import chdtrc

from tfrecall.data import Interactions, synthetic
from tfrecall.models.two_tower import TwoTower
from tfrecall.schema.features import Categorical, Schema
from tfrecall.schema.negatives import Hard
from tfrecall.tasks.pairwise import BPR
from tfrecall.training.inputs import mining
from tfrecall.training.inputs.mining import HardNegativeMiner
from tfrecall.training.inputs.negatives import training_negatives

LOG = synthetic(12, 30, 80, seed=2)
RANDOM = np.random.default_rng(0)
USERS, ITEMS = RANDOM.normal(size=(12, 4)), RANDOM.normal(size=(30, 4))
ROWS = np.arange(0, 80, 2)


def miner(per_user, **settings):
    spec = Hard(**{"ranks": (3, 6), "per_positive": 5, **settings})
    embed = lambda places: USERS[LOG.user_rows[ROWS[places]]]  # noqa: E731
    return HardNegativeMiner(LOG, spec, ROWS, embed, lambda: ITEMS, per_user)


def ranked(row, exclude_known):
    """All items for the user of a row, best first."""
    user = LOG.user_rows[row]
    order = np.argsort(-(ITEMS @ USERS[user]))
    return order[~np.isin(order, LOG.item_rows[LOG.user_rows == user])] if exclude_known else order


@pytest.mark.parametrize("per_user", [True, False])
@pytest.mark.parametrize("exclude_known", [True, False])
@pytest.mark.parametrize("block", [1, 100, 1 << 20])
def test_items_come_from_their_places(monkeypatch, per_user, exclude_known, block):
    monkeypatch.setattr(mining, "BLOCK_SCORES", block)
    drawn = miner(per_user, exclude_known=exclude_known).mine(np.random.default_rng(1))
    assert drawn.shape == (80, 5)
    assert (np.delete(drawn, ROWS, axis=0) == -1).all()
    for row in ROWS:
        allowed = set(ranked(row, exclude_known)[2:6]) - {LOG.item_rows[row]}
        assert set(drawn[row]) - {-1} <= allowed
        if LOG.item_rows[row] not in ranked(row, exclude_known)[2:6]:
            assert -1 not in drawn[row]


def test_each_place_is_as_likely():
    found = miner(True, per_positive=29).mine(np.random.default_rng(1))
    row = ROWS[0]
    counts = np.zeros(30)
    for seed in range(200):
        drawn = miner(True, per_positive=29).mine(np.random.default_rng(seed))[row]
        counts += np.bincount(drawn, minlength=30)
    places = ranked(row, True)[2:6]
    assert counts.sum() == counts[places].sum() == 200 * 29
    expected = 200 * 29 / 4
    assert chdtrc(3, ((counts[places] - expected) ** 2 / expected).sum()) > 1e-4
    assert found.dtype == np.int32


def test_who_has_fewer_items_left_draws_from_what_there_is():
    drawn = miner(True, ranks=(20, 29)).mine(np.random.default_rng(1))
    for row in ROWS:
        assert set(drawn[row]) <= set(ranked(row, True)[19:29]) or (drawn[row] == -1).all()


@pytest.mark.slow
def test_an_item_that_the_model_does_not_know_is_no_negative():
    schema = Schema(query=[Categorical("user_id", 4)], candidate=[Categorical("item_id", 4)])
    model = TwoTower(schema, [], task=BPR(negatives=Hard(ranks=(1, 30), per_positive=30)))
    model.adapt(LOG)
    model.create_weights()
    # The same log in an item table with one more item, in front of all others.
    items = pl.concat([pl.DataFrame({"item_id": ["new"]}), LOG.items], how="diagonal")
    log = Interactions.from_frame(LOG.log, users=LOG.users, items=items)
    embed = lambda places: model.embed_queries(log.queries[places.tolist()])  # noqa: E731
    draw = training_negatives(model, log, np.arange(len(log)), embed).epoch(0)
    drawn = draw(np.arange(len(log)))  # 0 is none, 1 the unknown item, 2 the first of the catalogue
    assert (drawn != 1).all()
    catalogue = set(range(2, 2 + LOG.items.height))
    for user in range(log.users.height):
        rows = np.flatnonzero(log.user_rows == user)
        had = set(model.catalogue.index(log.log["item_id"].to_numpy()[rows].astype(str)).numpy())
        assert set(drawn[rows].ravel()) - {0} <= catalogue - had
    assert set(drawn.ravel()) - {0} == catalogue
