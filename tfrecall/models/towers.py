"""Query and candidate towers: from raw features to one vector."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

import numpy as np

from tfrecall._keras import keras, refuse_keras_3, tf, with_autograph, without_autograph
from tfrecall.core.columns import REQUEST_TIME
from tfrecall.core.raw import Form
from tfrecall.data.batches import raw_tensors
from tfrecall.errors import ConfigError, DataError, MissingColumnError, nearest
from tfrecall.layers.dense import Activation, HiddenLayer, L2Normalization, activation_function
from tfrecall.layers.event_times import NOW
from tfrecall.layers.features import LAYERS, ColumnReader, FeatureLayer
from tfrecall.layers.history import ExampleAgeFeature, HistoryFeature
from tfrecall.layers.randomness import Dropout
from tfrecall.schema import features as schema


@keras.utils.register_keras_serializable(package="tfrecall")
class Tower(keras.Model):
    """Embeds each feature, combines the vectors and passes them through dense layers.

    Args:
        features: specifications from `tfrecall.schema.features`, or their plain forms.
        layer_sizes: units of the dense layers. Empty for the combined features themselves.
        network: a layer or model of Keras in the place of the dense layers, from the combined vector of the
            features, float `[batch_size, length]`, to that of the tower.
        dropout: share of the combined values dropped in training.
        hidden_dropout: share of the values dropped after each dense layer but the last.
        batch_normalization: whether the values after each dense layer but the last are normalised.
        combine: `concat` the vectors of the features, or `sum` them, which needs them equally long. Without
            dense layers a sum of ids and categories is a factorization machine: the strongest form
            where data are few.
        activation: activation of all dense layers but the last.
        output_activation: activation of the last dense layer.
        normalize: whether to scale the output to length one.
        embedding_regularization: weight of the squared length of the embeddings used in a step.
        embedding_stddev: standard deviation of initial embeddings, drawn from a normal distribution; None for
            Keras' default.
        states: vocabularies, boundaries and moments, when the tower is made from a configuration.

    Call arguments:
        inputs: raw features by column, or encoded ones, as `preprocess` gives them.

    Returns:
        Float tensor `[batch_size, layer_sizes[-1]]`. With a history of several interests
        `[batch_size, interests, layer_sizes[-1]]`: each interest is joined with all other features
        and goes through the same layers.

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
        network: keras.layers.Layer | dict[str, Any] | None = None,
        dropout: float = 0.0,
        hidden_dropout: float = 0.0,
        batch_normalization: bool = False,
        combine: Literal["concat", "sum"] = "concat",
        activation: Activation = "relu",
        output_activation: Activation = "linear",
        normalize: bool = False,
        embedding_regularization: float = 0.0,
        embedding_stddev: float | None = None,
        states: Sequence[Any] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        specs = [schema.feature_from_dict(f) if isinstance(f, dict) else f for f in features]
        schema.check_forms(specs)
        states = states or [None] * len(specs)
        self.features = tuple(
            LAYERS[type(spec)](spec, embedding_regularization, state, embedding_stddev, name=name)
            for spec, state, name in zip(specs, states, _names(specs), strict=True)
        )
        self.network = _network_of(network)
        # A network of its own takes the place of the dense layers.
        self.layer_sizes = () if self.network is not None else tuple(layer_sizes)
        self.dropout = dropout
        self.combine = combine
        if combine == "sum":
            _check_summable(self.features)
        self.activation = activation
        self.output_activation = output_activation
        self.normalize = normalize
        self.embedding_regularization = embedding_regularization
        self.embedding_stddev = embedding_stddev
        self._dropout = Dropout(dropout)
        self.hidden_dropout = hidden_dropout
        self.batch_normalization = batch_normalization
        self._hidden = [
            HiddenLayer(units, activation, hidden_dropout, batch_normalization)
            for units in self.layer_sizes[:-1]
        ]
        output = activation_function(output_activation)
        self._last = keras.layers.Dense(self.layer_sizes[-1], output) if self.layer_sizes else None
        self._scale = L2Normalization() if normalize else None

    @property
    def output_dim(self) -> int:
        """Length of the vectors."""
        if self.layer_sizes:
            return self.layer_sizes[-1]
        lengths = [layer.output_dim for layer in self.features]
        combined = lengths[0] if self.combine == "sum" else sum(lengths)
        return combined if self.network is None else _output_dim(self.network, combined)

    @property
    def histories(self) -> list[HistoryFeature]:
        """The history features."""
        return [layer for layer in self.features if isinstance(layer, HistoryFeature)]

    @property
    def timed(self) -> list[HistoryFeature]:
        """The history features that read the time of the request."""
        return [layer for layer in self.histories if layer.spec.is_timed]

    @property
    def interests(self) -> int:
        """Number of vectors each row has."""
        return max((layer.interests for layer in self.histories), default=1)

    @property
    def forms(self) -> dict[str, Form]:
        """The raw columns of a query, and the form of each: all but those read in training only."""
        return {column: form for layer in self._served for column, form in layer.columns.items()}

    @property
    def log_forms(self) -> dict[str, Form]:
        """The raw columns of a log that training reads: all but histories, which are made of the log."""
        return {layer.spec.column: layer.form for layer in self.features if layer not in self.histories}

    @property
    def unknowns(self) -> dict[str, Any]:
        """For each raw column the value that stands for "not known"."""
        return {
            column: NOW if column == REQUEST_TIME else layer.unknown
            for layer in self._served
            for column in layer.columns
        }

    @property
    def _served(self) -> list[FeatureLayer]:
        return [layer for layer in self.features if not isinstance(layer, ExampleAgeFeature)]

    @property
    def signature(self) -> dict[str, tf.TensorSpec]:
        """The tensors of one raw batch, for an exported signature."""
        specs = {
            "string": ([None], tf.string),
            "strings": ([None, None], tf.string),
            "number": ([None], tf.float64),
        }
        return {
            column: tf.TensorSpec([None, len(self.unknowns[column])], tf.float32, name=column)
            if form == "vector"
            else tf.TensorSpec(*specs[form], name=column)
            for column, form in self.forms.items()
        }

    def adapt(
        self,
        read_column: ColumnReader,
        item_ids: Sequence[str] = (),
        read_item: ColumnReader | None = None,
    ) -> None:
        """Lets each feature learn its vocabulary, boundaries or moments from the data.

        Args:
            read_column: gives the batches of a raw column; of the context of a history its values.
            item_ids, read_item: for histories, the items of the training data.

        Raises:
            DataError: if the tower has weights, which belong to what it learned before.
        """
        # Those of the features: a network of one's own may come with weights.
        if any(layer.weights for layer in self.features) or (self._last and self._last.built):
            raise DataError(
                f"{type(self).__name__} has weights already, which fit the values that it learned "
                "before. Make a new model for new data."
            )
        for layer in self.features:
            if isinstance(layer, HistoryFeature):
                if read_item is None:
                    raise DataError(
                        f'The history "{layer.spec.column}" is made of items. Pass `item_ids` and '
                        "`read_item`, which gives their columns."
                    )
                layer.adapt_to_items(item_ids, read_item, read_column)
            else:
                layer.adapt_to(read_column)

    def preprocess(
        self, raw: dict[str, tf.Tensor], *, training: bool = False, histories: bool = True
    ) -> dict[str, Any]:
        """Encodes raw features; belongs in `Dataset.map` and in exported graphs.

        Args:
            raw: a tensor for each column of `forms`, the batch in front; more are ignored.
            training: whether the rows are trained on: `ExampleAge` reads their times. At serving its age
                is 0, the end of training.
            histories: whether histories are among them; else they come from the log, already encoded.

        Returns:
            The encoded values of each feature by the name of its layer, the batch in front.
        """
        layers = [layer for layer in self.features if histories or layer not in self.histories]
        ages = [] if training else [layer for layer in layers if isinstance(layer, ExampleAgeFeature)]
        read = [layer for layer in layers if layer not in ages]
        self._check(raw, [column for layer in read for column in layer.columns])
        encoded = {layer.name: layer.encode(raw) for layer in read}
        if ages:
            rows = tf.shape(next(iter(raw.values())))[0]
            # Age 0, the end of training: queries are answered after all examples.
            encoded.update({layer.name: tf.zeros([rows, 1]) for layer in ages})
        return encoded

    def __call__(self, inputs: Any, *args: Any, **kwargs: Any) -> Any:
        # Before Keras sees them: it casts numbers to float32, which cuts seconds since 1970.
        return super().__call__(self._encoded(inputs), *args, **kwargs)

    def _encoded(self, inputs: Any) -> Any:
        """The encoded features of a raw batch; encoded ones, by the names of the layers, as they are."""
        if not isinstance(inputs, Mapping) or all(layer.name in inputs for layer in self.features):
            return inputs
        return self.preprocess(raw_tensors(inputs, self.forms))

    @without_autograph
    def call(self, inputs: dict[str, tf.Tensor], training: bool | None = None) -> tf.Tensor:
        vectors = [self._for_each_interest(v) for v in self.feature_vectors(inputs, training)]
        combined = tf.add_n(vectors) if self.combine == "sum" else tf.concat(vectors, axis=-1)
        vector = self._dropout(combined, training=training)
        for hidden in self._hidden:
            vector = hidden(vector, training=training)
        vector = self._last(vector) if self._last else vector
        if self.network is not None:
            # Without `training`, which not every layer takes: Keras hands it on.
            vector = with_autograph(self.network, vector)
        # Scores and losses need float32, also where layers compute in bfloat16.
        vector = tf.cast(vector, tf.float32)
        return self._scale(vector) if self._scale else vector

    def feature_vectors(
        self, inputs: dict[str, tf.Tensor], training: bool | None = None
    ) -> list[tf.Tensor]:
        """The vector of each feature, in the order of the schema, before they are combined."""
        self._check_adapted()
        return [
            layer(inputs[layer.name], training=training)
            # Only these two act differently in training (random unknowns, dropout); others take no
            # flag.
            if layer.spec.type in ("categorical", "history")
            else layer(inputs[layer.name])
            for layer in self.features
        ]

    def _for_each_interest(self, vector: tf.Tensor) -> tf.Tensor:
        if self.interests == 1 or vector.shape.rank == 3:
            return vector
        # Dense layers act on the last axis, so each interest goes through the same weights.
        return tf.tile(vector[:, tf.newaxis], [1, self.interests, 1])

    def embed(self, raw: dict[str, np.ndarray], batch_size: int = 4096) -> np.ndarray:
        """Raw features to vectors, in batches: float32, of the shape that the call gives."""
        self._check(raw, self.forms)
        rows = len(next(iter(raw.values())))
        dtypes = {column: spec.dtype for column, spec in self.signature.items()}
        # int32 marks histories that are indexes already, where the signature has ids.
        dtypes.update({c: tf.int32 for c in dtypes if raw[c].dtype == np.int32})
        batches = (
            {c: tf.constant(raw[c][start : start + batch_size], dtypes[c]) for c in dtypes}
            # Without rows one empty batch, which gives the result its shape.
            for start in range(0, max(rows, 1), batch_size)
        )
        return np.concatenate([self.embed_batch(batch).numpy() for batch in batches])

    @tf.function(reduce_retracing=True, autograph=False)
    def embed_batch(self, raw: dict[str, tf.Tensor]) -> tf.Tensor:
        """Raw features to vectors in one graph, as a release does it."""
        return self(self.preprocess(raw), training=False)

    def create_weights(self) -> None:
        """Makes the weights that are not there yet, as the first call would."""
        self(self.preprocess(self.unknown_row()))

    def summary(self, *args: Any, **kwargs: Any) -> None:
        """Prints the layers like `keras.Model.summary`, once the tower is adapted."""
        self.create_weights()
        super().summary(*args, **kwargs)

    def set_states(self, states: Sequence[Any]) -> None:
        """Takes in what another tower of the same features learned, in their order."""
        for layer, state in zip(self.features, states, strict=True):
            layer._set_state(state)

    def get_build_config(self) -> dict[str, Any] | None:
        """Whether there are weights to make, for a `.keras` file; None before `adapt`."""
        return None if any(layer.state is None for layer in self.features) else {"adapted": True}

    def build_from_config(self, config: dict[str, Any]) -> None:
        """Makes the weights, which a `.keras` file then fills."""
        if config.get("adapted"):
            self.create_weights()

    def unknown_row(self) -> dict[str, tf.Tensor]:
        """One raw row of unknown values."""
        return {
            column: tf.constant([[value]] if self.forms[column] == "strings" else [value])
            for column, value in self.unknowns.items()
        }

    def _check(self, raw: Iterable[str], wanted: Iterable[str]) -> None:
        self._check_adapted()
        for column in wanted:
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
            "network": self.network and keras.layers.serialize(self.network),
            "features": with_lists([schema.feature_to_dict(layer.spec) for layer in self.features]),
            "layer_sizes": list(self.layer_sizes),
            "dropout": self.dropout,
            "hidden_dropout": self.hidden_dropout,
            "batch_normalization": self.batch_normalization,
            "combine": self.combine,
            "activation": self.activation,
            "output_activation": self.output_activation,
            "normalize": self.normalize,
            "embedding_regularization": self.embedding_regularization,
            "embedding_stddev": self.embedding_stddev,
            "states": with_lists([layer.state for layer in self.features]),
        }


@keras.utils.register_keras_serializable(package="tfrecall")
class QueryTower(Tower):
    """Tower of the query: the user, the context, histories.

    Part of a model (`TwoTower.query_tower`), or alone for a model of your own. `adapt` learns from the
    data, `preprocess` encodes raw features in the input pipeline, the call gives vectors: float
    `[batch_size, output_dim]`, or `[batch_size, interests, output_dim]` with a history of several interests.

    Args:
        features: specifications of features (`tfrecall.Categorical` and the like), or their plain forms.
        layer_sizes: units of the dense layers. Empty for the combined features themselves.
        network: a layer or model of Keras in the place of the dense layers, from the combined vector of the
            features, float `[batch_size, length]`, to that of the tower.
        dropout: share of the combined values dropped in training.
        hidden_dropout: share of the values dropped after each dense layer but the last.
        batch_normalization: whether the values after each dense layer but the last are normalised.
        combine: `concat` the vectors of the features, or `sum` them, which needs them equally long.
        activation: activation of all dense layers but the last: `relu`, `leaky_relu`, `tanh` or `linear`.
        output_activation: activation of the last dense layer.
        normalize: whether to scale the output to length one.
        embedding_regularization: weight of the squared length of the embeddings used in a step.
        embedding_stddev: standard deviation of initial embeddings, drawn from a normal distribution; None for
            Keras' default, uniform in +-.05.
        states: vocabularies, boundaries and moments, when the tower is made from a configuration.

    Raises:
        ConfigError: if two features read one column in different raw forms, or vectors to be summed
            differ in length.
        DataError: from `preprocess` and the call, if the tower has not been adapted.

    Example:

    >>> import tfrecall as tr
    >>> tower = tr.QueryTower([tr.Categorical("user_id", 4)], layer_sizes=[3])
    >>> tower.adapt(lambda column, form: tf.data.Dataset.from_tensors(tf.constant(["u1", "u2"])))
    >>> tower(tower.preprocess({"user_id": tf.constant(["u1", "stranger"])})).shape.as_list()
    [2, 3]
    """


@keras.utils.register_keras_serializable(package="tfrecall")
class CandidateTower(Tower):
    """Tower of the candidate: an item's id and its features.

    Part of a model (`TwoTower.candidate_tower`), or alone for a model of your own. `adapt` learns from the
    data, `preprocess` encodes raw features in the input pipeline, the call gives vectors: float
    `[batch_size, output_dim]`.

    Args:
        features: specifications of features (`tfrecall.Categorical` and the like), or their plain forms.
        layer_sizes: units of the dense layers. Empty for the combined features themselves.
        network: a layer or model of Keras in the place of the dense layers, from the combined vector of the
            features, float `[batch_size, length]`, to that of the tower.
        dropout: share of the combined values dropped in training.
        hidden_dropout: share of the values dropped after each dense layer but the last.
        batch_normalization: whether the values after each dense layer but the last are normalised.
        combine: `concat` the vectors of the features, or `sum` them, which needs them equally long.
        activation: activation of all dense layers but the last: `relu`, `leaky_relu`, `tanh` or `linear`.
        output_activation: activation of the last dense layer.
        normalize: whether to scale the output to length one.
        embedding_regularization: weight of the squared length of the embeddings used in a step.
        embedding_stddev: standard deviation of initial embeddings, drawn from a normal distribution; None for
            Keras' default, uniform in +-.05.
        states: vocabularies, boundaries and moments, when the tower is made from a configuration.

    Raises:
        ConfigError: if two features read one column in different raw forms, or vectors to be summed
            differ in length.
        DataError: from `preprocess` and the call, if the tower has not been adapted.

    Example:

    >>> import tfrecall as tr
    >>> tower = tr.CandidateTower([tr.Categorical("item_id", 4), tr.Numeric("price")])
    >>> columns = {"item_id": ["i1", "i2"], "price": [1.0, 3.0]}
    >>> tower.adapt(lambda column, form: tf.data.Dataset.from_tensors(tf.constant(columns[column])))
    >>> tower(tower.preprocess({name: tf.constant(values) for name, values in columns.items()})).shape[1]
    5
    """


def _network_of(network: keras.layers.Layer | dict[str, Any] | None) -> keras.layers.Layer | None:
    """A network given as a layer, or by its configuration.

    Raises:
        ConfigError: if it is no layer of Keras 2.
    """
    refuse_keras_3(network, keras.layers, "network")
    if isinstance(network, dict):
        network = keras.layers.deserialize(network)
    if network is not None and not isinstance(network, keras.layers.Layer):
        raise ConfigError(
            "The network of a tower is a layer or a model of Keras, from the combined vector of the features "
            f"to the vector of the tower. Received: {network!r}."
        )
    return network


def _output_dim(network: keras.layers.Layer, length: int) -> int:
    """Length of the vectors that a network makes of vectors of some length.

    Raises:
        ConfigError: if it does not take them, or gives anything but one vector a row.
    """
    # A functional model knows its shapes, which Keras cannot infer again where it holds bare operations.
    shape: Any = getattr(network, "output_shape", None)
    given: Any = getattr(network, "input_shape", None)
    try:
        if shape is None:
            shape = network.compute_output_shape((None, length))
        elif given[-1] != length:
            raise ValueError(f"it takes {given[-1]}.")
    except (ValueError, TypeError, NotImplementedError) as error:
        raise ConfigError(
            f'The network "{network.name}" does not take the combined vector of the features, which has '
            f"{length} numbers a row: {error}"
        ) from error
    if len(shape) != 2 or shape[-1] is None:
        raise ConfigError(
            f'The network "{network.name}" of a tower gives one vector a row. Received: the shape '
            f"{tuple(shape)}."
        )
    return int(shape[-1])


def with_lists(value: Any) -> Any:
    """A configuration with lists in the place of tuples, which `.keras` files wrap and do not unwrap.

    >>> with_lists({"ks": (1, (2,))})
    {'ks': [1, [2]]}
    """
    if isinstance(value, dict):
        return {name: with_lists(part) for name, part in value.items()}
    return [with_lists(part) for part in value] if isinstance(value, list | tuple) else value


def share_tables(query: QueryTower, candidate: CandidateTower) -> None:
    """Lets histories that name the same table share one layer; "candidate" names the candidate tower.

    Raises:
        ConfigError: if the candidate tower has no such feature.
    """
    shared: dict[tuple[str, Any], FeatureLayer] = {("candidate", f.spec): f for f in candidate.features}
    for layer in query.histories:
        table, of = layer.spec.table, layer.spec.of
        if table is None:
            continue
        if table == "candidate" and (table, of) not in shared:
            raise ConfigError(
                f'The history "{layer.spec.column}" shares the table of {of} with the candidates, which '
                f"have: {', '.join(str(feature.spec) for feature in candidate.features)}. Make the two "
                "features equal, or leave `table` out."
            )
        # The first history to name a table lends its own layer, later ones share it.
        layer.share(shared.setdefault((table, of), layer.inner))


def _check_summable(layers: Sequence[FeatureLayer]) -> None:
    lengths = {f"{layer.spec.column} ({layer.spec.type})": layer.output_dim for layer in layers}
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
        # Keras names weights after layers, so names must differ: price_bucketized,
        # price_bucketized__2.
        taken = sum(n == name or n.startswith(f"{name}__") for n in names)
        names.append(f"{name}__{taken + 1}" if taken else name)
    return names
