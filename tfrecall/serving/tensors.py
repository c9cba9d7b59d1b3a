"""Tensors of a client: what callers give, as the arrays that a signature takes."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from tfrecall.errors import ConfigError, nearest

# TensorFlow's names of the types that signatures of releases have.
_TYPES = {"DT_STRING": object, "DT_FLOAT": np.float32, "DT_DOUBLE": np.float64}
_TYPES |= {"DT_INT32": np.int32, "DT_INT64": np.int64, "DT_BOOL": np.bool_}


@dataclass(frozen=True)
class Signature:
    """Types of the tensors of a signature: NumPy types, `object` for texts.

    Attributes:
        inputs: by name.
        outputs: by name.
    """

    inputs: dict[str, Any]
    outputs: dict[str, Any]

    @classmethod
    def of(cls, described: Mapping[str, Any]) -> "Signature":
        """From a `SignatureDef` in JSON, as the server's metadata has it."""

        def types(side: str) -> dict[str, Any]:
            return {
                name: _TYPES.get(info["dtype"], np.float32)
                for name, info in described.get(side, {}).items()
            }

        return cls(types("inputs"), types("outputs"))


def columns(inputs: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """Arrays of what a caller gives; rows of texts of unequal length are padded with "" on the right.

    Raises:
        ConfigError: naming the input that is not rectangular.

    >>> columns({"user_id": ["42"], "history": [["50", "7"]], "k": 3})["history"].tolist()
    [['50', '7']]
    >>> columns({"history": [["50", "7"], []]})["history"].tolist()
    [['50', '7'], ['', '']]
    """
    return {name: _array(name, values) for name, values in inputs.items()}


def cast(inputs: dict[str, np.ndarray], signature: Signature, name: str) -> dict[str, np.ndarray]:
    """The inputs in the types of a signature.

    Raises:
        ConfigError: if an input is missing or foreign, or a text stands where a number is taken.
    """
    missing, foreign = signature.inputs.keys() - inputs.keys(), inputs.keys() - signature.inputs.keys()
    if missing or foreign:
        hint = "".join(nearest(one, signature.inputs) for one in sorted(foreign)[:1])
        raise ConfigError(
            f"{name} takes {', '.join(sorted(signature.inputs))}. Missing: "
            f"{', '.join(sorted(missing)) or 'nothing'}. Not taken: {', '.join(sorted(foreign)) or 'nothing'}."
            f"{hint}"
        )
    return {key: _typed(key, values, signature.inputs[key]) for key, values in inputs.items()}


def arrays(outputs: Any, signature: Signature) -> dict[str, np.ndarray]:
    """Outputs of JSON by name: TF Serving leaves out the name of a single one."""
    if len(signature.outputs) == 1 and not isinstance(outputs, dict):
        outputs = {next(iter(signature.outputs)): outputs}
    return {name: np.array(values, signature.outputs[name]) for name, values in outputs.items()}


def _array(name: str, values: Any) -> np.ndarray:
    if isinstance(values, list | tuple) and any(isinstance(row, list | tuple) for row in values):
        width = max(len(row) for row in values if isinstance(row, list | tuple))
        lists = all(isinstance(row, list | tuple) for row in values)
        if lists and all(isinstance(one, str) for row in values for one in row):
            padded = [[*row, *[""] * (max(width, 1) - len(row))] for row in values]
            return np.array(padded, object)
    try:
        array = np.array(values)
    except ValueError as error:
        raise ConfigError(
            f"The input {name} is not rectangular: {error}. Give rows of one length; texts are padded."
        ) from error
    return array.astype(object) if array.dtype.kind in "US" else array


def _typed(name: str, values: np.ndarray, dtype: Any) -> np.ndarray:
    is_text = values.dtype == object
    if is_text != (dtype is object):
        raise ConfigError(
            f"The input {name} is {'text' if dtype is object else 'numbers'} in this signature. Received: "
            f"{str(values.tolist())[:100]}."
        )
    typed = values.astype(dtype)
    if not is_text and np.issubdtype(dtype, np.integer) and not np.array_equal(typed, values):
        raise ConfigError(f"The input {name} takes whole numbers. Received: {values.tolist()!r:.100}.")
    return typed
