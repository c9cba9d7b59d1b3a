"""Lists of the best k against a full sort."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from tfrecall.evaluation import top_k

SCORES = hnp.arrays(
    np.float32,
    hnp.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=9),
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


def test_more_places_than_items_are_filled_with_minus_one() -> None:
    assert top_k(np.array([[1.0, 2.0]]), k=4).tolist() == [[1, 0, -1, -1]]


def test_excluding_everything_leaves_an_empty_list() -> None:
    everything = (np.array([0, 0]), np.array([0, 1]))
    assert top_k(np.array([[1.0, 2.0]]), k=2, excluded=everything).tolist() == [[-1, -1]]
