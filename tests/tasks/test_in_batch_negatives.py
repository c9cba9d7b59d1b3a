"""What stands as a negative in the in-batch softmax, and with which probability."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.properties import examples
from tfrecall._keras import keras, tf
from tfrecall.errors import ConfigError
from tfrecall.layers.frequency import StreamingFrequency
from tfrecall.tasks.candidates import Candidates
from tfrecall.tasks.in_batch import InBatchSoftmax

# Query (1) and candidates (ln score): the softmax is over the scores themselves.
SCORES = {1: 1.0, 2: 2.0, 3: 3.0, 4: 4.0, 5: 5.0}


def vectors(ids):
    return tf.constant([[np.log(SCORES[i])] for i in ids], tf.float32)


def candidates(ids, share=0.1):
    return Candidates(tf.constant(ids, tf.int64), vectors(ids), tf.fill([len(ids)], share))


def losses(task, ids, share=None, **options):
    return task(
        tf.ones([len(ids), 1]),
        vectors(ids),
        candidate_ids=tf.constant(ids),
        candidate_sampling_probability=None if share is None else tf.fill([len(ids)], share),
        **options,
    ).numpy()


def built(**options):
    task = InBatchSoftmax(**options)
    task.build([None, 1])
    return task


# Rows of weight 0


def test_a_row_of_weight_0_is_no_negative():
    # Scores 1, 2, 3, the last of weight 0: ln((1 + 2) / 1) and ln((1 + 2) / 2).
    weights = tf.constant([1.0, 1.0, 0.0])
    found = losses(InBatchSoftmax(), [1, 2, 3], sample_weight=weights)
    np.testing.assert_allclose(found, [np.log(3), np.log(3 / 2), 0], rtol=1e-6)


def test_a_candidate_stands_if_any_of_its_rows_has_weight():
    weights = tf.constant([1.0, 0.0, 2.0])
    found = losses(InBatchSoftmax(), [1, 2, 2], sample_weight=weights)
    np.testing.assert_allclose(found, [np.log(3), 0, 2 * np.log(3 / 2)], rtol=1e-6)


@examples(25)
@given(st.integers(2, 12), st.integers(0, 99), st.sampled_from(["standard", "without_positive"]))
def test_rows_of_weight_0_change_nothing(count, seed, correction):
    random = np.random.default_rng(seed)
    ids, kept = random.integers(1, 6, count), random.random(count) < 0.6
    task = InBatchSoftmax(correction=correction, num_hard_negatives=None if seed % 2 else 2)
    masked = losses(task, ids, 0.1, sample_weight=tf.constant(kept, tf.float32))
    np.testing.assert_allclose(masked[~kept], 0)
    if kept.any():
        np.testing.assert_allclose(masked[kept], losses(task, ids[kept], 0.1), rtol=1e-5, atol=1e-6)


def test_a_batch_without_weight_has_no_loss_and_no_gradient():
    variable = tf.Variable(vectors([1, 2]))
    with tf.GradientTape() as tape:
        found = InBatchSoftmax()(
            tf.ones([2, 1]),
            variable,
            candidate_ids=tf.constant([1, 2]),
            sample_weight=tf.zeros([2]),
            candidate_sampling_probability=tf.fill([2], 0.1),
        )
    np.testing.assert_array_equal(found, [0, 0])
    np.testing.assert_array_equal(tf.convert_to_tensor(tape.gradient(found, variable)), [[0], [0]])


# Uniform negatives


def test_uniform_negatives_stand_beside_those_of_the_batch():
    # Of the drawn 3, 2, 3 the 2 is in the batch already and 3 counts once: (1 + 2 + 3) / 1 and / 2.
    task = built(num_uniform_negatives=3)
    found = losses(task, [1, 2], uniform=candidates([3, 2, 3]), num_candidates=5)
    np.testing.assert_allclose(found, np.log([6 / 1, 6 / 2]), rtol=1e-6)


def test_uniform_negatives_are_corrected_by_the_probability_of_the_mix():
    # Two rows with the share 0.1 and one uniform draw of 5: q = 1 - 0.9^2 * 0.8 = 0.352 for all.
    # Without the positive: one row, q' = 1 - 0.9 * 0.8 = 0.28 for the others, nothing for the positive.
    options = {"share": 0.1, "uniform": candidates([3]), "num_candidates": 5}
    found = losses(built(num_uniform_negatives=1), [1, 2], **options)
    np.testing.assert_allclose(found, np.log([6 / 1, 6 / 2]), rtol=1e-5)
    task = built(num_uniform_negatives=1, correction="without_positive")
    np.testing.assert_allclose(
        losses(task, [1, 2], **options),
        np.log([(1 + 5 / 0.28) / 1, (2 + 4 / 0.28) / 2]),
        rtol=1e-5,
    )


@pytest.mark.slow
def test_the_estimate_of_the_whole_sum_has_no_bias():
    # With the positive left out, exp(loss) exp(s_p) = exp(s_p) + Z is an unbiased estimate of the sum
    # over all five: 1 + 2 + 3 + 4 + 5 = 15, whatever the sample is mixed of.
    shares = np.array([0.0, 0.4, 0.3, 0.15, 0.1, 0.05])
    task = built(num_uniform_negatives=1, correction="without_positive")
    random = np.random.default_rng(0)
    table = vectors(SCORES)

    def step(sample):
        ids, drawn = sample
        share = tf.constant(shares, tf.float32)
        losses = task(
            tf.ones([3, 1]),
            tf.gather(table, ids - 1),
            candidate_ids=ids,
            candidate_sampling_probability=tf.gather(share, ids),
            uniform=Candidates(drawn, tf.gather(table, drawn - 1), tf.gather(share, drawn)),
            num_candidates=5,
        )
        return tf.exp(losses) * tf.cast(ids, tf.float32)

    samples = random.choice(6, size=(3000, 3), p=shares), random.integers(1, 6, size=(3000, 1))
    sums = tf.function(lambda s: tf.map_fn(step, s, fn_output_signature=tf.float32))(samples)
    # Standard deviation of one some 12: of the mean of 3,000 below 0.25.
    assert np.mean(sums) == pytest.approx(15, abs=0.75)


def test_draws_are_uniform_and_follow_from_the_seed():
    def draws(seed):
        keras.utils.set_random_seed(seed)
        task = built(num_uniform_negatives=500)
        return np.stack([task.draw_uniform(10).numpy() for _ in range(4)])

    first = draws(1)
    np.testing.assert_array_equal(first, draws(1))
    assert not np.array_equal(first, draws(2))
    assert not np.array_equal(first[0], first[1])
    # 2,000 draws of 10: 200 each, standard deviation 13.4.
    np.testing.assert_allclose(np.bincount(first.ravel(), minlength=10), 200, atol=60)


def test_saved_weights_go_on_with_the_draws_that_would_have_come():
    task, copy = built(num_uniform_negatives=5), built(num_uniform_negatives=5)
    task.draw_uniform(1000)
    copy.set_weights(task.get_weights())
    np.testing.assert_array_equal(task.draw_uniform(1000), copy.draw_uniform(1000))


def test_the_size_of_the_catalogue_is_needed():
    with pytest.raises(ConfigError, match="need `num_candidates`"):
        losses(built(num_uniform_negatives=1), [1, 2], uniform=candidates([3]))


# Memory


def test_past_candidates_stand_as_negatives_in_training():
    # First batch: nothing is remembered yet. Second: 1 and 2 are, 2 is in the batch: 1 + 2 + 3.
    task = built(memory_size=10)
    np.testing.assert_allclose(losses(task, [1, 2], training=True), np.log([3 / 1, 3 / 2]), rtol=1e-6)
    np.testing.assert_allclose(losses(task, [2, 3], training=True), np.log([6 / 2, 6 / 3]), rtol=1e-6)
    # Evaluation neither uses nor fills it.
    np.testing.assert_allclose(losses(task, [4, 5]), np.log([9 / 4, 9 / 5]), rtol=1e-6)
    np.testing.assert_allclose(losses(task, [3], training=True), np.log([6 / 3]), rtol=1e-6)


def test_remembered_rows_count_as_draws():
    # Shares of 0.1. Two rows remembered and two in the batch: q = 1 - 0.9^4 for all, it cancels.
    # Without the positive: q' = 1 - 0.9^3 for the others.
    task = built(memory_size=10, correction="without_positive")
    losses(task, [1, 2], 0.1, training=True)
    q = 1 - 0.9**3
    np.testing.assert_allclose(
        losses(task, [3, 4], 0.1, training=True),
        np.log([(3 + (1 + 2 + 4) / q) / 3, (4 + (1 + 2 + 3) / q) / 4]),
        rtol=1e-5,
    )


def test_no_gradient_flows_into_the_memory():
    task = built(memory_size=4)
    variable = tf.Variable(vectors([1, 2]))
    for ids in ([1, 2], [3, 4]):
        with tf.GradientTape() as tape:
            found = task(tf.ones([2, 1]), variable * 1.0, candidate_ids=tf.constant(ids), training=True)
        gradient = tape.gradient(found, variable).numpy().ravel()
    # Scores 1, 2 in the batch and the same in memory: P = 1/6, 2/6 each; two rows: 2 P - 1.
    np.testing.assert_allclose(gradient, [2 / 6 - 1, 4 / 6 - 1], rtol=1e-5)


def mean_table_gradient(task, queries, table, shares, batches):
    """Of the loss of a row, positives drawn by `shares`; the query of a row goes with its positive."""
    table = tf.Variable(table)

    @tf.function
    def gradients(batches):
        def step(ids):
            with tf.GradientTape() as tape:
                loss = task(
                    tf.gather(queries, ids),
                    tf.gather(table, ids),
                    candidate_ids=ids,
                    candidate_sampling_probability=tf.gather(tf.constant(shares, tf.float32), ids),
                    training=True,
                )
            return tf.convert_to_tensor(tape.gradient(loss, table))

        return tf.map_fn(step, batches, fn_output_signature=tf.float32, parallel_iterations=1)

    return gradients(tf.constant(batches)).numpy()[20:].mean(axis=0) / batches.shape[1]


@pytest.mark.slow
def test_with_a_memory_the_mean_gradient_is_nearer_to_that_of_the_full_softmax():
    random = np.random.default_rng(5)
    shares = 1 / np.sqrt(np.arange(1, 31))
    shares /= shares.sum()
    queries, table = random.normal(0, 0.5, (2, 30, 3)).astype(np.float32)
    softmax = np.exp(queries @ table.T)
    softmax /= softmax.sum(axis=1, keepdims=True)
    full = (shares[:, np.newaxis] * (softmax - np.eye(30))).T @ queries
    batches, wrong = random.choice(30, size=(1500, 6), p=shares), {}
    for size in (0, 60):
        task = InBatchSoftmax(memory_size=size, correction="without_positive")
        mean = mean_table_gradient(task, queries, table, shares, batches)
        wrong[size] = np.linalg.norm(mean - full, axis=1)
    # Rare candidates, too: they are pushed away as they would be by all.
    assert wrong[60].mean() < 0.7 * wrong[0].mean()
    assert wrong[60][20:].mean() < 0.15 * np.linalg.norm(full[20:], axis=1).mean()


def test_rows_of_weight_0_are_not_remembered():
    task = built(memory_size=4)
    losses(task, [1, 2], sample_weight=tf.constant([1.0, 0.0]), training=True)
    np.testing.assert_allclose(losses(task, [3], training=True), np.log([4 / 3]), rtol=1e-6)


def test_the_newest_vector_of_a_candidate_is_the_one_that_counts():
    task, old, new = built(memory_size=4), tf.constant([[np.log(9.0)]], tf.float32), vectors([2])
    for vector in (old, new):
        task(tf.ones([1, 1]), vector, candidate_ids=tf.constant([7]), training=True)
    np.testing.assert_allclose(losses(task, [1], training=True), np.log([3 / 1]), rtol=1e-6)


# Streaming frequencies


def test_streaming_frequencies_need_no_shares():
    # Three batches of two rows; candidate 1 in all, 2 in the first and third (intervals 1, 2: B = 1.5),
    # 3 in the second (B = 2, but not in the last batch). log q: 1 -> 0, 2 -> log(1 / 1.5).
    task = InBatchSoftmax(frequency=StreamingFrequency(100))
    for ids in ([1, 2], [1, 3], [1, 2]):
        found = losses(task, ids, training=True)
    np.testing.assert_allclose(found, np.log([(1 + 2 * 1.5) / 1, (1 + 3) / 3]), rtol=1e-4)
    # Looking does not change it.
    np.testing.assert_allclose(losses(task, [1, 2]), found, rtol=1e-6)


@pytest.mark.slow
def test_streaming_comes_to_what_counting_gives():
    shares = np.array([0.0, 0.4, 0.3, 0.15, 0.1, 0.05])
    random = np.random.default_rng(1)
    streaming = InBatchSoftmax(frequency=StreamingFrequency(100, alpha=0.002))
    step = tf.function(
        lambda ids: streaming(tf.ones([4, 1]), tf.zeros([4, 1]), candidate_ids=ids, training=True)
    )
    for _ in range(1500):
        step(tf.constant(random.choice(6, size=4, p=shares)))
    # In a batch of another size, too: what is learned is turned into shares of the rows.
    for ids in ([1, 2, 3, 5], [2, 4]):
        counted = InBatchSoftmax()(
            tf.ones([len(ids), 1]),
            vectors(ids),
            candidate_ids=tf.constant(ids),
            candidate_sampling_probability=tf.constant(shares[ids], tf.float32),
        )
        np.testing.assert_allclose(losses(streaming, ids), counted, rtol=0.1)


def test_shares_are_of_the_usual_batch_not_of_a_short_last_one():
    task = InBatchSoftmax(frequency=StreamingFrequency(100))
    for ids in ([1, 2, 3, 4], [1, 2, 4, 5], [1, 3]):
        losses(task, ids, training=True)
    ids = [2, 3, 5]
    # Of 4 rows a batch: a batch holds an id with q = 1 - (1 - p)^4.
    shares = 1 - (1 - task.frequency(tf.constant(ids)).numpy()) ** (1 / 4)
    counted = InBatchSoftmax()(
        tf.ones([3, 1]),
        vectors(ids),
        candidate_ids=tf.constant(ids),
        candidate_sampling_probability=tf.constant(shares),
    )
    np.testing.assert_allclose(losses(task, ids), counted, rtol=1e-5)


def test_rows_of_weight_0_are_not_counted():
    task = InBatchSoftmax(frequency=StreamingFrequency(100))
    for weight in (1.0, 0.0):
        losses(task, [1, 2], sample_weight=tf.constant([1.0, weight]), training=True)
    # 1 was in both batches, 2 in the first only: an interval of 1 so far. Then it comes after 2 steps.
    np.testing.assert_allclose(task.frequency(tf.constant([1, 2])), [1, 1])
    losses(task, [1, 2], training=True)
    np.testing.assert_allclose(task.frequency(tf.constant([1, 2])), [1, 1 / 1.5])


# All together


@pytest.mark.slow
def test_a_graph_gives_what_eager_gives():
    settings = {
        "num_uniform_negatives": 2,
        "memory_size": 5,
        "correction": "without_positive",
        "frequency": "streaming",
    }
    eager, graph = built(**settings), built(**settings)
    traced = tf.function(lambda ids: run(graph, ids), reduce_retracing=True)

    def run(task, ids):
        return task(
            tf.ones([tf.size(ids), 1]),
            tf.gather(vectors(SCORES), ids - 1),
            candidate_ids=ids,
            uniform=candidates([4, 5]),
            num_candidates=5,
            training=True,
        )

    for ids in ([1, 2, 2], [3, 1], [2, 4, 5, 1], [1]):
        np.testing.assert_allclose(run(eager, tf.constant(ids)), traced(tf.constant(ids)), rtol=1e-5)


def test_vectors_of_low_precision_give_losses_of_full_precision():
    task, low = built(num_uniform_negatives=1, memory_size=4), tf.bfloat16
    for _ in range(2):
        found = task(
            tf.ones([2, 1], low),
            tf.cast(vectors([1, 4]), low),
            candidate_ids=tf.constant([1, 4]),
            uniform=Candidates(tf.constant([2]), tf.cast(vectors([2]), low), tf.constant([0.1])),
            num_candidates=5,
            training=True,
        )
    assert found.dtype == tf.float32
    # The vectors themselves are rounded to 8 bits.
    np.testing.assert_allclose(found, np.log([7 / 1, 7 / 4]), rtol=0.01)


def test_words_and_numbers_name_candidates_alike():
    words, numbers = built(memory_size=3), built(memory_size=3)
    for ids in ([1, 2], [2, 3], [1, 4]):
        found = words(
            tf.ones([2, 1]), vectors(ids), candidate_ids=tf.constant([f"item {i}" for i in ids]),
            training=True,
        )  # fmt: skip
        np.testing.assert_array_equal(found, losses(numbers, ids, training=True))


def test_the_configuration_survives():
    task = InBatchSoftmax(
        0.1,
        num_uniform_negatives=3,
        memory_size=5,
        correction="without_positive",
        frequency=StreamingFrequency(77),
    )
    copy = keras.layers.deserialize(keras.layers.serialize(task))
    assert (copy.num_uniform_negatives, copy.memory_size) == (3, 5)
    assert (copy.correction, copy.frequency.num_buckets) == ("without_positive", 77)
    assert keras.layers.deserialize(keras.layers.serialize(InBatchSoftmax())).frequency == "counted"


@pytest.mark.parametrize(
    "options",
    [
        {"num_uniform_negatives": -1},
        {"memory_size": -1},
        {"correction": "none"},
        {"frequency": "often"},
    ],
)
def test_settings_that_make_no_sense_are_refused(options):
    with pytest.raises(ConfigError, match=f"Received: '?{next(iter(options.values()))}"):
        InBatchSoftmax(**options)
