"""Losses of each stage of a pipeline: targets that retrieval misses, and targets that the ranker misplaces."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Protocol

import numpy as np
import polars as pl

from tfrecall.core.progress import ProgressReporter
from tfrecall.core.retriever import Retriever
from tfrecall.core.seen import Seen
from tfrecall.data.interactions import Interactions
from tfrecall.evaluation import metrics
from tfrecall.evaluation.metrics import MISS, UserTargets
from tfrecall.evaluation.ranks import Ranking, RuleRanks, check_ks, rank

Figures = dict[str, float]


class InStages(Retriever, Protocol):
    """A pipeline of two stages: `tfrecall.Pipeline` or its release."""

    retrieval: Any
    n_candidates: int
    exclude_seen: bool


@dataclass(frozen=True)
class StageLosses:
    """Losses of the stages of a pipeline.

    Attributes:
        model: the pipeline's name.
        rule: `seen_removed` if the pipeline leaves out seen items, else `seen_kept`.
        n_candidates: number of candidates from the retrieval.
        candidates: share of targets among the candidates: `hit_rate` of test rows and `user_recall` of users.
            An upper bound of every ranker, reached by all of them in lists as long as the candidates.
        lists: k -> order (`retrieval` alone, the `pipeline`, a `perfect` ranker of the same candidates) ->
            hit_rate, ndcg, user_recall, user_ndcg of lists of length k.
    """

    model: str
    rule: str
    n_candidates: int
    candidates: Figures
    lists: dict[int, dict[str, Figures]]

    def to_dict(self) -> dict[str, Any]:
        """Plain Python types, ready for `json.dumps`."""
        return {**asdict(self), "lists": {f"@{k}": dict(lists) for k, lists in self.lists.items()}}

    def table(self, metric: str = "hit_rate") -> pl.DataFrame:
        """One row a k: the metric of each order, and the loss of each stage.

        Returns:
            `k`, `retrieval`, `pipeline`, `perfect`, `lost by retrieval` (1 less the perfect ranker) and
            `lost by ranking` (the perfect ranker less the pipeline). user_recall cannot reach 1 for users
            with more than k targets.
        """
        rows = []
        for k, lists in self.lists.items():
            values = {order: figures[metric] for order, figures in lists.items()}
            lost = {
                "lost by retrieval": 1 - values["perfect"],
                "lost by ranking": values["perfect"] - values["pipeline"],
            }
            rows.append({"k": k, **values, **lost})
        return pl.DataFrame(rows)


def stage_losses(
    pipeline: InStages,
    test: Interactions,
    *,
    seen: Interactions,
    ks: Sequence[int] = (1, 5, 10, 20, 50, 100),
    ranking: Ranking | None = None,
    block_size: int = 2048,
    progress: ProgressReporter | None = None,
) -> StageLosses:
    """Compares the lists of a pipeline with those of its retrieval and of a perfect ranker.

    Candidates are counted before rules: an item that a cap keeps out of a list is a loss of the ranking.

    Args:
        pipeline: a pipeline of live models, or its release.
        test: rows to predict; targets outside the catalogue count as misses.
        seen: interactions before the test rows.
        ks: lengths of lists.
        ranking: `evaluate(pipeline, ...).rankings[pipeline.name]`, if it was computed before.
        block_size: most queries scored at once; fewer where a block would exceed 512 MB.
        progress: receives the model's name, rows done and all rows after each block; without it the
            logger "tfrecall" does.

    Raises:
        DataError: if `test` is empty.
        ConfigError: if an argument makes no sense or the scores are unusable.

    Example:

    >>> import tfrecall as tr
    >>> losses = tr.stage_losses(pipeline, test, seen=train)  # doctest: +SKIP
    >>> losses.table("hit_rate")  # doctest: +SKIP
    """
    check_ks(ks)
    settings: dict[str, Any] = {"seen": seen, "ks": ks, "block_size": block_size, "progress": progress}
    final = ranking if ranking is not None else rank(pipeline, test, **settings)
    first = rank(pipeline.retrieval, test, **settings)
    rule = Seen.of(pipeline.exclude_seen)
    one, two = first.by(rule), final.by(rule)
    count = pipeline.n_candidates
    # A target is a candidate if the retrieval ranks it so, or if it came into the pipeline's list: of ties
    # at the last place the pipeline takes the first, while a rank counts them against the model.
    rows = (one.rows < count) | (two.rows != MISS)
    candidates = (one.targets.ranks < count) | (two.targets.ranks != MISS)
    targets = UserTargets(one.targets.users, np.where(candidates, 0, MISS))
    perfect = RuleRanks(np.where(rows, 0, MISS), _perfect(targets), {})
    lists = {
        int(k): {
            "retrieval": _figures(one, k),
            "pipeline": _figures(two, k),
            "perfect": _figures(perfect, k),
        }
        for k in ks
    }
    # Candidates have rank 0 in `targets` and all others MISS, so any k counts them all.
    share = {"hit_rate": rows.mean(), "user_recall": metrics.user_recall(targets, 1).mean()}
    shares = {name: float(value) for name, value in share.items()}
    return StageLosses(pipeline.name, rule.value, count, shares, lists)


def _perfect(targets: UserTargets) -> UserTargets:
    """Ranks of a perfect list: each user's found targets in the first places."""
    hit = targets.ranks != MISS
    ranks = np.full(len(hit), MISS)
    users = targets.users[hit]
    # Place in the group of equal users: its rank in the sorted array less where the group begins.
    order = np.argsort(users, kind="stable")
    starts = np.searchsorted(users[order], users[order])
    places = np.empty(len(users), np.int64)  # of each found target among its user's
    places[order] = np.arange(len(users)) - starts
    ranks[hit] = places
    return UserTargets(targets.users, ranks)


def _figures(ranks: RuleRanks, k: int) -> Figures:
    named: dict[str, tuple[Callable[..., np.ndarray], Any]] = {
        "hit_rate": (metrics.hit_rate, ranks.rows),
        "ndcg": (metrics.ndcg, ranks.rows),
        "user_recall": (metrics.user_recall, ranks.targets),
        "user_ndcg": (metrics.user_ndcg, ranks.targets),
    }
    return {name: float(metric(of, k).mean()) for name, (metric, of) in named.items()}
