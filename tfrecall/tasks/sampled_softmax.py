"""Sampled softmax: negatives drawn from the whole catalogue, shared by the rows of a batch."""

import functools
from typing import Any, Literal, NamedTuple, get_args

import numpy as np

from tfrecall._keras import keras, tf, without_autograph
from tfrecall.errors import ConfigError, DataError, nearest
from tfrecall.layers.encoders.interests import apart, closest, to_the_first_largest, together
from tfrecall.layers.randomness import RandomStream
from tfrecall.schema.negatives import Source, negatives_from_dict, shared_settings
from tfrecall.tasks.candidates import MASKED
from tfrecall.tasks.full_softmax import FullSoftmax
from tfrecall.tasks.samplers import Sampler, StratifiedSampler

Correction = Literal["standard", "without_positive"]


class Sampled(NamedTuple):
    """Candidates that stand as negatives of all rows of a batch.

    Attributes:
        rows: int32 `[n]`, their rows in the catalogue, distinct.
        embeddings: float `[n, embedding_dim]`.
        probability: float32 `[n]`, probability that a sample holds the candidate.
    """

    rows: tf.Tensor
    embeddings: tf.Tensor
    probability: tf.Tensor


@keras.utils.register_keras_serializable(package="tfrecall")
class SampledSoftmax(keras.layers.Layer):
    """Cross entropy of each query's candidate among candidates sampled for the batch.

    A step embeds the positives and the sample, and multiplies `batch_size x num_sampled` scores: neither
    grows with the catalogue. The sample is the same for all rows of a batch, distinct, and comes with
    exact probabilities (`tfrecall.tasks.samplers`), whose logarithm is subtracted from the logits. A
    sampled candidate that is the positive of a row counts there only as that. A sample of the whole
    catalogue gives `FullSoftmax`.

    With `q` for these probabilities the two corrections use the sample differently:

    - `without_positive`: `exp(s_p) + sum exp(s_d) / q_d` over the sampled others `d` is an unbiased
      estimate of the sum of the full softmax, because the positive is there for certain; so the loss
      estimates that of `FullSoftmax`, the more exactly the larger the sample.
    - `standard`: `log q_p` is subtracted from the positive's logit, too. That does not estimate the full
      softmax, but is the cross entropy of telling the true candidate from the sampled ones. Where draws
      are independent, the answer by Bayes' rule has the logits `s - log q`, so the best scores are the
      same for any `num_sampled`.

    With some hundred draws both train alike; with a handful the estimated sum is noise, and only
    `standard` still learns.

    Args:
        num_sampled: candidates drawn a step.
        sampler: `uniform`, `log_uniform` or `unigram`, which gave the best lists on MovieLens-1M.
        alpha: with `unigram`, the exponent of the share of training rows, 0 to 2.
        temperature: scores are divided by it first, before anything is subtracted.
        correction: `standard` or `without_positive`.
        negatives: replaces number, sampler and alpha, as in a configuration: `Popularity` or
            `Uniform` of `tfrecall.negatives` with `exclude_known=False`, or `LogUniform`.

    Call arguments:
        query_embeddings: float `[batch_size, embedding_dim]`, or with several vectors a query
            `[batch_size, interests, embedding_dim]`: the best vector scores each candidate.
        candidate_embeddings: float `[batch_size, embedding_dim]`, row i is the positive of query i.
        sample_weight: float `[batch_size]`, optional.
        candidate_sampling_probability: float `[batch_size]`, probability that a sample holds the
            positive (`probability_of`); without it nothing is corrected.
        candidate_rows: int `[batch_size]`, the row of each positive in the catalogue; -1 for a
            candidate that is not in it, whose loss is 0.
        sampled: the sample of the batch (`draw`), with its vectors and probabilities.

    Returns:
        The weighted cross entropy of each example, float32 `[batch_size]`.

    Raises:
        ConfigError: if an argument makes no sense or is missing, or the sample is larger than the
            catalogue.
        DataError: from `draw` and `probability_of`, if the task has not been adapted.

    Example: a sample of both candidates is the full softmax, e / (e + 1) for the positive.

    >>> task = SampledSoftmax(2, "uniform")
    >>> task.adapt(np.array([0.5, 0.5]))
    >>> task.build()
    >>> catalogue = tf.constant([[1.0, 0.0], [0.0, 1.0]])
    >>> rows = task.draw()
    >>> sampled = Sampled(rows, tf.gather(catalogue, rows), task.probability_of(rows))
    >>> task(catalogue[:1], catalogue[:1], candidate_rows=tf.constant([0]), sampled=sampled).numpy().round(3)
    array([0.313], dtype=float32)

    References:
        Jean et al., "On Using Very Large Target Vocabulary for Neural Machine Translation", ACL 2015.
        Ma and Collins, "Noise Contrastive Estimation and Negative Sampling for Conditional Models:
        Consistency and Statistical Efficiency", EMNLP 2018, section 3, on `standard`.
        For `without_positive` see `tfrecall.tasks.corrections`.
    """

    needs_catalogue = False
    takes_interests = True

    def __init__(
        self,
        num_sampled: int = 255,
        sampler: Sampler = "unigram",
        *,
        alpha: float = 0.75,
        temperature: float = 1.0,
        correction: Correction = "standard",
        negatives: Source | dict[str, Any] | str | None = None,
        **kwargs: Any,
    ) -> None:
        # float32 whatever the towers compute in: a sum of exponentials needs the digits.
        super().__init__(**{"dtype": "float32", **kwargs})
        if negatives is not None:
            settings = shared_settings(negatives_from_dict(negatives))
            num_sampled, sampler = settings["num_sampled"], settings["sampler"]
            alpha = settings.get("alpha", alpha)
        self.num_sampled = num_sampled
        self.sampler = sampler
        self.alpha = alpha
        self.temperature = temperature
        self.correction = correction
        self._check_settings()
        self._drawn_by: StratifiedSampler | None = None
        self._stream = RandomStream()
        self._full = FullSoftmax(temperature, dtype="float32")

    @property
    def always_corrects(self) -> bool:
        """Whether the loss makes no sense without the logQ correction."""
        return self.correction == "without_positive"

    @property
    def full(self) -> FullSoftmax:
        """The loss that the sample estimates, used for validation rows: it does not depend on a draw."""
        return self._full

    def adapt(self, share: np.ndarray) -> None:
        """Prepares draws from a catalogue.

        Args:
            share: float `[candidates]`, the share of the training rows that hold each candidate,
                above 0; in proportion is enough.

        Raises:
            ConfigError: if there are fewer candidates than `num_sampled`.
        """
        # Outside any graph that is being traced, whose tensors later steps could not use.
        with tf.init_scope():
            self._drawn_by = StratifiedSampler.build(self.sampler, self.num_sampled, share, self.alpha)

    @property
    def is_adapted(self) -> bool:
        """Whether the task knows its catalogue."""
        return self._drawn_by is not None

    def build(self, input_shape: Any = None) -> None:
        """Makes the state of the random numbers, a weight, which a checkpoint holds."""
        self._stream.build(None)
        super().build(input_shape)

    def draw(self) -> tf.Tensor:
        """The rows of the catalogue that stand in the next batch, on all replicas: int32, distinct."""
        return self._known.draw(self._stream.next_seed(shared=True))

    def probability_of(self, rows: tf.Tensor) -> tf.Tensor:
        """Probability that a draw holds each of some catalogue rows, float32; for -1 that of row 0."""
        return tf.gather(self._known.probability, tf.maximum(rows, 0))

    @property
    def _known(self) -> StratifiedSampler:
        if self._drawn_by is None:
            raise DataError(
                "`SampledSoftmax` does not know the catalogue that it draws from. Call `adapt` with the "
                "share of the training rows that hold each candidate."
            )
        return self._drawn_by

    @without_autograph
    def call(
        self,
        query_embeddings: tf.Tensor,
        candidate_embeddings: tf.Tensor,
        sample_weight: tf.Tensor | None = None,
        candidate_sampling_probability: tf.Tensor | None = None,
        *,
        candidate_rows: tf.Tensor,
        sampled: Sampled,
    ) -> tf.Tensor:
        self._check_call(candidate_sampling_probability)
        queries = tf.cast(query_embeddings, tf.float32) / self.temperature
        targets = tf.cast(candidate_embeddings, tf.float32)
        positives = tf.reduce_sum(closest(queries, targets) * targets, axis=1)
        log_q = tf.zeros_like(sampled.probability)
        if candidate_sampling_probability is not None:
            log_q = tf.math.log(sampled.probability)
            if self.correction == "standard":
                # Only `standard` treats the positive as one of the sample.
                positives -= tf.math.log(candidate_sampling_probability)
        own = accidental_hits(candidate_rows, sampled.rows)
        others = log_sum_of_others(queries, tf.cast(sampled.embeddings, tf.float32), log_q, own)
        # -log of the positive's share: log(exp(p) + exp(others)) - p.
        losses = tf.math.softplus(others - positives) * tf.cast(candidate_rows >= 0, tf.float32)
        return losses if sample_weight is None else losses * tf.cast(sample_weight, losses.dtype)

    def _check_settings(self) -> None:
        if self.num_sampled < 1:
            raise ConfigError(
                f"`num_sampled` must be 1 or more. Received: {self.num_sampled}. For a loss over the "
                "whole catalogue use `FullSoftmax`."
            )
        if self.sampler not in get_args(Sampler):
            raise ConfigError(
                f"There is no sampler {self.sampler!r}.{nearest(str(self.sampler), get_args(Sampler))} "
                f"Choose one of: {', '.join(get_args(Sampler))}."
            )
        if not 0 <= self.alpha <= 2:
            raise ConfigError(
                f"`alpha` must be from 0, uniform, to 2. Received: {self.alpha}. 1 draws candidates as "
                "often as the log holds them, .75 a little more evenly."
            )
        if not self.temperature > 0:
            raise ConfigError(f"`temperature` must be above 0. Received: {self.temperature}.")
        if self.correction not in get_args(Correction):
            raise ConfigError(
                f"`correction` must be one of {', '.join(get_args(Correction))}. "
                f"Received: {self.correction!r}."
            )

    def _check_call(self, probability: tf.Tensor | None) -> None:
        if self.correction == "without_positive" and probability is None:
            raise ConfigError(
                '`SampledSoftmax(correction="without_positive")` estimates the full softmax, which it cannot '
                "without the correction. Received: candidate_sampling_probability=None. Pass what "
                '`probability_of` gives, or take correction="standard". In a model: '
                "`correct_sampling_bias` must be true."
            )

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "num_sampled": self.num_sampled,
            "sampler": self.sampler,
            "alpha": self.alpha,
            "temperature": self.temperature,
            "correction": self.correction,
        }


def accidental_hits(rows: tf.Tensor, sampled: tf.Tensor) -> tf.Tensor:
    """Finds the positives that were sampled, too.

    Uses a hash of both: comparing each with each would cost a fifth of the step.

    Args:
        rows: int `[batch_size]`, the positives.
        sampled: int `[n]`, distinct.

    Returns:
        int32 `[hits, 2]`: row of the batch, column of the sample.
    """
    drawn = tf.size(sampled)
    # `tf.unique` numbers values as they come, so drawn rows have the number of their column. Example:
    # sampled [4, 9, 2] and positives [9, 5] give the places [0, 1, 2, 1, 3]: 9 is column 1, 5 no column.
    _, places = tf.unique(tf.concat([tf.cast(sampled, tf.int32), tf.cast(rows, tf.int32)], axis=0))
    columns = places[drawn:]
    hit = tf.cast(tf.where(columns < drawn)[:, 0], tf.int32)
    return tf.stack([hit, tf.gather(columns, hit)], axis=1)


@tf.custom_gradient
def log_sum_of_others(
    queries: tf.Tensor, candidates: tf.Tensor, log_q: tf.Tensor, without: tf.Tensor
) -> Any:
    """log sum_j exp(q_i . c_j - log_q_j) of each query, in half the time of TensorFlow's own gradient.

    Args:
        queries: float `[n, embedding_dim]` or `[n, interests, embedding_dim]`; of several products the
            largest counts.
        candidates: float `[m, embedding_dim]`, one or more.
        log_q: float `[m]`; gets no gradient.
        without: int `[k, 2]`, pairs (i, j) that do not count.

    Returns:
        Float `[n]`; a large negative number for a query without a candidate that counts.
    """
    vectors = apart(queries)
    scores = [tf.matmul(vector, candidates, transpose_b=True) for vector in vectors]
    logits = functools.reduce(tf.maximum, scores) - log_q
    # Overwrites single entries: a mask of the whole matrix would cost another pass over it.
    nothing = tf.fill([tf.shape(without)[0]], tf.constant(MASKED, logits.dtype))
    logits = tf.tensor_scatter_nd_update(logits, without, nothing)
    shares = tf.nn.softmax(logits)
    # The largest share is 1 / m or more, so its logarithm is finite.
    totals = tf.reduce_max(logits, axis=1) - tf.math.log(tf.reduce_max(shares, axis=1))

    def gradient(upstream: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, None, None]:
        # Rows are weighed after one product and before the other: the matrix is not touched again.
        upstream = upstream[:, tf.newaxis]
        parts = to_the_first_largest(shares, scores)
        for_vectors = [upstream * tf.matmul(part, candidates) for part in parts]
        for_candidates = [
            tf.matmul(part, upstream * vector, transpose_a=True)
            for part, vector in zip(parts, vectors, strict=True)
        ]
        return together(for_vectors, queries), functools.reduce(tf.add, for_candidates), None, None

    return totals, gradient
