"""Small logs, a model that is a table of scores, and an evaluation by loops."""

from collections.abc import Iterable, Sequence
from math import log2
from typing import Any

import numpy as np
import polars as pl

from tfrecall.data.interactions import Interactions


def make_log(
    rows: Sequence[tuple[str, str, float]], items: Sequence[str] | None = None
) -> Interactions:
    """A log of (user, item, time); `row` is context: the number of the row in the file."""
    users, chosen, times = zip(*rows, strict=True) if rows else ((), (), ())
    log = pl.DataFrame(
        {
            "user_id": pl.Series(users, dtype=pl.String),
            "item_id": pl.Series(chosen, dtype=pl.String),
            "timestamp": pl.Series(times, dtype=pl.Float64),
            "row": pl.Series(range(len(rows)), dtype=pl.Int64),
        }
    )
    catalogue = list(items) if items is not None else sorted(set(chosen))
    return Interactions(
        log=log,
        users=pl.DataFrame({"user_id": pl.Series(sorted(set(users)), dtype=pl.String)}),
        items=pl.DataFrame({"item_id": pl.Series(catalogue, dtype=pl.String)}),
    )


class TableModel:
    """Answers each test row with its own row of a table; keeps the queries it was asked."""

    def __init__(self, item_ids: Iterable[str], table: Any, name: str = "table") -> None:
        self.name = name
        self.item_ids = np.array(list(item_ids), dtype=object)
        self.table = np.asarray(table, dtype=np.float32)
        self.asked: list[pl.DataFrame] = []

    def scores(self, queries: pl.DataFrame) -> np.ndarray:
        self.asked.append(queries)
        return self.table[queries["row"].to_numpy()]


def evaluate_by_loops(
    model: TableModel, test: Interactions, seen: Interactions, ks: Sequence[int]
) -> dict[str, dict[str, float]]:
    """Every metric from its definition, one row and one list at a time."""
    return {
        rule: {
            **_row_metrics(model, test, seen, ks, rule == "seen_removed"),
            **_list_metrics(model, test, seen, ks, rule == "seen_removed"),
        }
        for rule in ("seen_removed", "seen_kept")
    }


def rank_by_loop(scores: dict[str, float], target: str, removed: set[str]) -> float:
    """The number of other candidates that score at least the target's score; inf if it is no candidate."""
    if target in removed or scores.get(target, -np.inf) == -np.inf:
        return np.inf
    return sum(
        score >= scores[target]
        for item, score in scores.items()
        if item != target and item not in removed
    )


def _events(data: Interactions) -> list[tuple[str, str, float]]:
    return data.log.select("user_id", "item_id", "timestamp").rows()


def _seen_by(seen: Interactions, user: str) -> set[str]:
    return {item for other, item, _ in _events(seen) if other == user}


def _row_metrics(
    model: TableModel, test: Interactions, seen: Interactions, ks: Sequence[int], removing: bool
) -> dict[str, float]:
    ranks = []
    for number, (user, target, _) in enumerate(_events(test)):
        scores = dict(zip(model.item_ids, model.table[number], strict=True))
        ranks.append(rank_by_loop(scores, target, _seen_by(seen, user) if removing else set()))
    found = {"mrr": float(np.mean([1 / (rank + 1) for rank in ranks]))}
    for k in ks:
        found[f"hit_rate@{k}"] = float(np.mean([rank < k for rank in ranks]))
        gains = [1 / log2(rank + 2) if rank < k else 0 for rank in ranks]
        found[f"ndcg@{k}"] = float(np.mean(gains))
    return found


def _list_metrics(
    model: TableModel, test: Interactions, seen: Interactions, ks: Sequence[int], removing: bool
) -> dict[str, float]:
    events = _events(test)
    per_user: dict[str, list[float]] = {}
    shown: dict[int, list[str]] = {k: [] for k in ks}
    for user in dict.fromkeys(user for user, _, _ in events):
        own = [number for number, event in enumerate(events) if event[0] == user]
        first = min(own, key=lambda number: (events[number][2], number))
        targets = {events[number][1] for number in own}
        gone = _seen_by(seen, user) if removing else set()
        scores = dict(zip(model.item_ids, model.table[first], strict=True))
        offered = [item for item in scores if scores[item] > -np.inf]
        # Within equal scores the targets come last: ties count against the model.
        judged = sorted(
            (item for item in offered if item not in gone),
            key=lambda item: (-scores[item], item in targets),
        )
        listed = sorted((i for i in offered if i not in gone), key=lambda i: -scores[i])
        for k in ks:
            shown[k] += listed[:k]
            for name, value in _one_list(judged[:k], targets, k).items():
                per_user.setdefault(f"{name}@{k}", []).append(value)
    means = {name: float(np.mean(values)) for name, values in per_user.items()}
    for k in ks:
        means |= _catalogue_metrics(shown[k], list(model.item_ids), seen, k)
    return means


def _one_list(items: list[str], targets: set[str], k: int) -> dict[str, float]:
    hits, gain, precision_sum = 0, 0.0, 0.0
    for place, item in enumerate(items, start=1):
        if item in targets:
            hits += 1
            gain += 1 / log2(place + 1)
            precision_sum += hits / place
    reachable = min(len(targets), k)
    return {
        "user_recall": hits / len(targets),
        "user_precision": hits / k,
        "user_ndcg": gain / sum(1 / log2(place + 1) for place in range(1, reachable + 1)),
        "user_map": precision_sum / reachable,
    }


def _catalogue_metrics(
    shown: list[str], catalogue: list[str], seen: Interactions, k: int
) -> dict[str, float]:
    events = _events(seen)
    n_users = len({user for user, _, _ in events})
    users = {i: len({u for u, item, _ in events if item == i}) for i in catalogue}
    rows = {i: sum(item == i for _, item, _ in events) for i in catalogue}
    n_popular = -(-len(catalogue) // 10)
    popular = sorted(catalogue, key=lambda i: -rows[i])[:n_popular]
    popular = [item for item in popular if rows[item]]
    counts = [shown.count(item) for item in catalogue]
    # Gini as half the mean absolute difference over the mean.
    differences = sum(abs(a - b) for a in counts for b in counts)
    slots = len(shown)
    return {
        f"coverage@{k}": len(set(shown)) / len(catalogue),
        f"novelty@{k}": (
            sum(-log2(max(users[i], 1) / max(n_users, 1)) for i in shown) / slots if slots else 0
        ),
        f"popularity_share@{k}": sum(i in popular for i in shown) / slots if slots else 0,
        f"gini@{k}": differences / (2 * len(catalogue) * slots) if slots else 0,
    }
