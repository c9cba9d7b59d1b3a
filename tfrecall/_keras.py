"""The one place that chooses Keras 2 and imports TensorFlow Recommenders.

TFRS 0.7.7 works with Keras 2 only, which lives on as `tf-keras`; TensorFlow picks it when
`TF_USE_LEGACY_KERAS` is set before `tf.keras` is first touched. Everyone else in the package writes
`from tfrecall._keras import keras, tfrs`.
"""

import functools
import importlib
import inspect
import os
import sys
from collections.abc import Callable
from typing import Any, TypeVar

from tfrecall.errors import ConfigError, KerasVersionError

os.environ["TF_USE_LEGACY_KERAS"] = "1"

from tfrecall._tensorflow import tf

keras = tf.keras
if not keras.layers.Layer.__module__.startswith("tf_keras"):
    raise KerasVersionError(
        "tfrecall needs Keras 2 (tf-keras), but Keras 3 was already in use when it was imported: "
        f"`tf.keras.layers.Layer` comes from {keras.layers.Layer.__module__}. Import tfrecall before "
        "anything that uses `tf.keras`, or start Python with TF_USE_LEGACY_KERAS=1."
    )


def _without_scann() -> Any:
    """Imports TFRS as if ScaNN were not installed.

    TFRS takes ScaNN where it is and goes without it where it is not. One that was built for another TensorFlow
    is neither: its operations cannot be loaded, which is no ImportError, and ends the import of TFRS.
    """
    sys.modules["scann"] = None  # type: ignore[assignment]
    try:
        return importlib.import_module("tensorflow_recommenders")
    finally:
        del sys.modules["scann"]


try:
    import tensorflow_recommenders as tfrs
except tf.errors.NotFoundError:
    tfrs = _without_scann()


def refuse_keras_3(given: Any, module: Any, what: str) -> None:
    """Refuses an object of Keras 3, which fits no model of Keras 2, with a sentence.

    Args:
        given: an optimizer or a layer of anybody.
        module: the module of Keras 2 to take it from instead, such as `keras.optimizers`.
        what: its name in the message.

    Raises:
        ConfigError: if it comes from Keras 3.
    """
    of = next(
        (cls.__module__ for cls in type(given).__mro__ if cls.__module__.startswith("keras.")), None
    )
    if of is not None:
        name = type(given).__name__
        place = "" if hasattr(keras, name) else module.__name__.rpartition(".")[2] + "."
        raise ConfigError(
            f"The {what} {name} is one of Keras 3 (`{of}`), and tfrecall's models are of Keras 2. Take it from "
            f"there: `from tfrecall import keras; keras.{place}{name}(...)`."
        )


_Method = TypeVar("_Method", bound=Callable[..., Any])


def without_autograph(method: _Method) -> _Method:
    """Leaves a method and all that it calls to Python while a graph is traced.

    For code without `if` or `for` over tensors, which AutoGraph would take longer to rewrite than
    TensorFlow takes to trace it. The signature stays, because Keras looks it up.
    """
    plain = tf.autograph.experimental.do_not_convert(method)
    plain.__signature__ = inspect.signature(method)
    return plain


def with_autograph(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """Calls a part of a user's own, whose `if` and `for` over tensors AutoGraph rewrites as Keras does.

    Inside of code that is `without_autograph`, TensorFlow would refuse them. Layers of the package, which have
    none, are called as they are.
    """
    owner = getattr(function, "__self__", function)
    if tf.executing_eagerly() or type(owner).__module__.startswith("tfrecall."):
        return function(*args, **kwargs)
    return _converted()(function, *args, **kwargs)


@functools.cache
def _converted() -> Callable[..., Any]:
    return tf.autograph.to_graph(_called)


def _called(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    return function(*args, **kwargs)


__all__ = ["keras", "refuse_keras_3", "tf", "tfrs", "with_autograph", "without_autograph"]
