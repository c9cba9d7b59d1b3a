"""Queries with several vectors: the best one scores each candidate."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.index.test_contract import (
    BUILDERS,
    EVERY_INDEX,
    argsort_oracle,
    assert_same,
    names,
    random_vectors,
)
from tfrecall.core.top_k import best_scores
from tfrecall.errors import ConfigError, DataError
from tfrecall.index import Annoy, Exact, load_bundle, write_bundle
from tfrecall.index.repeats import Repeats, search_with_repeats
from tfrecall.index.tuning import recall_of, sample_queries


@pytest.fixture(params=EVERY_INDEX)
def build(request):
    return BUILDERS[request.param]


def random_queries(count, interests, dimension, seed=1):
    return np.random.default_rng(seed).normal(size=(count, interests, dimension)).astype(np.float32)


def best_of_all(vectors, queries, k, exclude=None, allow=None):
    """Each vector of a query asked alone for everything, the best score of each candidate kept."""
    count = len(vectors)
    scores = np.full((len(queries), count), -np.inf, dtype=np.float32)
    for i, several in enumerate(queries):
        for vector in several:
            hits = argsort_oracle(vectors, vector[np.newaxis], count)
            scores[i, hits.rows[0]] = np.maximum(scores[i, hits.rows[0]], hits.scores[0])
    # Of numbers in place of vectors: one dimension an item, so that the products are the scores.
    return argsort_oracle(np.eye(count, dtype=np.float32), scores, k, exclude, allow)


@pytest.mark.parametrize("interests", [1, 2, 4])
def test_answers_are_those_of_the_best_vector(build, interests):
    vectors, queries = random_vectors(60, 5), random_queries(7, interests, 5)
    index = build(vectors, names(60))
    for k in (1, 10, 45, 60):
        assert_same(index.search(queries, k), best_of_all(vectors, queries, k))


def test_what_is_excluded_and_allowed_holds_for_all_vectors(build):
    vectors, queries = random_vectors(80, 4), random_queries(3, 3, 4)
    exclude, index = [np.arange(40), [], [5, -1, 79]], build(vectors, names(80))
    for allow in (None, [5, 3, 70], list(range(5, 75))):
        for k in (1, 20, 80):
            hits = index.search(queries, k, exclude, None if allow is None else np.array(allow))
            assert_same(hits, best_of_all(vectors, queries, k, exclude, allow))


def test_one_of_several_vectors_may_be_zero(build):
    vectors = np.array([[-1.0], [2.0], [0.5], [-3.0]])
    # 0 * x beats 3 * x where x is negative.
    hits = build(vectors, names(4)).search(np.array([[[3.0], [0.0]]]), 4)
    assert hits.rows.tolist() == [[1, 2, 0, 3]]
    assert hits.scores.tolist() == [[6.0, 1.5, 0.0, 0.0]]


def test_no_query_gives_no_answer(build):
    hits = build(random_vectors(5, 4), names(5)).search(np.empty((0, 3, 4)), 2, exclude=[])
    assert hits.rows.shape == hits.scores.shape == (0, 2)


def test_an_answer_does_not_depend_on_the_batch(build):
    vectors, queries = random_vectors(300, 16), random_queries(9, 4, 16)
    index = build(vectors, names(300))
    together = index.search(queries, 20)
    for i in range(9):
        alone = index.search(queries[i : i + 1], 20)
        np.testing.assert_array_equal(alone.rows[0], together.rows[i])
        np.testing.assert_array_equal(alone.scores[0], together.scores[i])


@given(st.integers(0, 10**6), st.integers(1, 5))
def test_equal_vectors_answer_like_one(seed, interests):
    vectors, queries = random_vectors(50, 4, seed), random_vectors(3, 4, seed + 1)
    index = Exact().build(vectors, names(50))
    repeated = np.repeat(queries[:, np.newaxis], interests, axis=1)
    assert_same(index.search(repeated, 10), index.search(queries, 10))


def test_rounding_at_the_border_is_looked_into():
    # More equal candidates than a first look takes: the earlier rows have to win.
    vectors = np.repeat(random_vectors(4, 64), [3, 90, 5, 2], axis=0)
    queries = np.stack([vectors[[5, 98]], random_vectors(2, 64, seed=1)])
    for k in (1, 7, 95):
        expected = best_of_all(vectors, queries, k)
        assert_same(Exact().build(vectors, names(100)).search(queries, k), expected)


@pytest.mark.slow
def test_an_index_is_tuned_to_all_vectors_of_its_queries():
    vectors = random_vectors(3000, 16) * np.random.default_rng(5).gamma(2, size=(3000, 1))
    queries, others = random_queries(150, 4, 16), random_queries(100, 4, 16, seed=2)
    exact = Exact().build(vectors, names(3000))
    index = Annoy(n_trees=10, tune_k=20).build_over(exact, queries)
    assert index.table.chosen.recall >= 0.95
    assert index.search_k < index.exhaustive
    assert recall_of(index.search(others, 20), exact.search(others, 20)).mean() > 0.93
    assert sample_queries(exact, queries, seed=0, at_most=9).shape == (9, 4, 16)


def test_own_items_come_in_their_places(build):
    vectors, queries = random_vectors(30, 4), random_queries(2, 3, 4)
    exact, repeats, past = Exact().build(vectors, names(30)), Repeats(bias=1.0, blend=0.5), [[4, 7], []]
    scores = repeats.apply(best_scores(queries, vectors), [np.array(rows, int) for rows in past])
    nothing = [np.empty(0, np.int64)] * 2
    hits = search_with_repeats(
        build(vectors, names(30)), exact, queries, 30, nothing, None, repeats, past
    )
    np.testing.assert_array_equal(hits.rows, np.argsort(-scores, axis=1, kind="stable"))
    np.testing.assert_allclose(hits.scores, -np.sort(-scores, axis=1), rtol=1e-5, atol=1e-6)


def test_a_bundle_says_how_many_vectors_a_query_has(tmp_path):
    vectors, queries = random_vectors(50, 4), random_queries(20, 3, 4)
    written = write_bundle(tmp_path / "1", vectors, names(50), Annoy(5, tune_k=5), queries, interests=3)
    loaded = load_bundle(tmp_path / "1")
    assert written.manifest["interests"] == loaded.manifest["interests"] == 3
    assert loaded.tuning["n_queries"] == 20
    for name in ("exact", "annoy"):
        hits, before = loaded.index(name).search(queries, 5), written.index(name).search(queries, 5)
        assert_same(hits, before)
    assert load_bundle(write(tmp_path / "2", vectors)).manifest["interests"] == 1


def write(directory, vectors):
    write_bundle(directory, vectors, names(len(vectors)), None)
    return directory


def test_unusable_queries_are_refused_by_their_row(build):
    index = build(random_vectors(9, 4), names(9))
    queries = random_queries(3, 2, 4)
    queries[2, 1, 0] = np.nan
    with pytest.raises(DataError, match=r"query vectors must be finite .* in row 2"):
        index.search(queries, 1)
    with pytest.raises(ConfigError, match="5 numbers each, the candidates 4"):
        index.search(random_queries(3, 2, 5), 1)
    for shape in ((3,), (1, 2, 3, 4), (3, 0, 4), (3, 2, 0)):
        with pytest.raises(ConfigError, match=r"\[n, dimension\] or \[n, interests, dimension\]"):
            index.search(np.zeros(shape), 1)


def test_a_catalogue_has_one_vector_an_item():
    with pytest.raises(ConfigError, match=r"candidate vectors .* shape \[n, dimension\]\. Received"):
        Exact().build(random_queries(3, 2, 4), names(3))
