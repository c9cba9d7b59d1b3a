"""Top-K against a full sort, whatever the ties, the lengths and the dtype."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from tfrecall.core.top_k import check_k, is_top_k, kth_largest, places_within, top_k
from tfrecall.errors import ConfigError

SCORES = st.sampled_from([np.float32, np.float64]).flatmap(
    lambda dtype: hnp.arrays(
        dtype,
        hnp.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=40),
        elements=st.sampled_from([np.nan, -np.inf, -1.0, -0.0, 0.0, 2.0, np.inf]),
    )
)


def sorted_list(scores: np.ndarray, k: int, excluded: set[int]) -> list[int]:
    """By a stable sort; a comparison with NaN is false, so NaN is left out as -inf is."""
    offered = [i for i in range(len(scores)) if i not in excluded and scores[i] > -np.inf]
    best = sorted(offered, key=lambda i: -scores[i])[:k]
    return best + [-1] * (k - len(best))


@given(SCORES, st.integers(1, 45), st.data())
def test_lists_equal_a_full_sort_with_ties_by_lower_column(
    scores: np.ndarray, k: int, data: st.DataObject
) -> None:
    n_queries, n_items = scores.shape
    cells = st.tuples(st.integers(0, n_queries - 1), st.integers(0, n_items - 1))
    pairs = np.array(data.draw(st.lists(cells)), dtype=int).reshape(-1, 2)
    before = scores.copy()
    lists = top_k(scores, k, excluded=(pairs[:, 0], pairs[:, 1]))
    gone = [set(pairs[pairs[:, 0] == n, 1]) for n in range(n_queries)]
    expected = [sorted_list(row, k, gone[n]) for n, row in enumerate(scores)]
    assert lists.tolist() == expected
    assert lists.dtype == np.int32
    np.testing.assert_array_equal(scores, before)  # the caller's scores are left alone


@st.composite
def long_rows(draw: st.DrawFn) -> np.ndarray:
    """Rows long enough to be bounded by groups, with some high scores at equal distances."""
    n_queries, n_items = draw(st.integers(1, 3)), draw(st.integers(128, 400))
    low = st.sampled_from([np.nan, -np.inf, -1.0, 0.0, 1.0])
    scores = draw(hnp.arrays(np.float64, (n_queries, n_items), elements=low))
    for row in scores:
        # A group holds every n-th column, so that at some distances a whole plateau is in one group.
        start, step = draw(st.integers(0, 30)), draw(st.sampled_from([1, 16, 17, 21, 24, 25, 26, 32]))
        row[start::step][: draw(st.integers(1, 12))] = draw(st.sampled_from([1.0, 2.0, np.nan]))
    return scores


@given(long_rows(), st.integers(1, 5))
def test_long_rows_equal_a_full_sort_too(scores: np.ndarray, k: int) -> None:
    assert top_k(scores, k).tolist() == [sorted_list(row, k, set()) for row in scores]


def test_scores_that_share_a_group_are_counted_one_by_one() -> None:
    # 128 columns and k = 2: 16 groups of 8 columns, 16 apart. Columns 3, 19 and 35 are all in group 3,
    # whose largest is 5, so the bound is the largest of another group, 0: three exceed it, not two.
    scores = np.zeros((1, 128))
    scores[0, [3, 19, 35]] = 5.0
    assert top_k(scores, 2).tolist() == [[3, 19]]
    assert kth_largest(scores, 2).tolist() == [5.0]


@given(SCORES, st.integers(1, 45))
def test_what_is_marked_is_what_is_listed(scores: np.ndarray, k: int) -> None:
    marked = is_top_k(scores, k)
    assert marked.shape == scores.shape
    for row, listed in zip(marked, top_k(scores, k), strict=True):
        assert set(np.flatnonzero(row)) == set(listed[listed >= 0])


def test_more_places_than_items_are_filled_with_minus_one() -> None:
    assert top_k(np.array([[1.0, 2.0]]), k=4).tolist() == [[1, 0, -1, -1]]


def test_nothing_to_choose_from_gives_empty_lists() -> None:
    assert top_k(np.empty((2, 0)), k=3).tolist() == [[-1] * 3] * 2
    assert top_k(np.empty((0, 500)), k=3).shape == (0, 3)


def test_excluding_everything_leaves_an_empty_list() -> None:
    everything = (np.array([0, 0]), np.array([0, 1]))
    assert top_k(np.array([[1.0, 2.0]]), k=2, excluded=everything).tolist() == [[-1, -1]]


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), max_size=20))
def test_places_count_the_larger_and_the_earlier_of_the_group(pairs: list[tuple[int, int]]) -> None:
    groups, values = np.array(pairs, dtype=int).reshape(-1, 2).T
    expected = [
        sum(
            group == other and (more > value or (more == value and j < i))
            for j, (other, more) in enumerate(pairs)
        )
        for i, (group, value) in enumerate(pairs)
    ]
    assert places_within(groups, values.astype(float)).tolist() == expected


@pytest.mark.parametrize("k", [1, 10, np.int32(3)])
def test_a_length_of_lists_is_an_int(k: object) -> None:
    assert type(check_k(k, limit=10)) is int


@pytest.mark.parametrize("k", [0, -1, 11, True, 2.0, "2", None, np.float64(1)])
def test_other_lengths_are_refused_with_the_bound_and_what_came(k: object) -> None:
    with pytest.raises(ConfigError, match="`k` must be an integer from 1 to 10, the number of items"):
        check_k(k, limit=10)


def test_a_length_without_bound_still_starts_at_one() -> None:
    assert check_k(10**9) == 10**9
    with pytest.raises(ConfigError, match=r"`width` must be an integer from 1\. Received width=0"):
        check_k(0, name="width")
