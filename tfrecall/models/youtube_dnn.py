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
    """A history pooled into one vector, beside what is known of the user, through dense layers.

    It is a `TwoTower` in every respect. What makes it one of these: the query has a `History`, the
    candidates are rows of an item table, and each query finds its item among sampled ones.

    Args:
        schema: the features; at least one `History` among those of the query.
        layer_sizes: units of the dense layers over the query; the last is the length of the vectors.
        candidate_layer_sizes: of a candidate tower, where the item table shall not be plain.
        task: `SampledSoftmax` by default.
        kwargs: as of `TwoTower`.

    Raises:
        ConfigError: if no query feature is a history.

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
            candidate_layer_sizes=() if candidate_layer_sizes is None else candidate_layer_sizes,
            task=SampledSoftmax() if task is None else task,
            **kwargs,
        )
