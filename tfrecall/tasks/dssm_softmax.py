"""The loss of DSSM: a softmax over the positive and its negatives."""

from tfrecall._keras import keras, tf
from tfrecall.tasks.pairs import MASKED, LogisticTask


@keras.utils.register_keras_serializable(package="tfrecall")
class DSSMSoftmax(LogisticTask):
    """Finds the positive among itself and its negatives: `-log softmax(gamma s)` of the positive.

    Nothing is corrected for how often an item is drawn. With uniform draws nothing has to be; items drawn by
    popularity, or from the batch, are pushed down the more the more frequent they are, which
    `SampledSoftmax` and `InBatchSoftmax` correct.

    A target without negatives has the loss 0.

    Args and call arguments: as of `PairTask`, with `gamma`, the smoothing factor of the paper.

    Reference:
        Huang et al., "Learning Deep Structured Semantic Models for Web Search using Clickthrough Data",
        CIKM 2013, section 3.3, equations 4 and 5.
    """

    def judge(self, positives: tf.Tensor, negatives: tf.Tensor, counts: tf.Tensor) -> tf.Tensor:
        logits = tf.where(counts, self.gamma * negatives, MASKED)
        others = tf.reduce_logsumexp(logits, axis=1)
        # -log of the positive's share: log(exp(p) + exp(others)) - p.
        return tf.math.softplus(others - self.gamma * positives)
