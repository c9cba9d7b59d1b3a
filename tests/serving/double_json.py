"""TF Serving's JSON of Predict, for the double: rows ("instances") and columns ("inputs").

After `tensorflow_serving/util/json_tensor.cc`: which key, agreement of rows, types, `{"b64": ...}`, names
that end in `_bytes`. Messages have the wording of the server up to its quotation of the JSON.
"""

import base64
import binascii
import json
from typing import Any

import numpy as np

from tfrecall._tensorflow import tf

Tensors = dict[str, np.ndarray]


class JsonError(ValueError):
    """INVALID_ARGUMENT, status 400."""


def parse(body: bytes) -> dict[str, Any]:
    if not body:
        raise JsonError("JSON Parse error: The document is empty")
    try:
        found = json.loads(body)
    except ValueError as error:
        raise JsonError(f"JSON Parse error: Invalid value. at offset: {error}") from None
    if not isinstance(found, dict):
        raise JsonError(f"JSON Value: {json.dumps(found)} Is not object")
    if not isinstance(found.get("signature_name", ""), str):
        raise JsonError("not formatted correctly. 'signature_name' key must be a string value.")
    return found


def tensors(document: dict[str, Any], specs: dict[str, Any]) -> tuple[Tensors, bool]:
    """Inputs by name, and whether they came as rows; `specs` are the `TensorInfo` of the signature."""
    keys = {"instances", "inputs"} & document.keys()
    if not keys:
        raise JsonError("Missing 'inputs' or 'instances' key")
    if len(keys) == 2:
        raise JsonError(
            "Not formatted correctly expecting only  one of 'inputs' or 'instances' keys to exist "
        )
    if "instances" in keys:
        return _of_rows(document["instances"], specs), True
    return _of_columns(document["inputs"], specs), False


def response(outputs: Tensors, as_rows: bool) -> bytes:
    """Rows as `predictions`, columns as `outputs`; a single output stands without its name."""
    plain = {name: _plain(values, name) for name, values in outputs.items()}
    if as_rows:
        sizes = {name: values.shape[0] if values.ndim else 0 for name, values in outputs.items()}
        if len(set(sizes.values())) != 1:
            raise JsonError(f"Tensors have inconsistent batch sizes: {sizes}")
        rows = [dict(zip(plain, row, strict=True)) for row in zip(*plain.values(), strict=True)]
        found = rows if len(plain) > 1 else [next(iter(row.values())) for row in rows]
        return json.dumps({"predictions": found}).encode()
    return json.dumps({"outputs": plain if len(plain) > 1 else next(iter(plain.values()))}).encode()


def _of_rows(instances: Any, specs: dict[str, Any]) -> Tensors:
    if not isinstance(instances, list):
        raise JsonError("Excepting 'instances' to be an list/array")
    if not instances:
        raise JsonError("No values in 'instances' array")
    named = _is_object(instances[0])
    if not named and len(specs) > 1:
        raise JsonError(
            "instances is a plain list, but expecting list of objects as multiple "
            "input tensors required as per tensorinfo_map"
        )
    columns: dict[str, list[np.ndarray]] = {name: [] for name in specs}
    for place, row in enumerate(instances):
        if _is_object(row) != named:
            one, other = ("object", "list") if named else ("value/list", "object")
            raise JsonError(f"Expecting {one} but got {other} at item {place} of input list")
        row = row if named else {next(iter(specs)): row}
        if row.keys() != specs.keys():
            raise JsonError(
                f"Failed to process element: {place} of 'instances' list. JSON object: {row} "
                f"keys must be equal to: {','.join(sorted(specs))}"
            )
        for name, value in row.items():
            column = columns[name]
            column.append(_tensor(value, specs[name]))
            if column[0].shape != column[-1].shape:
                raise JsonError(
                    f"Failed to process element: {place} key: {name} of 'instances' list. Error: "
                    f"Expecting shape {list(column[0].shape)} but got: {list(column[-1].shape)}"
                )
    return {name: np.stack(values) for name, values in columns.items()}


def _of_columns(inputs: Any, specs: dict[str, Any]) -> Tensors:
    if not _is_object(inputs):
        if len(specs) > 1:
            raise JsonError(
                "inputs is a plain value/list, but expecting an object as multiple "
                "input tensors required as per tensorinfo_map"
            )
        inputs = {next(iter(specs)): inputs}
    for name in specs:
        if name not in inputs:
            raise JsonError(f"Missing named input: {name} in 'inputs' object.")
    return {name: _tensor(inputs[name], info) for name, info in specs.items()}


def _is_object(value: Any) -> bool:
    return isinstance(value, dict) and value.keys() != {"b64"}


def _tensor(value: Any, info: Any) -> np.ndarray:
    dtype = tf.dtypes.as_dtype(info.dtype)
    shape, first = [], value
    while isinstance(first, list):
        shape.append(len(first))
        first = first[0] if first else None
    values: list[Any] = []
    _collect(value, shape, 0, dtype, values)
    array = np.empty(len(values), dtype.as_numpy_dtype)
    array[:] = values
    return array.reshape(shape)


def _collect(value: Any, shape: list[int], level: int, dtype: Any, into: list[Any]) -> None:
    if not isinstance(value, list):
        if level != len(shape):
            raise JsonError(
                f"JSON Value: {json.dumps(value)} found at incorrect level: {level + 1} in the JSON DOM. "
                f"Expected at level: {len(shape)}"
            )
        into.append(_scalar(value, dtype))
        return
    if level >= len(shape):
        raise JsonError(f"Encountered list at unexpected level: {level} expected < {len(shape)}")
    if len(value) != shape[level]:
        raise JsonError(
            f"Encountered list at unexpected size: {len(value)} at level: {level} "
            f"expected size: {shape[level]}"
        )
    for one in value:
        _collect(one, shape, level + 1, dtype, into)


def _scalar(value: Any, dtype: Any) -> Any:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if dtype == tf.string and isinstance(value, str):
        return value.encode()
    if dtype == tf.string and isinstance(value, dict):
        try:
            return base64.b64decode(value["b64"], validate=True)
        except (KeyError, TypeError, binascii.Error):
            raise JsonError("Unable to base64 decode") from None
    if (dtype.is_floating and is_number) or (dtype.is_integer and is_number and isinstance(value, int)):
        return value
    names = {str: "String", dict: "Object", bool: "True", type(None): "Null"}
    raise JsonError(
        f"JSON Value: {json.dumps(value)} Type: {names.get(type(value), 'Number')} is not of expected "
        f"type: {dtype.name}"
    )


def _plain(values: np.ndarray, name: str) -> Any:
    if values.dtype != object:
        return _numbers(values)
    if values.ndim:
        return [
            _plain(one if isinstance(one, np.ndarray) else np.array(one, object), name)
            for one in values
        ]
    text = values.item()
    if name.endswith("_bytes"):
        return {"b64": base64.b64encode(text).decode()}
    return text.decode()


def _numbers(values: np.ndarray) -> Any:
    """Floats as the server writes them: the shortest digits that stand for a float32."""
    if values.ndim:
        return [_numbers(one) for one in values]
    return float(str(values)) if values.dtype.kind == "f" else values.item()
