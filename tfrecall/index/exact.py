"""Exact search: one matrix product, and the oracle for approximate indexes."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import get_args

import numpy as np
import polars as pl

from tfrecall.core.ragged import Ragged, offsets_of
from tfrecall.core.top_k import best_scores, kth_largest
from tfrecall.core.vocabulary import Ids, Vocabulary
from tfrecall.errors import ConfigError, DataError, nearest
from tfrecall.index.reduced import Reduced, Storage
from tfrecall.index.search import Exclusions, Hits, Request, checked_norms, checked_vectors

# Scores at once, 32 MB of float32: 40 queries over 200,000 candidates read the vectors once. Blocks of 2**21
# take 1.7 times as long at that size, larger ones no less; for small catalogues it makes no difference.
SCORES = 2**23
# Numbers in the largest temporary array of float64: 16 MB, whatever the batch. Larger was no faster.
BLOCK = 2**21
# Candidates beyond k that rounding leaves in doubt and that are still ranked in one array with others.
SLACK = 16
# Float32 training leaves unit vectors about 1e-7 off; the order is the same within this.
UNIT_TOLERANCE = 1e-5


@dataclass(frozen=True)
class Exact:
    """Configuration of an exact index.

    Args:
        storage: numbers of the catalogue that a search reads. `bfloat16` takes half the memory of `float32`,
            `int8` a quarter; vectors in float32 are kept beside, on disk in a release, and score the
            candidates that the smaller numbers leave in doubt. The answers are the same.

    >>> index = Exact().build(np.array([[1.0, 0.0], [0.0, 1.0], [2.0, 0.0]]), ["a", "b", "c"])
    >>> hits = index.search(np.array([[1.0, 0.5]]), k=2)
    >>> index.ids[hits.rows].tolist(), hits.scores.tolist()
    ([['c', 'a']], [[2.0, 1.0]])
    """

    storage: Storage = "float32"

    def __post_init__(self) -> None:
        if self.storage not in get_args(Storage):
            raise ConfigError(
                f"Exact's `storage` is one of {', '.join(get_args(Storage))}. "
                f"Received storage={self.storage!r}.{nearest(str(self.storage), get_args(Storage))}"
            )

    def build(
        self,
        vectors: np.ndarray,
        ids: Sequence[str] | np.ndarray | pl.Series,
        normalized: bool | None = None,
    ) -> "ExactIndex":
        """Checks a catalogue and returns its index.

        Args:
            vectors: number `[n, d]`, computed with as float32. A zero vector is a candidate like
                any other: it scores 0.
            ids: `n` distinct strings.
            normalized: whether all vectors have length 1; None to find out. True is verified.

        Raises:
            ConfigError: if the shape is wrong or `normalized=True` is wrong.
            DataError: if the catalogue is empty, a number is not finite, or an id is null, empty
                or occurs twice.
        """
        vectors = checked_vectors(vectors, "candidate vectors")
        names = checked_ids(ids, len(vectors))
        norms = checked_norms(vectors, "candidate vectors", names)
        unit = bool(np.all(np.abs(norms - 1.0) <= UNIT_TOLERANCE))
        if normalized and not unit:
            row = int(np.argmax(np.abs(norms - 1.0)))
            raise ConfigError(
                f"The candidate vectors are not normalised, though normalized=True says so. "
                f'Received length {norms[row]:.6g} in row {row} (id "{names[row]}"). '
                "Divide each vector by its length, or leave `normalized` out."
            )
        return ExactIndex(
            vectors,
            names,
            float(norms.max()),
            unit if normalized is None else normalized,
            Reduced.of(vectors, self.storage),
        )


class ExactIndex:
    """Finds the candidates with the largest inner product, without error.

    A query with several vectors scores a candidate by the largest of their products.

    A matrix product in float32 picks the candidates that rounding leaves in doubt; these are scored
    once more in float64 and rounded once. So the score of a query and a candidate is the same
    number in every batch, at every row and in every index, and equal vectors tie.

    Made by `Exact.build`. A search of one query reads all vectors once, so it takes as long as memory needs:
    51 MB (200,000 x 64) in 3 to 4 ms on one core. Threads of BLAS help where cores are idle, and wait for
    each other where they are not: set OPENBLAS_NUM_THREADS=1 where several processes serve on one machine.

    Args:
        vectors: float32 `[n, d]`, checked; may be memory-mapped.
        ids: object array of `str` `[n]`.
        max_norm: length of the longest vector.
        normalized: whether all vectors have length 1.
        reduced: a smaller copy that the first pass reads in place of the vectors; None for none.
    """

    def __init__(
        self,
        vectors: np.ndarray,
        ids: np.ndarray,
        max_norm: float,
        normalized: bool,
        reduced: Reduced | None = None,
    ) -> None:
        # A plain view: each slice of np.memmap costs Python time.
        self.vectors = np.asarray(vectors)
        self.ids = ids
        self.max_norm = max_norm
        self.normalized = normalized
        self.reduced = reduced

    @property
    def storage(self) -> Storage:
        """Numbers that the first pass of a search reads."""
        return "float32" if self.reduced is None else self.reduced.storage

    def __len__(self) -> int:
        return len(self.vectors)

    @property
    def dimension(self) -> int:
        """Length of a query vector."""
        return self.vectors.shape[1]

    @cached_property
    def vocabulary(self) -> Vocabulary:
        """The ids of the catalogue and their rows."""
        return Vocabulary(self.ids)

    def rows(self, ids: Ids) -> np.ndarray:
        """Rows of the ids: int32 `[n]`, -1 for an id that is not in the catalogue."""
        return self.vocabulary.rows(ids)

    def search(
        self,
        queries: np.ndarray,
        k: int,
        exclude: Exclusions | None = None,
        allow: np.ndarray | None = None,
    ) -> Hits:
        """Finds the `k` best candidates of each query, equal ones in catalogue order.

        Args:
            queries: number `[n, d]` or `[n, interests, d]`.
            k: from 1 to the size of the catalogue.
            exclude: for each query the rows to leave out; -1 is ignored.
            allow: the only rows that any query may get; None for all.

        Raises:
            ConfigError: if `k`, a row or the shape of the queries is impossible.
            DataError: if a query is not finite.
        """
        return self.answer(
            Request.check(queries, k, exclude, allow, dimension=self.dimension, count=len(self.vectors))
        )

    def answer(self, request: Request) -> Hits:
        """Answers a request that was checked against this catalogue."""
        count, dimension, allowed = len(self), self.dimension, request.allowed
        if allowed is not None and len(allowed) <= count // 8:
            # Scoring the allowed rows alone is cheaper than the product with the whole catalogue.
            few = partial(self._answer_few, allowed)
            return _in_blocks(few, request, BLOCK // (max(len(allowed), request.k) * dimension))
        ranked = min(self._width(request.k), count) * dimension  # float64 numbers a query
        return _in_blocks(self._answer_block, request, min(SCORES // count, BLOCK // ranked))

    def _width(self, k: int) -> int:
        """Candidates of a query that are still ranked in one array with those of others."""
        # int8 leaves about half as many again in doubt as are asked for.
        return k + SLACK if self.reduced is None else 2 * k + SLACK

    def _answer_few(self, allowed: np.ndarray, request: Request) -> Hits:
        # Row of the catalogue -> column among the allowed rows, -1 for others. An excluded row becomes -1
        # in the query's own copy of the list, which `rank` takes for no candidate.
        places = np.full(len(self), -1)
        places[allowed] = np.arange(len(allowed))
        columns = places[request.rows]
        candidates = np.tile(allowed, (len(request), 1))
        candidates[request.positions[columns >= 0], columns[columns >= 0]] = -1
        return self.rank(request.queries, candidates, request.k)

    def _answer_block(self, request: Request) -> Hits:
        if self.reduced is None:
            scores = best_scores(request.queries, self.vectors)
        else:
            scores = self.reduced.best_scores(request.queries)
        request.hide(scores)
        owners, rows = self._in_doubt(request, scores)
        candidates = Ragged(rows, offsets_of(np.bincount(owners, minlength=len(request))))
        if len(request) > 1 and candidates.lengths.max() <= self._width(request.k):
            return self.rank(request.queries, candidates.padded("right", fill=-1), request.k)
        # Crowded: where many products are nearly equal, rows padded to the longest would be too wide.
        hits = [
            self.rank(request.queries[i : i + 1], candidates[i][np.newaxis], request.k)
            for i in range(len(request))
        ]
        return Hits(*(np.concatenate(arrays) for arrays in zip(*hits, strict=True)))

    def _in_doubt(self, request: Request, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Candidates that may be among the best: their queries, ascending, and their rows."""
        # With t the k-th largest product and e its largest error, k candidates score t - e or more exactly, so
        # the exact best k do, and their products are t - 2 e or more: the bound below, with 2 e the doubt.
        # Hidden candidates, at -inf, lie below the lowest number. The bound is float32, because a float64 one
        # would widen all scores to compare them; nextafter makes up for its rounding.
        norms = request.norms if request.norms.ndim == 1 else request.norms.max(axis=1)
        doubt = self._doubt(norms)
        if self.reduced is not None:
            doubt = doubt + 2 * norms * self.reduced.largest_error
        least = kth_largest(scores, request.k)
        floors = np.nextafter((least - doubt).astype(np.float32), np.float32(-np.inf))
        reached = scores >= np.maximum(floors, np.finfo(np.float32).min)[:, np.newaxis]
        owners, rows = np.divmod(np.flatnonzero(reached), len(self))
        if self.reduced is None:
            return owners, rows
        # Again for those left, each with its own error: that of one long vector would put all in doubt.
        values, errors = scores[owners, rows], norms[owners] * self.reduced.errors[rows]
        bounds = _kth_of_each(owners, values - errors, request.k, len(request)) - self._doubt(norms)
        kept = values + errors >= bounds[owners]
        return owners[kept], rows[kept]

    def _doubt(self, norms: np.ndarray) -> np.ndarray:
        """Largest difference that rounding makes between two equal inner products in float32.

        Higham, "Accuracy and Stability of Numerical Algorithms", section 3.1: one of them errs by
        at most d * eps * |q| * |x|. `tiny` stands for underflow. The largest of several products
        errs by no more than the longest vector allows. The scale of a reduced row is one more factor, and
        the row may be longer than the vector by its error.
        """
        limits = np.finfo(np.float32)
        factors, longest = self.dimension, self.max_norm
        if self.reduced is not None:
            factors, longest = factors + 1, longest + self.reduced.largest_error
        return 2 * factors * limits.eps * norms * longest + limits.tiny

    def rank(self, queries: np.ndarray, rows: np.ndarray, k: int) -> Hits:
        """Orders given candidates by their exact score, equal ones by row.

        Args:
            queries: float32 `[n, d]` or `[n, interests, d]`.
            rows: int `[n, n_candidates]`, distinct within a query; -1 for none.
            k: length of the answer.
        """
        scores = self._scores(queries, rows)
        scores[rows < 0] = -np.inf
        # The last key counts first: by score, then by row.
        order = np.lexsort((rows, -scores))[:, :k]
        rows = np.take_along_axis(rows, order, axis=1).astype(np.int32)
        scores = np.take_along_axis(scores, order, axis=1)
        rows[np.isneginf(scores)] = -1
        missing = ((0, 0), (0, k - rows.shape[1]))
        if missing[1][1] > 0:
            rows = np.pad(rows, missing, constant_values=-1)
            scores = np.pad(scores, missing, constant_values=-np.inf)
        return Hits(rows, scores)

    def _scores(self, queries: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """Inner products summed in float64 and rounded once: float32 `[n, n_candidates]`."""
        # Candidates are widened to float64 in steps of columns; each score is summed in one step, so
        # their number changes no digit.
        step = max(1, BLOCK // (len(queries) * self.dimension))
        wide = queries.astype(np.float64)
        blocks = [
            _products(self.vectors[rows[:, at : at + step]].astype(np.float64), wide)
            for at in range(0, rows.shape[1], step)
        ]
        scores = np.concatenate(blocks, axis=1) if blocks else np.empty(rows.shape)
        return scores.astype(np.float32)


def _kth_of_each(owners: np.ndarray, values: np.ndarray, k: int, count: int) -> np.ndarray:
    """The `k`-th largest value of each owner, -inf for one with fewer; owners ascend."""
    bounds = np.full(count, -np.inf)
    starts = offsets_of(np.bincount(owners, minlength=count))
    for owner in np.flatnonzero(np.diff(starts) >= k):
        own = values[starts[owner] : starts[owner + 1]]
        bounds[owner] = np.partition(own, len(own) - k)[len(own) - k]
    return bounds


def _products(vectors: np.ndarray, queries: np.ndarray) -> np.ndarray:
    """Best inner products `[n, n_candidates]` of queries with vectors `[n, n_candidates, d]`."""
    if queries.ndim == 2:
        return np.einsum("ncd,nd->nc", vectors, queries)
    # One by one, so that each product is summed in the order of a query that has one vector.
    return np.max([_products(vectors, one) for one in np.moveaxis(queries, 1, 0)], axis=0)


def _in_blocks(answer: Callable[[Request], Hits], request: Request, step: int) -> Hits:
    """Answers `step` queries at a time, at least one, and concatenates the hits."""
    step = max(1, step)
    parts = [answer(request.part(start, start + step)) for start in range(0, len(request), step)]
    if len(parts) == 1:
        return parts[0]
    empty = (0, request.k)
    parts.append(Hits(np.empty(empty, np.int32), np.empty(empty, np.float32)))
    return Hits(*(np.concatenate(arrays) for arrays in zip(*parts, strict=True)))


def checked_ids(ids: Sequence[str] | np.ndarray | pl.Series, count: int) -> np.ndarray:
    """Checks that ids are `count` distinct, filled strings, and returns an object array."""
    values = ids.to_list() if isinstance(ids, pl.Series) else list(ids)
    if len(values) != count:
        raise DataError(
            f"Each candidate vector needs one id. Received {count} vectors and {len(values)} ids."
        )
    if not values:
        raise DataError(
            "An index needs at least one candidate. Received an empty catalogue. "
            "Check the item table that was embedded."
        )
    odd = next((row for row, name in enumerate(values) if not isinstance(name, str) or not name), -1)
    if odd >= 0:
        raise DataError(
            f"Ids must be strings that are not empty. Received {values[odd]!r} in row {odd}. "
            "Cast the id column to strings and drop or fill nulls."
        )
    if len(set(values)) != count:
        seen: set[str] = set()
        twice = next(name for name in values if name in seen or seen.add(name))  # type: ignore[func-returns-value]
        raise DataError(
            f'Ids must be distinct. Received "{twice}" more than once. '
            "Embed each item of the catalogue once."
        )
    return np.array([str(name) for name in values], dtype=object)
