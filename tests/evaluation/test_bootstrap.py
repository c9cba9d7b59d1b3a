"""Intervals of differences: by drawing users by hand, by known variance, and by how often they hold."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.evaluation.helpers import TableModel, make_log
from tfrecall.errors import ConfigError
from tfrecall.evaluation import paired_bootstrap, per_user, rank, user_lists
from tfrecall.evaluation.bootstrap import PerUser, _weights

MODELS = 2


def one_metric(sums, counts=None):
    sums = np.asarray(sums, dtype=float)
    return PerUser(("m",), sums[None], np.ones_like(sums)[None] if counts is None else counts[None])


def interval(first, second, **options):
    return paired_bootstrap(first, second, **options)["m"]


# Against resampling by hand


def test_users_are_drawn_with_all_their_rows():
    """The rows of the users drawn are copied one by one, for the same draws."""
    rng = np.random.default_rng(5)
    rows = [(rng.random((n, MODELS))) for n in (1, 7, 2, 2, 30)]
    counts = np.array([len(r) for r in rows], dtype=float)
    first, second = (one_metric([r[:, i].sum() for r in rows], counts) for i in range(MODELS))
    found = interval(first, second, resamples=300, seed=11)

    draws, differences = np.random.default_rng(11), []
    for _ in range(300):
        copied = np.concatenate([rows[user] for user in draws.integers(0, 5, 5)])
        differences.append(copied[:, 1].mean() - copied[:, 0].mean())
    everything = np.concatenate(rows)
    assert found.difference == pytest.approx(everything[:, 1].mean() - everything[:, 0].mean())
    assert (found.low, found.high) == pytest.approx(np.quantile(differences, [0.025, 0.975]))


def test_width_is_that_of_a_known_variance():
    """Gains of 1 for 400 of 1,600 users: sd = sqrt(.25 * .75 / 1600) = .0108, and 1.96 of them a side."""
    gains = np.repeat([1.0, 0.0], [400, 1200])
    found = interval(one_metric(np.zeros(1600)), one_metric(gains))
    assert found.difference == 0.25
    assert found.low == pytest.approx(0.25 - 1.96 * 0.010825, abs=0.002)
    assert found.high == pytest.approx(0.25 + 1.96 * 0.010825, abs=0.002)


def test_what_both_find_hard_cancels_out():
    """Between users the metric varies by sd 1, between the models it differs by exactly .01 each."""
    hard = np.random.default_rng(0).normal(size=50)
    found = interval(one_metric(hard), one_metric(hard + 0.01))
    assert (found.low, found.high) == pytest.approx((0.01, 0.01))
    assert found.excludes_zero


@pytest.mark.slow
def test_the_interval_holds_as_often_as_it_says():
    """Of 400 samples of 80 users 95 % are 380; sqrt(400 * .95 * .05) = 4.4, and percentile intervals
    of small samples are a little short."""
    rng, held = np.random.default_rng(2), 0
    for seed in range(400):
        rows = rng.integers(1, 6, 80)
        gains = np.array([rng.normal(0.3, 1.0, n).sum() for n in rows])
        counts = rows.astype(float)
        found = interval(
            one_metric(0 * gains, counts), one_metric(gains, counts), resamples=300, seed=seed
        )
        held += found.low <= 0.3 <= found.high
    assert 360 <= held <= 396


@pytest.mark.slow
def test_models_that_are_alike_differ_significantly_about_once_in_twenty():
    rng = np.random.default_rng(3)
    flagged = sum(
        interval(one_metric(rng.random(60)), one_metric(rng.random(60)), resamples=300).excludes_zero
        for _ in range(300)
    )
    assert 3 <= flagged <= 36  # 15 expected, sd 3.8


@given(st.lists(st.floats(-1, 1), min_size=1, max_size=30), st.integers(0, 99))
def test_exchanging_the_models_turns_the_interval_round(gains, seed):
    first, second = one_metric(np.zeros(len(gains))), one_metric(gains)
    there = interval(first, second, resamples=50, seed=seed)
    back = interval(second, first, resamples=50, seed=seed)
    assert back.difference == pytest.approx(-there.difference)
    assert (back.low, back.high) == pytest.approx((-there.high, -there.low), abs=1e-9)
    assert min(gains) - 1e-9 <= there.low <= there.high <= max(gains) + 1e-9


def test_blocks_change_nothing(monkeypatch):
    first, second = one_metric(np.arange(9.0)), one_metric(np.arange(9.0) ** 2)
    whole = interval(first, second, resamples=100)
    monkeypatch.setattr("tfrecall.evaluation.bootstrap._BLOCK", 9 * 7)
    assert interval(first, second, resamples=100) == whole


@pytest.mark.parametrize("at_once", [1, 50, 10**6])
def test_weights_are_those_of_a_loop_that_draws_one_resample_after_the_other(monkeypatch, at_once):
    monkeypatch.setattr("tfrecall.evaluation.bootstrap._DRAWS_AT_ONCE", at_once)
    generator, expected = np.random.default_rng(5), []
    for _ in range(31):
        drawn = generator.integers(0, 7, 7)
        expected.append([np.count_nonzero(drawn == user) for user in range(7)])
    found = _weights(np.random.default_rng(5), 31, 7)
    assert found.tolist() == expected


def test_zero_at_the_end_is_not_excluded():
    found = interval(one_metric(np.zeros(9)), one_metric(np.zeros(9)))
    assert (found.low, found.high, found.excludes_zero) == (0, 0, False)


@pytest.mark.parametrize("options", [{"resamples": 0}, {"confidence": 1.0}, {"confidence": 95}])
def test_numbers_that_make_no_sense_are_refused(options):
    with pytest.raises(ConfigError, match="Received: resamples="):
        interval(one_metric([1, 2]), one_metric([1, 2]), **options)


def test_other_users_are_refused():
    with pytest.raises(ConfigError, match="same test rows"):
        interval(one_metric([1, 2]), one_metric([1, 2, 3]))


# From ranks to users, and their lists

SEEN = make_log([("a", "x", 0), ("b", "y", 0)], items=["x", "y", "z"])
TEST = make_log([("b", "z", 3), ("a", "y", 2), ("b", "x", 1)], items=["x", "y", "z"])
SCORES = [[3, 2, 1], [3, 2, 1], [1, 2, 3]]


def test_sums_over_users_give_the_metrics_of_the_rows():
    """Kept ranks are 2 (b), 1 (a), 2 (b): hit_rate@2 is 1/3, of which a has 1 of 1 row, b 0 of 2."""
    ranking = rank(TableModel("xyz", SCORES), TEST, seen=SEEN, ks=(2,))
    found = per_user(ranking.kept, np.array([0, 1, 0]), ks=(2,))
    place = found.names.index("hit_rate@2")
    assert found.sums[place].tolist() == [0, 1]
    assert found.counts[place].tolist() == [2, 1]
    assert found.means[place] == pytest.approx(1 / 3)
    # b is judged by the list of its earliest row, z y x: both targets, z found among two.
    assert found.sums[found.names.index("user_recall@2")].tolist() == [0.5, 1]


@pytest.mark.parametrize(("keep", "lists"), [(False, ["zx", "yz"]), (True, ["zy", "xy"])])
def test_a_list_is_that_of_the_earliest_row(keep, lists):
    found = user_lists(TableModel("xyz", SCORES), TEST, seen=SEEN, k=2, keep_seen=keep)
    assert found.user_ids.tolist() == ["b", "a"]
    assert ["".join(found.item_ids[row]) for row in found.rows] == lists


@pytest.mark.parametrize("keep", [False, True])
def test_exposure_of_the_lists_is_that_of_the_ranking(keep, monkeypatch):
    monkeypatch.setattr("tfrecall.evaluation.per_user_lists._BLOCK_USERS", 1)
    model = TableModel("xyz", SCORES)
    ranking = rank(model, TEST, seen=SEEN, ks=(3,))
    found = user_lists(model, TEST, seen=SEEN, k=3, keep_seen=keep)
    expected = (ranking.kept if keep else ranking.removed).exposure[3]
    assert found.exposure.tolist() == expected.tolist()
