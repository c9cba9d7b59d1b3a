"""The protocol of an index: requests, their checks, and hits."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple, Protocol

import numpy as np

from tfrecall.core.top_k import check_k
from tfrecall.errors import ConfigError, DataError

Exclusions = Sequence[np.ndarray] | np.ndarray
# How two items are compared: by the angle of their vectors, or by their inner product.
ItemScore = Literal["cosine", "inner"]
# The product of two such lengths still fits into float32.
LONGEST = 1e19


class Hits(NamedTuple):
    """The best candidates of each query, best first.

    Candidates of equal score stand in catalogue order. Where fewer than `k` candidates may be
    returned, the list is short: its last places hold row -1 and score -inf.

    Attributes:
        rows: int32 `[n_queries, k]`, rows of the catalogue.
        scores: float32 `[n_queries, k]`, inner products, higher is better; of a query with several
            vectors the largest.
    """

    rows: np.ndarray
    scores: np.ndarray

    @classmethod
    def of_scores(cls, scores: np.ndarray, rows: np.ndarray) -> "Hits":
        """Makes hits of given rows, -1 for none, with their scores from float32 `[n_queries, n]`."""
        values = np.take_along_axis(scores, np.maximum(rows, 0), axis=1)
        return cls(rows, np.where(rows < 0, np.float32(-np.inf), values))


class Index(Protocol):
    """Search for the candidates with the largest inner product."""

    @property
    def ids(self) -> np.ndarray:
        """Object array of `str` `[n]` in catalogue order."""
        ...

    @property
    def dimension(self) -> int:
        """Length of a query vector."""
        ...

    def search(
        self,
        queries: np.ndarray,
        k: int,
        exclude: Exclusions | None = None,
        allow: np.ndarray | None = None,
    ) -> Hits:
        """Finds the `k` best candidates of each query.

        Args:
            queries: number `[n_queries, dimension]`, computed with as float32. A zero vector scores
                0 everywhere, so it gets the first rows of the catalogue. With several vectors a query,
                `[n_queries, interests, dimension]`, the largest product scores a candidate.
            k: from 1 to the size of the catalogue.
            exclude: for each query the rows to leave out. Row -1, an unknown id, is ignored, so an
                array padded with -1 will do.
            allow: the only rows that any query may get, in any order. Row -1 is ignored.

        Raises:
            ConfigError: if `k`, a row or the shape of the queries is impossible.
            DataError: if a query holds NaN, infinity or numbers too large for float32.
        """
        ...


def checked_vectors(vectors: np.ndarray, of_what: str, several: bool = False) -> np.ndarray:
    """Checks the shape of vectors, and converts them to float32 `[n, d]` in C order.

    Args:
        vectors: number `[n, d]`.
        of_what: name of the vectors in the message.
        several: whether `[n, interests, d]` is allowed, too.

    Raises:
        ConfigError: if the number of axes is wrong, or a vector has no numbers.
        DataError: if these are not real numbers.
    """
    kind = np.asarray(vectors).dtype.kind
    if kind not in "fiu":
        raise DataError(
            f"The {of_what} are not real numbers. Received an array of dtype "
            f"{np.asarray(vectors).dtype}. Pass float32 vectors of equal length."
        )
    with np.errstate(over="ignore"):  # an overflow is refused with its row by the caller
        numbers = np.ascontiguousarray(vectors, dtype=np.float32)
    axes = (2, 3) if several else (2,)
    if np.ndim(vectors) not in axes or 0 in numbers.shape[1:]:
        shapes = "[n, dimension]" + (" or [n, interests, dimension]" if several else "")
        raise ConfigError(
            f"The {of_what} must be an array of shape {shapes}. Received shape "
            f"{np.shape(vectors)}. Pass a single vector as `vector[np.newaxis]`."
        )
    return numbers


def checked_norms(vectors: np.ndarray, of_what: str, names: np.ndarray | None = None) -> np.ndarray:
    """Computes the lengths of vectors, float64 `[n]` or `[n, interests]`, and checks that all are usable.

    A vector longer than `LONGEST` is refused like an infinite one: without it every inner product
    is finite in float32, and -inf can stand for "not a candidate".

    Args:
        vectors: float32 `[n, d]` or `[n, interests, d]`.
        of_what: name of the vectors in the message.
        names: an id for each row, for the message.

    Raises:
        DataError: naming the first row that is not usable.
    """
    # Summed in float64 so that the squares of tiny numbers do not vanish.
    squares = np.einsum("...d,...d->...", vectors, vectors, dtype=np.float64)
    usable = squares <= LONGEST**2  # false for NaN too
    if not usable.all():
        row = int(np.argwhere(~usable)[0, 0])
        name = f' (id "{names[row]}")' if names is not None else ""
        raise DataError(
            f"The {of_what} must be finite and no longer than {LONGEST:g}. Received NaN, infinity "
            f"or too large numbers in row {row}{name}. "
            "Look for a diverged training run or a bad feature."
        )
    return np.sqrt(squares)


def checked_rows(rows: np.ndarray, count: int, argument: str) -> np.ndarray:
    """Checks rows of a catalogue of `count` items, and returns them as int64 `[n]`; -1 passes."""
    rows = np.asarray(rows)
    if rows.size == 0:
        return np.empty(0, dtype=np.int64)
    if rows.ndim != 1 or rows.dtype.kind not in "iu":
        raise ConfigError(
            f"`{argument}` takes rows of the catalogue, integers in one axis. Received dtype "
            f"{rows.dtype}, shape {rows.shape}. Turn ids or a mask into rows first."
        )
    if rows.min() < -1 or rows.max() >= count:
        raise ConfigError(
            f"`{argument}` names a row outside the catalogue. Received rows from {rows.min()} to "
            f"{rows.max()}; rows go from 0 to {count - 1}, and -1 stands for an unknown id."
        )
    return rows.astype(np.int64)


@dataclass(frozen=True)
class Request:
    """The arguments of one search, checked once, then cut into blocks.

    Attributes:
        queries: float32 `[n, d]` or `[n, interests, d]`.
        norms: float64 `[n]` or `[n, interests]`, the lengths of the vectors.
        k: number of candidates for each query.
        positions: int64 `[n_excluded]`, ascending; the query that each excluded row belongs to.
        rows: int64 `[n_excluded]`, the excluded rows.
        allowed: sorted distinct rows that may be returned; None for all.
    """

    queries: np.ndarray
    norms: np.ndarray
    k: int
    positions: np.ndarray
    rows: np.ndarray
    allowed: np.ndarray | None

    @classmethod
    def check(
        cls,
        queries: np.ndarray,
        k: int,
        exclude: Exclusions | None,
        allow: np.ndarray | None,
        *,
        dimension: int,
        count: int,
    ) -> "Request":
        """Checks the arguments of `Index.search` against a catalogue of `count` vectors."""
        queries = checked_vectors(queries, "query vectors", several=True)
        if queries.shape[-1] != dimension:
            raise ConfigError(
                f"The query vectors have {queries.shape[-1]} numbers each, the candidates "
                f"{dimension}. Use the query tower that belongs to this index."
            )
        k = check_k(k, count, of_what="items in the catalogue")
        norms = checked_norms(queries, "query vectors")
        positions, rows = _flat(exclude, len(queries), count)
        allowed = None if allow is None else np.unique(checked_rows(allow, count, "allow"))
        if allowed is not None:
            allowed = allowed[allowed >= 0]
        return cls(queries, norms, k, positions, rows, allowed)

    def __len__(self) -> int:
        return len(self.queries)

    def part(self, start: int, stop: int) -> "Request":
        """The queries from `start` up to `stop`, with their exclusions."""
        if start == 0 and stop >= len(self):
            return self
        # `positions` ascends, so the exclusions of consecutive queries are one slice.
        first, last = np.searchsorted(self.positions, (start, stop))
        return replace(
            self,
            queries=self.queries[start:stop],
            norms=self.norms[start:stop],
            positions=self.positions[first:last] - start,
            rows=self.rows[first:last],
        )

    def hide(self, scores: np.ndarray) -> None:
        """Sets the scores `[n, count]` of all candidates that may not be returned to -inf."""
        scores[self.positions, self.rows] = -np.inf
        if self.allowed is not None:
            hidden = np.ones(scores.shape[1], dtype=bool)
            hidden[self.allowed] = False
            scores[:, hidden] = -np.inf


def _flat(exclude: Exclusions | None, n: int, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Concatenates the exclusions: for each its query, ascending, and its row; -1 is dropped."""
    if exclude is None:
        return np.empty(0, dtype=np.int64), np.empty(0, dtype=np.int64)
    if len(exclude) != n:
        raise ConfigError(
            f"`exclude` needs one list of rows for each query. Received {len(exclude)} lists for "
            f"{n} queries. Pass an empty list where nothing is excluded."
        )
    lists = [np.asarray(rows) for rows in exclude]
    filled = [rows for rows in lists if rows.size]
    # Not `Ragged.of_lists`, which would cast floats to rows instead of refusing them.
    rows = checked_rows(np.concatenate(filled) if filled else np.empty(0), count, "exclude")
    positions = np.repeat(np.arange(n), [rows.size for rows in lists])
    known = rows >= 0
    return positions[known], rows[known]
