"""Times of events and requests as int32."""

import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tfrecall._keras import tf
from tfrecall.errors import DataError
from tfrecall.layers.event_times import EventTimes

FIRST_TIME = 978_300_019  # of MovieLens
TEN_YEARS = 315_360_000


def learned(*texts):
    times = EventTimes()
    times.adapt(tf.data.Dataset.from_tensor_slices(list(texts)).batch(2))
    return times


TIMES = learned("978300760", "978300019.75", "")


def test_the_first_event_of_training_is_ten_years_after_the_first_second():
    codes = TIMES.preprocess(tf.constant([["978300019", "978300020.5", ""], ["?", "1e9", "nan"]]))
    # 2 is the first code; 1e9 is 21,699,981 seconds after the first event.
    wanted = [[TEN_YEARS + 2, TEN_YEARS + 3, 1], [1, TEN_YEARS + 21_699_983, 1]]
    assert codes.numpy().tolist() == wanted
    assert codes.dtype == tf.int32


@given(st.floats(-1e12, 1e12))
def test_times_far_from_training_stay_within_an_int32(seconds):
    code = int(TIMES.codes(tf.constant(seconds, tf.float64)))
    origin = FIRST_TIME - TEN_YEARS
    assert code == np.clip(np.floor(seconds) - origin, 0, 2**31 - 3) + 2


def test_requests_are_made_now_unless_they_say_when_or_that_nobody_knows():
    before = int(time.time())
    codes = TIMES.of_requests(tf.constant([0.0, -1.0, np.nan, 978_300_019.0], tf.float64)).numpy()
    after = int(time.time())
    origin = FIRST_TIME - TEN_YEARS - 2
    assert before <= codes[0] + origin <= after
    assert codes[1:].tolist() == [1, 1, TEN_YEARS + 2]


def test_a_log_without_times_is_refused():
    with pytest.raises(DataError, match="No event has a time"):
        learned("", "?")
