"""The knob goes from chance to structure."""

import numpy as np
import polars as pl
import pytest

from tfrecall.data import synthetic
from tfrecall.errors import ConfigError


def share_inside(data):
    """The share of events whose item is of the user's group."""
    joined = data.queries.join(data.items, on="item_id")
    return joined.select((pl.col("segment") == pl.col("group")).mean()).item()


@pytest.mark.parametrize(
    ("structure", "expected"),
    # With 5 groups a fifth of the random events falls inside too: s + (1 - s) / 5.
    [(0.0, 0.2), (0.5, 0.6), (0.9, 0.92), (1.0, 1.0)],
)
def test_structure_is_the_share_of_events_drawn_within_the_group(structure, expected):
    data = synthetic(n_rows=20_000, structure=structure)
    # The standard deviation of a share of 20,000 is at most .0035.
    assert share_inside(data) == pytest.approx(expected, abs=0.015)


def test_without_structure_all_items_are_alike():
    counts = synthetic(n_rows=50_000, structure=0.0).log["item_id"].value_counts()["count"]
    # 500 of each of the 100 items, deviation 22.
    assert len(counts) == 100
    assert 390 < counts.min() <= counts.max() < 610


def test_with_structure_the_first_items_of_a_group_are_popular():
    counts = dict(synthetic(n_rows=20_000, structure=1.0).log["item_id"].value_counts().rows())
    assert counts["i0"] > 4 * counts["i95"]  # weights 1 and 20 ** -.8 = .09


def test_times_never_go_back_and_sometimes_tie():
    times = synthetic(n_rows=2000).log["timestamp"].to_numpy()
    steps = np.diff(times)
    assert (steps >= 0).all()
    assert 0.02 < (steps == 0).mean() < 0.08


def test_every_user_and_item_stands_in_its_table():
    data = synthetic(n_users=50, n_items=1000, n_rows=100)
    assert (data.users.height, data.items.height, len(data)) == (50, 1000, 100)
    assert data.users.columns == ["user_id", "segment"]
    assert data.items.columns == ["item_id", "group", "title"]


def test_equal_seeds_give_equal_logs():
    assert synthetic(seed=3).fingerprint == synthetic(seed=3).fingerprint
    assert synthetic(seed=3).fingerprint != synthetic(seed=4).fingerprint


@pytest.mark.parametrize(
    "wrong",
    [
        {"structure": 1.1},
        {"structure": -0.1},
        {"n_users": 1},
        {"n_items": 4},
        {"n_groups": 0},
        {"n_rows": 1},
    ],
)
def test_impossible_arguments_are_refused(wrong):
    with pytest.raises(ConfigError, match="Received"):
        synthetic(**wrong)
