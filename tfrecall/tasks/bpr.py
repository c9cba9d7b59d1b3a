"""Bayesian personalised ranking."""

from tfrecall._keras import keras, tf
from tfrecall.tasks.pairs import LogisticTask, mean_over


@keras.utils.register_keras_serializable(package="tfrecall")
class BPR(LogisticTask):
    """The positive should score above each negative: `-log sigmoid(gamma (s_p - s_n))`, their mean.

    A target without negatives has the loss 0. Differs from the paper: no regularization here
    (`embedding_regularization` of the model), and several negatives a target.

    Args and call arguments: as of `PairTask`, with `gamma`.

    Reference:
        Rendle et al., "BPR: Bayesian Personalized Ranking from Implicit Feedback", UAI 2009, section 4.
    """

    def judge(self, positives: tf.Tensor, negatives: tf.Tensor, counts: tf.Tensor) -> tf.Tensor:
        ahead = self.gamma * (positives[:, tf.newaxis] - negatives)
        return mean_over(tf.math.softplus(-ahead), counts)
