"""Lists of the best k against a full sort."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from tfrecall.evaluation import top_k

SCORES = hnp.arrays(
    np.float32,
    hnp.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=40),
    elements=st.sampled_from([-np.inf, -1.0, -0.0, 0.0, 2.0, np.inf]),
)


def sorted_list(scores: np.ndarray, k: int, excluded: set[int]) -> list[int]:
    offered = [i for i in range(len(scores)) if i not in excluded and scores[i] > -np.inf]
    best = sorted(offered, key=lambda i: (-scores[i], i))[:k]
    return best + [-1] * (k - len(best))


@given(SCORES, st.integers(1, 12), st.data())
def test_lists_equal_a_full_sort_with_ties_by_lower_row(
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
    assert (scores == before).all()  # the caller's scores are left alone


@st.composite
def _rows_with_a_plateau(draw: st.DrawFn) -> np.ndarray:
    """Long rows of low scores, in each of which a few neighbours are equal and higher than the rest."""
    n_queries, n_items = draw(st.integers(1, 3)), draw(st.integers(48, 130))
    low = st.sampled_from([-np.inf, -1.0, 0.0, 1.0])
    scores = draw(hnp.arrays(np.float64, (n_queries, n_items), elements=low))
    for row in scores:
        start = draw(st.integers(0, n_items - 2))
        row[start : start + draw(st.integers(2, 12))] = 2.0
    return scores


@given(_rows_with_a_plateau(), st.integers(2, 4))
def test_the_first_of_many_equal_neighbours_are_listed(scores: np.ndarray, k: int) -> None:
    # Lists are a sixteenth of a row or less, so that scores are compared in stretches, and a plateau
    # inside one stretch counts once there: more than k scores exceed the bound.
    assert top_k(scores, k).tolist() == [sorted_list(row, k, set()) for row in scores]


def test_more_places_than_items_are_filled_with_minus_one() -> None:
    assert top_k(np.array([[1.0, 2.0]]), k=4).tolist() == [[1, 0, -1, -1]]


def test_excluding_everything_leaves_an_empty_list() -> None:
    everything = (np.array([0, 0]), np.array([0, 1]))
    assert top_k(np.array([[1.0, 2.0]]), k=2, excluded=everything).tolist() == [[-1, -1]]
