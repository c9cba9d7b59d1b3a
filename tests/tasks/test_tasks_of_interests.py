"""Our tasks learn the score of the best vector of a query, whatever they compare it with."""

import numpy as np
import pytest

from tfrecall._keras import keras, tf
from tfrecall.tasks.full_softmax import FullSoftmax
from tfrecall.tasks.in_batch import InBatchSoftmax
from tfrecall.tasks.sampled_softmax import Sampled, SampledSoftmax

ITEMS, DIM = 11, 3
SHARE = np.arange(1, ITEMS + 1) / 66
ROWS = tf.constant([4, 0, 7, 7, 10, 2, 4])


def full(queries, table):
    return FullSoftmax(0.7, block_size=4)(queries, table, candidate_rows=ROWS)


def sampled(queries, table):
    task = SampledSoftmax(6, temperature=0.7)
    task.adapt(SHARE)
    drawn = tf.constant([7, 1, 10, 3, 5, 8])
    return task(
        queries,
        tf.gather(table, ROWS),
        None,
        task.probability_of(ROWS),
        candidate_rows=ROWS,
        sampled=Sampled(drawn, tf.gather(table, drawn), task.probability_of(drawn)),
    )


def in_batch(queries, table, **options):
    share = tf.gather(tf.constant(SHARE, tf.float32), ROWS)
    task = InBatchSoftmax(0.7, **options)
    return task(
        queries,
        tf.gather(table, ROWS),
        candidate_sampling_probability=share,
        candidate_ids=ROWS,
        training=True,
    )


def remembered(queries, table):
    """The second batch of a task that remembers the candidates of the first."""
    task = InBatchSoftmax(0.7, memory_size=4)
    task(
        queries[:4],
        tf.gather(table, [1, 3, 5, 6]),
        candidate_ids=tf.constant([1, 3, 5, 6]),
        training=True,
    )
    return task(queries, tf.gather(table, ROWS), candidate_ids=ROWS, training=True)


@pytest.mark.parametrize("interests", [1, 4])
@pytest.mark.parametrize("loss", [full, sampled, in_batch, remembered])
def test_the_loss_is_that_of_the_best_scores_and_so_is_its_gradient(loss, interests):
    rng = np.random.default_rng(interests)
    queries = tf.Variable(rng.normal(size=(7, interests, DIM)).astype(np.float32))
    table = tf.Variable(rng.normal(size=(ITEMS, DIM)).astype(np.float32))
    with tf.GradientTape(persistent=True) as tape:
        found = loss(queries, table)
        scores = tf.reduce_max(tf.einsum("nkd,md->nkm", queries, table), axis=1)
        # Scores as queries of as many dimensions as there are items: the task sees one vector.
        expected = loss(scores, tf.eye(ITEMS))
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)
    # What is remembered of the table is no longer trained.
    watched = [queries] if loss is remembered else [queries, table]
    gradients = [tape.gradient(value, watched) for value in (found, expected)]
    for ours, theirs in zip(*gradients, strict=True):
        theirs = tf.convert_to_tensor(theirs)
        np.testing.assert_allclose(tf.convert_to_tensor(ours), theirs, rtol=1e-4, atol=1e-5)


def test_several_vectors_are_learned_from_one_query():
    # The target is nearest to the first vector, the other candidate to the second.
    queries = tf.Variable([[[1.0, 0.0], [0.0, 1.0]]])
    with tf.GradientTape() as tape:
        loss = FullSoftmax()(queries, tf.eye(2), candidate_rows=tf.constant([0]))
    # Scores 1 and 1, shares a half each: pulled to the one, pushed from the other.
    expected = [[[-0.5, 0.0], [0.0, 0.5]]]
    np.testing.assert_allclose(tape.gradient(loss, queries), expected, atol=1e-6)


def test_tasks_say_that_they_take_several_vectors():
    for task in (FullSoftmax(), SampledSoftmax(), InBatchSoftmax()):
        assert task.takes_interests
    assert not hasattr(keras.layers.Layer(), "takes_interests")
