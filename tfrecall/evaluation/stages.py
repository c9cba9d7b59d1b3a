"""How much each stage of a pipeline loses: of what is looked for, what never gets to the ranker, and
what the ranker then puts too far down."""

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
    """A pipeline, as `tfrecall.Pipeline` and its release are one."""

    retrieval: Any
    n_candidates: int
    exclude_seen: bool


@dataclass(frozen=True)
class StageLosses:
    """Where a pipeline loses what is looked for.

    Attributes:
        model: the pipeline's name.
        rule: `seen_removed` if the pipeline leaves out what users had, else `seen_kept`.
        n_candidates: what the retrieval hands on.
        candidates: of the test rows and of the users' items the share among the candidates:
            `hit_rate` and `user_recall`. No ranker can find more, and with lists as long as the
            candidates none finds less.
        lists: k -> who orders (`retrieval` alone, the `pipeline`, a `perfect` ranker of the same
            candidates) -> hit_rate, ndcg, user_recall, user_ndcg of lists of length k.
    """

    model: str
    rule: str
    n_candidates: int
    candidates: Figures
    lists: dict[int, dict[str, Figures]]

    def to_dict(self) -> dict[str, Any]:
        """Plain Python types, ready for `json.dumps`."""
        return {**asdict(self), "lists": {f"@{k}": dict(told) for k, told in self.lists.items()}}

    def table(self, metric: str = "hit_rate") -> pl.DataFrame:
        """One row a k: the metric of the three, and what each stage loses of it.

        Returns:
            `k`, `retrieval`, `pipeline`, `perfect`, `lost by retrieval` (what the perfect ranker lacks of
            1) and `lost by ranking` (what the pipeline lacks of the perfect ranker). Of user_recall
            nobody reaches 1 who has more than k items.
        """
        rows = []
        for k, told in self.lists.items():
            values = {who: figures[metric] for who, figures in told.items()}
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
    """Holds the lists of a pipeline against those of its retrieval and of a perfect ranker.

    Candidates are counted before rules: what a cap keeps out of a list is lost by the ranking.

    Args:
        pipeline: of live models or of a release.
        test, seen, ks, block_size, progress: see `tfrecall.evaluate`.
        ranking: what `evaluate(pipeline, ...).rankings[pipeline.name]` holds, if it is there already.
    """
    check_ks(ks)
    asked: dict[str, Any] = {"seen": seen, "ks": ks, "block_size": block_size, "progress": progress}
    final = ranking if ranking is not None else rank(pipeline, test, **asked)
    first = rank(pipeline.retrieval, test, **asked)
    rule = Seen.of(pipeline.exclude_seen)
    one, two = first.by(rule), final.by(rule)
    count = pipeline.n_candidates
    rows = (one.rows < count) | (two.rows != MISS)
    found = (one.targets.ranks < count) | (two.targets.ranks != MISS)
    targets = UserTargets(one.targets.users, np.where(found, 0, MISS))
    perfect = RuleRanks(np.where(rows, 0, MISS), _perfect(targets), {})
    lists = {
        int(k): {
            "retrieval": _figures(one, k),
            "pipeline": _figures(two, k),
            "perfect": _figures(perfect, k),
        }
        for k in ks
    }
    share = {"hit_rate": rows.mean(), "user_recall": metrics.user_recall(targets, 1).mean()}
    candidates = {name: float(value) for name, value in share.items()}
    return StageLosses(pipeline.name, rule.value, count, candidates, lists)


def _perfect(targets: UserTargets) -> UserTargets:
    """Each user's found items in the first places."""
    found = targets.ranks != MISS
    ranks = np.full(len(found), MISS)
    users = targets.users[found]
    order = np.argsort(users, kind="stable")
    starts = np.searchsorted(users[order], users[order])
    places = np.empty(len(users), np.int64)
    places[order] = np.arange(len(users)) - starts
    ranks[found] = places
    return UserTargets(targets.users, ranks)


def _figures(ranks: RuleRanks, k: int) -> Figures:
    named: dict[str, tuple[Callable[..., np.ndarray], Any]] = {
        "hit_rate": (metrics.hit_rate, ranks.rows),
        "ndcg": (metrics.ndcg, ranks.rows),
        "user_recall": (metrics.user_recall, ranks.targets),
        "user_ndcg": (metrics.user_ndcg, ranks.targets),
    }
    return {name: float(metric(of, k).mean()) for name, (metric, of) in named.items()}
