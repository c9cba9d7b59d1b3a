"""Smaller copies of a catalogue for the first pass of exact search, with a proven bound of their errors.

A row x is stored as x', in half its bytes (`bfloat16`) or a quarter (`int8`), beside the length e of x - x',
computed in float64 and rounded up. For any query q, by the inequality of Cauchy and Schwarz,

    |q.x - q.x'| = |q.(x - x')| <= |q| e

so a candidate whose product with x' is s scores between s - |q| e and s + |q| e. The k best of all are among
those whose upper bound reaches the k-th best lower bound; they are scored by the float32 vectors, which stay
on disk.

`bfloat16` keeps the 8 leading bits of each number: e <= 2**-8 |x|. `int8` has one scale for each row, its
largest number / 127: a number errs by half a scale at most, so e <= scale / 2 * sqrt(d).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import ml_dtypes
import numpy as np

from tfrecall.core.top_k import best_scores
from tfrecall.errors import ReleaseError

Storage = Literal["float32", "bfloat16", "int8"]
ERRORS = "errors.npy"
# Numbers widened to float32 at a time, 2 MB: they stay in a processor's cache until they are multiplied.
BLOCK = 2**19
LARGEST_INT8 = 127


@dataclass(frozen=True)
class Reduced:
    """A catalogue in fewer bytes.

    Attributes:
        storage: `bfloat16` or `int8`.
        numbers: bfloat16 or int8 `[n, d]`.
        scales: float32 `[n]`, the factor of each row; ones for bfloat16.
        errors: float32 `[n]`, at least the length of the difference of each row.
    """

    storage: Storage
    numbers: np.ndarray
    scales: np.ndarray
    errors: np.ndarray

    @classmethod
    def of(cls, vectors: np.ndarray, storage: Storage) -> "Reduced | None":
        """The copy of float32 vectors `[n, d]`; None for float32, which needs none."""
        if storage == "float32":
            return None
        count, dimension = vectors.shape
        dtype = np.dtype(np.int8) if storage == "int8" else np.dtype(ml_dtypes.bfloat16)
        numbers = np.empty((count, dimension), dtype)
        scales, errors = np.ones(count, np.float32), np.empty(count, np.float32)
        for rows in _blocks(count, dimension):
            block = vectors[rows]
            if storage == "int8":
                scales[rows] = np.abs(block).max(axis=1) / np.float32(LARGEST_INT8)
            numbers[rows] = _rounded(block, scales[rows]) if storage == "int8" else block.astype(dtype)
            kept = numbers[rows].astype(np.float64) * scales[rows, np.newaxis]
            lengths = np.linalg.norm(block.astype(np.float64) - kept, axis=1)
            # One step up in float32 is more than all roundings of the length in float64.
            errors[rows] = np.nextafter(lengths.astype(np.float32), np.float32(np.inf))
        return cls(storage, numbers, scales, errors)

    @property
    def largest_error(self) -> float:
        """The largest of the errors."""
        return float(self.errors.max())

    def best_scores(self, queries: np.ndarray) -> np.ndarray:
        """The largest inner product of each query's vectors with each stored row: float32 `[n_queries, n]`.

        Block by block: each is widened to float32 in the processor's cache and multiplied by BLAS, with as many
        threads as BLAS has. Blocks in threads of one's own were no faster: BLAS has its threads then as well.

        Args:
            queries: float32 `[n_queries, d]` or `[n_queries, interests, d]`.
        """
        scores = np.empty((len(queries), len(self.numbers)), np.float32)
        for rows in _blocks(*self.numbers.shape):
            products = best_scores(queries, self.numbers[rows].astype(np.float32))
            if self.storage == "int8":
                products *= self.scales[rows]
            scores[:, rows] = products
        return scores

    def save(self, directory: Path) -> list[str]:
        """Writes the copy into the files of `reduced_files`, and returns their names."""
        names = reduced_files(self.storage)
        # The format of NumPy does not know bfloat16: its bits are stored.
        np.save(directory / names[0], self.numbers.view(_stored(self.storage)))
        np.save(directory / names[1], np.stack([self.scales, self.errors]))
        return names


def reduced_files(storage: Storage) -> list[str]:
    """Names of the files of a copy."""
    return [] if storage == "float32" else [f"{storage}.npy", ERRORS]


def open_reduced(
    directory: Path, storage: Storage, shape: tuple[int, int], mmap: bool
) -> Reduced | None:
    """Opens a copy, whose files were checked; None for float32.

    Args:
        directory: the bundle.
        storage: numbers of the copy.
        shape: items and dimension.
        mmap: whether to map the numbers, so that processes share them, or to read them.

    Raises:
        ReleaseError: naming the file that cannot be read, or holds another type or shape.
    """
    if storage == "float32":
        return None
    wanted = [(_stored(storage), shape), (np.dtype(np.float32), (2, shape[0]))]
    arrays = []
    for name, (dtype, size) in zip(reduced_files(storage), wanted, strict=True):
        try:
            # A plain view: each slice of np.memmap costs Python time.
            array = np.asarray(
                np.load(directory / name, mmap_mode="r" if mmap else None, allow_pickle=False)
            )
        except (EOFError, OSError, ValueError) as error:
            raise ReleaseError(f"{directory / name} cannot be read: {error}. Export again.") from error
        if array.dtype != dtype or array.shape != size:
            raise ReleaseError(
                f"{directory / name} is foreign: it holds {array.dtype} {array.shape}, the manifest says "
                f"{dtype} {size}. Export again."
            )
        arrays.append(array)
    numbers, (scales, errors) = arrays
    if not (np.isfinite(scales).all() and np.isfinite(errors).all() and (errors >= 0).all()):
        raise ReleaseError(f"{directory / ERRORS} is foreign: it holds no lengths. Export again.")
    numbers = numbers if storage == "int8" else numbers.view(ml_dtypes.bfloat16)
    return Reduced(storage, numbers, scales, errors)


def _stored(storage: Storage) -> np.dtype:
    return np.dtype(np.int8) if storage == "int8" else np.dtype(np.uint16)


def _rounded(block: np.ndarray, scales: np.ndarray) -> np.ndarray:
    wide = scales[:, np.newaxis].astype(np.float64)
    # A row of zeros, or of numbers too small for a scale, stays zeros.
    parts = np.divide(block, wide, out=np.zeros(block.shape), where=wide > 0)
    # A scale that was rounded down makes the largest number a little more than 127.
    return np.clip(np.rint(parts), -LARGEST_INT8, LARGEST_INT8)


def _blocks(count: int, dimension: int) -> Iterator[slice]:
    step = max(1, BLOCK // dimension)
    return (slice(start, min(start + step, count)) for start in range(0, count, step))
