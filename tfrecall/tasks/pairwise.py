"""Losses over pairs: the score of a positive against those of its negatives (BPR, softmax, pointwise)."""

import functools
from typing import Any

from tfrecall._keras import keras, tf, with_autograph, without_autograph
from tfrecall.errors import ConfigError
from tfrecall.layers.encoders.interests import apart
from tfrecall.layers.frequency import integer_ids
from tfrecall.schema.negatives import (
    SOURCES,
    CrossBatch,
    Hard,
    Mixed,
    Source,
    Uniform,
    check_source,
    is_drawn,
    negatives_from_dict,
    negatives_to_dict,
)
from tfrecall.tasks.candidates import MASKED, Candidates, ExtraNegatives, distinct_columns
from tfrecall.tasks.replicas import gathered_batch


class PairTask(ExtraNegatives):
    """Base of the losses that compare the score of a positive with those of its negatives.

    Subclasses implement `compute_loss(positives, negatives, counts)`. Negatives come either with the
    batch, `[n, num_negatives]` vectors for each target, or from the batch: its distinct candidates, with
    uniform draws and rows of past batches, without the target's own item.

    A query with several vectors scores each candidate by the best of them.

    Args:
        negatives: source of the negatives (`tfrecall.negatives`): a specification, its plain form or its name;
            4 uniform ones by default.

    Call arguments:
        query_embeddings: float `[batch_size, embedding_dim]`, or
            `[batch_size, interests, embedding_dim]`.
        candidate_embeddings: float `[batch_size, embedding_dim]`, row i is the positive of query i.
        sample_weight: float `[batch_size]`, optional. Candidates of rows of weight 0 are no negatives of
            others.
        candidate_ids: int or string `[batch_size]`, needed for negatives from the batch.
        negative_embeddings: float `[batch_size, num_negatives, embedding_dim]`, those drawn for each
            target; without them the negatives come from the batch.
        counts: bool `[batch_size, num_negatives]`, which of them are there; all by default.
        uniform: `Candidates` drawn for the whole batch, with `Mixed`.
        training: whether to use and fill the memory of `CrossBatch`.

    Returns:
        The weighted loss of each target, float32 `[batch_size]`. Sum it for a gradient, divide by the sum
        of the weights for a mean.

    Raises:
        ConfigError: if an argument makes no sense or is missing.
    """

    needs_catalogue = False
    takes_interests = True
    # True for losses over distances, which order as inner products only between vectors of length one.
    needs_unit_vectors = False
    sources: tuple[str, ...] = SOURCES

    def __init__(self, negatives: Source | dict[str, Any] | str | None = None, **kwargs: Any) -> None:
        # float32 whatever the towers compute in: a sum of exponentials needs the digits.
        super().__init__(**{"dtype": "float32", **kwargs})
        self.negatives: Source = Uniform() if negatives is None else negatives_from_dict(negatives)
        check_source(self.negatives, self.sources, type(self).__name__)
        spec = self.negatives
        self._set_extra_negatives(
            spec.num_uniform if isinstance(spec, Mixed) else 0,
            spec.memory_size if isinstance(spec, CrossBatch) else 0,
        )

    @property
    def is_drawn(self) -> bool:
        """Whether negatives are drawn for each target and come with the batches."""
        return is_drawn(self.negatives)

    def compute_loss(self, positives: tf.Tensor, negatives: tf.Tensor, counts: tf.Tensor) -> tf.Tensor:
        """The loss of each target, float `[n]`.

        Args:
            positives: scores, float `[n]`; higher is closer.
            negatives: scores, float `[n, columns]`.
            counts: bool `[n, columns]`, which of the negatives count.
        """
        raise NotImplementedError

    def score_each(self, queries: tf.Tensor, candidates: tf.Tensor) -> tf.Tensor:
        """Scores of `[n, dim]` for their own `[n, columns, dim]`: `[n, columns]`."""
        return tf.linalg.matvec(candidates, queries)

    def score_all(self, queries: tf.Tensor, candidates: tf.Tensor) -> tf.Tensor:
        """Scores of `[n, dim]` for all of `[columns, dim]`: `[n, columns]`."""
        return tf.matmul(queries, candidates, transpose_b=True)

    @without_autograph
    def call(
        self,
        query_embeddings: tf.Tensor,
        candidate_embeddings: tf.Tensor,
        sample_weight: tf.Tensor | None = None,
        candidate_ids: tf.Tensor | None = None,
        negative_embeddings: tf.Tensor | None = None,
        counts: tf.Tensor | None = None,
        uniform: Candidates | None = None,
        training: bool | None = None,
    ) -> tf.Tensor:
        queries = apart(tf.cast(query_embeddings, tf.float32))
        targets = tf.cast(candidate_embeddings, tf.float32)
        positives = _best([self.score_each(query, targets[:, tf.newaxis]) for query in queries])[:, 0]
        if negative_embeddings is not None:
            own = tf.cast(negative_embeddings, tf.float32)
            negatives = _best([self.score_each(query, own) for query in queries])
            counts = tf.ones_like(negatives, tf.bool) if counts is None else counts
        else:
            stands = tf.ones_like(positives, tf.bool) if sample_weight is None else sample_weight > 0
            columns, counts = self._columns(targets, stands, candidate_ids, uniform, training)
            negatives = _best([self.score_all(query, columns) for query in queries])
        if isinstance(self.negatives, Hard) and self.negatives.hardest:
            counts = keep_hardest(negatives, counts, self.negatives.hardest)
        losses = with_autograph(self.compute_loss, positives, negatives, counts)
        return losses if sample_weight is None else losses * tf.cast(sample_weight, losses.dtype)

    def _columns(
        self,
        targets: tf.Tensor,
        stands: tf.Tensor,
        ids: tf.Tensor | None,
        uniform: Candidates | None,
        training: bool | None,
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Distinct candidates of batch, draws and memory, and for which targets each counts."""
        if ids is None:
            raise ConfigError(
                f"`{type(self).__name__}` needs `candidate_ids` to tell which candidates of the batch are "
                "the same, or `negative_embeddings`. Received neither."
            )
        ids = integer_ids(ids)
        batch = Candidates(ids, targets, tf.zeros_like(ids, tf.float32))
        batch, stands, own_rows = gathered_batch(batch, stands)
        groups = [batch]
        if uniform is not None:
            groups.append(
                Candidates(*(tf.cast(v, b.dtype) for v, b in zip(uniform, batch, strict=True)))
            )
        if training and self._memory is not None:
            # Read before the push: rows of this batch are in the first group already.
            groups.append(self._memory.read())
            self._memory.push(Candidates(*(tf.boolean_mask(values, stands) for values in batch)))
        columns, own, standing = distinct_columns(groups, stands)
        if own_rows is not None:
            own = tf.gather(own, own_rows)
        # `own` is the column of each target's item, which is no negative of its own query.
        others = own[:, tf.newaxis] != tf.range(tf.size(columns.ids), dtype=own.dtype)
        return columns.embeddings, others & standing

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "negatives": negatives_to_dict(self.negatives)}


class LogisticTask(PairTask):
    """Base of the losses over inner products that are multiplied by `gamma`.

    Args:
        negatives: source of the negatives (`tfrecall.negatives`): a specification, its plain form or its name;
            4 uniform ones by default.
        gamma: scores are multiplied by it: the inverse of a temperature. 5 to 20 suits vectors of length
            one, 1 free ones.
    """

    def __init__(
        self,
        negatives: Source | dict[str, Any] | str | None = None,
        *,
        gamma: float = 10.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(negatives, **kwargs)
        if not 0 < gamma < float("inf"):
            raise ConfigError(
                f"`gamma` must be above 0. Received: {gamma}. Scores are multiplied by it: 10 suits cosines, "
                "1 inner products."
            )
        self.gamma = gamma

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "gamma": self.gamma}


def keep_hardest(scores: tf.Tensor, counts: tf.Tensor, count: int) -> tf.Tensor:
    """Mask of the `count` highest scores of each row among those that count; ties stay together.

    Args:
        scores: float `[n, columns]`.
        counts: bool `[n, columns]`.
        count: more than there are keeps all.
    """
    valid = tf.where(counts, scores, MASKED)
    kept = tf.minimum(count, tf.shape(scores)[1])
    least = tf.math.top_k(tf.stop_gradient(valid), kept).values[:, -1:]
    return counts & (valid >= least)


def mean_over(values: tf.Tensor, counts: tf.Tensor) -> tf.Tensor:
    """Mean of each row over the columns that count, 0 where none does: float `[n]`."""
    counted = tf.cast(counts, values.dtype)
    # `where`, not a product: values that do not count may be infinite, and 0 times infinity is NaN.
    total = tf.reduce_sum(tf.where(counts, values, 0.0), axis=1)
    return tf.math.divide_no_nan(total, tf.reduce_sum(counted, axis=1))


def _best(scores: list[tf.Tensor]) -> tf.Tensor:
    return functools.reduce(tf.maximum, scores)


@keras.utils.register_keras_serializable(package="tfrecall")
class BPR(LogisticTask):
    """Bayesian personalized ranking: the mean of `-log sigmoid(gamma (s_p - s_n))` over the negatives.

    The positive should score above each negative. A target without negatives has the loss 0. Differs
    from the paper: no regularization here (`embedding_regularization` of the model), and several
    negatives a target.

    Args:
        negatives: source of the negatives (`tfrecall.negatives`): a specification, its plain form or its name;
            4 uniform ones by default.
        gamma: scores are multiplied by it: the inverse of a temperature. 5 to 20 suits vectors of length
            one, 1 free ones.

    Call arguments:
        query_embeddings: float `[batch_size, embedding_dim]`, or
            `[batch_size, interests, embedding_dim]`: the best vector scores each candidate.
        candidate_embeddings: float `[batch_size, embedding_dim]`, row i is the positive of query i.
        sample_weight: float `[batch_size]`, optional; a row of weight 0 is no negative of others.
        candidate_ids: int or string `[batch_size]`, needed for negatives from the batch.
        negative_embeddings: float `[batch_size, num_negatives, embedding_dim]`, those drawn for each
            target; without them the negatives come from the batch.
        counts: bool `[batch_size, num_negatives]`, which of them are there; all by default.
        uniform: `Candidates` drawn for the whole batch, with `Mixed`.
        training: whether to use and fill the memory of `CrossBatch`.

    Returns:
        The weighted loss of each target, float32 `[batch_size]`.

    Raises:
        ConfigError: if an argument makes no sense or is missing.

    Example: one target of score 1, one negative of score 0: -log sigmoid(1).

    >>> query, item = tf.constant([[1.0, 0.0]]), tf.constant([[1.0, 0.0]])
    >>> BPR(gamma=1.0)(query, item, negative_embeddings=tf.constant([[[0.0, 1.0]]])).numpy().round(3)
    array([0.313], dtype=float32)

    Reference:
        Rendle et al., "BPR: Bayesian Personalized Ranking from Implicit Feedback", UAI 2009, section 4.
    """

    def compute_loss(self, positives: tf.Tensor, negatives: tf.Tensor, counts: tf.Tensor) -> tf.Tensor:
        ahead = self.gamma * (positives[:, tf.newaxis] - negatives)
        return mean_over(tf.math.softplus(-ahead), counts)


@keras.utils.register_keras_serializable(package="tfrecall")
class DSSMSoftmax(LogisticTask):
    """Softmax over the positive and its negatives: `-log softmax(gamma s)` of the positive.

    There is no correction for how often an item is drawn. Uniform draws need none; draws by popularity,
    or from the batch, push frequent items down, which `SampledSoftmax` and `InBatchSoftmax` correct. A
    target without negatives has the loss 0.

    Args:
        negatives: source of the negatives (`tfrecall.negatives`): a specification, its plain form or its name;
            4 uniform ones by default.
        gamma: the smoothing factor of the paper, by which scores are multiplied. 5 to 20 suits vectors of
            length one, 1 free ones.

    Call arguments:
        query_embeddings: float `[batch_size, embedding_dim]`, or
            `[batch_size, interests, embedding_dim]`: the best vector scores each candidate.
        candidate_embeddings: float `[batch_size, embedding_dim]`, row i is the positive of query i.
        sample_weight: float `[batch_size]`, optional; a row of weight 0 is no negative of others.
        candidate_ids: int or string `[batch_size]`, needed for negatives from the batch.
        negative_embeddings: float `[batch_size, num_negatives, embedding_dim]`, those drawn for each
            target; without them the negatives come from the batch.
        counts: bool `[batch_size, num_negatives]`, which of them are there; all by default.
        uniform: `Candidates` drawn for the whole batch, with `Mixed`.
        training: whether to use and fill the memory of `CrossBatch`.

    Returns:
        The weighted loss of each target, float32 `[batch_size]`.

    Raises:
        ConfigError: if an argument makes no sense or is missing.

    Example: the positive and its negative score alike, so the loss is log 2.

    >>> query, item = tf.constant([[1.0, 0.0]]), tf.constant([[0.0, 1.0]])
    >>> DSSMSoftmax()(query, item, negative_embeddings=item[:, tf.newaxis]).numpy().round(3)
    array([0.693], dtype=float32)

    Reference:
        Huang et al., "Learning Deep Structured Semantic Models for Web Search using Clickthrough Data",
        CIKM 2013, section 3.3, equations 4 and 5.
    """

    def compute_loss(self, positives: tf.Tensor, negatives: tf.Tensor, counts: tf.Tensor) -> tf.Tensor:
        logits = tf.where(counts, self.gamma * negatives, MASKED)
        # Without negatives this is about MASKED, and the loss 0.
        others = tf.reduce_logsumexp(logits, axis=1)
        # -log of the positive's share: log(exp(p) + exp(others)) - p.
        return tf.math.softplus(others - self.gamma * positives)


@keras.utils.register_keras_serializable(package="tfrecall")
class Pointwise(LogisticTask):
    """Binary cross entropy of each pair of a query and an item: chosen or not.

    The logit is `gamma` times the score. A target is a pair of label 1, each of its negatives one of label
    0, and the loss of a target is the sum over its pairs: more negatives press the scores of all items
    down. A loss over differences (`BPR`, `DSSMSoftmax`) does not.

    Args:
        negatives: source of the negatives (`tfrecall.negatives`): a specification, its plain form or its name;
            4 uniform ones by default.
        gamma: scores are multiplied by it: the inverse of a temperature. 5 to 20 suits vectors of length
            one, 1 free ones.

    Call arguments:
        query_embeddings: float `[batch_size, embedding_dim]`, or
            `[batch_size, interests, embedding_dim]`: the best vector scores each candidate.
        candidate_embeddings: float `[batch_size, embedding_dim]`, row i is the positive of query i.
        sample_weight: float `[batch_size]`, optional; a row of weight 0 is no negative of others.
        candidate_ids: int or string `[batch_size]`, needed for negatives from the batch.
        negative_embeddings: float `[batch_size, num_negatives, embedding_dim]`, those drawn for each
            target; without them the negatives come from the batch.
        counts: bool `[batch_size, num_negatives]`, which of them are there; all by default.
        uniform: `Candidates` drawn for the whole batch, with `Mixed`.
        training: whether to use and fill the memory of `CrossBatch`.

    Returns:
        The weighted loss of each target, float32 `[batch_size]`.

    Raises:
        ConfigError: if an argument makes no sense or is missing.

    Example: both scores are 0, so the loss is 2 log 2.

    >>> query, item = tf.constant([[1.0, 0.0]]), tf.constant([[0.0, 1.0]])
    >>> Pointwise(gamma=1.0)(query, item, negative_embeddings=item[:, tf.newaxis]).numpy().round(3)
    array([1.386], dtype=float32)
    """

    def compute_loss(self, positives: tf.Tensor, negatives: tf.Tensor, counts: tf.Tensor) -> tf.Tensor:
        # -log sigmoid(s) = softplus(-s), and -log(1 - sigmoid(s)) = softplus(s).
        wrong = tf.where(counts, tf.math.softplus(self.gamma * negatives), 0.0)
        return tf.math.softplus(-self.gamma * positives) + tf.reduce_sum(wrong, axis=1)
