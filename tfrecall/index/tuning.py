"""Tuning of an approximate index: the smallest effort that reaches a recall, against exact search."""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any, Protocol

import numpy as np

from tfrecall.errors import ConfigError
from tfrecall.index.exact import ExactIndex
from tfrecall.index.search import Exclusions, Hits, checked_norms, checked_vectors

# 500 queries x k=100 leave a standard error of about a quarter of a point at recall .95.
SAMPLE = 500


class Tunable(Protocol):
    """An index whose effort per query can be chosen."""

    @property
    def exhaustive(self) -> int:
        """The `search_k` from which every candidate is looked at."""
        ...

    def search(
        self,
        queries: np.ndarray,
        k: int,
        exclude: Exclusions | None = None,
        *,
        search_k: int | None = None,
    ) -> Hits:
        """Finds the `k` best candidates of each query with the given effort, without excluded rows."""
        ...


@dataclass(frozen=True)
class TuningRow:
    """Recall and latency of one effort.

    Attributes:
        search_k: the effort: candidates over all trees of Annoy, `efSearch` of a graph, lists or leaves that
            are looked through.
        recall: share of the true best `k` that were found, mean over the sample; nothing was excluded.
        standard_error: standard error of `recall`, over the queries of the sample.
        p50_us: median latency of one query alone, in microseconds, with the exclusions of the sample.
        p95_us: 95th percentile of the same.
        recall_excluding: share of the true best `k` that are left once each query excludes its rows, such as
            the seen items of a user; None where the sample excludes nothing.
    """

    search_k: int
    recall: float
    standard_error: float
    p50_us: float
    p95_us: float
    recall_excluding: float | None = None


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
    exclude: Sequence[np.ndarray] | None = None,
) -> TuningTable:
    """Finds the smallest effort that reaches a recall, by doubling it until it does.

    An effort is chosen when its recall lies two standard errors above the target, so that other
    queries of the same kind can be expected to reach the target too. With exclusions it must do so with
    them and without: behind the best items, which a user may have seen, neighbours are harder to find. If
    none does, the exhaustive effort is chosen.

    Args:
        index: the index to tune.
        exact: exact search over the same catalogue.
        queries: float32 `[n_queries, d]` or `[n_queries, interests, d]`, like those that the index will
            be asked.
        k: the `k` of recall@k; more than the catalogue holds means all of it.
        target_recall: in (0, 1].
        efforts: efforts to try, ascending; None for k, 2 k, 4 k, ... and exhaustive.
        exclude: for each query the rows that its lists leave out; None to leave out nothing.

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
    asked = [None, exclude] if exclude is not None and any(map(len, exclude)) else [None]
    truths = [_timed(exact.search, queries, k, rows) for rows in asked]
    tried: list[TuningRow] = []
    for effort in efforts or doubling(k, index.exhaustive):
        search = partial(index.search, search_k=effort)
        timed = [_timed(search, queries, k, rows) for rows in asked]
        recalls = [recall_of(hits, truth) for (_, hits), (_, truth) in zip(timed, truths, strict=True)]
        tried.append(_row(effort, recalls, timed[-1][0]))
        if all(recall.mean() - 2 * _standard_error(recall) >= target_recall for recall in recalls):
            break
    return TuningTable(
        k=k,
        target_recall=target_recall,
        n_queries=len(queries),
        exact_p50_us=round(float(np.percentile(truths[-1][0], 50)), 1),
        rows=tuple(tried),
    )


def recall_of(hits: Hits, truth: Hits) -> np.ndarray:
    """Recall of each query: float64 `[n_queries]`.

    A candidate whose score equals the last true one counts as found: which of several equal
    candidates is among the best k is a matter of order, not of search. Of a query that excludes all but fewer
    than k candidates those are the true ones; with none left its recall is 1.

    Args:
        hits: hits of the index, with exact scores.
        truth: hits of exact search, the same `k`.
    """
    correct = (hits.rows >= 0) & (hits.scores >= truth.scores[:, -1:])
    wanted = (truth.rows >= 0).sum(axis=1)
    return np.where(wanted > 0, correct.sum(axis=1) / np.maximum(wanted, 1), 1.0)


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
    return np.array(source[sampled(pool, seed, at_most)])


def sampled(pool: np.ndarray, seed: int, at_most: int = SAMPLE) -> np.ndarray:
    """Up to `at_most` of some numbers, in ascending order; equal ones for pools of equal length."""
    if len(pool) <= at_most:
        return pool
    # Sorted, so that a memory-mapped file is read in one direction.
    return np.sort(np.random.default_rng(seed).choice(pool, at_most, replace=False))


def doubling(start: int, end: int) -> Iterator[int]:
    """Efforts from `start`, each twice the one before, and `end` as the last."""
    effort = start
    while effort < end:
        yield effort
        effort *= 2
    yield end


def _row(effort: int, recalls: list[np.ndarray], times: np.ndarray) -> TuningRow:
    plain, *excluding = recalls
    return TuningRow(
        search_k=effort,
        recall=round(float(plain.mean()), 6),
        standard_error=round(_standard_error(plain), 6),
        p50_us=round(float(np.percentile(times, 50)), 1),
        p95_us=round(float(np.percentile(times, 95)), 1),
        recall_excluding=round(float(excluding[0].mean()), 6) if excluding else None,
    )


def _standard_error(recalls: np.ndarray) -> float:
    return float(recalls.std() / np.sqrt(len(recalls)))


def _timed(
    search: Callable[..., Hits],
    queries: np.ndarray,
    k: int,
    exclude: Sequence[np.ndarray] | None,
) -> tuple[np.ndarray, Hits]:
    """Searches one query at a time: the microseconds of each, and all hits."""
    times, answers = np.empty(len(queries)), []
    # Alone and not as a batch, because a service answers queries as they come.
    for i in range(len(queries)):
        left_out = None if exclude is None else exclude[i : i + 1]
        begin = time.perf_counter_ns()
        answers.append(search(queries[i : i + 1], k, left_out))
        times[i] = (time.perf_counter_ns() - begin) / 1000
    return times, Hits(*(np.concatenate(arrays) for arrays in zip(*answers, strict=True)))
