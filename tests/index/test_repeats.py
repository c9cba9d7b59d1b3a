"""Repeat candidates are scored by how often and how lately they were had, and stand where that puts them."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tfrecall.errors import ConfigError
from tfrecall.index import Exact
from tfrecall.index.repeats import Repeats, search_with_repeats


def brute_force(repeats: Repeats, scores: np.ndarray, histories: list[list[int]]) -> np.ndarray:
    """The formula of the docstring, event by event."""
    scores = scores.astype(np.float64)
    for query, history in enumerate(histories):
        sums: dict[int, float] = {}
        for p, row in enumerate(reversed(history[-repeats.length :])):
            w = (1 + p) ** -repeats.recency * np.exp(-repeats.decay * p)
            if row >= 0:
                sums[row] = sums.get(row, 0.0) + w
        for row, total in sums.items():
            logit = np.log(total) + repeats.bias
            scores[query, row] = repeats.temperature * logit + repeats.blend * scores[query, row]
    return scores


def test_an_item_counts_for_how_often_and_how_lately_it_was_had() -> None:
    repeats = Repeats(recency=1.0, bias=2.0)
    # Item 3 was had last (1) and three events before (1 / 4); item 1 just before (1 / 2 + 1 / 3).
    scores = repeats.apply(np.zeros((1, 5), np.float32), [np.array([3, 1, 1, 3])])
    expected = [0, np.log(1 / 2 + 1 / 3) + 2, 0, np.log(1 + 1 / 4) + 2, 0]
    np.testing.assert_allclose(scores[0], expected, rtol=1e-6)


def test_events_before_the_latest_do_not_count_and_unknown_items_take_a_place() -> None:
    repeats = Repeats(recency=1.0, length=2)
    scores = repeats.apply(np.zeros((1, 3), np.float32), [np.array([2, 0, -1])])
    # The unknown item is the latest, so item 0 is one event back; item 2 is out of the window.
    np.testing.assert_allclose(scores[0], [np.log(1 / 2), 0, 0], rtol=1e-6)


def test_the_blend_keeps_a_share_of_the_inner_product() -> None:
    repeats = Repeats(bias=1.0, blend=0.5, temperature=0.1)
    scores = repeats.apply(np.array([[0.8, 0.2]], np.float32), [np.array([0])])
    np.testing.assert_allclose(scores[0], [0.1 * (0 + 1) + 0.5 * 0.8, 0.2], rtol=1e-6)


@given(
    st.lists(st.lists(st.integers(-1, 5), max_size=8), min_size=1, max_size=4),
    st.floats(0, 3),
    st.floats(-1, 1),
    st.integers(1, 6),
)
def test_many_histories_are_scored_as_each_event_by_itself(histories, recency, blend, length) -> None:
    repeats = Repeats(recency, 0.1, 0.7, blend, 0.5, length)
    scores = np.random.default_rng(0).normal(size=(len(histories), 6)).astype(np.float32)
    expected = brute_force(repeats, scores, histories)
    received = repeats.apply(scores, [np.array(h, np.int32) for h in histories])
    np.testing.assert_allclose(received, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("seed", range(5))
def test_a_search_finds_what_scoring_everything_finds(seed) -> None:
    random = np.random.default_rng(seed)
    vectors = random.normal(size=(30, 4)).astype(np.float32)
    queries = random.normal(size=(6, 4)).astype(np.float32)
    exact = Exact().build(vectors, [f"i{row}" for row in range(30)])
    histories = [random.integers(-1, 30, size=random.integers(0, 9)) for _ in queries]
    exclude = [random.integers(-1, 30, size=random.integers(0, 5)) for _ in queries]
    allow = random.choice(30, 20, replace=False) if seed % 2 else None
    repeats = Repeats(0.5, 0.02, float(random.normal()), 0.3, length=5)
    hits = search_with_repeats(exact, exact, queries, 7, exclude, allow, repeats, histories)
    scores = repeats.apply(queries @ vectors.T, histories)
    for i, rows in enumerate(exclude):
        scores[i, rows[rows >= 0]] = -np.inf
        if allow is not None:
            scores[i, ~np.isin(np.arange(30), allow)] = -np.inf
    order = np.argsort(-scores, axis=1, kind="stable")[:, :7]
    np.testing.assert_array_equal(hits.rows, order)
    np.testing.assert_allclose(hits.scores, np.take_along_axis(scores, order, 1), rtol=1e-4, atol=1e-5)


def test_what_is_excluded_stays_out_even_if_it_was_had() -> None:
    exact = Exact().build(np.eye(3, dtype=np.float32), ["a", "b", "c"])
    repeats, query = Repeats(bias=5.0), np.array([[0.3, 0.2, 0.1]], np.float32)
    past, none = [np.array([1, 2])], np.empty(0, np.int64)
    kept = search_with_repeats(exact, exact, query, 3, [none], None, repeats, past)
    barred = search_with_repeats(exact, exact, query, 3, [np.array([2])], None, repeats, past)
    assert kept.rows.tolist() == [[1, 2, 0]], "equal scores stand in the order of the catalogue"
    assert barred.rows.tolist() == [[1, 0, -1]]


@pytest.mark.parametrize("wrong", [{"temperature": 0.0}, {"bias": np.nan}, {"length": 0}])
def test_numbers_that_make_no_sense_are_refused(wrong) -> None:
    with pytest.raises(ConfigError, match="must be finite"):
        Repeats(**wrong)


def test_without_a_history_the_list_is_that_of_the_towers() -> None:
    random = np.random.default_rng(0)
    exact = Exact().build(random.normal(size=(9, 3)), [*"abcdefghi"])
    queries = random.normal(size=(3, 3)).astype(np.float32)
    # The second user has no history, the third one of unknown items only.
    past = [np.array([8, 0]), np.empty(0, np.int32), np.array([-1, -1])]
    hits = search_with_repeats(
        exact, exact, queries, 4, [np.empty(0, np.int64)] * 3, None, Repeats(bias=50.0), past
    )
    plain = exact.search(queries, 4)
    assert hits.rows[0, :2].tolist() == [0, 8]
    np.testing.assert_array_equal(hits.rows[1:], plain.rows[1:])
    np.testing.assert_array_equal(hits.scores[1:], plain.scores[1:])


def test_a_weight_too_small_for_a_number_still_has_a_score() -> None:
    # exp(-900) is 0 in float64; log(0) would be -inf and take the item out of every list.
    repeats = Repeats(decay=900.0, length=3)
    scores = repeats.apply(np.zeros((1, 3), np.float32), [np.array([1, 1, 2])])
    smallest = np.log(np.finfo(np.float64).tiny)
    np.testing.assert_allclose(scores[0], [0, smallest, 0], rtol=1e-6)
