"""Times between events and requests as buckets, and learned numbers by bucket."""

import math

from tfrecall._keras import tf
from tfrecall.core.vocabulary import UNKNOWN

# Each bucket reaches half as far again as the one before: 0 s, 1 s, 2 s, 3 s, 5 s, ..., 40 years.
_RATIO = 1.5
# The longest time an int32 of seconds holds, and one bucket in front for times that are not known.
TIME_BUCKETS = 2 + int(math.log(2**31) / math.log(_RATIO))


def asking_times(times: tf.Tensor, asked: tf.Tensor, mask: tf.Tensor) -> tf.Tensor:
    """Moment for which the vector of each cell is asked: int32 `[rows, cells]`.

    An event followed by another is asked what comes at that one's time; the newest, what comes at the time
    of the request.

    Args:
        times: int32 `[rows, cells]`, seconds; `UNKNOWN` is not known.
        asked: int32 `[rows]`, seconds of the request of each row, or `UNKNOWN`.
        mask: bool `[rows, cells]`, True where the cell holds an event.

    >>> mask = tf.constant([[False, True, True]])
    >>> asking_times(tf.constant([[0, 20, 30]]), tf.constant([99]), mask).numpy().tolist()
    [[20, 30, 99]]
    """
    later = tf.pad(times[:, 1:], [[0, 0], [0, 1]])
    followed = tf.pad(mask[:, 1:], [[0, 0], [0, 1]])
    return tf.where(followed, later, asked[:, tf.newaxis])


def time_bucket(since: tf.Tensor, until: tf.Tensor) -> tf.Tensor:
    """Bucket of the time between moments, in `[0, TIME_BUCKETS)`: int32, broadcast.

    Bucket 0 is for a moment that is not known, 1 for the same second and for the future.

    >>> time_bucket(tf.constant([5, 5, 5, 1]), tf.constant([5, 6, 3605, 9])).numpy().tolist()
    [1, 2, 21, 0]
    """
    seconds = tf.cast(tf.maximum(until - since, 0), tf.float32)
    bucket = 1 + tf.cast(tf.math.log1p(seconds) * (1 / math.log(_RATIO)), tf.int32)
    return tf.where((since > UNKNOWN) & (until > UNKNOWN), bucket, 0)


@tf.custom_gradient
def by_bucket(numbers: tf.Tensor, buckets: tf.Tensor) -> tf.Tensor:
    """The number of each bucket: of the shape of `buckets`.

    As `tf.gather`, whose gradient takes several times as long: it is a sum over millions of cells.

    Args:
        numbers: float `[n]`.
        buckets: int32 `[rows, ...]`, in `[0, n)`.
    """

    def gradient(upstream: tf.Tensor) -> tuple[tf.Tensor, None]:
        rows = tf.shape(buckets)[0]
        # Row by row: counted over all rows at once, threads would add up in any order, and a training
        # would not repeat to the last digit.
        sums = tf.raw_ops.DenseBincount(
            input=tf.reshape(buckets, [rows, -1]),
            size=numbers.shape[0],
            weights=tf.cast(tf.reshape(upstream, [rows, -1]), tf.float32),
        )
        return tf.cast(tf.reduce_sum(sums, axis=0), numbers.dtype), None

    return tf.gather(numbers, buckets), gradient
