"""UserCF against hand-worked cosines and loops over all users."""

from math import log, sqrt
from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.baselines.helpers import EVENTS, ITEMS, USERS, asked, log_of, make_train, sets_of
from tests.retriever_contract import check_learning, check_retriever
from tfrecall.baselines.user_cf import UserCF
from tfrecall.errors import ConfigError
from tfrecall.index import scorers as user_neighbours


def test_it_keeps_the_contract():
    check_retriever(lambda train: UserCF().fit(train))
    check_retriever(lambda train: UserCF(3, inverse_item_frequency=True).fit(train))


def test_it_learns_structure_and_nothing_else():
    check_learning(lambda train: UserCF().fit(train), margin=0.2)


def test_worked_case():
    # u a b; v a b c; w b d. Cosines with u: v 2/sqrt(2*3), w 1/sqrt(2*2).
    train = log_of(u="ab", v="abc", w="bd")
    v, w = 2 / sqrt(6), 1 / 2
    scores = UserCF().fit(train).scores(asked("u", "x", "stranger"))
    np.testing.assert_allclose(scores[0], [v, v + w, v, w, 0, 0], rtol=1e-6)
    assert not scores[1:].any()
    np.testing.assert_allclose(
        UserCF(1).fit(train).scores(asked("u"))[0], [v, v, v, 0, 0, 0], rtol=1e-6
    )


def test_of_equal_neighbours_the_lower_row_is_kept():
    train = log_of(u="a", v="ab", w="ac", x="ad")
    assert (UserCF(2).fit(train).scores(asked("u"))[0] > 0).tolist() == [1, 1, 1, 0, 0, 0]


@pytest.mark.slow
@given(EVENTS, st.sampled_from([None, 1, 2, 9]))
def test_it_agrees_with_loops(events, top_n):
    with patch.object(user_neighbours, "BLOCK", 1):
        found = UserCF(top_n).fit(make_train(events)).scores(asked(*USERS))
    for row, user in enumerate(USERS):
        similar = by_loops(events, user, inverse=False)
        # Rounded, so that what is equal but for rounding is equal.
        kept = sorted(similar, key=lambda other: -round(similar[other], 9))[:top_n]
        expected = [sum(similar[v] for v in kept if item in sets_of(events)[v]) for item in ITEMS]
        np.testing.assert_allclose(found[row], expected, rtol=1e-5, atol=1e-7)


@pytest.mark.slow
@given(EVENTS)
def test_it_agrees_with_loops_where_popular_items_count_less(events):
    found = UserCF(None, inverse_item_frequency=True).fit(make_train(events)).scores(asked(*USERS))
    for row, user in enumerate(USERS):
        similar = by_loops(events, user, inverse=True)
        expected = [sum(similar[v] for v in USERS if item in sets_of(events)[v]) for item in ITEMS]
        np.testing.assert_allclose(found[row], expected, rtol=1e-5, atol=1e-7)


def by_loops(events, user, inverse):
    had = sets_of(events)
    count = {item: sum(item in had[user] for user in USERS) for item in ITEMS}
    weigh = {item: 1 / log(1 + max(1, count[item])) if inverse else 1 for item in ITEMS}
    size = {other: sqrt(sum(weigh[item] for item in had[other])) for other in USERS}
    return {
        other: sum(weigh[item] for item in had[user] & had[other]) / (size[user] * size[other])
        if other != user and had[user] & had[other]
        else 0.0
        for other in USERS
    }


def test_a_senseless_top_n_is_refused():
    with pytest.raises(ConfigError, match=r"`top_n` is .* Received: 0"):
        UserCF(0)
