"""Query and candidate towers: from raw features to one vector."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Literal

import numpy as np

from tfrecall import schema
from tfrecall._keras import keras, tf, without_autograph
from tfrecall.errors import ConfigError, DataError, MissingColumnError, nearest
from tfrecall.layers.dropout import Dropout
from tfrecall.layers.features import LAYERS
from tfrecall.layers.normalization import L2Normalization
from tfrecall.raw import Form

# Gives the batches of one raw column, as `FeatureLayer.adapt` takes them.
ColumnReader = Callable[[str, Form], tf.data.Dataset]


@keras.utils.register_keras_serializable(package="tfrecall")
class Tower(keras.Model):
    """Embeds each feature, combines the vectors and passes them through dense layers.

    Args:
        features: specifications from `tfrecall.schema`, or their plain forms.
        layer_sizes: units of the dense layers, ReLU on all but the last. Empty for the combined
            features themselves.
        dropout: share of the combined values dropped in training.
        combine: `concat` the vectors of the features, or `sum` them, which needs them equally long. Without
            dense layers a sum of ids and categories is a factorization machine: the strongest form
            where data are few.
        normalize: whether to scale the output to length one.
        embedding_regularization: weight of the squared length of the embeddings used in a step.
        states: what the features learned from data, when the tower is made from a configuration.

    Call arguments:
        inputs: encoded features, as `preprocess` gives them.

    Returns:
        Float tensor `[batch_size, layer_sizes[-1]]`.

    Raises:
        ConfigError: if two features read one column in different raw forms, or vectors to be summed
            differ in length.
        DataError: from `preprocess` and the call, if the tower has not been adapted.
    """

    def __init__(
        self,
        features: Sequence[schema.Feature | dict[str, Any]],
        layer_sizes: Sequence[int] = (),
        *,
        dropout: float = 0.0,
        combine: Literal["concat", "sum"] = "concat",
        normalize: bool = False,
        embedding_regularization: float = 0.0,
        states: Sequence[Any] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        specs = [schema.feature_from_dict(f) if isinstance(f, dict) else f for f in features]
        schema.check_forms(specs)
        states = states or [None] * len(specs)
        self.features = tuple(
            LAYERS[type(spec)](spec, embedding_regularization, state, name=name)
            for spec, state, name in zip(specs, states, _names(specs), strict=True)
        )
        self.layer_sizes = tuple(layer_sizes)
        self.dropout = dropout
        self.combine = combine
        if combine == "sum":
            _check_summable(specs)
        self.normalize = normalize
        self.embedding_regularization = embedding_regularization
        self._dropout = Dropout(dropout)
        self._dense = [keras.layers.Dense(units, activation="relu") for units in self.layer_sizes[:-1]]
        self._dense += [keras.layers.Dense(units) for units in self.layer_sizes[-1:]]
        self._scale = L2Normalization() if normalize else None

    @property
    def output_dim(self) -> int:
        """Length of the vectors."""
        if self.layer_sizes:
            return self.layer_sizes[-1]
        lengths = [_length(layer.spec) for layer in self.features]
        return lengths[0] if self.combine == "sum" else sum(lengths)

    @property
    def forms(self) -> dict[str, Form]:
        """The raw columns that the tower reads and the form of each."""
        return {layer.spec.column: layer.form for layer in self.features}

    @property
    def unknowns(self) -> dict[str, Any]:
        """For each raw column the value that stands for "not known"."""
        return {layer.spec.column: layer.unknown for layer in self.features}

    @property
    def signature(self) -> dict[str, tf.TensorSpec]:
        """The tensors of one raw batch, for an exported signature."""
        specs = {
            "string": ([None], tf.string),
            "strings": ([None, None], tf.string),
            "number": ([None], tf.float64),
        }
        return {column: tf.TensorSpec(*specs[form], name=column) for column, form in self.forms.items()}

    def adapt(self, read_column: ColumnReader) -> None:
        """Lets each feature learn its vocabulary, boundaries or moments from the data.

        Raises:
            DataError: if the tower has weights, which belong to what it learned before.
        """
        if self.weights:
            raise DataError(
                f"{type(self).__name__} has weights already, which fit the values that it learned "
                "before. Make a new model for new data."
            )
        for layer in self.features:
            layer.adapt(read_column(layer.spec.column, layer.form))

    def preprocess(self, raw: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """Encodes raw features; belongs in `Dataset.map` and in exported graphs.

        Args:
            raw: a tensor for each column of `forms`, the batch in front; more are ignored.

        Returns:
            One encoded tensor a feature, the batch in front.
        """
        self._check(raw)
        return {layer.name: layer.preprocess(raw[layer.spec.column]) for layer in self.features}

    @without_autograph
    def call(self, inputs: dict[str, tf.Tensor], training: bool | None = None) -> tf.Tensor:
        self._check_adapted()
        vectors = [
            layer(inputs[layer.name], training=training)
            if layer.spec.type == "categorical"
            else layer(inputs[layer.name])
            for layer in self.features
        ]
        combined = tf.add_n(vectors) if self.combine == "sum" else tf.concat(vectors, axis=-1)
        vector = self._dropout(combined, training=training)
        for dense in self._dense:
            vector = dense(vector)
        # Where layers compute in fewer bits, scores and losses do not.
        vector = tf.cast(vector, tf.float32)
        return self._scale(vector) if self._scale else vector

    def embed(self, raw: dict[str, np.ndarray], batch_size: int = 4096) -> np.ndarray:
        """Raw features to vectors, in batches: float32 `[n, embedding_dim]`."""
        self._check(raw)
        rows = len(next(iter(raw.values())))
        dtypes = {column: spec.dtype for column, spec in self.signature.items()}
        batches = (
            {c: tf.constant(raw[c][start : start + batch_size], dtypes[c]) for c in dtypes}
            for start in range(0, max(rows, 1), batch_size)
        )
        return np.concatenate([self.embed_batch(batch).numpy() for batch in batches])

    @tf.function(reduce_retracing=True, autograph=False)
    def embed_batch(self, raw: dict[str, tf.Tensor]) -> tf.Tensor:
        """Raw features to vectors in one graph, as a release does it."""
        return self(self.preprocess(raw), training=False)

    def create_weights(self) -> None:
        """Makes the weights that are not there yet, as the first call would."""
        row = {
            column: tf.constant([[value]] if self.forms[column] == "strings" else [value])
            for column, value in self.unknowns.items()
        }
        self(self.preprocess(row))

    def _check(self, raw: Iterable[str]) -> None:
        self._check_adapted()
        for column in self.forms:
            if column not in raw:
                raise MissingColumnError(
                    f'{type(self).__name__} needs the feature "{column}". Received: '
                    f"{', '.join(raw)}.{nearest(column, raw)}"
                )

    def _check_adapted(self) -> None:
        waiting = [layer.name for layer in self.features if layer.state is None]
        if waiting:
            raise DataError(
                f"{type(self).__name__} has not seen data yet, so these features know no values: "
                f"{', '.join(waiting)}. Call `adapt` first."
            )

    def get_config(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "features": [schema.feature_to_dict(layer.spec) for layer in self.features],
            "layer_sizes": list(self.layer_sizes),
            "dropout": self.dropout,
            "combine": self.combine,
            "normalize": self.normalize,
            "embedding_regularization": self.embedding_regularization,
            "states": [layer.state for layer in self.features],
        }


@keras.utils.register_keras_serializable(package="tfrecall")
class QueryTower(Tower):
    """Embeds who asks and in which context; see `Tower`."""


@keras.utils.register_keras_serializable(package="tfrecall")
class CandidateTower(Tower):
    """Embeds what can be recommended; see `Tower`."""


def _length(spec: schema.Feature) -> int:
    return getattr(spec, "embedding_dim", 1)


def _check_summable(specs: Sequence[schema.Feature]) -> None:
    lengths = {f"{spec.column} ({spec.type})": _length(spec) for spec in specs}
    if len(set(lengths.values())) > 1:
        raise ConfigError(
            '`combine = "sum"` adds the vectors of a tower up, so they must be equally long. Received: '
            f"{', '.join(f'{name} {length}' for name, length in lengths.items())}. Give each feature the "
            "same `embedding_dim`; a Numeric feature has length 1: make it Bucketized."
        )


def _names(specs: Sequence[schema.Feature]) -> list[str]:
    """A layer name a feature; the same column may be bucketized twice."""
    names: list[str] = []
    for spec in specs:
        name = f"{spec.column}_{spec.type}"
        taken = sum(n == name or n.startswith(f"{name}__") for n in names)
        names.append(f"{name}__{taken + 1}" if taken else name)
    return names
