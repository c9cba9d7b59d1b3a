"""Contents of tensors of the Open Inference Protocol: flat values, or bytes."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from tfrecall.errors import DataError

DATATYPES = {
    "BOOL": "?",
    **{f"INT{8 * size}": f"<i{size}" for size in (1, 2, 4, 8)},
    **{f"UINT{8 * size}": f"<u{size}" for size in (1, 2, 4, 8)},
    "FP32": "<f4",
    "FP64": "<f8",
    "BYTES": "O",
}


def datatype(values: np.ndarray) -> str:
    """Name of the type of an array.

    >>> datatype(np.zeros(2, np.float32)), datatype(np.array(["a"], object))
    ('FP32', 'BYTES')
    """
    return next(name for name, code in DATATYPES.items() if np.dtype(code) == values.dtype)


def from_flat(
    name: str, kind: str, shape: Sequence[int], values: Sequence[Any] | np.ndarray
) -> np.ndarray:
    """A tensor from its values in row-major order; texts may be bytes in UTF-8.

    Raises:
        DataError: if type, shape and values do not fit.
    """
    if kind not in DATATYPES:
        raise DataError(
            f'"{name}" has no datatype of the protocol: {kind!r:.100}. There are: {", ".join(DATATYPES)}.'
        )
    if any(size < 0 for size in shape) or int(np.prod(shape, dtype=object)) != len(values):
        raise DataError(
            f'"{name}" has {len(values):,} values, which do not fill the shape {shown(shape)}.'
        )
    try:
        if kind == "BYTES":
            texts = [one.decode() if isinstance(one, bytes) else one for one in values]
            if not all(isinstance(one, str) for one in texts):
                raise TypeError("texts are wanted")
            flat = np.array(texts, object)
        else:
            if not all(isinstance(one, bool | int | float | np.generic) for one in values):
                raise TypeError("numbers are wanted")
            flat = np.array(values, DATATYPES[kind])
        return flat.reshape(shape)
    except (TypeError, ValueError, OverflowError) as error:
        raise DataError(f'"{name}" does not hold values of {kind}: {error}.') from None


def from_raw(name: str, kind: str, shape: Sequence[int], raw: bytes) -> np.ndarray:
    """A tensor from its bytes: little-endian numbers, or texts with four bytes of length before each.

    Raises:
        DataError: if they do not fill the shape.
    """
    if kind != "BYTES":
        size = np.dtype(DATATYPES.get(kind, "?")).itemsize
        whole = raw if len(raw) % size == 0 else raw[:0]
        return from_flat(name, kind, shape, np.frombuffer(whole, DATATYPES.get(kind, "?")))
    values, place = [], 0
    while place + 4 <= len(raw):
        end = place + 4 + int.from_bytes(raw[place : place + 4], "little")
        values.append(raw[place + 4 : end])
        place = end
    if place != len(raw):
        raise DataError(f'"{name}" ends within a text.')
    return from_flat(name, kind, shape, values)


def to_raw(values: np.ndarray) -> bytes:
    """Bytes of a tensor, as `from_raw` reads them."""
    if values.dtype != object:
        return values.astype(DATATYPES[datatype(values)]).tobytes()
    texts = [one.encode() for one in values.ravel()]
    return b"".join(len(one).to_bytes(4, "little") + one for one in texts)


def shown(shape: Iterable[int]) -> str:
    """A shape for people, -1 as it is.

    >>> shown((2, -1))
    '[2, -1]'
    """
    return f"[{', '.join(map(str, shape))}]"
