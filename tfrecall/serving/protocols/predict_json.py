"""JSON of TF Serving's REST API: tensors by rows or by columns.

The rules are those of `tensorflow_serving/util/json_tensor.cc`: types are not converted, lists of one level are
equally long, bytes may come as `{"b64": "..."}`, columns that the signature does not take are ignored.
"""

import base64
import binascii
import json
from typing import Any

import numpy as np

from tfrecall.errors import DataError
from tfrecall.release.base import Release
from tfrecall.serving.protocols.tensors import DEFAULT, Spec, signature

_ARRAYS = {"DT_STRING": object, "DT_DOUBLE": np.float64, "DT_FLOAT": np.float32, "DT_INT32": np.int32}
_INT32 = range(-(2**31), 2**31)


def read(body: bytes, release: Release) -> tuple[str, bool, dict[str, np.ndarray]]:
    """The name of a signature, whether tensors came by rows, and the tensors.

    Raises:
        DataError: if the body is no request of TF Serving's REST API, or does not fit the signature.
    """
    try:
        asked = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise DataError(f"The body of the request is no JSON that can be read: {error}.") from None
    if not isinstance(asked, dict) or ("instances" in asked) == ("inputs" in asked):
        raise DataError(
            "The body is an object with `instances`, which are rows, or with `inputs`, which are columns: one "
            "of both."
        )
    name = asked.get("signature_name", DEFAULT)
    if not isinstance(name, str):
        raise DataError(f"`signature_name` is a text. Received: {name!r:.200}.")
    specs = signature(release, name or DEFAULT).inputs
    as_rows = "instances" in asked
    given = _by_rows(asked["instances"], specs) if as_rows else _by_columns(asked["inputs"], specs)
    return (
        name or DEFAULT,
        as_rows,
        {key: _tensor(key, given[key], spec) for key, spec in specs.items()},
    )


def _by_columns(given: Any, specs: dict[str, Spec]) -> dict[str, Any]:
    if len(specs) == 1 and (not isinstance(given, dict) or set(given) == {"b64"}):
        return dict.fromkeys(specs, given)
    if not isinstance(given, dict):
        raise DataError(f"`inputs` is an object with a tensor for each of: {', '.join(specs)}.")
    if missing := [name for name in specs if name not in given]:
        raise DataError(
            f"`inputs` has no {', '.join(missing)}. The signature takes: {', '.join(specs)}."
        )
    return given


def _by_rows(rows: Any, specs: dict[str, Spec]) -> dict[str, list[Any]]:
    if not isinstance(rows, list) or not rows:
        raise DataError(f"`instances` is a list of rows, at least one. Received: {rows!r:.200}.")
    if len(specs) == 1 and not all(isinstance(row, dict) and set(row) != {"b64"} for row in rows):
        return dict.fromkeys(specs, rows)
    for place, row in enumerate(rows):
        if not isinstance(row, dict) or row.keys() != specs.keys():
            raise DataError(
                f"Each of `instances` is an object with a value for each of: {', '.join(specs)}. "
                f"Received as number {place}: {row!r:.200}."
            )
    return {name: [row[name] for row in rows] for name in specs}


def _tensor(name: str, value: Any, spec: Spec) -> np.ndarray:
    """A value of JSON as a tensor; lists of one level are equally long."""
    values, shape = [value], []
    for size in spec.shape:
        lengths = {len(one) if isinstance(one, list) else -1 for one in values}
        if -1 in lengths or len(lengths) > 1 or (size >= 0 and lengths != {size}):
            raise _misshapen(name, value, spec)
        shape.append(lengths.pop() if lengths else 0)
        values = [one for part in values for one in part]
    if any(isinstance(one, list) for one in values):
        raise _misshapen(name, value, spec)
    leaves = [_leaf(name, one, spec.dtype) for one in values]
    return np.array(leaves, _ARRAYS[spec.dtype]).reshape(shape)


def _misshapen(name: str, value: Any, spec: Spec) -> DataError:
    sizes = ", ".join("any" if size < 0 else str(size) for size in spec.shape)
    return DataError(
        f'"{name}" is a tensor of shape [{sizes}], so its lists are nested {len(spec.shape)} deep, those of '
        f"one level equally long. Received: {value!r:.200}."
    )


def _leaf(name: str, value: Any, dtype: str) -> Any:
    if dtype == "DT_STRING":
        fits = isinstance(value, str) or (isinstance(value, dict) and set(value) == {"b64"})
    elif dtype == "DT_INT32":
        fits = type(value) is int and value in _INT32
    else:
        fits = type(value) in (int, float)
    if not fits:
        raise DataError(f'"{name}" is a tensor of {dtype}. Received in it: {value!r:.200}.')
    return _decoded(name, value["b64"]) if isinstance(value, dict) else value


def _decoded(name: str, text: Any) -> str:
    try:
        return base64.b64decode(text, validate=True).decode()
    except (binascii.Error, TypeError, ValueError):
        raise DataError(f'"{name}" holds a "b64" that is no base64 of a text in UTF-8.') from None


def written(outputs: dict[str, np.ndarray], as_rows: bool) -> bytes:
    """Outputs as TF Serving writes them: a row each where the request had rows, otherwise a column each."""
    lists = {name: _shortest(values) for name, values in outputs.items()}
    if not as_rows:
        return json.dumps({"outputs": lists}).encode()
    rows = zip(*lists.values(), strict=True)
    return json.dumps({"predictions": [dict(zip(lists, row, strict=True)) for row in rows]}).encode()


def _shortest(values: np.ndarray) -> Any:
    """Nested lists; float32 in the fewest digits that give it back."""
    if values.dtype == object:
        return values.tolist()
    shortest = [float(str(one)) for one in values.ravel()]
    lists: Any = np.array(shortest, np.float64).reshape(values.shape).tolist()
    return lists
