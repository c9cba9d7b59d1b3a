"""Batches that several replicas share: rows gathered from all of them, so that a loss sees the whole batch.

A replica computes the losses of its own rows. Their negatives are the candidates of the whole batch, and
the gradient of a gathered vector goes back to the replica that it came from, summed over all replicas. The
optimizer adds up the gradients of the replicas, so the losses of a batch are a sum however they are divided.
"""

from collections.abc import Callable, Sequence
from typing import Any

from tfrecall._keras import tf
from tfrecall.tasks.candidates import Candidates


def replica_count() -> int:
    """Number of replicas that compute the present step: 1 without a strategy of TensorFlow."""
    context = tf.distribute.get_replica_context()
    return 1 if context is None else context.num_replicas_in_sync


def gathered(values: Sequence[tf.Tensor]) -> list[tf.Tensor]:
    """The rows of all replicas, in the order of their numbers; they may have different numbers of rows.

    Args:
        values: tensors with the rows of this replica in the first axis, none of them bool.
    """
    context = tf.distribute.get_replica_context()
    # One by one: gathered together, integers would ask for a gradient. A copy, which lies on the device of
    # this replica, as an argument of the step does not.
    return [_with_dense_gradient(context.all_gather(tf.identity(value), axis=0)) for value in values]


@tf.custom_gradient
def _with_dense_gradient(values: tf.Tensor) -> Any:
    """The values; replicas add up gradients as tensors, where `tf.gather` gives slices."""
    return tf.identity(values), tf.convert_to_tensor


def summed(value: tf.Tensor) -> tf.Tensor:
    """The sum of a value over all replicas."""
    return tf.distribute.get_replica_context().all_reduce(tf.distribute.ReduceOp.SUM, value)


def own_rows(count: tf.Tensor) -> tf.Tensor:
    """Places of the rows of this replica among the gathered ones: int32 `[count]`."""
    context = tf.distribute.get_replica_context()
    (counts,) = gathered([tf.reshape(count, [1])])
    return tf.reduce_sum(counts[: context.replica_id_in_sync_group]) + tf.range(count)


def gathered_batch(
    batch: Candidates, stands: tf.Tensor
) -> tuple[Candidates, tf.Tensor, tf.Tensor | None]:
    """The candidates of the whole batch, of which a replica has a part.

    Args:
        batch: candidates of this replica's rows.
        stands: bool `[rows]`, whether each makes its candidate a negative of others.

    Returns:
        Candidates and `stands` of all rows of the batch, and the places of this replica's rows among them;
        on one replica what was given, and None.
    """
    if replica_count() == 1:
        return batch, stands, None
    ids, embeddings, share, standing = gathered([*batch, tf.cast(stands, tf.int32)])
    return Candidates(ids, embeddings, share), standing > 0, own_rows(tf.size(batch.ids))


def divided(values: tf.Tensor, compute: Callable[[tf.Tensor], tf.Tensor]) -> tf.Tensor:
    """Results for values that all replicas have: each replica computes a part, and all get the whole.

    Args:
        values: `[n]`, the same on all replicas.
        compute: computes a row for each of some values.
    """
    context = tf.distribute.get_replica_context()
    each = -(-tf.size(values) // context.num_replicas_in_sync)
    first = each * context.replica_id_in_sync_group
    # A slice beyond the end is empty: there may be fewer values than replicas.
    return gathered([compute(values[first : first + each])])[0]
