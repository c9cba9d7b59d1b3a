"""Diversity, caps and boosts, held against the definitions written out."""

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tfrecall.errors import ConfigError
from tfrecall.release.rules import Boost, ItemValues, Rules, in_order


def mmr(scores, vectors, diversity, k):
    """Carbonell and Goldstein's definition, every cosine computed anew in every step."""
    low, high = min(scores), max(scores)
    relevance = [(s - low) / (high - low) if high > low else 0.0 for s in scores]

    def cosine(i, j):
        a, b = vectors[i].astype(np.float64), vectors[j].astype(np.float64)
        return float(a @ b / (np.linalg.norm(a) * np.linalg.norm(b)))

    chosen = []
    while len(chosen) < min(k, len(scores)):
        rest = [i for i in range(len(scores)) if i not in chosen]
        if not chosen:
            chosen.append(max(rest, key=lambda i: relevance[i]))
            continue
        value = {
            i: (1 - diversity) * relevance[i] - diversity * max(cosine(i, j) for j in chosen)
            for i in rest
        }
        chosen.append(max(rest, key=lambda i: value[i]))
    return chosen


@pytest.mark.parametrize("diversity", [0.1, 0.5, 0.9, 1.0])
def test_diversity_is_maximal_marginal_relevance(diversity):
    random = np.random.default_rng(3)
    scores = random.normal(size=30).astype(np.float32)
    vectors = random.normal(size=(30, 5)).astype(np.float32)
    got = in_order(scores, 12, diversity=diversity, vectors=vectors)
    assert got.tolist() == mmr(scores.tolist(), vectors, diversity, 12)


def test_diversity_worked_by_hand():
    scores = np.array([1.0, 0.9, 0.0])
    vectors = np.array([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    # After a: b has .5 * .9 - .5 * 1 = -.05, c has .5 * 0 - .5 * 0 = 0.
    assert in_order(scores, 3, diversity=0.5, vectors=vectors).tolist() == [0, 2, 1]
    # With .4: b has .6 * .9 - .4 * 1 = .14, c still 0.
    assert in_order(scores, 3, diversity=0.4, vectors=vectors).tolist() == [0, 1, 2]


def test_a_vector_of_length_zero_is_like_nothing():
    vectors = np.array([[1.0, 0.0], [0.0, 0.0]])
    assert in_order(np.array([1.0, 0.5]), 2, diversity=1.0, vectors=vectors).tolist() == [0, 1]


def test_equal_scores_keep_the_order_of_the_retrieval():
    assert in_order(np.array([2.0, 3.0, 2.0, 3.0]), 4).tolist() == [1, 3, 0, 2]


def capped(scores, genres, cap, k):
    """Down the list, an item is taken if none of its values is full."""
    count, chosen = {}, []
    for i in sorted(range(len(scores)), key=lambda i: -scores[i]):
        if len(chosen) < k and all(count.get(value, 0) < cap for value in genres[i]):
            chosen.append(i)
            for value in genres[i]:
                count[value] = count.get(value, 0) + 1
    return chosen


@pytest.mark.slow
@given(
    st.lists(st.sets(st.sampled_from("abcd"), max_size=3), min_size=1, max_size=25),
    st.integers(1, 4),
    st.integers(1, 12),
)
def test_caps_take_what_fits(genres, cap, k):
    scores = np.random.default_rng(len(genres)).permutation(len(genres)).astype(np.float32)
    values = ItemValues.of(pl.Series("genres", [sorted(g) for g in genres], pl.List(pl.String)))
    caps = [(cap, values.table(np.arange(len(genres))))]
    assert in_order(scores, k, caps=caps).tolist() == capped(scores, genres, cap, k)


def test_caps_hold_with_diversity_and_for_several_columns():
    random = np.random.default_rng(1)
    genres, years = random.integers(0, 3, 40), random.integers(0, 10, 40)
    caps = [(2, np.eye(3, dtype=bool)[genres]), (1, np.eye(10, dtype=bool)[years])]
    got = in_order(
        random.normal(size=40), 40, diversity=0.4, vectors=random.normal(size=(40, 4)), caps=caps
    )
    assert np.bincount(genres[got]).max() == 2
    assert np.bincount(years[got]).max() == 1


# Values of a column


def test_values_of_lists_texts_and_numbers():
    lists = ItemValues.of(pl.Series("genres", [["a", None, "b"], None, [], ["b", "b"]]))
    assert lists.table(np.array([3, 0, 1])).tolist() == [[False, True], [True, True], [False, False]]
    years = ItemValues.of(pl.Series("year", [1999, None, 2001, 1999]))
    assert years.having(["1999", "1888"]).tolist() == [True, False, False, True]


def test_a_column_that_has_no_texts_is_refused():
    with pytest.raises(ConfigError, match='column "box" holds'):
        ItemValues.of(pl.Series("box", [{"a": [1]}, {"a": [2]}], dtype=pl.Object))


# What rules may say


@pytest.mark.parametrize(
    "wrong",
    [
        {"diversity": 1.1},
        {"diversity": float("nan")},
        {"caps": {"genres": 0}},
        {"caps": {"genres": 1.5}},
        {"allow": "i1"},
    ],
    ids=str,
)
def test_rules_out_of_range_are_refused(wrong):
    with pytest.raises(ConfigError, match="Received"):
        Rules(**wrong)


@pytest.mark.parametrize(
    "wrong",
    [
        {},
        {"items": ["a"], "column": "genres", "values": ["x"]},
        {"column": "genres"},
        {"values": ["x"]},
        {"items": "a"},
    ],
    ids=str,
)
def test_a_boost_names_items_or_values_of_a_column(wrong):
    with pytest.raises(ConfigError, match="Received"):
        Boost(1.0, **wrong)
    with pytest.raises(ConfigError, match="finite"):
        Boost(float("inf"), items=["a"])


def test_rules_survive_a_manifest():
    boosts = (Boost(0.5, items=["a"]), Boost(-1, column="genres", values=["x", "y"]))
    told = Rules(0.3, {"genres": 2}, boosts, ["a", "b"]).to_dict()
    assert Rules.from_dict(told).to_dict() == told
    assert Rules.from_dict(Rules().to_dict()) == Rules()
