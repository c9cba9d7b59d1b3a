"""The exact top-K metric against brute force."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.properties import examples
from tfrecall._keras import keras, tf
from tfrecall.evaluation.metrics import hit_rate
from tfrecall.tasks.metrics import ExactTopK

KS = (1, 2, 5)
SEVERAL = np.random.default_rng(7).normal(size=(1100, 3, 4))


def measure(queries, catalogue, rows, weights=None, ks=KS):
    """The shares of hits."""
    return measured(queries, catalogue, rows, weights, ks)[: len(ks)]


def measured(queries, catalogue, rows, weights=None, ks=KS):
    """The shares of hits, then what they are worth."""
    metric = ExactTopK(ks)
    metric.update_state(
        tf.constant(queries, tf.float32),
        tf.constant(catalogue, tf.float32),
        tf.constant(rows, tf.int32),
        None if weights is None else tf.constant(weights),
    )
    return [float(value) for value in metric.result().values()]


def brute_force_ranks(queries, catalogue, rows):
    """How many other candidates score at least as much as the positive."""
    ranks = []
    for query, row in zip(queries, rows, strict=True):
        scores = catalogue @ query
        ranks.append(sum(scores[j] >= scores[row] for j in range(len(scores)) if j != row))
    return np.array(ranks)


# Small integers make many equal scores, and their products are exact in float32.
@pytest.mark.slow
@examples(20)
@given(st.integers(1, 12), st.integers(1, 10), st.integers(0, 10_000))
def test_agrees_with_brute_force_and_with_hit_rate(rows, items, seed):
    random = np.random.default_rng(seed)
    queries = random.integers(-2, 3, (rows, 2)).astype(float)
    catalogue = random.integers(-2, 3, (items, 2)).astype(float)
    positives = random.integers(items, size=rows)
    ranks = brute_force_ranks(queries, catalogue, positives)
    expected = [hit_rate(ranks, k).mean() for k in KS]
    np.testing.assert_allclose(measure(queries, catalogue, positives), expected, rtol=1e-6)


def test_ties_count_against_the_positive():
    # Three candidates with equal scores: the positive has rank 2, behind both others.
    assert measure([[1.0]], [[1.0]] * 3, [0], ks=(1, 2, 3)) == [0.0, 0.0, 1.0]


def test_the_best_candidate_wins_whatever_its_rounding():
    # A positive scored apart from the matrix product can lose to its own copy by a rounding.
    random = np.random.default_rng(0)
    vectors = random.normal(size=(500, 33)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    assert measure(vectors, vectors, np.arange(500), ks=(1,)) == [1.0]


def test_nan_scores_lose():
    catalogue = [[1.0], [float("nan")], [0.5], [0.2]]
    assert measure([[1.0]], catalogue, [1], ks=(1, 3)) == [0.0, 0.0]
    # Another's NaN stands before the positive, too.
    assert measure([[1.0]], catalogue, [0], ks=(1, 2)) == [0.0, 1.0]


def test_a_candidate_outside_the_catalogue_is_a_miss_at_every_k():
    assert measure([[1.0], [1.0]], [[1.0], [0.0]], [-1, 0], ks=(1, 2, 100)) == [0.5, 0.5, 0.5]


def test_weights_are_shares_of_the_count():
    # Row 0 hits with weight 3, row 1 misses with weight 1; weight 0 counts for nothing.
    queries, catalogue = [[1.0], [1.0], [1.0]], [[1.0], [0.0]]
    assert measure(queries, catalogue, [0, 1, 1], [3.0, 1.0, 0.0], ks=(1,)) == [0.75]


def test_batches_add_up_until_reset():
    metric = ExactTopK((1,))
    catalogue = tf.constant([[1.0], [0.0]])
    metric.update_state(tf.constant([[1.0]]), catalogue, tf.constant([0]))
    metric.update_state(tf.constant([[1.0]] * 3), catalogue, tf.constant([1, 1, 1]))
    name = "hit_rate@1"
    assert metric.result()[name].numpy() == 0.25
    metric.reset_state()
    assert metric.result()[name].numpy() == 0.0
    assert not any(np.any(variable) for variable in metric.variables)


def test_names_are_those_of_tfrs_and_ndcg_beside():
    assert list(ExactTopK((5, 100)).result()) == [
        "hit_rate@5",
        "hit_rate@100",
        "ndcg@5",
        "ndcg@100",
    ]


def test_a_hit_is_worth_less_at_a_later_rank():
    # Ranks 0, 1 and 3: 1 / log2(2) = 1, 1 / log2(3) = .63 and 1 / log2(5) = .43.
    catalogue = [[4.0], [3.0], [2.0], [1.0]]
    gains = measured([[1.0]] * 3, catalogue, [0, 1, 3], ks=(1, 2, 4))[3:]
    expected = [1 / 3, (1 + 0.63093) / 3, (1 + 0.63093 + 0.430677) / 3]
    np.testing.assert_allclose(gains, expected, rtol=1e-5)


def test_of_several_vectors_the_best_one_scores():
    # 1,100 queries of 3 vectors are more than six blocks.
    catalogue, rows = SEVERAL[:30, 0] * 2, np.arange(1100) % 30
    scores = np.einsum("nkd,md->nkm", SEVERAL, catalogue).max(axis=1)
    ranks = (scores >= scores[np.arange(1100), rows][:, np.newaxis]).sum(axis=1) - 1
    expected = [np.mean(ranks < k) for k in KS]
    np.testing.assert_allclose(measure(SEVERAL, catalogue, rows), expected, rtol=1e-5)


def test_the_configuration_survives():
    metric = keras.metrics.deserialize(keras.metrics.serialize(ExactTopK((3, 7))))
    assert metric.ks == (3, 7)


@pytest.mark.parametrize("in_graph", [False, True])
def test_graph_and_eager_agree(in_graph):
    random = np.random.default_rng(3)
    metric = ExactTopK(KS)

    def update(*arguments):
        metric.update_state(*arguments)

    update = tf.function(update) if in_graph else update
    queries, catalogue = random.normal(size=(20, 4)), random.normal(size=(9, 4))
    rows = random.integers(9, size=20)
    update(tf.constant(queries, tf.float32), tf.constant(catalogue, tf.float32), tf.constant(rows))
    expected = [hit_rate(brute_force_ranks(queries, catalogue, rows), k).mean() for k in KS]
    np.testing.assert_allclose(list(metric.result().values())[: len(KS)], expected, rtol=1e-6)


def test_blocks_of_queries_add_up_to_the_whole():
    # 1,100 queries are three blocks, the last one shorter.
    random = np.random.default_rng(1)
    queries = random.integers(-2, 3, (1100, 2)).astype(float)
    catalogue = random.integers(-2, 3, (8, 2)).astype(float)
    positives, weights = random.integers(8, size=1100), random.integers(0, 3, 1100).astype(float)
    ranks = brute_force_ranks(queries, catalogue, positives)
    expected = [np.average(ranks < k, weights=weights) for k in KS]
    np.testing.assert_allclose(measure(queries, catalogue, positives, weights), expected, rtol=1e-5)
