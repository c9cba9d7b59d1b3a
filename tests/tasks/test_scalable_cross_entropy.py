"""Scalable cross entropy against NumPy; one bucket of everything against the full softmax."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.properties import examples
from tests.tasks.test_full_softmax import oracle as full_oracle
from tests.tasks.test_full_softmax import with_gradients
from tfrecall._keras import keras, tf
from tfrecall.errors import ConfigError
from tfrecall.tasks import scalable_cross_entropy
from tfrecall.tasks.full_softmax import FullSoftmax
from tfrecall.tasks.scalable_cross_entropy import Buckets, ScalableCrossEntropy, farthest


def case(rows=6, items=11, seed=0):
    random = np.random.default_rng(seed)
    queries = random.normal(size=(rows, 3)).astype(np.float32)
    candidates = random.normal(size=(items, 3)).astype(np.float32)
    return queries, candidates, random.integers(items, size=rows)


def oracle(queries, candidates, rows, directions, sizes, weights=None, temperature=1.0):
    """The loss by loops over buckets, queries and candidates."""
    weights = np.ones(len(rows)) if weights is None else np.asarray(weights, float)
    weights = weights * (np.asarray(rows) >= 0)
    scores = queries.astype(float) @ candidates.astype(float).T / temperature
    counting = [i for i in range(len(rows)) if weights[i] > 0]
    losses = np.zeros(len(rows))
    held = set()
    for direction, of_candidates in zip(*directions, strict=True):
        of_queries = sorted(counting, key=lambda i: -direction @ queries[i])[: sizes[0]]
        by_product = sorted(range(len(candidates)), key=lambda j: -of_candidates @ candidates[j])
        for i in of_queries:
            held.add(i)
            others = sum(np.exp(scores[i, j]) for j in by_product[: sizes[1]] if j != rows[i])
            own = np.exp(scores[i, rows[i]])
            losses[i] = max(losses[i], -np.log(own / (own + others)))
    scale = weights.sum() / sum(weights[i] for i in held)
    return np.array([losses[i] * weights[i] * scale if i in held else 0.0 for i in range(len(rows))])


def directions_of(task, queries, counts):
    """The directions that the next draw of a task will make."""
    task.build()
    seed = task._stream.state.numpy()
    if not task.mix:
        any_direction = tf.random.stateless_normal([task.num_buckets, queries.shape[1]], seed).numpy()
        return any_direction, any_direction
    mixing = tf.random.stateless_normal([task.num_buckets, len(queries)], seed).numpy()[:, counts]
    mean = queries[counts].mean(axis=0)
    mixtures = mixing @ (queries[counts] - mean) / np.sqrt(counts.sum())
    return mixtures, mean + mixtures


@pytest.mark.parametrize("mix", [True, False])
@pytest.mark.parametrize("temperature", [0.5, 2.0])
@pytest.mark.parametrize("sizes", [(2, 3, 4), (4, 5, 30), (3, 30, 2), (1, 1, 1)])
def test_agrees_with_loops_in_numpy(sizes, temperature, mix):
    keras.utils.set_random_seed(3)
    queries, candidates, rows = case(9, 14, seed=2)
    rows[4] = -1
    weights = np.array([1, 0.5, 2, 0, 1, 3, 1, 1, 0.1], np.float32)
    task = ScalableCrossEntropy(*sizes, temperature=temperature, mix=mix)
    directions = directions_of(task, queries / temperature, (weights > 0) & (rows >= 0))
    losses = task(
        tf.constant(queries), tf.constant(candidates), tf.constant(weights), candidate_rows=rows
    )
    expected = oracle(queries, candidates, rows, directions, sizes[1:], weights, temperature)
    np.testing.assert_allclose(losses, expected, rtol=1e-4, atol=1e-5)
    # Scaled up, the weights of the queries in buckets are those of all.
    assert losses[3] == losses[4] == 0


@examples(20)
@given(
    rows=st.integers(1, 8),
    items=st.integers(1, 20),
    buckets=st.integers(1, 3),
    seed=st.integers(0, 1000),
    mix=st.booleans(),
)
def test_buckets_of_everything_give_the_full_softmax_and_its_gradients(rows, items, buckets, seed, mix):
    queries, candidates, positives = case(rows, items, seed)
    weights = tf.constant(np.random.default_rng(seed).uniform(0.1, 2, rows), tf.float32)
    task = ScalableCrossEntropy(buckets, 100, 100, mix=mix)
    ours = with_gradients(task, queries, candidates, positives, weights)
    full = with_gradients(FullSoftmax(), queries, candidates, positives, weights)
    for got, expected in zip(ours, full, strict=True):
        np.testing.assert_allclose(got, expected, rtol=1e-4, atol=2e-5)


def test_the_largest_loss_of_several_buckets_counts_and_the_positive_is_no_negative():
    # Scores of the query: 0, ln 2, ln 3, ln 4. Its positive is row 1 (e^s = 2). Bucket 0 holds rows 1 and 0:
    # others 1; bucket 1 rows 3 and 2: others 7. -ln(2 / (2 + 7)) is the larger loss.
    candidates = tf.math.log(tf.constant([[1.0], [2.0], [3.0], [4.0]]))
    buckets = Buckets(tf.constant([[0], [0]]), tf.constant([[1, 0], [3, 2]]))
    losses = ScalableCrossEntropy()(
        tf.ones([1, 1]), candidates, candidate_rows=tf.constant([1]), buckets=buckets
    )
    np.testing.assert_allclose(losses, [np.log(9 / 2)], rtol=1e-6)


def test_queries_in_no_bucket_count_nothing_and_the_others_for_them():
    # Only query 1 is in the bucket, against row 0: -ln(e / (e + 1)); its weight 1 stands for 1 + 3.
    buckets = Buckets(tf.constant([[1]]), tf.constant([[0]]))
    losses = ScalableCrossEntropy()(
        tf.eye(2),
        tf.eye(2),
        tf.constant([3.0, 1.0]),
        candidate_rows=tf.constant([0, 1]),
        buckets=buckets,
    )
    np.testing.assert_allclose(losses, [0, 4 * np.log((np.e + 1) / np.e)], rtol=1e-6)


def test_a_bucket_that_holds_only_the_positive_has_the_loss_0():
    buckets = Buckets(tf.constant([[0]]), tf.constant([[1]]))
    arguments = (tf.eye(2)[:1], tf.eye(2))
    losses = ScalableCrossEntropy()(*arguments, candidate_rows=tf.constant([1]), buckets=buckets)
    assert losses.numpy().tolist() == [0.0]


def test_nothing_counts_where_no_query_has_a_weight():
    queries, candidates, rows = case()
    task = ScalableCrossEntropy(2, 3, 3)
    losses, *gradients = with_gradients(task, queries, candidates, rows, tf.zeros([6]))
    assert not losses.any()
    assert not any(gradient.any() for gradient in gradients)


def test_gradients_reach_chosen_rows_and_positives_only():
    keras.utils.set_random_seed(1)
    queries, candidates, rows = case(6, 200)
    task = ScalableCrossEntropy(2, 2, 5)
    task.build()
    buckets = task.choose(tf.constant(queries), tf.constant(candidates), tf.ones([6], bool))
    variables = tf.Variable(queries), tf.Variable(candidates)
    with tf.GradientTape() as tape:
        losses = task(*variables, candidate_rows=tf.constant(rows), buckets=buckets)
    for_queries, for_candidates = map(tf.convert_to_tensor, tape.gradient(losses, variables))
    held = set(buckets.queries.numpy().ravel().tolist())
    moved = set(np.flatnonzero(for_candidates.numpy().any(axis=1)).tolist())
    assert set(np.flatnonzero(for_queries.numpy().any(axis=1)).tolist()) == held
    assert moved <= set(buckets.candidates.numpy().ravel().tolist()) | {int(rows[i]) for i in held}
    assert len(held) <= 4
    assert len(moved) <= 14


@pytest.mark.parametrize("products", [1, 23, 10**6])
def test_the_farthest_rows_are_those_of_a_sort_however_many_directions_go_at_once(
    monkeypatch, products
):
    monkeypatch.setattr(scalable_cross_entropy, "_PRODUCTS", products)
    random = np.random.default_rng(0)
    directions, vectors = random.normal(size=(7, 4)), random.normal(size=(11, 4))
    added = np.where(np.arange(11) == 3, -1e9, 0.0)
    found = farthest(tf.constant(directions), tf.constant(vectors), 5, tf.constant(added)).numpy()
    expected = np.argsort(-(directions @ vectors.T + added), axis=1)[:, :5]
    np.testing.assert_array_equal(np.sort(found), np.sort(expected))
    assert 3 not in found
    assert farthest(tf.constant(directions), tf.constant(vectors), 50).shape == (7, 11)


def test_each_step_draws_other_buckets_and_equal_seeds_draw_alike():
    queries, candidates, rows = case(30, 50)
    drawn = []
    for _ in range(2):
        keras.utils.set_random_seed(7)
        task = ScalableCrossEntropy(2, 4, 4)
        drawn.append([task(queries, candidates, candidate_rows=rows).numpy() for _ in range(2)])
    np.testing.assert_array_equal(drawn[0], drawn[1])
    assert (drawn[0][0] != drawn[0][1]).any()


def test_mixtures_have_the_mean_and_the_covariance_of_the_queries_that_count():
    keras.utils.set_random_seed(1)
    random = np.random.default_rng(0)
    queries = (random.normal(size=(400, 3)) * [1, 2, 0.5] + [3, 0, -1]).astype(np.float32)
    counts = np.arange(400) < 300
    task = ScalableCrossEntropy(20_000)
    task.build()
    for_queries, directions = task._directions(tf.constant(queries), tf.constant(counts, tf.float32))
    expected = queries[counts].mean(axis=0)
    # Standard errors of means of 20,000: .007, .014, .004.
    np.testing.assert_allclose(directions.numpy().mean(axis=0), expected, atol=0.08)
    np.testing.assert_allclose(directions - for_queries, np.tile(expected, (20_000, 1)), atol=1e-4)
    covariance = np.cov(queries[counts].T)
    np.testing.assert_allclose(np.cov(for_queries.numpy().T), covariance, rtol=0.1, atol=0.08)


def test_a_graph_of_unknown_shape_gives_what_eager_gives():
    queries, candidates, rows = case(7, 12)
    keras.utils.set_random_seed(7)
    eager = ScalableCrossEntropy(2, 3, 4)
    expected = eager(queries, candidates, candidate_rows=rows)
    keras.utils.set_random_seed(7)
    task = ScalableCrossEntropy(2, 3, 4)
    task.build()
    signature = [tf.TensorSpec([None, 3]), tf.TensorSpec([None, 3]), tf.TensorSpec([None], tf.int64)]
    graph = tf.function(lambda q, c, r: task(q, c, candidate_rows=r), input_signature=signature)
    np.testing.assert_allclose(graph(queries, candidates, rows), expected, rtol=1e-6)


def test_no_tensor_of_a_step_holds_the_scores_of_the_batch_for_the_catalogue():
    task = ScalableCrossEntropy(4, 8, 16)
    task.build()

    def loss(queries, candidates, rows):
        with tf.GradientTape() as tape:
            tape.watch(queries)
            losses = task(queries, candidates, candidate_rows=rows)
        return tape.gradient(losses, queries)

    signature = [
        tf.TensorSpec([64, 2]),
        tf.TensorSpec([200_000, 2]),
        tf.TensorSpec([64], tf.int32),
    ]
    graph = tf.function(loss).get_concrete_function(*signature).graph
    sizes = [out.shape.num_elements() or 0 for op in graph.get_operations() for out in op.outputs]
    assert max(sizes) <= 4 * 200_000 < 64 * 200_000


def test_the_configuration_makes_the_same_task():
    task = ScalableCrossEntropy(3, 4, 5, temperature=0.1, mix=False)
    again = keras.layers.deserialize(keras.layers.serialize(task))
    assert again.get_config() == task.get_config()
    assert (again.num_buckets, again.bucket_queries, again.bucket_candidates) == (3, 4, 5)
    assert (again.temperature, again.mix) == (0.1, False)
    assert again.full.temperature == 0.1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"num_buckets": 0}, "`num_buckets` must be 1 or more"),
        ({"bucket_queries": 0}, "`bucket_queries` must be 1 or more"),
        ({"bucket_candidates": -1}, "`bucket_candidates` must be 1 or more"),
        ({"temperature": 0.0}, "`temperature` must be above 0"),
    ],
)
def test_settings_without_meaning_are_refused(arguments, message):
    with pytest.raises(ConfigError, match=message):
        ScalableCrossEntropy(**arguments)


def test_the_oracle_of_everything_is_that_of_the_full_softmax():
    queries, candidates, rows = case()
    everything = oracle(queries, candidates, rows, np.ones([2, 1, 3]), (10, 20))
    np.testing.assert_allclose(everything, full_oracle(queries, candidates, rows), rtol=1e-6)
