"""In-batch softmax with logQ correction, uniform negatives, cross-batch memory and hard negatives."""

from typing import Any, Literal, get_args

from tfrecall._keras import keras, tf, without_autograph
from tfrecall.errors import ConfigError
from tfrecall.layers.encoders.interests import best_scores, closest
from tfrecall.layers.frequency import StreamingFrequency, integer_ids
from tfrecall.schema.negatives import batch_negatives_from, batch_settings
from tfrecall.tasks.candidates import MASKED, Candidates, ExtraNegatives, distinct_columns
from tfrecall.tasks.corrections import log_inclusion_probability, share_of_rows
from tfrecall.tasks.replicas import gathered_batch


@tf.custom_gradient
def sparse_cross_entropy(logits: tf.Tensor, labels: tf.Tensor) -> Any:
    """The values and the gradient of `tf.nn.sparse_softmax_cross_entropy_with_logits`.

    TensorFlow's kernel divides and compares element by element; here the matrix goes through the
    vectorised `softmax`, and the true column is corrected apart.

    Args:
        logits: float `[n, columns]`, at least one column.
        labels: int `[n]`, the true column of each row.

    Returns:
        Float `[n]`: log sum_j exp(logits_ij) - logits_i,label.
    """
    probabilities = tf.nn.softmax(logits)
    # log_sum = logit - log(probability) holds in every column. The largest probability is 1 / columns or
    # more, so its logarithm is finite where others are not.
    log_sum = tf.reduce_max(logits, axis=1) - tf.math.log(tf.reduce_max(probabilities, axis=1))
    positives = tf.gather(logits, labels, batch_dims=1)

    def gradient(upstream: tf.Tensor) -> tuple[tf.Tensor, None]:
        rows = tf.range(tf.shape(labels)[0], dtype=labels.dtype)
        places = tf.stack([rows, labels], axis=1)
        weighted = probabilities * upstream[:, tf.newaxis]
        # Softmax minus one-hot, without making the one-hot matrix.
        return tf.tensor_scatter_nd_sub(weighted, places, upstream), None

    return log_sum - positives, gradient


Correction = Literal["standard", "without_positive"]


@keras.utils.register_keras_serializable(package="tfrecall")
class InBatchSoftmax(ExtraNegatives):
    """Cross entropy of each query's candidate among the distinct candidates of the batch.

    Called like `tfrs.tasks.Retrieval`, with two differences. Each distinct candidate is scored once, so a
    candidate that several queries share is never a negative of its own queries (no accidental hits) and
    the matrix is smaller. The logQ correction fits that: with probabilities `p`, a distinct candidate
    is in a batch of `b` rows with probability `q = 1 - (1 - p)^b`, so `log q` is subtracted from its
    logit; for rare candidates this is `log p` plus a constant, the correction of Yi et al.

    Candidates of rows of weight 0 are no negatives of others.

    Under a strategy of `tf.distribute` the batch is that of all replicas: candidates are gathered from them, so
    the losses are those of one replica with the whole batch. Sum them; the optimizer adds up the replicas.

    Negatives beyond the batch are added in training only, so a validation loss is always over its own
    batch. Each distinct candidate stays one column, wherever it comes from, with its newest vector, and
    `q` counts every way into the sample:

    - `num_uniform_negatives` from the whole catalogue: candidates too rare to be in a batch get negative
      gradients, too (mixed negative sampling, Yang et al.).
    - `memory_size` rows of past batches, with their vectors of then (cross-batch memory, Wang et al.).
      Only candidates of the current batch can move, so the gradient that pushes these away is weighted by
      how often *they* are there. Weighted by `q`, as in the papers, rare candidates would be pulled by
      their positives at the full rate and pushed by others at a fraction of it.

    Args:
        temperature: scores are divided by it first, before anything is subtracted.
        num_hard_negatives: number of negatives kept for each query, those with the largest logits; all
            when None.
        num_uniform_negatives: drawn for each batch, with replacement, by `draw_uniform`; the model
            embeds them and passes them as `uniform`.
        memory_size: rows of past batches that are kept.
        correction: `standard`, or `without_positive`, which treats the positive as not sampled. Derived
            in `tfrecall.tasks.corrections`.
        frequency: source of `p`: `counted` takes `candidate_sampling_probability`; `streaming`, or a
            `StreamingFrequency` of your own, estimates it in training, which needs no counting and
            follows a stream that changes.
        negatives: replaces the three numbers, as in a configuration: `"mixed"`, `"cross_batch"`,
            `Hard(hardest=10)` of `tfrecall.negatives`, or a list of some.

    Call arguments:
        query_embeddings: float `[batch_size, embedding_dim]`, or with several vectors a query
            `[batch_size, interests, embedding_dim]`: the best vector scores each candidate.
        candidate_embeddings: float `[batch_size, embedding_dim]`, row i is the positive of query i.
        sample_weight: float `[batch_size]`, optional.
        candidate_sampling_probability: float `[batch_size]`, the share of the training rows that hold
            this candidate; without it nothing is corrected, unless the frequency is streaming.
        candidate_ids: int or string `[batch_size]`, required.
        uniform: `Candidates` that were drawn uniformly, as many as `num_uniform_negatives`.
        num_candidates: size of the catalogue they were drawn from.
        training: whether to learn frequencies and to use and fill the memory.

    Returns:
        The weighted cross entropy of each example, float32 `[batch_size]`. Sum it for a gradient,
        divide by the sum of the weights for a mean.

    Raises:
        ConfigError: if an argument makes no sense or is missing.

    Example: the first two queries share a candidate, so each of the three has one negative.

    >>> vectors = tf.constant([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    >>> InBatchSoftmax()(vectors, vectors, candidate_ids=tf.constant([7, 7, 8])).numpy().round(3)
    array([0.313, 0.313, 0.313], dtype=float32)

    References:
        Yi et al., "Sampling-Bias-Corrected Neural Modeling for Large Corpus Item Recommendations",
        RecSys 2019, section 3. The others are named in `tfrecall.tasks.corrections` and
        `tfrecall.tasks.candidates`.
    """

    needs_catalogue = False
    takes_interests = True

    def __init__(
        self,
        temperature: float = 1.0,
        num_hard_negatives: int | None = None,
        *,
        num_uniform_negatives: int = 0,
        memory_size: int = 0,
        correction: Correction = "standard",
        frequency: Literal["counted", "streaming"] | StreamingFrequency = "counted",
        negatives: Any = None,
        **kwargs: Any,
    ) -> None:
        # float32 whatever the towers compute in: a sum of exponentials needs the digits.
        super().__init__(**{"dtype": "float32", **kwargs})
        if isinstance(frequency, dict):  # from `get_config`
            frequency = keras.layers.deserialize(frequency)
        numbers: dict[str, Any] = {
            "num_hard_negatives": num_hard_negatives,
            "num_uniform_negatives": num_uniform_negatives,
            "memory_size": memory_size,
        }
        if negatives is not None:
            if any(numbers.values()):
                raise ConfigError(
                    "`negatives` and the numbers say where the same negatives come from. Received: "
                    f"negatives={negatives!r} and {numbers}. Leave one out."
                )
            numbers.update(batch_settings(batch_negatives_from(negatives)))
        self.temperature = temperature
        self.num_hard_negatives = numbers["num_hard_negatives"]
        self.num_uniform_negatives = numbers["num_uniform_negatives"]
        self.memory_size = numbers["memory_size"]
        self.correction = correction
        self.frequency = frequency
        self._check_settings()
        self._streaming = _streaming(frequency)
        self._set_extra_negatives(self.num_uniform_negatives, self.memory_size)

    @property
    def always_corrects(self) -> bool:
        """Whether the loss makes no sense without the logQ correction."""
        return self._streaming is not None or self.correction == "without_positive"

    def build(self, input_shape: Any) -> None:
        """Makes the state kept from step to step, for vectors of the length `input_shape[-1]`.

        All of it is weights, so a checkpoint holds it.
        """
        if self._streaming is not None:
            self._streaming.build([None])
            self._usual_rows = self.add_weight(
                "usual_rows",
                initializer="zeros",
                trainable=False,
                aggregation=tf.VariableAggregation.ONLY_FIRST_REPLICA,
            )
        super().build(input_shape)

    @without_autograph
    def call(
        self,
        query_embeddings: tf.Tensor,
        candidate_embeddings: tf.Tensor,
        sample_weight: tf.Tensor | None = None,
        candidate_sampling_probability: tf.Tensor | None = None,
        candidate_ids: tf.Tensor | None = None,
        uniform: Candidates | None = None,
        num_candidates: int | None = None,
        training: bool | None = None,
    ) -> tf.Tensor:
        self._check_call(candidate_ids, candidate_sampling_probability, uniform, num_candidates)
        queries = tf.cast(query_embeddings, tf.float32) / self.temperature
        share = candidate_sampling_probability
        batch = _candidates(candidate_ids, candidate_embeddings, share)
        stands = tf.ones_like(batch.ids, tf.bool) if sample_weight is None else sample_weight > 0
        targets = batch.embeddings
        batch, stands, own_rows = gathered_batch(batch, stands)
        # Read before this batch is pushed, whose rows would count as draws twice.
        past = self._memory.read() if training and self._memory is not None else None
        groups = [batch]
        if uniform is not None:
            groups.append(_candidates(*uniform))
        if past is not None:
            groups.append(past)
        columns, labels, standing = distinct_columns(groups, stands)
        if own_rows is not None:
            labels = tf.gather(labels, own_rows)
        if training:
            self._remember(batch, stands)
        embeddings, penalty = columns.embeddings, tf.where(standing, 0.0, -MASKED)
        if share is not None or self._streaming is not None:
            rows = tf.reduce_sum(tf.cast(stands, tf.int32))
            past_rows = 0 if past is None else tf.size(past.ids)
            log_q = self._log_probability(columns, rows + past_rows, uniform, num_candidates)
            penalty += log_q
            if past is not None:
                # A column counts 1 / q of the whole sample, but passes a gradient only from the
                # current batch. The factor q / q_batch makes that 1 / q_batch (see the class).
                moving = self._log_probability(columns, rows, uniform, num_candidates)
                embeddings = scale_gradient(embeddings, tf.exp(log_q - moving))
        logits = best_scores(queries, embeddings)
        if past is not None:
            # The positive's logit keeps its plain gradient, not the scaled one of its column.
            own = tf.reduce_sum(closest(queries, targets) * targets, axis=1)
            logits = set_positives(logits, labels, own)
        losses = self._cross_entropies(logits, labels, penalty)
        return losses if sample_weight is None else losses * tf.cast(sample_weight, losses.dtype)

    def _cross_entropies(self, logits: tf.Tensor, labels: tf.Tensor, penalty: tf.Tensor) -> tf.Tensor:
        corrected = logits - penalty
        if self.correction == "without_positive":
            own = tf.gather(logits, labels, batch_dims=1)
            corrected = set_positives(corrected, labels, own)
        if self.num_hard_negatives is not None:
            corrected = keep_hard_negatives(corrected, labels, self.num_hard_negatives)
        return sparse_cross_entropy(corrected, labels)

    def _remember(self, batch: Candidates, stands: tf.Tensor) -> None:
        if self._memory is None and self._streaming is None:
            return
        rows = Candidates(*(tf.boolean_mask(values, stands) for values in batch))
        if self._memory is not None:
            self._memory.push(rows)
        if self._streaming is not None:
            self._streaming(rows.ids, training=True)
            # The last batch of an epoch is shorter than those that the intervals come from.
            size = tf.cast(tf.size(rows.ids), tf.float32)
            self._usual_rows.assign(tf.maximum(self._usual_rows, size))

    def _log_probability(
        self,
        columns: Candidates,
        draws: tf.Tensor,
        uniform: Candidates | None,
        num_candidates: int | None,
    ) -> tf.Tensor:
        """Log-probability that `draws` rows of the log and the uniform draws hold each column: `[columns]`."""
        share = columns.share
        if self._streaming is not None:
            # Explicit: Keras would pass the task's own `training` on, and columns would be learned from.
            inclusion = self._streaming(columns.ids, training=False)
            share = share_of_rows(inclusion, self._usual_rows)
        if self.correction == "without_positive":
            draws -= 1  # the row of the positive itself
        uniform_draws = 0 if uniform is None else tf.size(uniform.ids)
        return log_inclusion_probability(share, tf.maximum(draws, 1), uniform_draws, num_candidates)

    def _check_settings(self) -> None:
        if self.temperature <= 0:
            raise ConfigError(f"`temperature` must be above 0. Received: {self.temperature}.")
        for name, least in (
            ("num_hard_negatives", 1),
            ("num_uniform_negatives", 0),
            ("memory_size", 0),
        ):
            value = getattr(self, name)
            if value is not None and value < least:
                raise ConfigError(f"`{name}` must be {least} or more. Received: {value}.")
        if self.correction not in get_args(Correction):
            raise ConfigError(
                f"`correction` must be one of {', '.join(get_args(Correction))}. "
                f"Received: {self.correction!r}."
            )

    def _check_call(
        self, ids: Any, share: Any, uniform: Candidates | None, num_candidates: int | None
    ) -> None:
        if ids is None:
            raise ConfigError(
                "`InBatchSoftmax` needs `candidate_ids` to tell which candidates of the batch are the "
                "same. Received: None."
            )
        if self.correction == "without_positive" and share is None and self._streaming is None:
            raise ConfigError(
                '`InBatchSoftmax(correction="without_positive")` corrects, but does not know how often '
                "candidates are sampled. Received: candidate_sampling_probability=None. Pass it, or set "
                '`frequency="streaming"`.'
            )
        if uniform is not None and num_candidates is None:
            raise ConfigError(
                "`uniform` candidates need `num_candidates`, the size of the catalogue that they were "
                "drawn from. Received: None."
            )

    def get_config(self) -> dict[str, Any]:
        frequency = self.frequency
        if isinstance(frequency, keras.layers.Layer):
            frequency = keras.layers.serialize(frequency)
        return {
            **super().get_config(),
            "temperature": self.temperature,
            "num_hard_negatives": self.num_hard_negatives,
            "num_uniform_negatives": self.num_uniform_negatives,
            "memory_size": self.memory_size,
            "correction": self.correction,
            "frequency": frequency,
        }


def set_positives(logits: tf.Tensor, labels: tf.Tensor, values: tf.Tensor) -> tf.Tensor:
    """The logits with `values[i]` in row i, column `labels[i]`."""
    places = tf.stack([tf.range(tf.size(labels)), labels], axis=1)
    return tf.tensor_scatter_nd_update(logits, places, values)


def scale_gradient(values: tf.Tensor, factors: tf.Tensor) -> tf.Tensor:
    """The rows of `values`, whose gradients are multiplied by `factors`."""
    fixed = tf.stop_gradient(values)
    # The difference is 0, so the value stays; its derivative is `factors`.
    return fixed + factors[:, tf.newaxis] * (values - fixed)


def keep_hard_negatives(logits: tf.Tensor, labels: tf.Tensor, count: int) -> tf.Tensor:
    """Masks all but the positive and the `count` largest other logits of each row.

    Args:
        logits: float `[n, candidates]`.
        labels: int `[n]`, the column of each positive.
        count: negatives to keep; more than there are keeps all.
    """
    columns = tf.range(tf.shape(logits)[1], dtype=labels.dtype)
    positive = tf.equal(labels[:, tf.newaxis], columns)
    negatives = tf.where(positive, logits.dtype.min, logits)
    kept = tf.minimum(count, tf.shape(logits)[1])
    # Where `kept` is all columns, the threshold is the placeholder of the positive: none is masked.
    threshold = tf.math.top_k(negatives, kept).values[:, -1:]
    return tf.where(positive | (negatives >= threshold), logits, MASKED)


def _candidates(ids: tf.Tensor, embeddings: tf.Tensor, share: tf.Tensor | None) -> Candidates:
    ids = integer_ids(ids)
    # Without shares nothing is corrected, so the zeros are never read.
    share = tf.zeros_like(ids, tf.float32) if share is None else tf.cast(share, tf.float32)
    return Candidates(ids, tf.cast(embeddings, tf.float32), share)


def _streaming(frequency: Any) -> StreamingFrequency | None:
    if isinstance(frequency, StreamingFrequency):
        return frequency
    if frequency not in ("counted", "streaming"):
        raise ConfigError(
            '`frequency` must be "counted", "streaming" or a `StreamingFrequency`. '
            f"Received: {frequency!r}."
        )
    return StreamingFrequency() if frequency == "streaming" else None
