"""The pieces of the published DSSM experiment that the package leaves out on purpose, for `03_dssm.ipynb`.

Each is as that experiment has it, so that the notebook can take one away at a time and say what it does.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

import tfrecall as tr
from tfrecall import keras
from tfrecall._keras import tf
from tfrecall.core.retriever import VectorRetriever


class SquaredLength(keras.layers.Layer):
    """Divides each vector by its SQUARED length: `[3, 4]` becomes `[.12, .16]`, whose length is 1/5.

    Meant as a normalisation, it turns lengths upside down: the longer a vector was, the shorter it is.
    """

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        # With a floor, as vectors start near zero, where the division has no bound.
        return inputs / tf.maximum(tf.reduce_sum(inputs**2, axis=-1, keepdims=True), 1e-6)


class TwoSigmoids(tr.Pointwise):
    """Binary cross entropy of a sigmoid that is taken for a logit, and so goes through a second one.

    What should be a chance from 0 to 1 lies between .50 and .73: a negative costs log 2 at least, however
    far away it is.
    """

    def compute_loss(self, positives: tf.Tensor, negatives: tf.Tensor, counts: tf.Tensor) -> tf.Tensor:
        positives, negatives = (tf.math.sigmoid(self.gamma * s) for s in (positives, negatives))
        wrong = tf.where(counts, tf.math.softplus(negatives), 0.0)
        return tf.math.softplus(-positives) + tf.reduce_sum(wrong, axis=1)


@dataclass(frozen=True, eq=False)
class Nearest:
    """Answers with the candidates at the shortest euclidean distance from the query.

    Attributes:
        of: what scores by inner products.
    """

    of: VectorRetriever

    @property
    def name(self) -> str:
        return self.of.name

    @property
    def item_ids(self) -> np.ndarray:
        return self.of.item_ids

    def scores(self, queries: pl.DataFrame) -> np.ndarray:
        # |q - c|^2 = |q|^2 - 2 q.c + |c|^2, and |q|^2 is the same for all candidates.
        return self.of.scores(queries) - np.sum(self.of.vectors**2, axis=1) / 2


class PublishedDSSM(tr.DSSM):
    """A DSSM that divides by squared lengths, and answers by euclidean distance.

    It learns inner products and is asked for distances, which order alike between vectors of one length only.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **{**kwargs, "normalize": False})
        for tower in (self.query_tower, self.candidate_tower):
            tower._scale = SquaredLength()

    def towers_retriever(self, log: tr.data.Interactions | None = None) -> Nearest:
        return Nearest(super().towers_retriever(log))
