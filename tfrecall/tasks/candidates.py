"""Candidates from several places, brought together as columns of a score matrix."""

from collections.abc import Sequence
from typing import NamedTuple

from tfrecall._keras import tf


class Candidates(NamedTuple):
    """Some candidates, one a row; an id may occur more than once.

    Attributes:
        ids: int64 `[n]`.
        embeddings: float `[n, embedding_dim]`.
        share: float32 `[n]`, the share of the training rows that hold the candidate.
    """

    ids: tf.Tensor
    embeddings: tf.Tensor
    share: tf.Tensor


def distinct_columns(
    groups: Sequence[Candidates], stands: tf.Tensor
) -> tuple[Candidates, tf.Tensor, tf.Tensor]:
    """Each candidate of some groups once, as it is in the first group that has it.

    Args:
        groups: the batch first.
        stands: bool, for each row of the batch, whether its candidate may be a negative for that.

    Returns:
        The distinct candidates; the place of each row of the batch among them, int32; and for each of
        them whether any row says that it stands.
    """
    both = Candidates(*(tf.concat(values, axis=0) for values in zip(*groups, strict=True)))
    distinct, places = tf.unique(both.ids)
    count = tf.size(distinct)
    first = tf.math.unsorted_segment_min(tf.range(tf.size(places)), places, count)
    others = tf.ones([tf.size(places) - tf.size(stands)], tf.int32)
    standing = tf.concat([tf.cast(stands, tf.int32), others], axis=0)
    return (
        Candidates(distinct, tf.gather(both.embeddings, first), tf.gather(both.share, first)),
        places[: tf.size(stands)],
        tf.math.unsorted_segment_max(standing, places, count) > 0,
    )
