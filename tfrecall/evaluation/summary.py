"""Metrics by name from ranks, and the primary ones among them."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import polars as pl

from tfrecall.core.seen import Seen
from tfrecall.core.vocabulary import Vocabulary
from tfrecall.data.inspection.profiles import gini
from tfrecall.data.interactions import Interactions
from tfrecall.evaluation import metrics
from tfrecall.evaluation.ranks import Ranking, RuleRanks

# "Popular" in popularity_share: the most chosen tenth of the catalogue.
POPULAR_SHARE = 0.1

Figures = dict[str, float]


def summarize(
    ranking: Ranking, seen: Interactions, item_ids: np.ndarray, ks: Sequence[int]
) -> dict[str, Figures]:
    """Computes all metrics under both rules: `{"seen_removed": {...}, "seen_kept": {...}}`.

    Args:
        ranking: from `rank` with the same `ks`.
        seen: interactions that the popularity of items is counted in.
        item_ids: the catalogue of the ranked model.
        ks: lengths of lists.
    """
    popularity = _ItemPopularity(seen, item_ids)
    return {
        rule.value: {
            **row_figures(ranks.rows, ks),
            **_user_figures(ranks.targets, ks),
            **_catalogue_figures(ranks, popularity),
        }
        for rule in Seen
        for ranks in [ranking.by(rule)]
    }


def summarize_slices(
    ranking: Ranking, masks: dict[str, np.ndarray], ks: Sequence[int]
) -> dict[str, dict[str, Any]]:
    """Computes rows, hit_rate@k and ndcg@10 of each slice under both rules.

    A slice without rows has no means: its metrics are empty.
    """
    return {
        name: {
            "rows": int(mask.sum()),
            **{rule.value: _slice_figures(ranking.by(rule).rows[mask], ks) for rule in Seen},
        }
        for name, mask in masks.items()
    }


def row_figures(ranks: np.ndarray, ks: Sequence[int]) -> Figures:
    """Computes means over test rows: hit_rate@k, ndcg@k, mrr."""
    return {name: _mean(values) for name, values in row_values(ranks, ks).items()}


def row_values(ranks: np.ndarray, ks: Sequence[int]) -> dict[str, np.ndarray]:
    """Values of each test row whose means are `row_figures`: float `[n_rows]` each."""
    hits = {f"hit_rate@{k}": metrics.hit_rate(ranks, k) for k in ks}
    gains = {f"ndcg@{k}": metrics.ndcg(ranks, k) for k in ks}
    return {**hits, **gains, "mrr": metrics.mrr(ranks)}


def _slice_figures(ranks: np.ndarray, ks: Sequence[int]) -> Figures:
    if len(ranks) == 0:
        return {}
    hits = {f"hit_rate@{k}": _mean(metrics.hit_rate(ranks, k)) for k in ks}
    return {**hits, "ndcg@10": _mean(metrics.ndcg(ranks, 10))}


def _user_figures(targets: metrics.UserTargets, ks: Sequence[int]) -> Figures:
    named = {
        "user_recall": metrics.user_recall,
        "user_precision": metrics.user_precision,
        "user_ndcg": metrics.user_ndcg,
        "user_map": metrics.user_map,
    }
    return {f"{name}@{k}": _mean(f(targets, k)) for name, f in named.items() for k in ks}


class _ItemPopularity:
    """Popularity of the items of a catalogue, by rows and by distinct users."""

    def __init__(self, seen: Interactions, item_ids: np.ndarray) -> None:
        counted = seen.log.group_by("item_id").agg(
            pl.len().alias("rows"), pl.col("user_id").n_unique().alias("users")
        )
        # In the order of the model's own catalogue, which may lack items of the log.
        places = Vocabulary(item_ids).rows(counted["item_id"])
        inside = places >= 0
        rows = np.zeros(len(item_ids), dtype=np.int64)
        rows[places[inside]] = counted["rows"].to_numpy()[inside]
        self.popular = metrics.most_popular(rows, POPULAR_SHARE)
        self.users = np.zeros(len(item_ids), dtype=np.int64)
        self.users[places[inside]] = counted["users"].to_numpy()[inside]
        self.n_users = seen.log["user_id"].n_unique()


def _catalogue_figures(ranks: RuleRanks, popularity: _ItemPopularity) -> Figures:
    figures: Figures = {}
    for k, exposure in ranks.exposure.items():
        figures[f"coverage@{k}"] = metrics.coverage(exposure)
        figures[f"novelty@{k}"] = metrics.novelty(exposure, popularity.users, popularity.n_users)
        figures[f"popularity_share@{k}"] = metrics.popularity_share(exposure, popularity.popular)
        figures[f"gini@{k}"] = gini(exposure)
    return figures


def _mean(values: np.ndarray) -> float:
    return float(values.mean())


# A list that a user looks at, and one that a ranker receives.
_SHORT, _HANDED_ON = 10, 50


def primary_metrics(metrics: Iterable[str], *, of_users: bool = True) -> list[str]:
    """Selects metrics for a short table: hit rates at 10, 50 and the longest k, ndcg@10, mrr, user_recall@20.

    If lists of other lengths were measured, the shortest of 10 or more takes the place of 10, or else the
    longest; 50 and 20 are left out.

    Args:
        metrics: names of the computed metrics.
        of_users: whether to include means over users; without them the columns fit a terminal.

    >>> primary_metrics(["hit_rate@20", "hit_rate@200", "ndcg@20", "ndcg@200", "mrr"])
    ['hit_rate@20', 'hit_rate@200', 'ndcg@20', 'mrr']
    """
    computed = list(metrics)
    ks = sorted(int(name.partition("@")[2]) for name in computed if name.startswith("hit_rate@"))
    if not ks:
        return [name for name in computed if name == "mrr"]
    short = next((k for k in ks if k >= _SHORT), ks[-1])
    wanted = dict.fromkeys(
        [
            f"hit_rate@{short}",
            f"hit_rate@{_HANDED_ON}",
            f"hit_rate@{ks[-1]}",
            f"ndcg@{short}",
            "mrr",
            "user_recall@20",
        ]
    )
    return [n for n in wanted if n in computed and (of_users or not n.startswith("user_"))]
