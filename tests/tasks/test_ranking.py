"""Tasks of rankers: the numbers of their losses and metrics, by brute force."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.properties import examples
from tfrecall._keras import keras, tf
from tfrecall.errors import ConfigError
from tfrecall.evaluation import metrics
from tfrecall.tasks.ranking import Clicks, Lists, Ratings


def column(*values):
    return tf.constant(values, tf.float32)[:, tf.newaxis]


def list_loss(scores, gains, groups):
    """The mean over lists with two rows and a gain of sum_i p_i (log sum_j exp s_j - s_i)."""
    losses = []
    for group in np.unique(groups):
        s, g = scores[groups == group], gains[groups == group]
        if len(s) > 1 and g.sum() > 0:
            losses.append(float(g / g.sum() @ (np.log(np.exp(s).sum()) - s)))
    return np.mean(losses) if losses else 0.0


rows = st.lists(
    st.tuples(
        st.integers(-40, 40).map(lambda n: n / 8), st.integers(0, 3).map(float), st.integers(0, 4)
    ),
    min_size=1,
    max_size=30,
)


def test_ratings_are_measured_by_root_and_absolute_error():
    task = Ratings()
    loss = task(labels=column(4, 2, 5), predictions=column(3, 2, 3))
    assert float(loss) == pytest.approx((1 + 0 + 4) / 3)
    told = {metric.name: float(metric.result()) for metric in task.metrics}
    assert told == {"rmse": pytest.approx((5 / 3) ** 0.5), "mae": pytest.approx(1.0)}


def test_clicks_take_logits():
    task = Clicks()
    loss = task(labels=column(1, 0), predictions=column(0, np.log(3)))
    # -log .5 and -log(1 - 3/4)
    assert float(loss) == pytest.approx((np.log(2) + np.log(4)) / 2, rel=1e-6)
    assert task.offset(np.array([1.0, 0, 0, 0])) == pytest.approx(np.log(1 / 3))


def test_clicks_are_measured_in_evaluation_only():
    task = Clicks()
    task(labels=column(1, 0), predictions=column(2, 1), training=True)
    assert float(task.metrics[0].result()) == 0
    task(labels=column(1, 0), predictions=column(2, 1))
    assert float(task.metrics[0].result()) == 1


@pytest.mark.slow
@given(rows)
@examples(12)
def test_lists_lose_what_a_brute_force_softmax_loses(drawn):
    scores, labels, groups = (np.array(values) for values in zip(*drawn, strict=True))
    task = Lists(gain="exponential", k=3)
    loss = task(column(*labels), column(*scores), groups=tf.constant(groups))
    assert float(loss) == pytest.approx(list_loss(scores, 2**labels - 1, groups), abs=1e-4)
    expected = metrics.graded_ndcg(scores, 2**labels - 1, groups, 3)
    (measured,) = (float(metric.result()) for metric in task.metrics)
    assert measured == pytest.approx(expected.mean() if len(expected) else 0.0, abs=1e-5)
    assert float(task.counted(column(*labels), tf.constant(groups))) == len(expected)


def test_what_all_scores_of_a_list_share_changes_nothing():
    labels, groups = column(1, 0, 2, 0, 1), tf.constant([1, 1, 1, 2, 2])
    scores, shifted = column(0.5, 1, -1, 2, 0), column(100.5, 101, 99, 2, 0)
    task = Lists()
    assert float(task(labels, scores, groups=groups)) == pytest.approx(
        float(task(labels, shifted, groups=groups)), rel=1e-5
    )


def test_a_constant_score_gets_the_worst_order_of_a_list():
    task = Lists(gain="linear")
    task(column(1, 0), column(3, 3), groups=tf.constant([5, 5]))
    assert float(task.metrics[0].result()) == pytest.approx(1 / np.log2(3))  # the gain stands second


def test_lists_have_to_be_told_apart():
    with pytest.raises(ConfigError, match=r'needs `groups`.*"user_id"'):
        Lists()(column(1, 0), column(1, 0))
    with pytest.raises(ConfigError, match="linear or exponential"):
        Lists(gain="square")


@pytest.mark.parametrize("task", [Ratings(), Clicks(), Lists("session", "linear", 5)])
def test_a_task_survives_its_configuration(task):
    copy = keras.layers.deserialize(keras.layers.serialize(task))
    assert type(copy) is type(task)
    assert copy.get_config() == task.get_config()
