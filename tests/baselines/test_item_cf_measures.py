"""The measures of ItemCF against hand-worked cases and loops over every pair of items."""

from math import log
from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.baselines.helpers import (
    EVENTS,
    ITEMS,
    USERS,
    asked,
    first_days,
    last_days,
    log_of,
    make_train,
    sets_of,
)
from tests.retriever_contract import check_learning, check_retriever
from tfrecall.baselines import ordered_pairs
from tfrecall.baselines.item_cf import ItemCF
from tfrecall.data import synthetic
from tfrecall.errors import ConfigError

OPTIONS = st.fixed_dictionaries(
    {},
    optional={
        "similarity": st.sampled_from(["cosine", "jaccard", "conditional"]),
        "damping": st.sampled_from([None, 0, 0.3, 1]),
        "inverse_user_frequency": st.booleans(),
        "pair_half_life_days": st.sampled_from([None, 0.5, 3]),
        "history_half_life_days": st.sampled_from([None, 2]),
        "backward": st.sampled_from([0, 0.25, 1]),
    },
)


def similarity_to_a(model, train):
    return model.fit(train).scores(asked("u"))[0].round(6).tolist()


def test_they_keep_the_contract():
    check_retriever(lambda train: ItemCF(similarity="jaccard", inverse_user_frequency=True).fit(train))
    check_retriever(lambda train: ItemCF(5, pair_half_life_days=1, backward=0.5).fit(train))


def test_the_order_learns_structure_and_nothing_else():
    # Over four seeds .67-.69 against popularity's .30-.34.
    check_learning(lambda train: ItemCF(similarity="conditional", damping=0.5).fit(train), margin=0.3)


def test_worked_case_of_jaccard():
    # a: u v, b: v w x. One has both, four have one of them.
    train = log_of(u="a", v="ab", w="b", x="b")
    assert similarity_to_a(ItemCF(similarity="jaccard"), train) == [0, 0.25, 0, 0, 0, 0]


def test_worked_case_of_conditional_probability():
    # Of the two who have a, one has b, which three have: 1/2, or 1/2/3 fully damped.
    train = log_of(u="a", v="ab", w="b", x="b")
    assert similarity_to_a(ItemCF(similarity="conditional"), train)[1] == 0.5
    damped = ItemCF(similarity="conditional", damping=1)
    assert similarity_to_a(damped, train)[1] == pytest.approx(1 / 6, abs=1e-6)


def test_worked_case_of_inverse_user_frequency():
    # v has 2 items and counts 1/log 3, u has one and counts 1/log 2: both / sqrt(n(a) n(b)).
    train = log_of(u="a", v="ab")
    (found,) = ItemCF(inverse_user_frequency=True).fit(train).scores(asked("u"))
    v, u = 1 / log(3), 1 / log(2)
    assert found[1] == pytest.approx(v / ((u + v) * v) ** 0.5)


@pytest.mark.parametrize("users", ["u", "uv", "uvw"])
def test_items_of_the_same_users_have_a_cosine_of_1_however_active_these_are(users):
    """The weight of a user stands in the length of a column as it does in what two columns share."""
    histories = {"u": "ab", "v": "abcdef", "w": "ab"}
    train = log_of(x="cd", **{user: histories[user] for user in users})
    (score,) = ItemCF(inverse_user_frequency=True).fit(train).similar_items("a", 1).scores
    assert score == pytest.approx(1)


def test_worked_case_of_order_and_time():
    # v came from a to b in two days, w from b to a in one. With a half-life of one day:
    # b after a gets 1/4 from v and backward * 1/2 from w; both have both, so over sqrt(3 * 2).
    train = make_train([("u", "a", 0), ("v", "a", 0), ("v", "b", 2), ("w", "b", 0), ("w", "a", 1)])
    for backward, both in ((1, 0.75), (0, 0.25), (0.5, 0.5)):
        model = ItemCF(pair_half_life_days=1, backward=backward)
        assert similarity_to_a(model, train)[1] == pytest.approx(both / 6**0.5, abs=1e-6)


def test_older_events_of_a_user_count_less():
    # u had a two days before c: it weighs a quarter at a half-life of one day.
    train = make_train([("u", "a", 0), ("u", "c", 2), ("v", "a", 0), ("v", "b", 0)])
    (plain,) = ItemCF().fit(train).scores(asked("u"))
    (faded,) = ItemCF(history_half_life_days=1).fit(train).scores(asked("u"))
    assert faded[1] == pytest.approx(plain[1] / 4)


@given(EVENTS, OPTIONS)
def test_it_agrees_with_loops(events, options):
    found = ItemCF(**options).fit(make_train(events)).scores(asked(*USERS, "stranger"))
    expected = [by_loops(events, user, **options) for user in [*USERS, "stranger"]]
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-7)


def by_loops(
    events,
    user,
    similarity="cosine",
    damping=None,
    inverse_user_frequency=False,
    pair_half_life_days=None,
    history_half_life_days=None,
    backward=1,
):
    had, latest = sets_of(events), last_days(events, user)
    counts = {w: 1 / log(1 + len(had[w])) if inverse_user_frequency and had[w] else 1 for w in USERS}
    scores = dict.fromkeys(ITEMS, 0.0)
    for a in had.get(user, ()):
        age = max(latest.values()) - latest[a]
        weight = 0.5 ** (age / history_half_life_days) if history_half_life_days else 1
        for b in set(ITEMS) - {a}:
            both = 0
            for other in USERS:
                if {a, b} <= had[other]:
                    (place_a, day_a), (place_b, day_b) = (first_days(events, other)[i] for i in (a, b))
                    apart = abs(day_a - day_b)
                    faded = 0.5 ** (apart / pair_half_life_days) if pair_half_life_days else 1
                    both += counts[other] * faded * (1 if place_a < place_b else backward)
            n_a, n_b = (sum(counts[w] for w in USERS if item in had[w]) for item in (a, b))
            if both and similarity == "cosine":
                d = 0.5 if damping is None else damping
                scores[b] += weight * both / (n_a ** (1 - d) * n_b**d)
            elif both:
                below = n_a + n_b - both if similarity == "jaccard" else n_a
                scores[b] += weight * both / below / n_b ** (damping or 0)
    return list(scores.values())


def test_small_blocks_and_sparse_sums_give_the_same():
    train = synthetic(n_users=30, n_items=40, n_rows=600)
    model = ItemCF(pair_half_life_days=2, backward=0.5)
    whole = model.fit(train).scores(train.queries)
    with patch.object(ordered_pairs, "_PAIRS", 50), patch.object(ordered_pairs, "_DENSE_ITEMS", 0):
        parts = model.fit(train).scores(train.queries)
    np.testing.assert_allclose(parts, whole, rtol=1e-5)


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("similarity", "cosinus"),
        ("damping", 1.5),
        ("damping", float("nan")),
        ("backward", -1),
        ("pair_half_life_days", 0),
        ("history_half_life_days", float("inf")),
    ],
)
def test_senseless_options_are_refused(option, value):
    with pytest.raises(ConfigError, match=rf"`{option}` is .* Received: '?{value}"):
        ItemCF(**{option: value})
