"""Figures of baselines on MovieLens-1M from 2003 on, as they are quoted: hits in 50 over test rows."""

import pytest

from tfrecall.baselines.ease import EASE
from tfrecall.baselines.item_cf import ItemCF
from tfrecall.baselines.popularity import Popularity
from tfrecall.data import movielens, split_by_time
from tfrecall.evaluation import evaluate


@pytest.fixture(scope="module")
def parts(movielens_folder):
    if not (movielens_folder / "ml-1m" / "ratings.dat").exists():
        pytest.skip("MovieLens-1M is not here.")
    return split_by_time(movielens("1m", movielens_folder / "ml-1m"), "2003-01-01", known_users=True)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("model", "kept", "removed"),
    [(Popularity(), 0.072, 0.126), (ItemCF(), 0.065, 0.128), (EASE(1000), 0.037, 0.155)],
    ids=lambda value: getattr(value, "name", None),
)
def test_recall_at_50(parts, model, kept, removed):
    train, test = parts.train, parts.test
    assert (len(train), len(test), test.log["user_id"].n_unique()) == (996_861, 3_348, 178)
    found = evaluate(model.fit(train), test, seen=train, ks=[50], baselines=False).test
    assert found["seen_kept"]["hit_rate@50"] == pytest.approx(kept, abs=0.001)
    assert found["seen_removed"]["hit_rate@50"] == pytest.approx(removed, abs=0.001)
