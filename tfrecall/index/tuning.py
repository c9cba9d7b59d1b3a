"""Tuning of an approximate index: the smallest effort that reaches a recall, against exact search."""

import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import Any, Protocol

import numpy as np

from tfrecall.errors import ConfigError
from tfrecall.index.exact import ExactIndex
from tfrecall.index.search import Hits, checked_norms, checked_vectors

# 500 queries x k=100 leave a standard error of about a quarter of a point at recall .95.
SAMPLE = 500


class Tunable(Protocol):
    """An index whose effort per query can be chosen."""

    @property
    def exhaustive(self) -> int:
        """The `search_k` from which every candidate is looked at."""
        ...

    def search(self, queries: np.ndarray, k: int, *, search_k: int | None = None) -> Hits:
        """Finds the `k` best candidates of each query with the given effort."""
        ...


@dataclass(frozen=True)
class TuningRow:
    """Recall and latency of one effort.

    Attributes:
        search_k: the effort.
        recall: share of the true best `k` that were found, mean over the sample.
        standard_error: standard error of `recall`, over the queries of the sample.
        p50_us: median latency of one query alone, in microseconds.
        p95_us: 95th percentile of the same.
    """

    search_k: int
    recall: float
    standard_error: float
    p50_us: float
    p95_us: float


@dataclass(frozen=True)
class TuningTable:
    """Every effort that was tried; the last one is the one chosen.

    Attributes:
        k: the `k` of recall@k.
        target_recall: the recall to reach.
        n_queries: size of the sample.
        exact_p50_us: median latency of exact search for the same queries.
        rows: in growing effort.
    """

    k: int
    target_recall: float
    n_queries: int
    exact_p50_us: float
    rows: tuple[TuningRow, ...]

    @property
    def chosen(self) -> TuningRow:
        """The row whose `search_k` the index uses."""
        return self.rows[-1]

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers, for a manifest."""
        return {**asdict(self), "rows": [asdict(row) for row in self.rows]}

    @classmethod
    def from_dict(cls, table: dict[str, Any]) -> "TuningTable":
        """The inverse of `to_dict`."""
        return cls(**{**table, "rows": tuple(TuningRow(**row) for row in table["rows"])})


def tune(
    index: Tunable,
    exact: ExactIndex,
    queries: np.ndarray,
    k: int,
    target_recall: float,
    efforts: Iterator[int] | None = None,
) -> TuningTable:
    """Finds the smallest effort that reaches a recall, by doubling it until it does.

    An effort is chosen when its recall lies two standard errors above the target, so that other
    queries of the same kind can be expected to reach the target too. If none does, the exhaustive
    effort is chosen.

    Args:
        index: the index to tune.
        exact: exact search over the same catalogue.
        queries: float32 `[n_queries, d]` or `[n_queries, interests, d]`, like those that the index will
            be asked.
        k: the `k` of recall@k; more than the catalogue holds means all of it.
        target_recall: in (0, 1].
        efforts: efforts to try, ascending; None for k, 2 k, 4 k, ... and exhaustive.

    Returns:
        All efforts tried; the last one is the one to use.

    Raises:
        ConfigError: if `queries` is empty.
    """
    if not len(queries):
        raise ConfigError(
            "Tuning needs at least one query vector. Received none. "
            "Leave `tuning_queries` out to tune with vectors of the catalogue."
        )
    k = min(k, len(exact))
    exact_us, truth = _timed(lambda query: exact.search(query, k), queries)
    rows: list[TuningRow] = []
    for effort in efforts or _doubling(k, index.exhaustive):
        rows.append(_measure(index, queries, truth, k, effort))
        if rows[-1].recall - 2 * rows[-1].standard_error >= target_recall:
            break
    return TuningTable(
        k=k,
        target_recall=target_recall,
        n_queries=len(queries),
        exact_p50_us=round(float(np.percentile(exact_us, 50)), 1),
        rows=tuple(rows),
    )


def recall_of(hits: Hits, truth: Hits) -> np.ndarray:
    """Recall of each query: float64 `[n_queries]`.

    A candidate whose score equals the last true one counts as found: which of several equal
    candidates is among the best k is a matter of order, not of search.

    Args:
        hits: hits of the index, with exact scores.
        truth: hits of exact search, the same `k`.
    """
    correct = (hits.rows >= 0) & (hits.scores >= truth.scores[:, -1:])
    return correct.sum(axis=1) / truth.rows.shape[1]


def sample_queries(
    exact: ExactIndex, queries: np.ndarray | None, seed: int, at_most: int = SAMPLE
) -> np.ndarray:
    """Samples up to `at_most` query vectors to tune with.

    Without queries, vectors of the catalogue are sampled. They suit similar items; for users pass query
    vectors, which may lie elsewhere and be harder to search for.
    """
    if queries is None:
        # Zero vectors have no direction and would count as found without a search.
        pool = np.flatnonzero(np.any(exact.vectors, axis=1))
        source = exact.vectors
        pool = pool if len(pool) else np.arange(len(source))
    else:
        source = checked_vectors(queries, "tuning queries", several=True)
        checked_norms(source, "tuning queries")
        pool = np.arange(len(source))
    if len(pool) > at_most:
        # Sorted, so that a memory-mapped file is read in one direction.
        pool = np.sort(np.random.default_rng(seed).choice(pool, at_most, replace=False))
    return np.array(source[pool])


def _doubling(start: int, end: int) -> Iterator[int]:
    effort = start
    while effort < end:
        yield effort
        effort *= 2
    yield end


def _measure(index: Tunable, queries: np.ndarray, truth: Hits, k: int, effort: int) -> TuningRow:
    times, hits = _timed(lambda query: index.search(query, k, search_k=effort), queries)
    recalls = recall_of(hits, truth)
    return TuningRow(
        search_k=effort,
        recall=round(float(recalls.mean()), 6),
        standard_error=round(float(recalls.std() / np.sqrt(len(recalls))), 6),
        p50_us=round(float(np.percentile(times, 50)), 1),
        p95_us=round(float(np.percentile(times, 95)), 1),
    )


def _timed(search: Callable[[np.ndarray], Hits], queries: np.ndarray) -> tuple[np.ndarray, Hits]:
    """Searches one query at a time: the microseconds of each, and all hits."""
    times, answers = np.empty(len(queries)), []
    # Alone and not as a batch, because a service answers queries as they come.
    for i in range(len(queries)):
        begin = time.perf_counter_ns()
        answers.append(search(queries[i : i + 1]))
        times[i] = (time.perf_counter_ns() - begin) / 1000
    return times, Hits(*(np.concatenate(arrays) for arrays in zip(*answers, strict=True)))
