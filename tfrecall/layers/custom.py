"""Features of one's own: the base of their layers, and how a specification finds its layer."""

from collections.abc import Mapping
from typing import Any

from tfrecall._keras import keras, tf, with_autograph
from tfrecall.errors import ConfigError
from tfrecall.layers.features import LAYERS, FeatureLayer
from tfrecall.schema import features as schema


@keras.utils.register_keras_serializable(package="tfrecall")
class CustomFeature(FeatureLayer):
    """Base of a feature of one's own, which a `Custom` specification names.

    A layer has two halves. `preprocess` runs in the input pipeline and in exported models, and turns raw values
    into integers or floats; `call` runs in the training step and turns those into vectors. `learn` reads the
    training data once and gives what `preprocess` needs, which is kept in configurations and files; `use`
    takes it in and makes vocabularies and further layers. Both may be left out.

    The layer is registered with Keras, under the name that the specification gives. An exported model holds its
    graph and needs no class.

    Attributes:
        settings: the settings of the specification.
        unknown: the raw value that stands for "not known": `[UNK]` unless set, a number for numbers, a tuple of
            numbers for vectors.

    Example:

    >>> import tfrecall as tr
    >>> @tr.keras.utils.register_keras_serializable(package="docs")
    ... class LogPrice(tr.CustomFeature):
    ...     unknown = 0.0
    ...     def preprocess(self, values):
    ...         return tf.math.log1p(tf.cast(values, tf.float32))[:, tf.newaxis]
    >>> price = tr.Custom("price", "docs>LogPrice", embedding_dim=1, form="number")
    >>> tower = tr.CandidateTower([tr.Categorical("item_id", 4), price])
    >>> columns = {"item_id": ["i1", "i2"], "price": [1.0, 3.0]}
    >>> tower.adapt(lambda column, form: tf.data.Dataset.from_tensors(tf.constant(columns[column])))
    >>> tower(columns).shape.as_list()
    [2, 5]
    """

    @property
    def settings(self) -> dict[str, Any]:
        """The settings of the specification."""
        return dict(self.spec.settings)

    def learn(self, values: tf.data.Dataset) -> Any:
        """Read the training data and give numbers, texts, and lists of them.

        Args:
            values: batches of the raw column.
        """
        return []

    def use(self, state: Any) -> None:
        """Takes in what `learn` gave, also out of a file: tuples in the place of lists."""

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        """Encoded values to vectors: as they are, unless overridden."""
        return inputs

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return with_autograph(super().__call__, *args, **kwargs)

    def encode(self, raw: Mapping[str, tf.Tensor]) -> Any:
        return with_autograph(self.preprocess, raw[self.spec.column])

    def _learn(self, values: tf.data.Dataset) -> Any:
        return self.learn(values)

    def _set_state(self, state: Any) -> None:
        # In a tuple of tuples: Keras would track each entry of a list.
        self.state = _frozen(state)
        self.use(self.state)


def custom_layer(spec: schema.Custom, *args: Any, **kwargs: Any) -> FeatureLayer:
    """Makes the layer that a specification names.

    Raises:
        ConfigError: if no such layer is registered, or it is no `CustomFeature`.
    """
    found = keras.utils.get_registered_object(spec.layer)
    if not (isinstance(found, type) and issubclass(found, CustomFeature)):
        what = (
            "no class is registered" if found is None else f"{found!r} is no `tfrecall.CustomFeature`"
        )
        raise ConfigError(
            f'The feature "{spec.column}" names the layer "{spec.layer}", but {what}. Import the module with '
            "the class first, which `keras.utils.register_keras_serializable(package=...)` registers under "
            "`package>Class`."
        )
    return found(spec, *args, **kwargs)


def _frozen(value: Any) -> Any:
    return tuple(map(_frozen, value)) if isinstance(value, list | tuple) else value


LAYERS[schema.Custom] = custom_layer
