"""The full softmax against NumPy; blocks against one block."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.properties import examples
from tfrecall._keras import keras, tf
from tfrecall.errors import ConfigError
from tfrecall.tasks.full_softmax import FullSoftmax, log_sum_exp


def case(rows=6, items=11, seed=0, scale=1.0, interests=()):
    random = np.random.default_rng(seed)
    queries = (scale * random.normal(size=(rows, *interests, 3))).astype(np.float32)
    candidates = (scale * random.normal(size=(items, 3))).astype(np.float32)
    return queries, candidates, random.integers(items, size=rows)


def oracle(queries, candidates, rows):
    logits = queries.astype(np.float64) @ candidates.T.astype(np.float64)
    largest = logits.max(axis=1, keepdims=True)
    totals = largest[:, 0] + np.log(np.exp(logits - largest).sum(axis=1))
    return totals - logits[np.arange(len(rows)), rows]


def with_gradients(task, queries, candidates, rows, weights=None):
    queries, candidates = tf.Variable(queries), tf.Variable(candidates)
    with tf.GradientTape() as tape:
        losses = task(queries, candidates, weights, candidate_rows=tf.constant(rows))
    gradients = tape.gradient(losses, [queries, candidates])
    return losses.numpy(), *[tf.convert_to_tensor(g).numpy() for g in gradients]


def test_a_hand_worked_catalogue():
    # Scores 0, ln 2, ln 5: the sum of the exponentials is 8.
    losses = FullSoftmax()(
        tf.ones([2, 1]),
        tf.constant([[0.0], [np.log(2)], [np.log(5)]]),
        candidate_rows=tf.constant([0, 2]),
    )
    np.testing.assert_allclose(losses, [np.log(8), np.log(8 / 5)], rtol=1e-6)


@pytest.mark.parametrize("temperature", [0.1, 1.0, 3.0])
def test_agrees_with_numpy(temperature):
    queries, candidates, rows = case()
    losses = FullSoftmax(temperature)(
        tf.constant(queries), tf.constant(candidates), candidate_rows=tf.constant(rows)
    )
    expected = oracle(queries / temperature, candidates, rows)
    np.testing.assert_allclose(losses, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.slow
@examples(12)
@given(
    rows=st.integers(1, 8),
    items=st.integers(1, 30),
    block=st.integers(1, 35),
    seed=st.integers(0, 1000),
    scale=st.sampled_from([0.1, 1.0, 4.0]),
    interests=st.sampled_from([(), (1,), (3,)]),
)
def test_blocks_of_any_size_give_value_and_gradient_of_one_block(
    rows, items, block, seed, scale, interests
):
    queries, candidates, positives = case(rows, items, seed, scale, interests)
    weights = tf.constant(np.random.default_rng(seed).uniform(0, 2, rows), tf.float32)
    blocks = with_gradients(FullSoftmax(block_size=block), queries, candidates, positives, weights)
    whole = with_gradients(FullSoftmax(block_size=1000), queries, candidates, positives, weights)
    for got, expected in zip(blocks, whole, strict=True):
        np.testing.assert_allclose(got, expected, rtol=1e-4, atol=2e-5)


@pytest.mark.parametrize("interests", [(), (1,), (3,)])
def test_the_gradient_is_that_of_an_ordinary_softmax(interests):
    queries, candidates, rows = case(interests=interests)
    got = with_gradients(FullSoftmax(block_size=4), queries, candidates, rows)
    variables = tf.Variable(queries), tf.Variable(candidates)
    with tf.GradientTape() as tape:
        logits = tf.einsum("n...d,md->n...m", *variables)
        logits = tf.reduce_max(logits, axis=1) if interests else logits
        loss = tf.nn.sparse_softmax_cross_entropy_with_logits(rows, logits)
    for ours, expected in zip(got[1:], tape.gradient(loss, variables), strict=True):
        np.testing.assert_allclose(ours, expected, rtol=1e-4, atol=1e-5)


def test_blocks_in_a_graph_of_unknown_shape():
    queries, candidates, rows = case()
    task = FullSoftmax(block_size=4)

    def run(queries, candidates, rows):
        with tf.GradientTape() as tape:
            tape.watch([queries, candidates])
            losses = task(queries, candidates, candidate_rows=rows)
        return (losses, *tape.gradient(losses, [queries, candidates]))

    signature = [tf.TensorSpec([None, 3]), tf.TensorSpec([None, 3]), tf.TensorSpec([None], tf.int32)]
    arguments = tf.constant(queries), tf.constant(candidates), tf.constant(rows, tf.int32)
    graph = tf.function(run, input_signature=signature)(*arguments)
    for got, expected in zip(graph, run(*arguments), strict=True):
        np.testing.assert_allclose(got, tf.convert_to_tensor(expected), rtol=1e-5, atol=1e-6)


def test_memory_stays_at_one_block():
    # 200,000 candidates x 64 queries would be 51 MB of logits; no tensor of the graph holds them.
    signature = [tf.TensorSpec([64, 2]), tf.TensorSpec([200_000, 2])]
    graph = tf.function(lambda q, c: log_sum_exp(q, c, 1000)).get_concrete_function(*signature).graph
    sizes = [out.shape.num_elements() or 0 for op in graph.get_operations() for out in op.outputs]
    assert max(sizes) <= 400_000  # the candidates themselves


def test_a_candidate_outside_the_catalogue_has_loss_0_and_no_gradient():
    queries, candidates, rows = case()
    rows[2] = -1
    losses, for_queries, for_candidates = with_gradients(FullSoftmax(), queries, candidates, rows)
    assert losses[2] == 0
    assert not for_queries[2].any()
    others = np.arange(len(rows)) != 2
    without = with_gradients(FullSoftmax(), queries[others], candidates, rows[others])
    np.testing.assert_allclose(losses[others], without[0], rtol=1e-6)
    np.testing.assert_allclose(for_candidates, without[2], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("block_size", [3, 1000])
def test_huge_logits_do_not_overflow(block_size):
    queries, candidates, rows = case(scale=100.0)
    losses, *gradients = with_gradients(FullSoftmax(block_size=block_size), queries, candidates, rows)
    np.testing.assert_allclose(losses, oracle(queries, candidates, rows), rtol=1e-4, atol=0.05)
    assert all(np.isfinite(gradient).all() for gradient in gradients)


def test_weight_0_takes_a_row_out():
    queries, candidates, rows = case()
    weights = tf.constant([0.0, 1, 2, 1, 1, 1])
    losses, for_queries, for_candidates = with_gradients(
        FullSoftmax(), queries, candidates, rows, weights
    )
    assert losses[0] == 0
    assert not for_queries[0].any()
    plain = with_gradients(FullSoftmax(), queries[1:], candidates, rows[1:], weights[1:])
    np.testing.assert_allclose(losses[1:], plain[0], rtol=1e-6)
    np.testing.assert_allclose(for_candidates, plain[2], rtol=1e-5, atol=1e-6)


def test_the_configuration_survives():
    task = keras.layers.deserialize(keras.layers.serialize(FullSoftmax(0.1, 7)))
    assert (task.temperature, task.block_size) == (0.1, 7)


@pytest.mark.parametrize("options", [{"temperature": -1}, {"block_size": 0}])
def test_settings_that_make_no_sense_are_refused(options):
    with pytest.raises(ConfigError, match="Received"):
        FullSoftmax(**options)


def test_each_candidate_is_scored_by_the_best_of_several_vectors():
    # Products with (1, 0) are 0 and ln 2, with (0, 1) ln 5 and 0: scores ln 5 and ln 2, together 7.
    queries = tf.constant([[[1.0, 0.0], [0.0, 1.0]]] * 2)
    candidates = tf.constant([[0.0, np.log(5)], [np.log(2), 0.0]], tf.float32)
    losses = FullSoftmax()(queries, candidates, candidate_rows=tf.constant([0, 1]))
    np.testing.assert_allclose(losses, [np.log(7 / 5), np.log(7 / 2)], rtol=1e-6)


def test_equal_vectors_share_no_gradient_twice():
    queries, candidates, rows = case()
    _, of_one, _ = with_gradients(FullSoftmax(), queries, candidates, rows)
    twice = np.repeat(queries[:, np.newaxis], 2, axis=1)
    _, of_two, of_candidates = with_gradients(FullSoftmax(), twice, candidates, rows)
    np.testing.assert_allclose(of_two, np.stack([of_one, 0 * of_one], axis=1), rtol=1e-5, atol=1e-6)
    expected = with_gradients(FullSoftmax(), queries, candidates, rows)[2]
    np.testing.assert_allclose(of_candidates, expected, rtol=1e-5, atol=1e-6)
