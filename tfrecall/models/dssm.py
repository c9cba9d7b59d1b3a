"""The DSSM retrieval model."""

from collections.abc import Sequence
from typing import Any

from tfrecall._keras import keras
from tfrecall.layers.dense import Activation
from tfrecall.models.two_tower import TwoTower
from tfrecall.schema.features import Schema
from tfrecall.tasks.pairwise import DSSMSoftmax


@keras.utils.register_keras_serializable(package="tfrecall")
class DSSM(TwoTower):
    """Two towers of dense layers whose vectors have length one, so that the score is a cosine.

    It is a `TwoTower` in every respect, with any features. What makes it one of these: `tanh` in its layers,
    vectors of length one, and a softmax over the item and a few that were drawn. A cosine ends at 1, so the
    losses multiply it by `gamma`, the inverse of a temperature.

    The towers have tables of their own; a history of the query shares that of the candidates if it says
    `table = "candidate"`.

    Args:
        schema: the features of both towers.
        layer_sizes: units of the dense layers; the last is the length of the vectors.
        task: `DSSMSoftmax` by default; `Pointwise`, `Triplet` and `BPR` are its other losses.
        activation: of all dense layers but the last.
        output_activation: of the last; `tanh` in the paper.
        normalize: whether the vectors have length one.
        kwargs: as of `TwoTower`.

    Reference:
        Huang et al., "Learning Deep Structured Semantic Models for Web Search using Clickthrough Data",
        CIKM 2013, section 3. Differs: any features instead of letter trigrams, and a last layer without
        an activation.
    """

    def __init__(
        self,
        schema: Schema | dict[str, Any],
        layer_sizes: Sequence[int] = (64, 32),
        *,
        task: keras.layers.Layer | None = None,
        activation: Activation = "tanh",
        output_activation: Activation = "linear",
        normalize: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            schema,
            layer_sizes,
            task=DSSMSoftmax() if task is None else task,
            activation=activation,
            output_activation=output_activation,
            normalize=normalize,
            **kwargs,
        )
