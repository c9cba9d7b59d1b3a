"""Explicit negatives: what the log names, and nothing else."""

import numpy as np
import polars as pl
import pytest
from scipy.special import chdtrc

from tfrecall.data import Interactions
from tfrecall.data.negatives import ImpressionSampler
from tfrecall.errors import DataError, MissingColumnError
from tfrecall.schema.negatives import Explicit


def log_with(shown, items=("a", "b", "c", "d", "e")):
    """Users u, u, v took a, b, c; the items stand in the rows of their order."""
    frame = pl.DataFrame({"user_id": ["u", "u", "v"], "item_id": ["a", "b", "c"], "shown": shown})
    return Interactions.from_frame(frame, items=pl.DataFrame({"item_id": items}), timestamp="")


def draws(log, row, n=1, **options):
    sampler = ImpressionSampler(log, Explicit("shown", **options))
    return sampler.draw(np.full(n, row), np.random.default_rng(0))


def test_a_short_list_comes_whole_and_an_empty_one_not_at_all():
    log = log_with([["d", "e"], [], None])
    assert draws(log, 0).tolist() == [[3, 4, -1, -1]]
    assert draws(log, 1).tolist() == [[-1, -1, -1, -1]]
    assert draws(log, 2).tolist() == [[-1, -1, -1, -1]]


def test_what_the_user_has_is_left_out_unless_it_is_wanted():
    log = log_with([["b", "c"], ["c"], ["a", "c"]])
    assert draws(log, 0).tolist() == [[2, -1, -1, -1]]  # u has b
    assert draws(log, 0, exclude_known=False).tolist() == [[1, 2, -1, -1]]
    assert draws(log, 2, exclude_known=False).tolist() == [[0, -1, -1, -1]]  # c is the target itself


def test_of_a_long_list_each_item_is_as_likely_and_none_comes_twice():
    log = log_with([["c", "d", "e"], [], []])
    drawn = draws(log, 0, n=3_000, per_positive=2)
    assert (drawn[:, 0] != drawn[:, 1]).all()
    # 6,000 draws of three items, 2,000 of each; their first places are independent.
    distance = ((np.bincount(drawn[:, 0])[2:] - 1_000) ** 2 / 1_000).sum()
    assert chdtrc(2, distance) > 1e-4
    assert set(drawn.ravel()) == {2, 3, 4}


@pytest.mark.parametrize("shown", [["d", None, "e"], pl.Series(["d", None, "e"], dtype=pl.Categorical)])
def test_a_column_may_hold_one_id_an_event(shown):
    log = log_with(shown)
    assert [draws(log, row)[0, 0] for row in range(3)] == [3, -1, 4]


def test_numbers_are_ids_too():
    log = log_with([[3], [4], []], items=["a", "b", "c", "3", "4"])
    assert draws(log, 1)[0, 0] == 4


def test_unknown_ids_are_refused_by_name():
    with pytest.raises(DataError, match=r'2 ids that the item table lacks, the first "x" in row 1'):
        ImpressionSampler(log_with([["d"], ["d", "x"], ["y"]]), Explicit("shown"))


def test_a_column_that_is_not_there_is_refused():
    with pytest.raises(MissingColumnError, match=r'no column "shwon".* Did you mean "shown"'):
        ImpressionSampler(log_with([["d"], [], []]), Explicit("shwon"))


def test_a_column_of_something_else_is_refused():
    with pytest.raises(DataError, match=r"must hold item ids, or lists of them\. Received: Float64"):
        ImpressionSampler(log_with([0.5, 1.5, 2.5]), Explicit("shown"))


def test_a_column_without_any_negative_is_refused():
    sampler = ImpressionSampler(log_with([["a"], ["a"], []]), Explicit("shown"))
    with pytest.raises(DataError, match="None of 3 targets has an explicit negative"):
        sampler.check(np.arange(3))
