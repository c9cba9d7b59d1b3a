"""What is particular to exact search: blocks, rounding, checks of the catalogue."""

import numpy as np
import polars as pl
import pytest

from tfrecall.errors import ConfigError
from tfrecall.index import Exact, exact


def unit_vectors(count, dimension, seed=0):
    vectors = np.random.default_rng(seed).normal(size=(count, dimension)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def index_over(vectors, **options):
    return Exact().build(vectors, [str(row) for row in range(len(vectors))], **options)


@pytest.mark.parametrize("block", [1, 100, 1000])
def test_the_size_of_a_block_changes_nothing(monkeypatch, block):
    index = index_over(unit_vectors(90, 8))
    queries, exclude = unit_vectors(11, 8, seed=1), [np.arange(i * 8) for i in range(11)]
    allow = np.arange(7)
    whole = [index.search(queries, 5, exclude, rows) for rows in (None, allow)]
    monkeypatch.setattr(exact, "BLOCK", block)
    monkeypatch.setattr(exact, "SCORES", block)
    for expected, rows in zip(whole, (None, allow), strict=True):
        hits = index.search(queries, 5, exclude, rows)
        np.testing.assert_array_equal(hits.rows, expected.rows)
        np.testing.assert_array_equal(hits.scores, expected.scores)


def test_a_score_is_the_same_bits_alone_and_in_a_batch():
    index, queries = index_over(unit_vectors(501, 37)), unit_vectors(64, 37, seed=1)
    batch = index.search(queries, 501)
    for i in range(64):
        alone = index.search(queries[i : i + 1], 501)
        np.testing.assert_array_equal(alone.rows[0], batch.rows[i])
        np.testing.assert_array_equal(alone.scores[0], batch.scores[i])


def test_order_survives_cancellation_that_float32_sums_cannot_see():
    # 1e4 * 1e4 - 1e4 * 1e4 + x: float32 rounds at 1e8 to multiples of 8, so 1, 2 and 3 vanish.
    vectors = np.array([[1e4, -1e4, x] for x in (2, 1, 3)], dtype=np.float32)
    hits = index_over(np.repeat(vectors, 30, axis=0)).search([[1e4, 1e4, 1.0]], 90)
    assert hits.rows[0].tolist() == [*range(60, 90), *range(30), *range(30, 60)]
    assert np.unique(hits.scores).tolist() == [1.0, 2.0, 3.0]
    short = index_over(np.repeat(vectors, 30, axis=0)).search([[1e4, 1e4, 1.0]], 31)
    assert short.rows[0].tolist() == [*range(60, 90), 0]


def test_candidates_closer_than_rounding_are_still_ordered():
    # All 600 lie within 1e-7 of each other, which is below what a float32 sum of 256 can tell.
    rng = np.random.default_rng(0)
    near = rng.normal(size=256) * (1 + rng.normal(size=(600, 256)) * 1e-7)
    vectors, queries = near.astype(np.float32), rng.normal(size=(30, 256)).astype(np.float32)
    scores = (queries.astype(np.float64) @ vectors.astype(np.float64).T).astype(np.float32)
    for k in (1, 3, 50):
        expected = np.argsort(-scores, axis=1, kind="stable")[:, :k]
        np.testing.assert_array_equal(index_over(vectors).search(queries, k).rows, expected)


def test_rows_of_ids_give_minus_one_for_an_unknown_id():
    index = Exact().build(np.eye(3), pl.Series(["a", "b", "c"]))
    assert index.rows(["c", "x", "a"]).tolist() == [2, -1, 0]
    assert index.rows(np.array(["b"], dtype=object)).dtype == np.int32


@pytest.mark.parametrize(("scale", "normalized"), [(1.0, True), (1.001, False), (0.0, False)])
def test_normalisation_is_measured(scale, normalized):
    assert index_over(unit_vectors(20, 4) * scale).normalized is normalized


def test_claimed_normalisation_is_checked():
    vectors = unit_vectors(20, 4)
    assert index_over(vectors, normalized=True).normalized
    vectors[7] *= 2
    with pytest.raises(ConfigError, match=r'Received length 2 in row 7 \(id "7"\)'):
        index_over(vectors, normalized=True)


def test_a_catalogue_of_integers_is_refused_only_when_it_is_not_numbers():
    assert index_over(np.array([[1], [2]])).search([[1]], 2).scores.tolist() == [[2.0, 1.0]]
    with pytest.raises(ValueError, match="not real numbers"):
        index_over(np.array([[1j]]))
