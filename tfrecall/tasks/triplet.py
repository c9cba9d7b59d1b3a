"""Triplet margin loss over distances."""

from typing import Any, Literal

from tfrecall._keras import keras, tf
from tfrecall.errors import ConfigError
from tfrecall.schema.negatives import Hard, Source
from tfrecall.tasks.pairwise import PairTask, mean_over

# Smaller squares are raised to this: the root of 0 has no finite gradient.
SMALLEST_SQUARE = 1e-12


@keras.utils.register_keras_serializable(package="tfrecall")
class Triplet(PairTask):
    """Triplet margin loss: `max(0, margin + d_p - d_n)`, the mean over a target's negatives.

    A negative should be farther away than the positive by a margin. Needs vectors of length one: candidates
    are found by inner products, which order as distances do only there (`d^2 = 2 - 2 cos`). A target
    without negatives has the loss 0.

    Args:
        negatives: source of the negatives (`tfrecall.negatives`): a specification, its plain form or its name;
            4 uniform ones by default.
        margin: least difference between the two distances; distances between vectors of length one go from 0
            to 2.
        distance: `euclidean`, or `cosine`, which is 1 - cos and shorter near 0.
        semi_hard: whether only one negative counts: the nearest that is farther away than the positive, or
            where none is, the farthest of all. The hardest negatives, nearer than the positive, make early
            training collapse. Cannot be combined with `Hard(hardest=...)`.

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

    Example: the positive is at distance 0, the negative at 2, beyond the margin.

    >>> query, other = tf.constant([[1.0, 0.0]]), tf.constant([[[-1.0, 0.0]]])
    >>> float(Triplet(margin=1.0)(query, query, negative_embeddings=other)[0]) < 1e-3
    True
    >>> float(Triplet(margin=3.0)(query, query, negative_embeddings=other)[0])  # 3 + 0 - 2
    1.0...

    Reference:
        Schroff et al., "FaceNet: A Unified Embedding for Face Recognition and Clustering", CVPR 2015,
        section 3.2.
    """

    needs_unit_vectors = True

    def __init__(
        self,
        negatives: Source | dict[str, Any] | str | None = None,
        *,
        margin: float = 1.0,
        distance: Literal["euclidean", "cosine"] = "euclidean",
        semi_hard: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(negatives, **kwargs)
        self.margin = margin
        self.distance = distance
        self.semi_hard = semi_hard
        self._check_settings()

    def score_each(self, queries: tf.Tensor, candidates: tf.Tensor) -> tf.Tensor:
        if self.distance == "cosine":
            return tf.linalg.matvec(_unit(candidates), _unit(queries)) - 1
        return -_root(tf.reduce_sum((queries[:, tf.newaxis] - candidates) ** 2, axis=-1))

    def score_all(self, queries: tf.Tensor, candidates: tf.Tensor) -> tf.Tensor:
        if self.distance == "cosine":
            return tf.matmul(_unit(queries), _unit(candidates), transpose_b=True) - 1
        products = tf.matmul(queries, candidates, transpose_b=True)
        # |q - c|^2 = |q|^2 + |c|^2 - 2 q.c needs no tensor [n, columns, dim]. Rounding may make it
        # slightly negative, which `_root` mends.
        lengths = tf.reduce_sum(queries**2, axis=1)[:, tf.newaxis] + tf.reduce_sum(
            candidates**2, axis=1
        )
        return -_root(lengths - 2 * products)

    def compute_loss(self, positives: tf.Tensor, negatives: tf.Tensor, counts: tf.Tensor) -> tf.Tensor:
        if self.semi_hard:
            negatives, counts = _semi_hard(positives, negatives, counts)
        return mean_over(tf.nn.relu(self.margin + negatives - positives[:, tf.newaxis]), counts)

    def _check_settings(self) -> None:
        if not 0 <= self.margin < float("inf"):
            raise ConfigError(
                f"`margin` must be 0 or more. Received: {self.margin}. It is how much farther away a negative "
                "has to be than the positive."
            )
        if self.distance not in ("euclidean", "cosine"):
            raise ConfigError(f"`distance` must be euclidean or cosine. Received: {self.distance!r}.")
        if self.semi_hard and isinstance(self.negatives, Hard) and self.negatives.hardest:
            raise ConfigError(
                "`semi_hard` chooses among the negatives, and so does `hardest`. Received both: take "
                '`semi_hard` with the source "in_batch", or leave it out.'
            )

    def get_config(self) -> dict[str, Any]:
        config = super().get_config()
        return {
            **config,
            "margin": self.margin,
            "distance": self.distance,
            "semi_hard": self.semi_hard,
        }


def _semi_hard(
    positives: tf.Tensor, negatives: tf.Tensor, counts: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
    """One negative a row, `[n, 1]`, and whether there is one."""
    # Scores are negative distances: below the positive means farther away, and the largest of those
    # scores is the nearest.
    below = counts & (negatives < positives[:, tf.newaxis])
    nearest = tf.reduce_max(tf.where(below, negatives, negatives.dtype.min), axis=1)
    farthest = tf.reduce_min(tf.where(counts, negatives, negatives.dtype.max), axis=1)
    chosen = tf.where(tf.reduce_any(below, axis=1), nearest, farthest)
    return chosen[:, tf.newaxis], tf.reduce_any(counts, axis=1, keepdims=True)


def _unit(vectors: tf.Tensor) -> tf.Tensor:
    return tf.math.l2_normalize(vectors, axis=-1)


def _root(squares: tf.Tensor) -> tf.Tensor:
    return tf.sqrt(tf.maximum(squares, SMALLEST_SQUARE))
