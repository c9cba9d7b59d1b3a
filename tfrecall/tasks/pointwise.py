"""Binary cross entropy: is this the item, or one that was drawn?"""

from tfrecall._keras import keras, tf
from tfrecall.tasks.pairs import LogisticTask


@keras.utils.register_keras_serializable(package="tfrecall")
class Pointwise(LogisticTask):
    """Judges each pair of a query and an item by itself, as chosen or not.

    The logit is `gamma` times the score, and the one sigmoid is inside the cross entropy. A target is one
    pair of label 1 and each of its negatives one of label 0, so the loss of a target is a sum over its
    pairs: more negatives press the scores of all items down. Where that is not wanted, take a loss over
    differences (`BPR`, `DSSMSoftmax`).

    Args and call arguments: as of `PairTask`, with `gamma`.

    Example:

    >>> task = Pointwise(gamma=1.0)
    >>> query, item = tf.constant([[1.0, 0.0]]), tf.constant([[0.0, 1.0]])
    >>> task(query, item, negative_embeddings=item[:, tf.newaxis]).numpy().round(3)  # 2 log 2
    array([1.386], dtype=float32)
    """

    def judge(self, positives: tf.Tensor, negatives: tf.Tensor, counts: tf.Tensor) -> tf.Tensor:
        # -log sigmoid(s) = softplus(-s), and -log(1 - sigmoid(s)) = softplus(s).
        wrong = tf.where(counts, tf.math.softplus(self.gamma * negatives), 0.0)
        return tf.math.softplus(-self.gamma * positives) + tf.reduce_sum(wrong, axis=1)
