"""EASE against the formula with a plain inverse, and its property as a regression."""

from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.baselines.helpers import EVENTS, ITEMS, USERS, asked, log_of, make_train, sets_of
from tests.retriever_contract import check_learning, check_retriever
from tfrecall.baselines import ease
from tfrecall.baselines.ease import EASE, check_memory
from tfrecall.errors import ConfigError, DataError


def test_it_keeps_the_contract():
    check_retriever(lambda train: EASE(10).fit(train))


def test_it_learns_structure_and_nothing_else():
    # Over four seeds .66-.69 against popularity's .30-.34.
    check_learning(lambda train: EASE(50).fit(train), margin=0.3)


def test_worked_case_of_two_items():
    # Two users have a and b: G + l2 I = [[3, 2], [2, 3]], its inverse [[3, -2], [-2, 3]] / 5.
    # What a says for b: 2 / 3.
    train = make_train([("u", "a", 0), ("u", "b", 0), ("v", "a", 0), ("v", "b", 0)], items="ab")
    np.testing.assert_allclose(EASE(1).fit(train).scores(asked("u")), [[2 / 3, 2 / 3]], rtol=1e-6)


@pytest.mark.slow
@given(EVENTS, st.sampled_from([0.5, 10]), st.sampled_from([1, 4, 1024]))
def test_each_item_is_the_regression_on_all_others(events, l2, block):
    with patch.object(ease, "_BLOCK_ITEMS", block):
        found = EASE(l2).fit(make_train(events)).scores(asked(*USERS))
    had = sets_of(events)
    x = np.array([[item in had[user] for item in ITEMS] for user in USERS], dtype=float)
    expected = np.zeros_like(x)
    for target in range(len(ITEMS)):
        others = np.delete(x, target, axis=1)
        ridge = others.T @ others + l2 * np.eye(len(ITEMS) - 1)
        expected[:, target] = others @ np.linalg.solve(ridge, others.T @ x[:, target])
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)


def test_a_catalogue_that_does_not_fit_is_refused_before_it_starts(monkeypatch):
    # 200,000 items squared, 12 bytes each, are 480 GB; in 12 GB fit sqrt(1e9) = 31,622 items.
    with pytest.raises(DataError, match=r"200,000 items take 480\.0 GB .* 12\.0 GB .* 31,622 items"):
        check_memory(200_000, available=12 * 10**9)
    monkeypatch.setattr(ease, "available_bytes", lambda: 100)
    monkeypatch.setattr(ease, "_co_occurrences", lambda *_: pytest.fail("it started"))
    with pytest.raises(DataError, match="ItemCF with `top_n`"):
        EASE().fit(log_of(u="ab"))


def test_memory_that_nobody_can_tell_refuses_nothing(monkeypatch):
    monkeypatch.setattr(ease, "available_bytes", lambda: None)
    check_memory(10**9)


@pytest.mark.parametrize("l2", [0, -1, float("nan"), float("inf")])
def test_a_senseless_l2_is_refused(l2):
    with pytest.raises(ConfigError, match=rf"`l2` is .* Received: {l2}"):
        EASE(l2)
