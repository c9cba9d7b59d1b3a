"""Streaming frequencies against arithmetic, a loop in Python and known distributions."""

import numpy as np
import pytest

from tfrecall._keras import keras, tf
from tfrecall.errors import ConfigError
from tfrecall.layers.frequency import StreamingFrequency


def feed(layer, batches):
    """Lets a layer learn from batches; gives the probabilities after each of them."""
    learn = tf.function(lambda ids: layer(ids, training=True), reduce_retracing=True)
    return [learn(tf.constant(ids)).numpy() for ids in batches]


def look_up(layer, ids):
    return layer(tf.constant(ids)).numpy()


def batches_of(inclusion, steps, seed):
    """Batches that hold id i with the probability `inclusion[i]`, one independent of the other."""
    random = np.random.default_rng(seed)
    held = random.random((steps, len(inclusion))) < inclusion
    return [np.flatnonzero(row) for row in held if row.any()]


@pytest.mark.slow
def test_three_steps_worked_by_hand():
    # alpha = 0.5. Id 7 in the steps 1, 2, 5: first interval 1 - 0 = 1, B = 1. Then
    # B = 0.5 * 1 + 0.5 * (2 - 1) = 1, and B = 0.5 * 1 + 0.5 * (5 - 2) = 2: p = 1/2.
    # Id 8 in the steps 3 and 5: B = 3, then 0.5 * 3 + 0.5 * (5 - 3) = 2.5: p = 2/5.
    given = feed(StreamingFrequency(1000, alpha=0.5), [[7], [7], [8], [9], [7, 8]])
    np.testing.assert_allclose(given[0], [1])
    np.testing.assert_allclose(given[2], [1 / 3])
    np.testing.assert_allclose(given[4], [1 / 2, 2 / 5])


@pytest.mark.slow
def test_the_rate_falls_to_alpha_and_stays():
    # Seen in the steps 2, 3, 7, 8, 16. Intervals 2, 1, 4, 1, 8 with rates 1, 1/2, 1/3, then alpha = 0.3:
    # B = 2; (2 + 1) / 2 = 1.5; 1.5 * 2/3 + 4/3 = 7/3; 0.7 * 7/3 + 0.3 = 1.9333; 0.7 * 1.9333 + 0.3 * 8.
    layer = StreamingFrequency(1000, alpha=0.3)
    feed(layer, [[5] if step in (2, 3, 7, 8, 16) else [0] for step in range(1, 17)])
    expected = 0.7 * (0.7 * 7 / 3 + 0.3) + 0.3 * 8
    np.testing.assert_allclose(look_up(layer, [5]), [1 / expected], rtol=1e-6, atol=1e-7)


@pytest.mark.slow
def test_an_id_counts_once_a_batch():
    once, often = StreamingFrequency(1000), StreamingFrequency(1000)
    feed(once, [[1], [2], [1]])
    feed(often, [[1, 1], [2], [1, 1, 1]])
    np.testing.assert_array_equal(look_up(once, [1, 2, 3]), look_up(often, [1, 2, 3]))


def test_an_unseen_id_is_expected_next():
    layer = StreamingFrequency(1000)
    np.testing.assert_array_equal(look_up(layer, [4]), [1])
    feed(layer, [[1], [1], [1]])
    np.testing.assert_array_equal(look_up(layer, [4]), [1 / 4])


def test_looking_up_learns_nothing():
    layer = StreamingFrequency(1000)
    feed(layer, [[1, 2]])
    before = [weight.numpy() for weight in layer.weights]
    look_up(layer, [1, 3])
    for old, new in zip(before, layer.weights, strict=True):
        np.testing.assert_array_equal(old, new)


@pytest.mark.slow
def test_strings_are_ids_like_numbers():
    words, numbers = StreamingFrequency(10_000), StreamingFrequency(10_000)
    given = feed(words, [["a", "b"], ["a"], ["b", "c"]])
    expected = feed(numbers, [[1, 2], [1], [2, 3]])
    for one, other in zip(given, expected, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.slow
def test_frequencies_of_a_known_distribution_are_found():
    inclusion = np.geomspace(0.9, 0.02, 30)
    layer = StreamingFrequency(10_000, alpha=0.01)
    feed(layer, batches_of(inclusion, 3000, seed=0))
    # The rarest was seen 60 times: a standard deviation of 13 %. Of the others alpha makes at most 7 %.
    np.testing.assert_allclose(look_up(layer, np.arange(30)), inclusion, rtol=0.4)
    ratio = look_up(layer, np.arange(30)) / inclusion
    assert np.mean(np.abs(ratio - 1)) < 0.1


@pytest.mark.slow
def test_a_batch_of_b_rows_holds_an_id_with_its_inclusion_probability():
    # Shares of the rows, not of the batches: 16 rows hold an id with 1 - (1 - p)^16.
    shares = np.array([0.5, 0.2, 0.15, 0.1, 0.05])
    random = np.random.default_rng(1)
    layer = StreamingFrequency(1000, alpha=0.005)
    feed(layer, random.choice(5, size=(2000, 16), p=shares))
    np.testing.assert_allclose(look_up(layer, np.arange(5)), 1 - (1 - shares) ** 16, rtol=0.15)


@pytest.mark.slow
def test_a_drift_is_followed():
    before = np.geomspace(0.8, 0.05, 20)
    after = before[::-1]
    layer = StreamingFrequency(10_000, alpha=0.05)
    feed(layer, batches_of(before, 1500, seed=2))
    found = look_up(layer, np.arange(20))
    assert np.corrcoef(np.log(found), np.log(before))[0, 1] > 0.95
    feed(layer, batches_of(after, 3000, seed=3))
    found = look_up(layer, np.arange(20))
    assert np.corrcoef(np.log(found), np.log(after))[0, 1] > 0.95
    assert np.mean(np.abs(np.log(found / after))) < 0.2


@pytest.mark.slow
def test_several_hashes_repair_collisions():
    # 100 ids in 150 buckets: half of them share one of it. A shared bucket is seen more often.
    inclusion = np.full(100, 0.05)
    batches = batches_of(inclusion, 1500, seed=4)
    errors = {}
    for count in (1, 5):
        layer = StreamingFrequency(150, count)
        feed(layer, batches)
        errors[count] = np.mean(np.abs(np.log(look_up(layer, np.arange(100)) / inclusion)))
    assert errors[1] > 0.3
    assert errors[5] < 0.15


def test_all_ids_in_one_bucket_are_one_id():
    layer = StreamingFrequency(1, num_hashes=2)
    feed(layer, [[1], [2], [3]])
    np.testing.assert_array_equal(look_up(layer, [1, 99]), [1, 1])


def test_hashes_spread_ids_evenly():
    # 1,000 chains of ids into 100 buckets: 10 each; a chi-square above 200 has no likely chance (99
    # degrees of freedom).
    layer = StreamingFrequency(100, num_hashes=4)
    layer.build(None)
    for ids in (range(1000), range(0, 64_000, 64), [f"item {i}" for i in range(1000)]):
        buckets = layer._buckets(tf.constant(list(ids))).numpy() - 100 * np.arange(4)
        assert buckets.min() >= 0
        for column in buckets.T:
            counts = np.bincount(column, minlength=100)
            assert len(counts) == 100
            assert np.sum((counts - 10) ** 2 / 10) < 200


@pytest.mark.slow
def test_a_checkpoint_holds_all_of_it(tmp_path):
    layer = StreamingFrequency(64)
    feed(layer, [[1, 2], [1]])
    tf.train.Checkpoint(layer=layer).write(str(tmp_path / "state"))
    copy = keras.layers.deserialize(keras.layers.serialize(layer))
    tf.train.Checkpoint(layer=copy).read(str(tmp_path / "state"))
    for one, other in zip(feed(layer, [[2], [1]]), feed(copy, [[2], [1]]), strict=True):
        np.testing.assert_array_equal(one, other)
    assert not layer.trainable_weights


@pytest.mark.parametrize(
    "options", [{"num_buckets": 0}, {"num_hashes": 0}, {"alpha": 0}, {"alpha": 1.5}]
)
def test_settings_that_make_no_sense_are_refused(options):
    with pytest.raises(ConfigError, match=f"Received: {next(iter(options.values()))}"):
        StreamingFrequency(**options)
