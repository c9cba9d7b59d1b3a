"""Scores by shared users against the matrix of items by items that they stand for."""

from unittest.mock import patch

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from tests.properties import examples
from tfrecall.baselines import item_cf
from tfrecall.baselines.base import binary_matrix
from tfrecall.baselines.item_cf import ItemCF
from tfrecall.data import synthetic
from tfrecall.evaluation import evaluate
from tfrecall.exporting.baseline import export_baseline
from tfrecall.index import shared_users
from tfrecall.index.scorers import Neighbours
from tfrecall.index.shared_users import SharedUsers

LOGS = hnp.arrays(
    np.float32, st.tuples(st.integers(1, 6), st.integers(1, 8)), elements=st.sampled_from([0, 1])
)
MEASURES = [
    {},
    {"damping": 0.2},
    {"similarity": "conditional", "damping": 0.3},
    {"inverse_user_frequency": True},
    {"history_half_life_days": 30.0},
]


def without_pairs(train, **settings):
    with patch.object(item_cf, "_MOST_PAIRS", 0):
        model = ItemCF(**settings).fit(train)
    assert isinstance(model.answers.scorer, SharedUsers)
    return model


@pytest.fixture(scope="module")
def few_users():
    return synthetic(n_users=25, n_items=60, n_rows=700, seed=2)


def test_worked_case() -> None:
    # Users: {a, b}, {a, c}, {a, b}. both(a, b) = 2, both(a, c) = 1, both(b, c) = 0. The history is a, weight
    # 2, and c, weight 1; first = 1, 1, 3; second = 1, 10, 100.
    log = sp.csr_array(np.array([[1, 1, 0], [1, 0, 1], [1, 1, 0]], np.float32))
    scorer = SharedUsers(log, np.ones(3), np.array([1.0, 1.0, 3.0]), np.array([1.0, 10.0, 100.0]))
    history = sp.csr_array(np.array([[2, 0, 1]], np.float32))
    # a: 1 * 3 * both(c, a) * 1. b: 2 * 1 * 2 * 10 + 0. c: 2 * 1 * 1 * 100.
    assert scorer.scores(history, np.array([-1])).tolist() == [[3.0, 40.0, 200.0]]
    assert scorer.similar(0).tolist() == [0.0, 20.0, 100.0]
    assert scorer.parts(history, -1, 1).contributions.tolist() == [40.0, 0.0]


@examples(60)
@given(LOGS, st.integers(1, 20), st.data())
def test_it_is_the_matrix_without_the_matrix(log, block, data) -> None:
    n_users, n_items = log.shape
    positive = st.floats(0.1, 10)
    importance, first, second = (
        np.array(data.draw(st.lists(positive, min_size=n, max_size=n)))
        for n in (n_users, n_items, n_items)
    )
    similarity = first[:, None] * (log.T @ (log * importance[:, None])) * second
    np.fill_diagonal(similarity, 0.0)
    expected = Neighbours(similarity.astype(np.float32))
    found = SharedUsers(sp.csr_array(log), importance, first, second)
    weights, nobody = sp.csr_array(log * 0.5), np.full(n_users, -1)
    with patch.object(shared_users, "BLOCK", block):
        scores = found.scores(weights, nobody)
    np.testing.assert_allclose(scores, expected.scores(weights, nobody), rtol=1e-5)
    # Zeros exactly: what nothing speaks for stays out of lists.
    assert ((scores == 0) == (expected.scores(weights, nobody) == 0)).all()
    np.testing.assert_allclose(found.similar(0), expected.similar(0), rtol=1e-5)
    ours, theirs = (one.parts(weights[[0]], -1, n_items - 1) for one in (found, expected))
    np.testing.assert_allclose(ours.contributions, theirs.contributions, rtol=1e-5)


@pytest.mark.parametrize("measure", MEASURES)
def test_item_cf_gives_the_same_without_pairs(few_users, measure) -> None:
    by_pairs, queries = ItemCF(**measure).fit(few_users), few_users.queries
    found = without_pairs(few_users, **measure).scores(queries)
    np.testing.assert_allclose(found, by_pairs.scores(queries), rtol=1e-5)


class _Exact:
    """The similarity of a model by pairs, with its sums in float64: scores that tie stay equal."""

    name = "exact"

    def __init__(self, train) -> None:
        self.train, self.item_ids = train, train.item_vocabulary.ids
        matrix = binary_matrix(train).toarray().astype(np.float64)
        counts = np.maximum(matrix.sum(axis=0), 1)
        self.matrix = matrix
        self.similarity = matrix.T @ matrix / np.sqrt(np.outer(counts, counts))
        np.fill_diagonal(self.similarity, 0.0)

    def scores(self, queries):
        users = self.train.user_vocabulary.rows(queries["user_id"])
        return (self.matrix[users] @ self.similarity).astype(np.float32)


def test_item_cf_has_the_same_figures_without_pairs(few_users) -> None:
    test = synthetic(n_users=25, n_items=60, n_rows=200, seed=3)
    exact, found = (
        evaluate(model, test, seen=few_users, ks=(1, 5, 10), baselines=False).test
        for model in (_Exact(few_users), without_pairs(few_users))
    )
    for rule, figures in exact.items():
        assert found[rule] == pytest.approx(figures, rel=1e-12), rule


def test_pairs_are_kept_where_they_fit_or_users_are_many(few_users) -> None:
    assert isinstance(ItemCF().fit(few_users).answers.scorer, Neighbours)
    many_users = synthetic(n_users=60, n_items=25, n_rows=700, seed=2)
    with patch.object(item_cf, "_MOST_PAIRS", 0):
        for train, settings in (
            (many_users, {}),
            (few_users, {"top_n": 5}),
            (few_users, {"similarity": "jaccard"}),
            (few_users, {"backward": 0.5}),
        ):
            assert isinstance(ItemCF(**settings).fit(train).answers.scorer, Neighbours)


def test_a_release_answers_alike(few_users, tmp_path) -> None:
    model = without_pairs(few_users)
    release = export_baseline(model, tmp_path / "cf")
    user = few_users.users["user_id"][0]
    live, (released,) = model.recommend([user], k=5)[0], release.recommend([user], k=5)
    assert (released.item_ids, released.scores) == (live.item_ids, live.scores)
    item = live.item_ids[0]
    assert release.similar_items(item, 3) == model.similar_items(item, 3)
