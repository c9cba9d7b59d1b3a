"""Times of events and requests as whole seconds that fit an int32."""

from typing import Any

import numpy as np

from tfrecall._keras import tf
from tfrecall.core.vocabulary import FIRST, UNKNOWN
from tfrecall.errors import DataError

# Raw time of a request that is made at the moment it is answered.
NOW = 0.0
# Raw time of a request that the model is not told; so is every time before 1970.
NOT_TOLD = -1.0
# Room for events that are older than all of training. An int32 holds 58 years more.
_SECONDS_BEFORE = 10 * 365 * 86_400
_NUMBER = r"-?[0-9]+(\.[0-9]+)?([eE][-+]?[0-9]+)?"


class EventTimes:
    """Seconds since 1970 -> int32, seconds from ten years before the first event of training on.

    Padding is 0, a time that is not known 1. So times have the form of the other contexts of a history, and
    their differences are exact, which those of float32 seconds are not.

    Attributes:
        state: the second that counts as `FIRST`, once learned.
    """

    def __init__(self) -> None:
        self.state: Any = None

    def adapt(self, values: tf.data.Dataset) -> None:
        """Learns the first second from batches of texts.

        Raises:
            DataError: if no text is a number.
        """
        first = min(float(tf.reduce_min(_or(np.inf, _numbers(batch)))) for batch in values)
        if not np.isfinite(first):
            raise DataError("No event has a time, so an encoder with `time` has nothing to learn.")
        self._set_state([np.floor(first) - _SECONDS_BEFORE])

    def preprocess(self, texts: tf.Tensor) -> tf.Tensor:
        """Codes of texts: int32 of their shape; what is no number is not known."""
        return self.codes(_numbers(texts))

    def codes(self, seconds: tf.Tensor) -> tf.Tensor:
        """Codes of float64 seconds since 1970; NaN is not known."""
        (origin,) = self.state
        since = tf.clip_by_value(tf.floor(_or(origin, seconds)) - origin, 0.0, 2.0**31 - 1 - FIRST)
        return tf.where(tf.math.is_nan(seconds), UNKNOWN, FIRST + tf.cast(since, tf.int32))

    def of_requests(self, seconds: tf.Tensor) -> tf.Tensor:
        """Codes of the times of requests: 0 is the present, below 0 and NaN are not known."""
        seconds = tf.cast(seconds, tf.float64)
        seconds = tf.where(seconds == NOW, tf.timestamp(), seconds)
        return tf.where(seconds < 0, UNKNOWN, self.codes(seconds))

    def _set_state(self, state: Any) -> None:
        self.state = tuple(state)


def _numbers(texts: tf.Tensor) -> tf.Tensor:
    are_numbers = tf.strings.regex_full_match(texts, _NUMBER)
    return tf.strings.to_number(tf.where(are_numbers, texts, "nan"), tf.float64)


def _or(instead: float, numbers: tf.Tensor) -> tf.Tensor:
    return tf.where(tf.math.is_nan(numbers), tf.constant(instead, numbers.dtype), numbers)
