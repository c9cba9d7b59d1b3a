"""Lists against a plain sort."""

from unittest.mock import patch

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from tfrecall.errors import ConfigError
from tfrecall.index import history as answers
from tfrecall.index.history import Answers, HistoryWeights, QueryHistories, best
from tfrecall.index.scorers import Neighbours

SCORES = hnp.arrays(
    np.float32,
    st.tuples(st.integers(0, 4), st.integers(1, 8)),
    elements=st.sampled_from([-np.inf, -1, 0, 0.5, 1, 2]),
)


@given(SCORES, st.integers(1, 8))
def test_the_best_are_those_of_a_stable_sort_without_zeros(scores, k):
    k = min(k, scores.shape[1])
    hits = best(scores, k)
    for row, values in enumerate(scores):
        order = [i for i in np.argsort(-values, kind="stable") if values[i] not in (0, -np.inf)][:k]
        assert hits.rows[row].tolist() == order + [-1] * (k - len(order))
        assert hits.scores[row, : len(order)].tolist() == values[order].tolist()
        assert np.isneginf(hits.scores[row, len(order) :]).all()


def make_answers():
    similarity = np.array([[0, 3, 2, 1], [3, 0, 1, 1], [2, 1, 0, 5], [1, 1, 5, 0]], dtype=np.float32)
    return Answers(np.array([*"abcd"], dtype=object), HistoryWeights(), Neighbours(similarity))


def had_of(*lists):
    rows = [np.array(one, dtype=np.int64) for one in lists]
    return QueryHistories.of_lists(np.full(len(rows), -1), rows, [np.zeros(len(one)) for one in rows])


def test_excluded_and_not_allowed_items_are_left_out():
    had = had_of([0], [2], [])
    hits = make_answers().search(had, 2, [np.array([1, -1]), np.array([-1]), np.array([-1])])
    assert hits.rows.tolist() == [[2, 3], [3, 0], [-1, -1]]
    hits = make_answers().search(had, 4, allow=np.array([0, 1, -1]))
    assert hits.rows.tolist() == [[1, -1, -1, -1], [0, 1, -1, -1], [-1] * 4]


def test_blocks_change_nothing():
    had = had_of([0], [1, 2], [3], [0, 3])
    excluded = [np.array([row]) for row in range(4)]
    whole = make_answers().search(had, 3, excluded)
    with patch.object(answers, "BLOCK", 4):
        parts = make_answers().search(had, 3, excluded)
    assert (whole.rows == parts.rows).all()
    assert (whole.scores == parts.scores).all()


def test_dense_and_sparse_matrices_answer_alike():
    dense = make_answers()
    sparse = Answers(dense.item_ids, dense.weights, Neighbours(sp.csr_array(dense.scorer.similarity)))
    had = had_of([0, 2], [])
    assert (dense.scores(had) == sparse.scores(had)).all()
    assert dense.explain(had.rows([0]), "u", 3) == sparse.explain(had.rows([0]), "u", 3)
    assert (dense.similar(2, 3).rows == sparse.similar(2, 3).rows).all()


def test_worked_explanation():
    # d from a: 1, from c: 5.
    told = make_answers().explain(had_of([0, 2]), "u", 3)
    assert [(one.item_id, one.weight, one.contribution) for one in told.reasons] == [
        ("c", 1.0, 5.0),
        ("a", 1.0, 1.0),
    ]
    assert (told.score, told.base) == (6.0, 0.0)


def test_an_impossible_row_is_refused():
    with pytest.raises(ConfigError, match="`exclude` names a row outside the catalogue"):
        make_answers().search(had_of([0]), 1, [np.array([4])])


def test_nobody_asks_for_nothing():
    assert make_answers().search(had_of(), 2).rows.shape == (0, 2)
