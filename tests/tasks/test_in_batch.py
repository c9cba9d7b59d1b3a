"""The in-batch softmax against arithmetic, a NumPy oracle and TFRS."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.properties import examples
from tfrecall._keras import keras, tf, tfrs
from tfrecall.errors import ConfigError
from tfrecall.tasks.in_batch import InBatchSoftmax, keep_hard_negatives


def oracle(queries, candidates, ids, temperature=1.0, probability=None, hard=None):
    """One loop a query over the distinct candidates of the batch."""
    first = {name: row for row, name in reversed(list(enumerate(ids)))}
    losses = []
    for query, own in zip(queries, ids, strict=True):
        logits = {name: query @ candidates[row] / temperature for name, row in first.items()}
        if probability is not None:
            for name, row in first.items():
                p = np.clip(probability[row], 1e-12, 1)
                logits[name] -= np.log(-np.expm1(len(ids) * np.log1p(-p)))
        negatives = sorted((v for name, v in logits.items() if name != own), reverse=True)[:hard]
        kept = np.array([logits[own], *negatives])
        losses.append(np.log(np.exp(kept).sum()) - logits[own])
    return np.array(losses)


def batch(rows=12, names=5, seed=0):
    """Vectors and ids; equal ids have equal vectors."""
    random = np.random.default_rng(seed)
    ids = random.integers(names, size=rows)
    queries = random.normal(size=(rows, 4)).astype(np.float32)
    return queries, random.normal(size=(names, 4)).astype(np.float32)[ids], ids


def test_a_hand_worked_batch():
    # Scores of the query (1, 0): 0 for a, ln 3 for b. Shared a counts once: ln(1 + 3) - 0 = ln 4
    # for a, ln 4 - ln 3 for b.
    queries = tf.constant([[1.0, 0.0]] * 3)
    candidates = tf.constant([[0.0, 5.0], [np.log(3), 0.0], [0.0, 5.0]], tf.float32)
    losses = InBatchSoftmax()(queries, candidates, candidate_ids=tf.constant(["a", "b", "a"]))
    np.testing.assert_allclose(losses, [np.log(4), np.log(4 / 3), np.log(4)], rtol=1e-6)


def test_temperature_scales_before_the_correction():
    # Two candidates, batch of 2. p = 0.5 stands in it with q = 1 - 0.5^2 = 0.75, p = 1 with q = 1.
    # Logits of the first query: ln 9 / 2 - ln 0.75 = ln 4 and 0 / 2 - ln 1 = 0: loss ln(1 + 1/4).
    # Were the correction divided by 2 as well: sqrt(9 / 0.75) = 3.46 instead of 4.
    queries = tf.constant([[1.0], [0.0]])
    candidates = tf.constant([[np.log(9)], [0.0]], tf.float32)
    losses = InBatchSoftmax(temperature=2.0)(
        queries,
        candidates,
        candidate_ids=tf.constant([7, 8]),
        candidate_sampling_probability=tf.constant([0.5, 1.0]),
    )
    # The second query: ln(4/3) and 0: loss ln(1 + 4/3).
    np.testing.assert_allclose(losses, [np.log(5 / 4), np.log(7 / 3)], rtol=1e-5)


@examples(30)
@given(
    rows=st.integers(1, 20),
    names=st.integers(1, 8),
    seed=st.integers(0, 1000),
    temperature=st.sampled_from([0.3, 1.0, 2.0]),
    corrected=st.booleans(),
    hard=st.sampled_from([None, 1, 3, 100]),
)
def test_agrees_with_the_oracle(rows, names, seed, temperature, corrected, hard):
    queries, candidates, ids = batch(rows, names, seed)
    shares = np.random.default_rng(seed).uniform(0.01, 0.5, names)[ids].astype(np.float32)
    losses = InBatchSoftmax(temperature, hard)(
        tf.constant(queries),
        tf.constant(candidates),
        candidate_ids=tf.constant(ids),
        candidate_sampling_probability=tf.constant(shares) if corrected else None,
    )
    expected = oracle(queries, candidates, ids, temperature, shares if corrected else None, hard)
    np.testing.assert_allclose(losses, expected, rtol=1e-4, atol=1e-4)


def test_the_correction_is_the_probability_of_standing_in_the_batch():
    shares = np.array([0.5, 0.3, 0.15, 0.05])
    random = np.random.default_rng(0)
    draws = random.choice(4, size=(20_000, 6), p=shares)
    simulated = [(draws == name).any(axis=1).mean() for name in range(4)]
    # With all scores 0 and all candidates in the batch, loss_i = ln sum_j 1/q_j + ln q_i.
    ids = tf.constant([0, 1, 2, 3, 0, 0])
    losses = InBatchSoftmax()(
        tf.zeros([6, 2]),
        tf.zeros([6, 2]),
        candidate_ids=ids,
        candidate_sampling_probability=tf.constant(shares[ids], tf.float32),
    ).numpy()[:4]
    q = np.exp(losses) / np.sum(1 / np.array(simulated))
    # Standard deviation of a share of 20,000 draws: below 0.0036.
    np.testing.assert_allclose(q, simulated, rtol=0.05)


@pytest.mark.parametrize("share", [0.0, 1e-20, 1.0])
def test_extreme_probabilities_give_finite_losses_and_gradients(share):
    queries, candidates, ids = batch()
    variable = tf.Variable(queries)
    with tf.GradientTape() as tape:
        losses = InBatchSoftmax()(
            variable,
            tf.constant(candidates),
            candidate_ids=tf.constant(ids),
            candidate_sampling_probability=tf.fill([len(ids)], share),
        )
    assert np.isfinite(losses).all()
    assert np.isfinite(tape.gradient(losses, variable)).all()


def test_weights_multiply_the_losses():
    queries, candidates, ids = batch()
    options = {"candidate_ids": tf.constant(ids)}
    plain = InBatchSoftmax()(tf.constant(queries), tf.constant(candidates), **options)
    weights = np.arange(12.0)
    weighted = InBatchSoftmax()(
        tf.constant(queries), tf.constant(candidates), sample_weight=tf.constant(weights), **options
    )
    np.testing.assert_allclose(weighted, plain * weights, rtol=1e-6)


def test_distinct_candidates_give_the_loss_of_tfrs():
    queries, candidates, _ = batch()
    random = np.random.default_rng(1).normal(size=candidates.shape).astype(np.float32)
    ours = InBatchSoftmax(0.5)(
        tf.constant(queries), tf.constant(random), candidate_ids=tf.range(len(queries))
    )
    theirs = tfrs.tasks.Retrieval(temperature=0.5)(tf.constant(queries), tf.constant(random))
    assert tf.reduce_sum(ours).numpy() == pytest.approx(theirs.numpy(), rel=1e-5)


def test_shared_candidates_give_the_loss_of_tfrs_over_distinct_columns():
    # TFRS removes accidental hits but counts a shared negative as often as it occurs; we count it
    # once: b, c, c against the query of a: ln(1 + e^sb + e^sc), not ln(1 + e^sb + 2 e^sc).
    scores = np.log([1.0, 2.0, 3.0])
    candidates = tf.constant([[scores[0]], [scores[1]], [scores[2]], [scores[2]]], tf.float32)
    losses = InBatchSoftmax()(
        tf.ones([4, 1]), candidates, candidate_ids=tf.constant(["a", "b", "c", "c"])
    )
    np.testing.assert_allclose(losses, np.log([6 / 1, 6 / 2, 6 / 3, 6 / 3]), rtol=1e-6)


def test_equal_ids_with_integer_and_string_give_equal_losses():
    queries, candidates, ids = batch()
    numbers = InBatchSoftmax()(queries, candidates, candidate_ids=tf.constant(ids))
    words = InBatchSoftmax()(queries, candidates, candidate_ids=tf.constant([f"i{i}" for i in ids]))
    np.testing.assert_array_equal(numbers, words)


def test_hard_negatives_keep_the_positive_and_the_largest_others():
    logits = tf.constant([[1.0, 5.0, 3.0, 4.0], [9.0, 1.0, 2.0, 3.0]])
    kept = keep_hard_negatives(logits, tf.constant([0, 0]), 2).numpy()
    np.testing.assert_array_equal(kept > -1e8, [[True, True, False, True], [True, False, True, True]])


def test_a_graph_gives_what_eager_gives():
    queries, candidates, ids = batch()
    task = InBatchSoftmax(0.2, 3)
    eager = task(queries, candidates, candidate_ids=tf.constant(ids))
    graph = tf.function(lambda: task(queries, candidates, candidate_ids=tf.constant(ids)))()
    np.testing.assert_allclose(graph, eager, rtol=1e-4, atol=1e-5)


def test_the_configuration_survives():
    task = keras.layers.deserialize(keras.layers.serialize(InBatchSoftmax(0.1, 4)))
    assert (task.temperature, task.num_hard_negatives) == (0.1, 4)


def test_missing_ids_are_refused():
    with pytest.raises(ConfigError, match="needs `candidate_ids`"):
        InBatchSoftmax()(tf.zeros([2, 1]), tf.zeros([2, 1]))


@pytest.mark.parametrize("options", [{"temperature": 0.0}, {"num_hard_negatives": 0}])
def test_settings_that_make_no_sense_are_refused(options):
    with pytest.raises(ConfigError, match="Received: 0"):
        InBatchSoftmax(**options)
