"""The YouTubeDNN retrieval model."""

from collections.abc import Sequence
from typing import Any

from tfrecall._keras import keras
from tfrecall.errors import ConfigError
from tfrecall.models.two_tower import TwoTower
from tfrecall.schema.features import Schema, schema_from_dict
from tfrecall.tasks.sampled_softmax import SampledSoftmax


@keras.utils.register_keras_serializable(package="tfrecall")
class YouTubeDNN(TwoTower):
    """Dense layers over a pooled history and user features, against a plain item table.

    A `TwoTower` with other defaults: the query has a `History`, the candidates are rows of an item table,
    and the loss is a sampled softmax.

    Args:
        schema: the features; at least one `History` among those of the query.
        layer_sizes: units of the dense layers over the query; the last is the length of the vectors.
        candidate_layer_sizes: units of a candidate tower; none by default, for a plain item table.
        task: `SampledSoftmax` by default.
        kwargs: the other arguments of `TwoTower`: `dropout`, `candidate_dropout`, `hidden_dropout`,
            `batch_normalization`, `combine`, `activation`, `output_activation`, `normalize`,
            `embedding_regularization`, `embedding_stddev`, `correct_sampling_bias`, `ks`, and `name`.

    Raises:
        ConfigError: if no query feature is a history, or the towers give vectors of different length.
        MissingColumnError: from `adapt`, if the data lack a column of the schema.
        DataError: if used before `adapt`.

    Example:

    >>> import tfrecall as tr
    >>> log = tr.data.synthetic(n_users=6, n_items=5, n_rows=40, seed=1)
    >>> history = tr.History(of=tr.Categorical("item_id", 4), history_length=10)
    >>> schema = tr.Schema(query=[history], candidate=[tr.Categorical("item_id", 4)])
    >>> model = tr.YouTubeDNN(schema, layer_sizes=[4], task=tr.SampledSoftmax(3))
    >>> model.adapt(log)
    >>> model.embed_queries(log.queries.head(2)).shape
    (2, 4)

    Reference:
        Covington et al., "Deep Neural Networks for YouTube Recommendations", RecSys 2016, section 3.
    """

    def __init__(
        self,
        schema: Schema | dict[str, Any],
        layer_sizes: Sequence[int] = (64, 32),
        *,
        candidate_layer_sizes: Sequence[int] | None = (),
        task: keras.layers.Layer | None = None,
        **kwargs: Any,
    ) -> None:
        schema = schema_from_dict(schema)
        if not schema.histories:
            raise ConfigError(
                "YouTubeDNN learns from what users had before, but no query feature is a history. Add "
                '{ type = "history" } to `schema.query`, or take the model "two_tower". Received: '
                f"{', '.join(map(str, schema.query))}."
            )
        super().__init__(
            schema,
            layer_sizes,
            # `TwoTower` would take None for the layers of the query.
            candidate_layer_sizes=() if candidate_layer_sizes is None else candidate_layer_sizes,
            task=SampledSoftmax() if task is None else task,
            **kwargs,
        )
