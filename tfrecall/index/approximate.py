"""Approximate search: a structure proposes candidates, exact scores order them.

Structures compare angles, or inner products of vectors of equal length; wanted are inner products. Where all
vectors are equally long that is the same order. Otherwise each vector x gets one more number,
sqrt(M^2 - |x|^2) with M the longest length, which makes all equally long; a query gets 0 in its place, so
that its inner products do not change: Bachrach et al., "Speeding Up the Xbox Recommender System Using a
Euclidean Transformation for Inner-Product Spaces", RecSys 2014.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar, Generic, TypeVar, cast

import numpy as np
import polars as pl

from tfrecall.errors import ConfigError
from tfrecall.index.exact import SLACK, Exact, ExactIndex
from tfrecall.index.search import Exclusions, Hits, Request
from tfrecall.index.threads import in_threads
from tfrecall.index.tuning import TuningTable, doubling, sample_queries, sampled, tune

# Relative. The order by angle and the order by inner product then differ by no more than this.
EQUAL_LENGTHS = 1e-5
# Libraries take efforts and counts as a C int.
LARGEST = 2**31 - 1
# Candidates by codes for each that is wanted: codes of items that lie close together tell them apart badly.
OVERSAMPLING = (2, 4, 8, 16, 32)


class Approximate(ABC):
    """Configuration of an approximate index; a frozen dataclass with settings of its kind and these.

    Attributes:
        name: name of the index in a bundle, in requests and on the command line.
        target_recall: share of the true best `tune_k` to find, in (0, 1].
        tune_k: the `k` that the effort is tuned for; larger ones get proportionally more.
        search_k: the effort of a search, in the unit of the kind; None to tune it.
        seed: seed of the structure and of the sample of queries.
    """

    name: ClassVar[str]
    target_recall: float
    tune_k: int
    search_k: int | None
    seed: int

    def __post_init__(self) -> None:
        for name, lowest in self.whole_numbers().items():
            value = getattr(self, name)
            # What None stands for is the default of the setting.
            if value is None and getattr(type(self), name) is None:
                continue
            if not isinstance(value, int) or isinstance(value, bool) or not lowest <= value <= LARGEST:
                raise ConfigError(
                    f"{type(self).__name__}'s `{name}` must be an integer from {lowest} to {LARGEST}. "
                    f"Received {name}={value!r}."
                )
        if not isinstance(self.target_recall, (int, float)) or not 0 < self.target_recall <= 1:
            raise ConfigError(
                f"{type(self).__name__}'s `target_recall` must be above 0 and at most 1. "
                f"Received target_recall={self.target_recall!r}."
            )

    def whole_numbers(self) -> dict[str, int]:
        """Settings that are whole numbers, each with the lowest value; those with default None may be None."""
        return {"tune_k": 1, "search_k": 1, "seed": 0}

    def build(
        self,
        vectors: np.ndarray,
        ids: Sequence[str] | np.ndarray | pl.Series,
        tuning_queries: np.ndarray | None = None,
        tuning_exclude: Sequence[np.ndarray] | None = None,
    ) -> "ApproximateIndex[Any]":
        """Checks a catalogue as `Exact.build` does, builds the structure and tunes the effort.

        Args:
            vectors: number `[n, d]`.
            ids: `n` distinct strings.
            tuning_queries: query vectors `[n_queries, d]` or `[n_queries, interests, d]` as the index
                will be searched with; a sample of at most 500 is used. None samples the catalogue.
            tuning_exclude: for each of these queries the rows that its lists will leave out, such as the seen
                items of the user. The target is then reached with them and without. None: nothing.

        Raises:
            ConfigError: if the shape is wrong, there are not as many exclusions as queries, the library is not
                installed, or its structure does not hold the whole catalogue.
            DataError: if the catalogue is empty, a number is not finite, or an id is null, empty or occurs
                twice.
        """
        return self.build_over(Exact().build(vectors, ids), tuning_queries, tuning_exclude)

    def build_over(
        self,
        exact: ExactIndex,
        tuning_queries: np.ndarray | None = None,
        tuning_exclude: Sequence[np.ndarray] | None = None,
    ) -> "ApproximateIndex[Any]":
        """Builds the index over the vectors of an exact one, without a copy; errors as for `build`."""
        exclude = _exclusions(tuning_queries, tuning_exclude, self.seed)
        queries = sample_queries(exact, tuning_queries, self.seed)
        # The 1 is a placeholder: tuning passes each effort to `search` itself.
        first, *wider = [replace(cast(Any, one), search_k=1) for one in self.variants()]
        index = first.structure(exact)
        for settings in (first, *wider):
            index.settings = settings
            given = self.search_k
            efforts = index.efforts(self.tune_k) if given is None else iter([given])
            index.table = tune(
                index, exact, queries, self.tune_k, self.target_recall, efforts=efforts, exclude=exclude
            )
            if given is not None or index.table.chosen.search_k < index.exhaustive:
                break
        index.settings = replace(index.settings, search_k=index.table.chosen.search_k)
        return index

    def variants(self) -> "list[Approximate]":
        """Settings that are tuned in turn until one reaches the target; all have the same structure."""
        return [self]

    def summary(self) -> dict[str, Any]:
        """Settings for the summary of an index in `metrics.json`."""
        return {}

    @abstractmethod
    def files(self, count: int) -> list[str]:
        """Names of the files of an index over `count` items."""

    @abstractmethod
    def structure(self, exact: ExactIndex) -> "ApproximateIndex[Any]":
        """Builds the structure over a checked catalogue; `search_k` is set, and not tuned yet."""


Settings = TypeVar("Settings", bound=Approximate)


class ApproximateIndex(ABC, Generic[Settings]):
    """Finds most of the candidates with the largest inner product.

    A structure proposes candidates; scores and order are those of `ExactIndex`. Excluded rows are left out as
    there: the search is widened until `k` are left or everything was seen. A query with several vectors
    searches for each with the whole effort, and scores the candidates of all by the best vector: the best
    `k` of the query are all among the best `k` of one of them. Queries of a batch are searched at the same
    time, by as many threads as `OMP_NUM_THREADS` says or the machine has cores. When `search_k` reaches
    `exhaustive`, the hits are those of `ExactIndex`.

    Args:
        exact: the same catalogue, for scores and for requests that exact search answers faster.
        structure: what the library made of the (augmented) vectors.
        augmented: whether points of the structure have one more dimension than the vectors.
        settings: how it was built; its `search_k` is the effort of a search.
        table: the efforts that were tried for `search_k`.
    """

    # Whether exact search answers where as many candidates as there are have to be looked at: it is faster.
    exact_if_exhaustive = True

    def __init__(
        self,
        exact: ExactIndex,
        structure: Any,
        augmented: bool,
        settings: Settings,
        table: TuningTable | None = None,
    ) -> None:
        if settings.search_k is None:
            kind = type(settings).__name__
            raise ConfigError(f"An {kind}Index needs a `search_k`. Let `{kind}.build` tune one.")
        self.exact = exact
        self.structure = structure
        self.augmented = augmented
        self.settings = settings
        self.table = table

    def __len__(self) -> int:
        return len(self.exact)

    @property
    def search_k(self) -> int:
        """Effort of a search."""
        effort = self.settings.search_k
        assert effort is not None, "checked when it was made"
        return effort

    @property
    def has_threads(self) -> bool:
        """Whether a search of one query takes all threads, so that queries are searched one after another."""
        return False

    @property
    def ids(self) -> np.ndarray:
        """Object array of `str` `[n]` in catalogue order."""
        return self.exact.ids

    @property
    def dimension(self) -> int:
        """Length of a query vector."""
        return self.exact.dimension

    @property
    @abstractmethod
    def exhaustive(self) -> int:
        """The `search_k` from which every candidate is looked at."""

    def efforts(self, k: int) -> Iterator[int]:
        """Efforts that tuning tries for lists of `k`, ascending."""
        return doubling(min(k, len(self)), self.exhaustive)

    def looks(self, effort: float) -> float:
        """Candidates that a search of this effort compares with the query, about."""
        return effort

    def search(
        self,
        queries: np.ndarray,
        k: int,
        exclude: Exclusions | None = None,
        allow: np.ndarray | None = None,
        *,
        search_k: int | None = None,
    ) -> Hits:
        """Finds most of the `k` best candidates of each query, equal ones in catalogue order.

        Args:
            queries: number `[n_queries, dimension]` or `[n_queries, interests, dimension]`.
            k: from 1 to the size of the catalogue.
            exclude: for each query the rows to leave out; -1 is ignored.
            allow: the only rows that any query may get; None for all.
            search_k: effort of this search alone; None for the tuned one.

        Raises:
            ConfigError: if `k`, a row or the shape of the queries is impossible.
            DataError: if a query is not finite.
        """
        request = Request.check(queries, k, exclude, allow, dimension=self.dimension, count=len(self))
        effort = min(search_k or self.search_k, self.exhaustive)
        # For equal recall looks(effort) * count / allowed candidates must be compared, and exact search
        # compares the allowed ones: these are fewer where allowed squared is below looks * count.
        allowed = request.allowed
        few = allowed is not None and len(allowed) ** 2 <= self.looks(effort) * len(self)
        if few or not len(request):
            return self.exact.answer(request)

        def answer(query: int) -> Hits:
            return self._answer_one(request.part(query, query + 1), effort)

        places = range(len(request))
        parts = list(map(answer, places)) if self.has_threads else in_threads(answer, places)
        return Hits(*(np.concatenate(arrays) for arrays in zip(*parts, strict=True)))

    def _answer_one(self, request: Request, effort: int) -> Hits:
        count = len(self)
        everything = effort == self.exhaustive or self.looks(effort) >= count
        # A zero vector has no direction to search in.
        if not np.all(request.norms[0]) or (self.exact_if_exhaustive and everything):
            return self.exact.answer(request)
        # The best k of the allowed items lie among the best k / share of all; the effort was tuned for
        # `tune_k` of all, and grows with how many more have to be looked through.
        kept = 1.0 if request.allowed is None else len(request.allowed) / count
        needed = (request.k + len(request.rows)) / kept
        least = stretch = max(1.0, needed / self.settings.tune_k)
        # Past one look at each candidate the matrix product is cheaper than more of the structure.
        while stretch == 1.0 or self.looks(effort * stretch) < count:
            stretched = min(math.ceil(effort * stretch), self.exhaustive)
            # `needed` at the first try, then as many times more as the effort has grown since.
            n = math.ceil(needed * stretch / least) + SLACK
            rows = self._candidates(request, n, stretched)
            if len(rows) >= request.k or stretched == self.exhaustive:
                return self._ranked(request, rows)
            stretch *= 2
        return self.exact.answer(request)

    def _ranked(self, request: Request, rows: np.ndarray) -> Hits:
        return self.exact.rank(request.queries, rows[np.newaxis], request.k)

    def _candidates(self, request: Request, n: int, effort: int) -> np.ndarray:
        """Candidates that the structure proposes for one query, without excluded and disallowed rows."""
        n = len(self) if effort == self.exhaustive else min(n, len(self))
        vectors = request.queries[0].reshape(-1, self.dimension)
        norms = np.atleast_1d(request.norms[0])
        neighbours = [self._nearest(*pair, n, effort) for pair in zip(vectors, norms, strict=True)]
        # Two vectors of one query may find the same row, and `rank` takes distinct rows.
        rows = neighbours[0] if len(neighbours) == 1 else np.unique(np.concatenate(neighbours))
        if request.allowed is not None:
            rows = rows[np.isin(rows, request.allowed)]
        if len(request.rows):
            rows = rows[~np.isin(rows, request.rows)]
        return rows

    def _nearest(self, vector: np.ndarray, norm: float, n: int, effort: int) -> np.ndarray:
        # Structures work in float32: of unit length nothing overflows or vanishes.
        query = vector.astype(np.float64) / norm
        if self.augmented:
            query = np.append(query, 0.0)
        return self.nearest(query, n, effort)

    @abstractmethod
    def nearest(self, query: np.ndarray, n: int, effort: int) -> np.ndarray:
        """Proposes up to `n` distinct rows, int64, for a query of length 1, augmented like the points."""

    @abstractmethod
    def save(self, directory: Path) -> list[str]:
        """Writes the structure into the files that `settings.files` names, and returns their names."""

    def facts(self) -> dict[str, Any]:
        """Facts beyond settings and tuning that a manifest keeps, as JSON can hold them."""
        return {}


def is_augmented(exact: ExactIndex) -> bool:
    """Whether vectors differ in length, so that points need one more number."""
    norms = np.linalg.norm(exact.vectors, axis=1)
    return bool(norms.min() < exact.max_norm * (1 - EQUAL_LENGTHS))


def points_of(exact: ExactIndex, augmented: bool, rows: slice | np.ndarray) -> np.ndarray:
    """Points of a structure for some rows of the catalogue: float64 `[n_rows, d]`, or of `d + 1` numbers.

    In units of the longest vector M is 1, and a library that computes in float32 squares no huge number;
    angles do not change.
    """
    # The 1.0 serves a catalogue of zero vectors.
    points = exact.vectors[rows].astype(np.float64) / (exact.max_norm or 1.0)
    if augmented:
        # Rounding can leave the longest vector a rest just below 0, which has no root.
        rest = 1.0 - np.einsum("nd,nd->n", points, points)
        points = np.column_stack([points, np.sqrt(np.maximum(rest, 0.0))])
    return points


def _exclusions(
    queries: np.ndarray | None, exclude: Sequence[np.ndarray] | None, seed: int
) -> list[np.ndarray] | None:
    """Exclusions of the queries that `sample_queries` takes."""
    if exclude is None:
        return None
    if queries is None or len(queries) != len(exclude):
        raise ConfigError(
            "`tuning_exclude` has rows for each of the tuning queries. Received: "
            f"{len(exclude):,} lists for {0 if queries is None else len(queries):,} queries."
        )
    return [np.asarray(exclude[row]) for row in sampled(np.arange(len(queries)), seed)]


def oversampled(settings: Approximate) -> list[Approximate]:
    """Variants of settings whose codes propose more and more candidates for each that is wanted."""
    if cast(Any, settings).oversampling is not None:
        return [settings]
    return [replace(cast(Any, settings), oversampling=times) for times in OVERSAMPLING]
