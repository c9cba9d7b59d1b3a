"""Swing against hand-worked pairs and loops over all pairs of users."""

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.baselines.helpers import EVENTS, ITEMS, USERS, asked, log_of, make_train, sets_of
from tests.retriever_contract import check_learning, check_retriever
from tfrecall.baselines.swing import Swing
from tfrecall.errors import ConfigError


def test_it_keeps_the_contract():
    check_retriever(lambda train: Swing().fit(train))
    check_retriever(lambda train: Swing(top_n=3, max_users=5).fit(train))


def test_it_learns_structure_and_nothing_else():
    check_learning(lambda train: Swing().fit(train), margin=0.3)


def test_worked_case():
    # u has a c; v and w have a and b, w also d. They share a and b: 1/sqrt(2) 1/sqrt(3) / (1 + 2).
    # u and v share a alone, as do u and w.
    train = log_of(u="ac", v="ab", w="abd")
    (scores,) = Swing().fit(train).scores(asked("u"))
    np.testing.assert_allclose(scores, [0, 1 / 6**0.5 / 3, 0, 0, 0, 0], rtol=1e-6)


def test_a_single_user_says_nothing():
    assert not Swing().fit(log_of(u="abc", v="d")).scores(asked("u", "v")).any()


def test_of_the_users_of_an_item_those_with_the_fewest_items_are_looked_at():
    # a: u 1 item, v 2, w 3, x 2; the cap of three leaves w out, whose pairs alone have c.
    train = log_of(u="a", v="ab", w="abc", x="ab")
    capped = Swing(max_users=3).fit(train)
    (scores,) = capped.scores(asked("u"))
    # v and x share a and b: 1/sqrt(2) 1/sqrt(2) / (1 + 2).
    np.testing.assert_allclose(scores, [0, 1 / 6, 0, 0, 0, 0], rtol=1e-6)
    assert Swing(max_users=None).fit(train).scores(asked("u"))[0, 1] > scores[1]


@pytest.mark.slow
@given(
    EVENTS,
    st.sampled_from([0.5, 1, 3]),
    st.sampled_from([None, 1, 2]),
    st.sampled_from([None, 2, 3]),
)
def test_it_agrees_with_loops(events, alpha, top_n, max_users):
    model = Swing(alpha, top_n, max_users).fit(make_train(events))
    found = np.stack([model.answers.scorer.similar(row) for row in range(len(ITEMS))])
    expected = np.array([by_loops(events, item, alpha, max_users) for item in ITEMS])
    if top_n is not None:
        for row, values in enumerate(
            Swing(alpha, None, max_users).fit(make_train(events)).answers.scorer.similarity
        ):
            # The values found decide, for two equal ones may differ in their last bit.
            dense = values.toarray().reshape(-1) if hasattr(values, "toarray") else values
            expected[row, np.argsort(-dense, kind="stable")[top_n:]] = 0
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def by_loops(events, a, alpha, max_users):
    had = sets_of(events)
    users = sorted((user for user in USERS if a in had[user]), key=lambda user: len(had[user]))
    scores = dict.fromkeys(ITEMS, 0.0)
    for u, v in combinations(users[:max_users], 2):
        shared = had[u] & had[v]
        for b in shared - {a}:
            scores[b] += (len(had[u]) * len(had[v])) ** -0.5 / (alpha + len(shared))
    return list(scores.values())


@pytest.mark.parametrize(
    ("option", "value"), [("alpha", 0), ("alpha", float("nan")), ("top_n", 0), ("max_users", 1)]
)
def test_senseless_options_are_refused(option, value):
    with pytest.raises(ConfigError, match=rf"`{option}` is .* Received: {value}"):
        Swing(**{option: value})
