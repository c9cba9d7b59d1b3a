"""The sampled softmax against arithmetic, a NumPy oracle and the full softmax."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.properties import examples
from tfrecall._keras import keras, tf
from tfrecall.errors import ConfigError, DataError
from tfrecall.tasks.full_softmax import FullSoftmax
from tfrecall.tasks.sampled_softmax import Sampled, SampledSoftmax

COUNTS = np.array([1, 40, 7, 3, 3, 100, 12, 1, 2, 9, 25.0])
both_corrections = pytest.mark.parametrize("correction", ["standard", "without_positive"])


def oracle(queries, table, rows, sampled, q, temperature=1.0, correction=None):
    """One loop a query over its positive and the drawn candidates that are others."""
    losses = []
    for query, own in zip(queries.astype(np.float64), rows, strict=True):
        if own < 0:
            losses.append(0.0)
            continue
        positive = query @ table[own] / temperature
        others = [query @ table[d] / temperature for d in sampled if d != own]
        if correction is not None:
            others = [s - np.log(q[d]) for s, d in zip(others, sampled[sampled != own], strict=True)]
        if correction == "standard":
            positive -= np.log(q[own])
        losses.append(np.log(np.exp([positive, *others]).sum()) - positive)
    return np.array(losses)


def case(rows=9, items=11, seed=0, scale=1.0):
    random = np.random.default_rng(seed)
    queries = (scale * random.normal(size=(rows, 3))).astype(np.float32)
    table = (scale * random.normal(size=(items, 3))).astype(np.float32)
    return queries, table, random.integers(items, size=rows)


def built(num_sampled, *args, counts=COUNTS, seed=None, **options):
    if seed is not None:
        keras.utils.set_random_seed(seed)
    task = SampledSoftmax(num_sampled, *args, **options)
    task.build()
    task.adapt(counts)
    return task


def losses(task, queries, table, rows, drawn, corrected=True, weights=None):
    rows, drawn = tf.convert_to_tensor(rows), tf.convert_to_tensor(drawn)
    return task(
        tf.convert_to_tensor(queries),
        tf.gather(table, tf.maximum(rows, 0)),
        weights,
        task.probability_of(rows) if corrected else None,
        candidate_rows=rows,
        sampled=Sampled(drawn, tf.gather(table, drawn), task.probability_of(drawn)),
    )


def with_gradients(loss, queries, table):
    queries, table = tf.Variable(queries), tf.Variable(table)
    with tf.GradientTape() as tape:
        values = loss(queries, table)
    gradients = tape.gradient(values, [queries, table])
    return values.numpy(), *[tf.convert_to_tensor(g).numpy() for g in gradients]


# Values


def test_a_hand_worked_sample():
    # Query (1), scores 0, ln 2, ln 3, ln 5. Drawn are 1 and 2. For positive 0: ln((1 + 2 + 3) / 1).
    # Positive 2 is drawn itself and counts once: ln((2 + 3) / 3).
    table = np.log([[1.0], [2.0], [3.0], [5.0]]).astype(np.float32)
    task = built(2, "uniform", counts=np.ones(4))
    found = losses(task, tf.ones([2, 1]), table, [0, 2], [1, 2], corrected=False)
    np.testing.assert_allclose(found, np.log([6 / 1, 5 / 3]), rtol=1e-6)


def test_the_two_corrections_by_hand():
    # Four candidates, two draws, q = 1/2 each. Of positive 0 with 1 and 2 drawn: the others stand for
    # (2 + 3) / q = 10. Without the positive: ln((1 + 10) / 1); standard, 1 / q = 2: ln((2 + 10) / 2).
    table = np.log([[1.0], [2.0], [3.0], [5.0]]).astype(np.float32)
    for correction, expected in (("without_positive", np.log(11)), ("standard", np.log(6))):
        task = built(2, "uniform", counts=np.ones(4), correction=correction)
        found = losses(task, tf.ones([1, 1]), table, [0], [1, 2])
        np.testing.assert_allclose(found, [expected], rtol=1e-6)


def test_temperature_scales_before_the_correction():
    # Scores 0 and ln 9, temperature 2, q = 1/2: exp(ln 9 / 2) / q = 6.
    task = built(1, "uniform", counts=np.ones(2), correction="without_positive", temperature=2.0)
    found = losses(task, tf.ones([1, 1]), np.log([[1.0], [9.0]]).astype(np.float32), [0], [1])
    np.testing.assert_allclose(found, [np.log(1 + 6)], rtol=1e-6)


@pytest.mark.slow
@examples(15)
@given(
    rows=st.integers(1, 12),
    num_sampled=st.integers(1, 11),
    sampler=st.sampled_from(["uniform", "log_uniform", "unigram"]),
    correction=st.sampled_from([None, "standard", "without_positive"]),
    temperature=st.sampled_from([0.3, 1.0, 2.0]),
    seed=st.integers(0, 1000),
)
def test_agrees_with_the_oracle(rows, num_sampled, sampler, correction, temperature, seed):
    queries, table, own = case(rows, seed=seed)
    own[0] = -1
    options = {"temperature": temperature, "correction": correction or "standard"}
    task = built(num_sampled, sampler, seed=seed, **options)
    drawn = task.draw().numpy()
    found = losses(task, queries, table, own, drawn, corrected=correction is not None)
    q = task.probability_of(np.arange(11)).numpy()
    expected = oracle(queries, table, own, drawn, q, temperature, correction)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


# The full softmax


@pytest.mark.slow
@both_corrections
@pytest.mark.parametrize("sampler", ["uniform", "log_uniform", "unigram"])
@pytest.mark.parametrize("temperature", [0.2, 1.0])
def test_a_whole_catalogue_drawn_gives_the_full_softmax(sampler, correction, temperature):
    queries, table, rows = case(rows=40)
    rows[3] = -1
    weights = tf.constant(np.random.default_rng(1).uniform(0, 2, 40), tf.float32)
    task = built(11, sampler, correction=correction, temperature=temperature)
    drawn = task.draw()
    sampled = with_gradients(
        lambda q, t: losses(task, q, t, rows, drawn, weights=weights), queries, table
    )
    full = with_gradients(
        lambda q, t: task.full(q, t, weights, candidate_rows=tf.constant(rows)), queries, table
    )
    assert isinstance(task.full, FullSoftmax)
    for got, expected in zip(sampled, full, strict=True):
        np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.slow
def test_without_the_positive_the_sum_is_estimated_without_bias():
    # exp(loss) exp(s_p) = exp(s_p) + sum of the others / q, whose mean is the sum over all candidates.
    queries, table, rows = case(rows=3)
    task = built(3, "unigram", correction="without_positive", seed=1)
    totals = np.exp(queries @ table.T).sum(axis=1)
    positives = np.exp((queries * table[rows]).sum(axis=1))

    def step(_):
        return tf.exp(losses(task, queries, table, rows, task.draw())) * positives

    found = tf.function(
        lambda: tf.map_fn(step, tf.range(4000), fn_output_signature=tf.float32)
    )().numpy()
    noise = found.std(axis=0) / np.sqrt(len(found))
    assert (np.abs(found.mean(axis=0) - totals) < 4 * noise).all()
    assert (noise < 0.1 * totals).all()


# Gradients


@both_corrections
def test_the_gradient_is_that_of_an_ordinary_softmax(correction):
    queries, table, rows = case(scale=2.0)
    task = built(6, "unigram", correction=correction, seed=3)
    drawn = task.draw()
    q = task.probability_of(tf.range(11))

    def ordinary(queries, table):
        logits = tf.matmul(queries, table, transpose_b=True) - tf.math.log(q)
        own = tf.one_hot(rows, 11)
        if correction == "without_positive":
            logits += own * tf.math.log(q)
        held = tf.scatter_nd(drawn[:, tf.newaxis], tf.ones_like(drawn, tf.float32), [11])
        logits = tf.where(tf.maximum(own, held) > 0, logits, -1e9)
        return tf.nn.sparse_softmax_cross_entropy_with_logits(rows, logits)

    found = with_gradients(lambda q, t: losses(task, q, t, rows, drawn), queries, table)
    for got, expected in zip(found, with_gradients(ordinary, queries, table), strict=True):
        np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-5)


def test_only_positives_and_what_was_drawn_get_a_gradient():
    queries, table, _ = case(rows=2)
    task = built(3, "uniform")
    _, _, gradient = with_gradients(lambda q, t: losses(task, q, t, [1, 4], [0, 4, 7]), queries, table)
    assert np.flatnonzero(np.abs(gradient).sum(axis=1)).tolist() == [0, 1, 4, 7]


def test_a_row_whose_only_draw_is_its_positive_has_no_loss_and_no_gradient():
    queries, table, _ = case(rows=2)
    task = built(1, "uniform")
    found, gradient, _ = with_gradients(lambda q, t: losses(task, q, t, [5, 2], [5]), queries, table)
    assert found[0] == 0 < found[1]
    assert not gradient[0].any()
    assert gradient[1].any()


def test_huge_logits_do_not_overflow():
    queries, table, rows = case(scale=100.0)
    task = built(5, "unigram", seed=0)
    found = with_gradients(lambda q, t: losses(task, q, t, rows, task.draw()), queries, table)
    assert all(np.isfinite(part).all() for part in found)


# Rows that count otherwise


def test_weights_multiply_losses_and_weight_0_takes_a_row_out():
    queries, table, rows = case()
    task, drawn = built(4, "unigram"), [0, 5, 6, 10]
    weights = np.arange(9.0)
    plain = losses(task, queries, table, rows, drawn).numpy()
    found, for_queries, for_table = with_gradients(
        lambda q, t: losses(task, q, t, rows, drawn, weights=tf.constant(weights)), queries, table
    )
    np.testing.assert_allclose(found, plain * weights, rtol=1e-6)
    assert not for_queries[0].any()
    without = with_gradients(
        lambda q, t: losses(task, q, t, rows[1:], drawn, weights=tf.constant(weights[1:])),
        queries[1:],
        table,
    )
    np.testing.assert_allclose(for_table, without[2], rtol=1e-5, atol=1e-6)


def test_a_candidate_outside_the_catalogue_has_loss_0_and_no_gradient():
    queries, table, rows = case()
    rows[2] = -1
    task = built(4, "unigram")
    found, gradient, _ = with_gradients(
        lambda q, t: losses(task, q, t, rows, [0, 5, 6, 10]), queries, table
    )
    assert found[2] == 0
    assert not gradient[2].any()
    assert np.count_nonzero(found) == 8


def test_vectors_of_fewer_bits_give_a_loss_of_all_digits():
    queries, table, rows = case()
    task, drawn = built(4, "unigram"), [0, 5, 6, 10]
    low = losses(task, tf.cast(queries, tf.bfloat16), tf.cast(table, tf.bfloat16), rows, drawn)
    assert low.dtype == tf.float32
    np.testing.assert_allclose(low, losses(task, queries, table, rows, drawn), rtol=0.05, atol=0.05)


# State


def test_draws_follow_from_the_seed_and_differ_from_step_to_step():
    first, again, other = (built(5, "uniform", seed=seed) for seed in (1, 1, 2))
    drawn = [first.draw().numpy().tolist() for _ in range(5)]
    assert drawn == [again.draw().numpy().tolist() for _ in range(5)]
    assert drawn != [other.draw().numpy().tolist() for _ in range(5)]
    assert len({tuple(step) for step in drawn}) > 1


def test_saved_weights_go_on_with_the_draws_that_would_have_come():
    task, copy = built(5, "log_uniform", seed=1), built(5, "log_uniform", seed=2)
    task.draw()
    copy.set_weights(task.get_weights())
    assert [task.draw().numpy().tolist() for _ in range(3)] == [
        copy.draw().numpy().tolist() for _ in range(3)
    ]


def test_the_configuration_survives():
    settings = {
        "num_sampled": 7,
        "sampler": "unigram",
        "alpha": 1.5,
        "temperature": 0.1,
        "correction": "without_positive",
    }
    task = keras.layers.deserialize(keras.layers.serialize(SampledSoftmax(**settings)))
    assert {name: getattr(task, name) for name in settings} == settings


def test_a_graph_of_unknown_shape_gives_what_eager_gives():
    queries, table, rows = case()
    task, drawn = built(4, "unigram"), tf.constant([0, 5, 6, 10])

    def run(queries, rows):
        with tf.GradientTape() as tape:
            tape.watch(queries)
            found = losses(task, queries, table, rows, drawn)
        return found, tape.gradient(found, queries)

    signature = [tf.TensorSpec([None, 3]), tf.TensorSpec([None], tf.int32)]
    arguments = tf.constant(queries), tf.constant(rows, tf.int32)
    for got, expected in zip(
        tf.function(run, input_signature=signature)(*arguments), run(*arguments), strict=True
    ):
        np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-6)


# Refusals


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"num_sampled": 0}, "`num_sampled` must be 1 or more. Received: 0"),
        ({"num_sampled": -5}, "Received: -5"),
        ({"sampler": "log_unifrom"}, 'Did you mean "log_uniform"'),
        ({"alpha": 2.1}, "`alpha` must be from 0, uniform, to 2. Received: 2.1"),
        ({"alpha": -0.1}, "Received: -0.1"),
        ({"alpha": float("nan")}, "Received: nan"),
        ({"temperature": 0.0}, "`temperature` must be above 0. Received: 0.0"),
        ({"correction": "none"}, "`correction` must be one of standard, without_positive"),
    ],
)
def test_settings_that_make_no_sense_are_refused(options, said):
    with pytest.raises(ConfigError, match=said):
        SampledSoftmax(**options)


def test_more_draws_than_candidates_are_refused():
    with pytest.raises(ConfigError, match=r"but the catalogue has 11\. Lower it"):
        SampledSoftmax(12).adapt(COUNTS)


def test_an_estimate_of_the_full_softmax_wants_the_correction():
    queries, table, rows = case()
    task = built(4, correction="without_positive")
    with pytest.raises(ConfigError, match="Received: candidate_sampling_probability=None"):
        losses(task, queries, table, rows, [0, 5, 6, 10], corrected=False)


def test_without_a_catalogue_nothing_is_drawn():
    task = SampledSoftmax(1)
    task.build()
    with pytest.raises(DataError, match="Call `adapt`"):
        task.draw()
