"""Approximate search with Annoy: trees propose candidates, exact scores order them.

Annoy compares angles, we want inner products. Where all vectors are equally long that is the same
order. Otherwise each vector x gets one more number, sqrt(M^2 - |x|^2) with M the longest length,
which makes all equally long; a query gets 0 in its place, so that its inner products do not change:
Bachrach et al., "Speeding Up the Xbox Recommender System Using a Euclidean Transformation for
Inner-Product Spaces", RecSys 2014. Annoy's own metric `dot` is defective in 1.17.3.

Annoy is compiled for the machine it is installed on (`-march=native`). A wheel, container image or
virtual environment moved to another CPU can stop the process with SIGILL, which no Python code
can catch. Install it where it runs, or compile for what all machines have:
`ANNOY_COMPILER_ARGS=-O3,-march=x86-64-v2,-std=c++14,-DANNOYLIB_MULTITHREADED_BUILD,-fpermissive`
(it replaces all of Annoy's own flags). The file of an index is not affected; it loads on any
little-endian machine. The same seed gives the same trees on the same kind of CPU only.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import polars as pl
from annoy import AnnoyIndex as Forest

from tfrecall.errors import ConfigError
from tfrecall.index.exact import SLACK, Exact, ExactIndex
from tfrecall.index.search import Exclusions, Hits, Request
from tfrecall.index.tuning import TuningTable, sample_queries, sampled, tune

# Relative. The order by angle and the order by inner product then differ by no more than this.
EQUAL_LENGTHS = 1e-5
# Annoy takes search_k as a C int.
LARGEST_SEARCH_K = 2**31 - 1
# Vectors converted to Python lists at a time.
CHUNK = 4096
# Neighbours that a new forest must return to count as sound.
CHECKED = 100


@dataclass(frozen=True)
class Annoy:
    """Configuration of an Annoy index.

    Args:
        n_trees: more trees find more with the same effort, and take more disk and memory.
        target_recall: share of the true best `tune_k` to find, in (0, 1].
        tune_k: the `k` that the effort is tuned for; larger ones get proportionally more.
        search_k: the effort, in candidates looked at over all trees; None to tune it.
        seed: seed of the trees and of the sample of queries.

    >>> vectors = np.random.default_rng(0).normal(size=(300, 8))
    >>> index = Annoy(n_trees=10, tune_k=10).build(vectors, [str(i) for i in range(300)])
    >>> index.table.chosen.recall >= 0.95
    True
    """

    n_trees: int = 50
    target_recall: float = 0.95
    tune_k: int = 100
    search_k: int | None = None
    seed: int = 42

    def __post_init__(self) -> None:
        for name, lowest in (("n_trees", 1), ("tune_k", 1), ("search_k", 1), ("seed", 0)):
            value = getattr(self, name)
            if value is None and name == "search_k":
                continue
            if not isinstance(value, int) or not lowest <= value <= LARGEST_SEARCH_K:
                raise ConfigError(
                    f"Annoy's `{name}` must be an integer from {lowest} to {LARGEST_SEARCH_K}. "
                    f"Received {name}={value!r}."
                )
        if not 0 < self.target_recall <= 1:
            raise ConfigError(
                "Annoy's `target_recall` must be above 0 and at most 1. "
                f"Received target_recall={self.target_recall!r}."
            )

    def build(
        self,
        vectors: np.ndarray,
        ids: Sequence[str] | np.ndarray | pl.Series,
        tuning_queries: np.ndarray | None = None,
        tuning_exclude: Sequence[np.ndarray] | None = None,
    ) -> "AnnoyIndex":
        """Checks a catalogue as `Exact.build` does, plants the trees and tunes the effort.

        Args:
            vectors: number `[n, d]`.
            ids: `n` distinct strings.
            tuning_queries: query vectors `[n_queries, d]` or `[n_queries, interests, d]` as the index
                will be searched with; a sample of at most 500 is used. None samples the catalogue.
            tuning_exclude: for each of these queries the rows that its lists will leave out, such as the seen
                items of the user. The target is then reached with them and without. None: nothing.

        Raises:
            ConfigError: if the shape is wrong, there are not as many exclusions as queries, or the trees do not
                hold the whole catalogue, the mark of an Annoy that was compiled wrongly.
            DataError: if the catalogue is empty, a number is not finite, or an id is null, empty or occurs
                twice.
        """
        return self.build_over(Exact().build(vectors, ids), tuning_queries, tuning_exclude)

    def build_over(
        self,
        exact: ExactIndex,
        tuning_queries: np.ndarray | None = None,
        tuning_exclude: Sequence[np.ndarray] | None = None,
    ) -> "AnnoyIndex":
        """Builds the index over the vectors of an exact one, without a copy; errors as for `build`."""
        exclude = _exclusions(tuning_queries, tuning_exclude, self.seed)
        norms = np.linalg.norm(exact.vectors, axis=1)
        augmented = bool(norms.min() < exact.max_norm * (1 - EQUAL_LENGTHS))
        forest = _plant(exact, augmented, self.n_trees, self.seed)
        table = tune(
            # The 1 is a placeholder: tuning passes each effort to `search` itself.
            AnnoyIndex(exact, forest, augmented, replace(self, search_k=1)),
            exact,
            sample_queries(exact, tuning_queries, self.seed),
            self.tune_k,
            self.target_recall,
            efforts=None if self.search_k is None else iter([self.search_k]),
            exclude=exclude,
        )
        tuned = replace(self, search_k=table.chosen.search_k)
        return AnnoyIndex(exact, forest, augmented, tuned, table)


class AnnoyIndex:
    """Finds most of the candidates with the largest inner product.

    Trees propose candidates; scores and order are those of `ExactIndex`. Excluded rows are left out as
    there: the search is widened until `k` are left or everything was seen. A query with several vectors
    searches for each with the whole effort, and scores the candidates of all by the best vector: the best
    `k` of the query are all among the best `k` of one of them. When `search_k` reaches `exhaustive`, the
    hits are those of `ExactIndex`.

    Made by `Annoy.build` or `load_bundle`.

    Args:
        exact: the same catalogue, for scores and for requests that exact search answers faster.
        forest: Annoy's index over the (augmented) vectors.
        augmented: whether the forest has one more dimension than the vectors.
        settings: how it was built; its `search_k` is the effort of a search.
        table: the efforts that were tried for `search_k`.
    """

    def __init__(
        self,
        exact: ExactIndex,
        forest: Forest,
        augmented: bool,
        settings: Annoy,
        table: TuningTable | None = None,
    ) -> None:
        if settings.search_k is None:
            raise ConfigError("An AnnoyIndex needs a `search_k`. Let `Annoy.build` tune one.")
        self.exact = exact
        self.forest = forest
        self.augmented = augmented
        self.settings = settings
        self.search_k = settings.search_k
        self.table = table

    def __len__(self) -> int:
        return len(self.exact)

    @property
    def ids(self) -> np.ndarray:
        """Object array of `str` `[n]` in catalogue order."""
        return self.exact.ids

    @property
    def dimension(self) -> int:
        """Length of a query vector."""
        return self.exact.dimension

    @property
    def exhaustive(self) -> int:
        """The `search_k` from which every candidate is looked at in every tree."""
        return min(len(self) * self.settings.n_trees, LARGEST_SEARCH_K)

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
        # For equal recall the trees must look at effort * count / allowed candidates, and exact search looks at
        # the allowed ones: it looks at fewer where allowed squared is below effort * count.
        few = request.allowed is not None and len(request.allowed) ** 2 <= effort * len(self)
        if few or not len(request):
            return self.exact.answer(request)
        parts = [self._answer_one(request.part(i, i + 1), effort) for i in range(len(request))]
        return Hits(*(np.concatenate(arrays) for arrays in zip(*parts, strict=True)))

    def _answer_one(self, request: Request, effort: int) -> Hits:
        if not np.all(request.norms[0]):  # a zero vector has no direction to descend the trees by
            return self.exact.answer(request)
        count = len(self)
        # The best k of the allowed items lie among the best k / share of all; the effort was tuned for
        # `tune_k` of all, and grows with how many more have to be looked through.
        kept = 1.0 if request.allowed is None else len(request.allowed) / count
        needed = (request.k + len(request.rows)) / kept
        least = stretch = max(1.0, needed / self.settings.tune_k)
        # Past one look at each candidate the matrix product is cheaper than more of the trees.
        while stretch == 1.0 or effort * stretch < count:
            stretched = min(math.ceil(effort * stretch), self.exhaustive)
            # `needed` at the first try, then as many times more as the effort has grown since.
            n = math.ceil(needed * stretch / least) + SLACK
            rows = self._candidates(request, n, stretched)
            if len(rows) >= request.k or stretched == self.exhaustive:
                return self.exact.rank(request.queries, rows[np.newaxis], request.k)
            stretch *= 2
        return self.exact.answer(request)

    def _candidates(self, request: Request, n: int, effort: int) -> np.ndarray:
        """Candidates that the trees propose for one query, without excluded and disallowed rows."""
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
        # Annoy works in float32: of unit length nothing overflows or vanishes.
        query = vector.astype(np.float64) / norm
        if self.augmented:
            query = np.append(query, 0.0)
        return np.array(self.forest.get_nns_by_vector(query, n, effort), dtype=np.int64)


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


def _plant(exact: ExactIndex, augmented: bool, n_trees: int, seed: int) -> Forest:
    """Builds the trees, on one thread: more would not give the same trees twice."""
    forest = Forest(exact.dimension + augmented, "angular")
    forest.set_seed(seed)
    # In units of the longest vector M is 1, and Annoy, which computes in float32, squares no huge number;
    # angles do not change. The 1.0 serves a catalogue of zero vectors.
    scale = exact.max_norm or 1.0
    for start in range(0, len(exact), CHUNK):
        points = exact.vectors[start : start + CHUNK].astype(np.float64) / scale
        if augmented:
            # Rounding can leave the longest vector a rest just below 0, which has no root.
            rest = 1.0 - np.einsum("nd,nd->n", points, points)
            points = np.column_stack([points, np.sqrt(np.maximum(rest, 0.0))])
        for row, point in enumerate(points.tolist(), start):
            forest.add_item(row, point)
    forest.build(n_trees, n_jobs=1)
    _check_forest(forest, n_trees)
    return forest


def _check_forest(forest: Forest, n_trees: int) -> None:
    """Refuses a forest whose trees do not hold every item.

    Annoy compiled by some compilers plants trees that return one neighbour and no more
    (github.com/spotify/annoy/issues/679). Tuning would not notice: it would find that no effort is enough
    and take the largest. Each tree holds each item once, so the first `n * n_trees` items that are met
    hold `n` different ones in any sound forest.
    """
    n = min(CHECKED, forest.get_n_items())
    returned = len(forest.get_nns_by_item(0, n, n * n_trees))
    if returned < n:
        raise ConfigError(
            f"The Annoy index that was built is broken: of {n} neighbours that every tree holds it returned "
            f"{returned}. Some compilers build Annoy so: install it anew with "
            "ANNOY_COMPILER_ARGS=-O2,-march=x86-64-v2,-std=c++14,-DANNOYLIB_MULTITHREADED_BUILD,-fpermissive, "
            "or use exact search (`tfrecall.index.Exact`; in a recipe leave `index` out)."
        )


def open_forest(path: Path, dimension: int, augmented: bool) -> Forest:
    """Maps a forest into memory. Annoy takes any file: check size and checksum before."""
    forest = Forest(dimension + augmented, "angular")
    # Pages are read when a query needs them: a replica is up at once, and slow for its first queries.
    forest.load(str(path), prefault=False)
    return forest
