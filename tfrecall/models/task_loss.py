"""Loss of a retrieval model: candidates embedded, negatives added, handed to the task."""

import functools
from collections.abc import Iterable
from typing import Any

from tfrecall._keras import tf, tfrs, with_autograph
from tfrecall.core.vocabulary import FIRST
from tfrecall.errors import DataError
from tfrecall.layers.encoders.interests import apart, closest
from tfrecall.models.base import FeatureModel
from tfrecall.tasks.candidates import Candidates
from tfrecall.tasks.in_batch import InBatchSoftmax
from tfrecall.tasks.metrics import PairAUC
from tfrecall.tasks.pairwise import PairTask
from tfrecall.tasks.replicas import divided, gathered, own_rows, replica_count
from tfrecall.tasks.sampled_softmax import Sampled, SampledSoftmax
from tfrecall.tasks.scalable_cross_entropy import Buckets, ScalableCrossEntropy


class TaskLossModel(FeatureModel):
    """Base of `TwoTower`: from the query vectors of a batch to the loss of its task.

    Tasks with `takes_interests` get all vectors of a query with several, and score each candidate by
    the best one, as in serving. Other tasks get the vector closest to the target, as in ComiRec (Cen et
    al., KDD 2020), and train only that one.
    """

    correct_sampling_bias: bool

    @property
    def _task_has_top_k(self) -> bool:
        return bool(getattr(self.task, "factorized_metrics", None))

    @property
    def _candidate_vectors(self) -> tf.Variable:
        if self.catalogue.vectors is None:
            raise DataError("The catalogue has no vectors yet. Call `embed_candidates` or `evaluate`.")
        return self.catalogue.vectors

    def _task_loss(
        self, queries: tf.Tensor, index: tf.Tensor, weights: tf.Tensor, training: bool
    ) -> tf.Tensor:
        """Losses of the rows of a batch, float `[batch_size]`, or their sum, as the task gives it."""
        task = self.task
        if isinstance(task, SampledSoftmax):
            if training:
                return self._sampled_loss(task, queries, index, weights)
            task = task.full
        elif isinstance(task, ScalableCrossEntropy):
            if training:
                return self._buckets_loss(task, queries, index, weights)
            # All vectors of a query count, as they are served.
            task = task.full
        if getattr(task, "needs_catalogue", False):
            return self._catalogue_loss(task, queries, index, weights, training)
        return self._batch_loss(queries, index, weights, training)

    def _catalogue_loss(
        self, task: Any, queries: tf.Tensor, index: tf.Tensor, weights: tf.Tensor, training: bool
    ) -> tf.Tensor:
        """Embeds the catalogue in training; validation uses the vectors embedded before it."""
        candidates = self._embedded_catalogue() if training else self._candidate_vectors
        # A target outside the catalogue has the weight 0, so any row will do for it.
        targets = tf.gather(candidates, tf.maximum(index - FIRST, 0))
        queries = self._task_queries(task, queries, targets)
        return task(queries, candidates, sample_weight=weights, candidate_rows=index - FIRST)

    def _buckets_loss(
        self, task: ScalableCrossEntropy, queries: tf.Tensor, index: tf.Tensor, weights: tf.Tensor
    ) -> tf.Tensor:
        """Embeds the catalogue without gradients to choose, then the positives and what was chosen."""
        self._build_task()
        catalogue = tf.stop_gradient(self.catalogue.embed(self.candidate_tower))
        # A target outside the catalogue has the weight 0, so any row will do for it.
        queries = self._task_queries(task, queries, tf.gather(catalogue, tf.maximum(index - FIRST, 0)))
        buckets = task.choose(queries, catalogue, weights > 0)
        chosen = tf.reshape(buckets.candidates, [-1]) + FIRST
        distinct, positions = tf.unique(tf.concat([chosen, index], axis=0))
        candidates = self.candidate_tower(self.catalogue.features(distinct), training=True)
        places = tf.reshape(positions[: tf.size(chosen)], tf.shape(buckets.candidates))
        return task(
            queries,
            candidates,
            sample_weight=weights,
            candidate_rows=tf.where(index >= FIRST, positions[tf.size(chosen) :], -1),
            buckets=Buckets(buckets.queries, places),
        )

    def _batch_loss(
        self, queries: tf.Tensor, index: tf.Tensor, weights: tf.Tensor, training: bool
    ) -> tf.Tensor:
        """Embeds each distinct candidate of the batch and of the uniform draws once."""
        options: dict[str, Any] = {"sample_weight": weights, "candidate_ids": index}
        uniform = self._draw_uniform() if training else None
        candidate_index = index if uniform is None else tf.concat([index, uniform], axis=0)
        embedded, positions = self._embedded(candidate_index, training)
        # The first `size(index)` positions are those of the batch, the rest those of the draws.
        candidates = tf.gather(embedded, positions[: tf.size(index)])
        if self.correct_sampling_bias:
            options["candidate_sampling_probability"] = tf.gather(self.catalogue.sampling, index)
        if uniform is not None:
            options["uniform"] = Candidates(
                tf.cast(uniform, tf.int64),
                tf.gather(embedded, positions[tf.size(index) :]),
                tf.gather(self.catalogue.sampling, uniform),
            )
            options["num_candidates"] = len(self.catalogue)
        if isinstance(self.task, InBatchSoftmax):
            options["training"] = training
        if isinstance(self.task, tfrs.tasks.Retrieval):
            options["compute_metrics"] = not training
            # With ids TFRS judges by id, which its metric over plain vectors cannot; it has no public
            # name for the setting.
            by_id = getattr(self.task, "_remove_accidental_hits", False)
            options["candidate_ids"] = self._outside_ids(index) if by_id else None
        return with_autograph(
            self.task, self._task_queries(self.task, queries, candidates), candidates, **options
        )

    def _embedded(self, index: tf.Tensor, training: bool) -> tuple[tf.Tensor, tf.Tensor]:
        """Vectors of the distinct candidates among some, and the place of each of these among them."""
        if not (training and self._divides_candidates):
            distinct, positions = tf.unique(index)
            return self.candidate_tower(self.catalogue.features(distinct), training=training), positions
        distinct, positions = tf.unique(gathered([index])[0])
        positions = tf.gather(positions, own_rows(tf.size(index)))
        return divided(distinct, self._embed_in_training), positions

    def _embedded_catalogue(self) -> tf.Tensor:
        if not self._divides_candidates:
            return self.catalogue.embed(self.candidate_tower, training=True)
        return divided(tf.range(FIRST, len(self.catalogue) + FIRST), self._embed_in_training)

    @property
    def _divides_candidates(self) -> bool:
        """Whether replicas divide the candidates of a step among them, each embedded by one.

        Otherwise a replica embeds all that it needs: that takes no exchange, but the regularization of a
        candidate would count once on each.
        """
        return bool(self.candidate_tower.embedding_regularization) and replica_count() > 1

    def _embed_in_training(self, index: tf.Tensor) -> tf.Tensor:
        return self.candidate_tower(self.catalogue.features(index), training=True)

    def _sampled_loss(
        self, task: SampledSoftmax, queries: tf.Tensor, index: tf.Tensor, weights: tf.Tensor
    ) -> tf.Tensor:
        """Embeds the positives and the sample of the task, nothing else of the catalogue."""
        self._build_task()
        sample, rows = task.draw(), index - FIRST
        # The sample is distinct and `tf.unique` keeps the order, so it comes first.
        # Adding 2 (`FIRST`) makes candidate indexes of catalogue rows. Row -1, a target outside the
        # catalogue, becomes 1, the unknown candidate.
        embedded, positions = self._embedded(tf.concat([sample, rows], axis=0) + FIRST, training=True)
        options: dict[str, Any] = {}
        if self.correct_sampling_bias:
            options["candidate_sampling_probability"] = task.probability_of(rows)
        return task(
            queries,
            tf.gather(embedded, positions[tf.size(sample) :]),
            sample_weight=weights,
            candidate_rows=rows,
            sampled=Sampled(sample, embedded[: tf.size(sample)], task.probability_of(sample)),
            **options,
        )

    def _pair_loss(
        self,
        task: PairTask,
        queries: tf.Tensor,
        index: tf.Tensor,
        weights: tf.Tensor,
        negatives: tf.Tensor | None,
        training: bool,
    ) -> tf.Tensor:
        """Embeds each distinct candidate of the batch and of its negatives once.

        Validation rows without negatives of their own have the candidates of their batch as negatives.
        """
        uniform = self._draw_uniform() if training else None
        extra = uniform if negatives is None else tf.reshape(negatives, [-1])
        if negatives is None and training:
            self._check_negatives(())
        candidate_index = index if extra is None else tf.concat([index, extra], axis=0)
        embedded, positions = self._embedded(candidate_index, training)
        # Back to one vector an occurrence; popular candidates stand many times among the negatives.
        embedded = tf.gather(embedded, positions)
        candidates, others = embedded[: tf.size(index)], embedded[tf.size(index) :]
        options: dict[str, Any] = {}
        if negatives is not None:
            shape = [-1, negatives.shape[1], self.candidate_tower.output_dim]
            options["negative_embeddings"] = tf.reshape(others, shape)
            # Places without a negative hold 0; a hard negative may be the target itself.
            options["counts"] = (negatives >= FIRST) & (negatives != index[:, tf.newaxis])
        elif uniform is not None:
            share = tf.zeros_like(uniform, tf.float32)
            options["uniform"] = Candidates(tf.cast(uniform, tf.int64), others, share)
        return task(
            queries,
            candidates,
            sample_weight=weights,
            candidate_ids=index,
            training=training,
            **options,
        )

    def _check_negatives(self, columns: Iterable[str]) -> None:
        """Refuses training batches without the negatives that the task needs in them."""
        if isinstance(self.task, PairTask) and self.task.is_drawn and "negatives" not in columns:
            raise DataError(
                f'The negatives of {type(self.task).__name__} ("{self.task.negatives.type}") are drawn for '
                'each target in the input pipeline, but the batches have no "negatives". Train with '
                "`tfrecall.fit`, or on `TrainingExamples(model, log).batches()`."
            )

    def _update_auc(
        self,
        metric: PairAUC,
        queries: tf.Tensor,
        index: tf.Tensor,
        negatives: tf.Tensor,
        weights: tf.Tensor,
    ) -> None:
        """Updates AUC by the scores of targets and of their negatives, as they are served."""
        both = tf.concat([index[:, tf.newaxis], negatives], axis=1)
        # Vectors have no rows for padding: it takes any row here and does not count below.
        vectors = tf.gather(self._candidate_vectors, tf.maximum(both - FIRST, 0))
        scores = functools.reduce(tf.maximum, [tf.linalg.matvec(vectors, q) for q in apart(queries)])
        metric.update_state(scores[:, 0], scores[:, 1:], negatives >= FIRST, sample_weight=weights)

    def _task_queries(self, task: Any, queries: tf.Tensor, targets: tf.Tensor) -> tf.Tensor:
        """The queries as a task takes them: all their vectors, or the one closest to each target."""
        return queries if getattr(task, "takes_interests", False) else closest(queries, targets)

    def _draw_uniform(self) -> tf.Tensor | None:
        """Indexes of the uniform draws from the whole catalogue for this batch; None for none."""
        if not getattr(self.task, "num_uniform_negatives", 0):
            return None
        self._build_task()
        return self.task.draw_uniform(len(self.catalogue)) + FIRST

    def _build_task(self) -> None:
        """Makes the task's weights before it is called."""
        draws = InBatchSoftmax | SampledSoftmax | ScalableCrossEntropy | PairTask
        if isinstance(self.task, draws) and not self.task.built:
            # Weights made within a traced step would belong to its graph.
            with tf.init_scope():
                self.task.build([None, self.candidate_tower.output_dim])

    def _outside_ids(self, index: tf.Tensor) -> tf.Tensor:
        # Empty ids in front for the indexes 0 and 1, padding and the unknown candidate.
        return tf.gather(tf.constant(["", "", *self.catalogue.ids]), index)
