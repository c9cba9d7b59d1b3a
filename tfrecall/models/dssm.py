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
    """Two towers of dense layers with vectors of length one: the score is a cosine.

    A `TwoTower` with other defaults: `tanh` in its layers, vectors of length one, and a softmax over the
    item and a few sampled ones. A cosine ends at 1, so the losses multiply it by `gamma`, the inverse of a
    temperature.

    The towers have tables of their own; a history of the query shares that of the candidates with
    `table = "candidate"`.

    Args:
        schema: the features of both towers.
        layer_sizes: units of the dense layers; the last is the length of the vectors.
        task: `DSSMSoftmax` by default; `Pointwise`, `Triplet` and `BPR` are its other losses.
        activation: activation of all dense layers but the last.
        output_activation: activation of the last dense layer; `tanh` in the paper.
        normalize: whether the vectors have length one.
        kwargs: the other arguments of `TwoTower`: `candidate_layer_sizes`, `dropout`,
            `candidate_dropout`, `hidden_dropout`, `batch_normalization`, `combine`,
            `embedding_regularization`, `embedding_stddev`, `correct_sampling_bias`, `ks`, and `name`.

    Raises:
        ConfigError: if the towers give vectors of different length.
        MissingColumnError: from `adapt`, if the data lack a column of the schema.
        DataError: if used before `adapt`.

    Example:

    >>> import tfrecall as tr
    >>> log = tr.data.synthetic(n_users=6, n_items=5, n_rows=40, seed=1)
    >>> schema = tr.Schema(query=[tr.Categorical("user_id", 4)], candidate=[tr.Categorical("item_id", 4)])
    >>> model = tr.DSSM(schema, layer_sizes=[8, 3], task=tr.DSSMSoftmax("popularity"))
    >>> model.adapt(log)
    >>> (model.embed_candidates() ** 2).sum(axis=1).round(3).tolist()
    [1.0, 1.0, 1.0, 1.0, 1.0]

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
