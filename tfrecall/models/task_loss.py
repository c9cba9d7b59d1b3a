"""Loss of a retrieval model: candidates embedded, negatives added, handed to the task."""

import functools
from collections.abc import Iterable
from typing import Any

from tfrecall._keras import tf, tfrs
from tfrecall.core.vocabulary import FIRST
from tfrecall.errors import DataError
from tfrecall.layers.encoders.interests import apart, closest
from tfrecall.models.base import FeatureModel
from tfrecall.tasks.candidates import Candidates
from tfrecall.tasks.in_batch import InBatchSoftmax
from tfrecall.tasks.metrics import PairAUC
from tfrecall.tasks.pairwise import PairTask
from tfrecall.tasks.sampled_softmax import Sampled, SampledSoftmax


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
        task = self.task
        if isinstance(task, SampledSoftmax):
            if training:
                return self._sampled_loss(task, queries, index, weights)
            task = task.full
        if getattr(task, "needs_catalogue", False):
            candidates = (
                self.catalogue.embed(self.candidate_tower, training=True)
                if training
                else self._candidate_vectors
            )
            # Where there is no target in the catalogue the weight is 0, whatever is taken.
            targets = tf.gather(candidates, tf.maximum(index - FIRST, 0))
            asked = self._as_asked(queries, targets)
            return task(asked, candidates, sample_weight=weights, candidate_rows=index - FIRST)
        options: dict[str, Any] = {"sample_weight": weights, "candidate_ids": index}
        uniform = self._draw_uniform() if training else None
        asked = index if uniform is None else tf.concat([index, uniform], axis=0)
        distinct, positions = tf.unique(asked)
        embedded = self.candidate_tower(self.catalogue.features(distinct), training=training)
        candidates = tf.gather(embedded, positions[: tf.size(index)])
        if self.correct_sampling_bias:
            options["candidate_sampling_probability"] = tf.gather(self.catalogue.probability, index)
        if uniform is not None:
            options["uniform"] = Candidates(
                tf.cast(uniform, tf.int64),
                tf.gather(embedded, positions[tf.size(index) :]),
                tf.gather(self.catalogue.probability, uniform),
            )
            options["num_candidates"] = len(self.catalogue)
        if isinstance(self.task, InBatchSoftmax):
            options["training"] = training
        if isinstance(self.task, tfrs.tasks.Retrieval):
            options["compute_metrics"] = not training
            # With ids TFRS judges by id, which its metric over plain vectors cannot.
            # TFRS has no public name for the setting.
            by_id = getattr(self.task, "_remove_accidental_hits", False)
            options["candidate_ids"] = self._outside_ids(index) if by_id else None
        return self.task(self._as_asked(queries, candidates), candidates, **options)

    def _sampled_loss(
        self, task: SampledSoftmax, queries: tf.Tensor, index: tf.Tensor, weights: tf.Tensor
    ) -> tf.Tensor:
        """Embeds the positives and what the task draws, nothing else of the catalogue."""
        self._build_task()
        drawn, rows = task.draw(), index - FIRST
        # What was drawn is distinct, and `tf.unique` keeps the order: it comes first.
        distinct, positions = tf.unique(tf.concat([drawn, rows], axis=0) + FIRST)
        embedded = self.candidate_tower(self.catalogue.features(distinct), training=True)
        options: dict[str, Any] = {}
        if self.correct_sampling_bias:
            options["candidate_sampling_probability"] = task.probability_of(rows)
        return task(
            queries,
            tf.gather(embedded, positions[tf.size(drawn) :]),
            sample_weight=weights,
            candidate_rows=rows,
            sampled=Sampled(drawn, embedded[: tf.size(drawn)], task.probability_of(drawn)),
            **options,
        )

    def _pair_loss(
        self,
        task: PairTask,
        queries: tf.Tensor,
        index: tf.Tensor,
        weights: tf.Tensor,
        drawn: tf.Tensor | None,
        training: bool,
    ) -> tf.Tensor:
        """Embeds each distinct candidate of the batch and of what was drawn for it once.

        Validation rows for which nothing was drawn stand against the candidates of their batch.
        """
        uniform = self._draw_uniform() if training else None
        more = uniform if drawn is None else tf.reshape(drawn, [-1])
        if drawn is None and training:
            self._check_drawn(())
        asked = index if more is None else tf.concat([index, more], axis=0)
        distinct, positions = tf.unique(asked)
        embedded = self.candidate_tower(self.catalogue.features(distinct), training=training)
        embedded = tf.gather(embedded, positions)
        candidates, others = embedded[: tf.size(index)], embedded[tf.size(index) :]
        options: dict[str, Any] = {}
        if drawn is not None:
            shape = [-1, drawn.shape[1], self.candidate_tower.output_dim]
            options["negative_embeddings"] = tf.reshape(others, shape)
            options["counts"] = (drawn >= FIRST) & (drawn != index[:, tf.newaxis])
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

    def _check_drawn(self, columns: Iterable[str]) -> None:
        """Refuses batches to train on that lack the negatives which the task wants with them."""
        if isinstance(self.task, PairTask) and self.task.is_drawn and "negatives" not in columns:
            raise DataError(
                f'The negatives of {type(self.task).__name__} ("{self.task.negatives.type}") are drawn for '
                'each target in the input pipeline, but the batches have no "negatives". Train with '
                "`tfrecall.fit`, or on `TrainingExamples(model, log).batches()`."
            )

    def _judge_pairs(
        self,
        metric: PairAUC,
        queries: tf.Tensor,
        index: tf.Tensor,
        drawn: tf.Tensor,
        weights: tf.Tensor,
    ) -> None:
        """Compares the scores that targets are served with to those of the items drawn against them."""
        both = tf.concat([index[:, tf.newaxis], drawn], axis=1)
        vectors = tf.gather(self._candidate_vectors, tf.maximum(both - FIRST, 0))
        scores = functools.reduce(tf.maximum, [tf.linalg.matvec(vectors, q) for q in apart(queries)])
        metric.update_state(scores[:, 0], scores[:, 1:], drawn >= FIRST, sample_weight=weights)

    def _as_asked(self, queries: tf.Tensor, targets: tf.Tensor) -> tf.Tensor:
        """The queries as the task takes them: all their vectors, or those closest to their targets."""
        return queries if getattr(self.task, "takes_interests", False) else closest(queries, targets)

    def _draw_uniform(self) -> tf.Tensor | None:
        """`candidate_index` of what the task wants drawn from the whole catalogue for this batch."""
        if not getattr(self.task, "num_uniform_negatives", 0):
            return None
        self._build_task()
        return self.task.draw_uniform(len(self.catalogue)) + FIRST

    def _build_task(self) -> None:
        """Makes the task's weights before it is called."""
        if isinstance(self.task, InBatchSoftmax | SampledSoftmax | PairTask) and not self.task.built:
            with tf.init_scope():
                self.task.build([None, self.candidate_tower.output_dim])

    def _outside_ids(self, index: tf.Tensor) -> tf.Tensor:
        return tf.gather(tf.constant(["", "", *self.catalogue.ids]), index)
