"""Comparison of releases on the same test rows: metrics, intervals of differences, different items."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import polars as pl

from tfrecall.baselines.registry import check_baselines, fit_baselines, usual_baselines
from tfrecall.core.progress import ProgressReporter
from tfrecall.core.retriever import Retriever
from tfrecall.core.seen import Seen
from tfrecall.core.titles import title_column, titles
from tfrecall.core.vocabulary import Vocabulary
from tfrecall.data.interactions import Interactions
from tfrecall.errors import ConfigError
from tfrecall.evaluation import (
    Evaluation,
    UserLists,
    baselines_of,
    evaluate,
    paired_bootstrap,
    per_user,
    user_lists,
)
from tfrecall.evaluation.bootstrap import RESAMPLES, Interval, PerUser
from tfrecall.evaluation.new_items import rules_of
from tfrecall.evaluation.released import retriever_of
from tfrecall.release.base import Release

# Items shown by name, and quantiles of the similarity of lists at which one user is shown.
SHOWN_ITEMS = 10
EXAMPLES = (0.1, 0.5, 0.9)

# Items or users on which two releases differ, as plain values.
Rows = list[dict[str, Any]]


@dataclass(frozen=True)
class Difference:
    """One release or baseline against the first release.

    Attributes:
        intervals: rule -> metric -> difference to the first, with its interval; only of the rules that
            both have figures for.
        common: mean share of items that the users' lists of both have in common.
        gained: items of most lists of this one that lists of the first lack: `item_id`, `title`,
            `users` (such lists), `first` and `second` (all lists of each), `train_rows`.
        lost: items of most lists of the first that lists of this one lack, likewise.
        examples: some users, from the least similar lists to the most similar: `user_id`, `common`,
            and in titles `history` (latest first), `both`, `only_first`, `only_second`, `chosen`
            (targets in the lists).
    """

    intervals: dict[str, dict[str, Interval]]
    common: float
    gained: list[dict[str, Any]]
    lost: list[dict[str, Any]]
    examples: list[dict[str, Any]]


@dataclass(frozen=True)
class Comparison:
    """Metrics of releases on the same test rows; the first release is the reference.

    Attributes:
        reference: the first one.
        rows, users: numbers of test rows and of their users.
        k: length of the lists that are compared item by item.
        leading: rule of those lists, and first in tables: `seen_removed` or `seen_kept`.
        models: name -> rule -> metric -> value: the releases in the order given, then the compared
            baselines; without `seen_removed` for one that ranks only what the user had.
        baselines: name -> rule -> metric -> value, of baselines for reference only.
        differences: name -> difference to the first, for all other models.
        targets_had: test rows whose user had the item before; misses where seen items are removed.
    """

    reference: str
    rows: int
    users: int
    k: int
    leading: str
    models: dict[str, dict[str, dict[str, float]]]
    baselines: dict[str, dict[str, dict[str, float]]]
    differences: dict[str, Difference]
    targets_had: int = 0

    def to_dict(self) -> dict[str, Any]:
        """Plain Python types, ready for `json.dumps`; intervals say whether they exclude 0."""
        whole = asdict(self)
        # `asdict` has the fields only; a property such as `excludes_zero` is added by hand.
        for name, difference in self.differences.items():
            for rule, intervals in difference.intervals.items():
                for metric, interval in intervals.items():
                    written = whole["differences"][name]["intervals"][rule][metric]
                    written["excludes_zero"] = interval.excludes_zero
        return whole


def compare(
    releases: dict[str, Release],
    test: Interactions,
    *,
    seen: Interactions,
    history: Interactions | None = None,
    ks: Sequence[int] = (1, 5, 10, 20, 50, 100),
    k: int = 10,
    leading: str = "seen_removed",
    baselines: Sequence[str] = (),
    beside: Sequence[str] | None = None,
    resamples: int = RESAMPLES,
    seed: int = 0,
    progress: ProgressReporter | None = None,
) -> Comparison:
    """Evaluates releases and baselines on the same rows, and compares them with the first release.

    A release answers from histories at the end of its training data, whatever the time of a test row.

    Args:
        releases: name -> release; the first is the reference of all differences.
        test: rows to predict; targets outside a catalogue count as misses.
        seen: interactions before the test rows.
        history: the log with all events, for baselines and seen items as in `evaluate`; None for `seen`.
        ks: lengths of lists for the metrics.
        k: length of the lists that are compared item by item.
        leading: rule of those lists, `seen_removed` or `seen_kept`.
        baselines: names of `tfrecall.schema.baselines.BASELINES`, fitted to `seen` and compared like a
            release.
        beside: names of baselines for reference, without differences; None for `popularity`, `item_cf`
            and others that suit the log.
        resamples: number of bootstrap resamples.
        seed: seed of the resamples.
        progress: receives a model's name, rows done and all rows after each block; without it the logger
            "tfrecall" does.

    Raises:
        ConfigError: if there is nothing to compare, two have the same name, or the rule is unknown.
        DataError: if the memory for a baseline does not suffice.

    Example:

    >>> import tempfile
    >>> import polars as pl
    >>> import tfrecall as tr
    >>> log = pl.DataFrame({"user_id": [*"uuvvw"], "item_id": [*"ababa"], "timestamp": [1, 2, 1, 2, 1]})
    >>> seen = tr.data.Interactions.from_frame(log)
    >>> test = seen.with_log(pl.DataFrame({"user_id": ["w"], "item_id": ["b"], "timestamp": [3]}))
    >>> release = tr.export(tr.ItemCF().fit(seen), tempfile.mkdtemp())
    >>> comparison = tr.compare(
    ...     {"cf": release}, test, seen=seen, ks=(1,), k=1, baselines=["popularity"], beside=()
    ... )
    >>> comparison.differences["popularity"].common
    1.0
    """
    if beside is None:
        sequences = any(release.manifest.get("histories") for release in releases.values())
        beside = usual_baselines(seen, sequences=sequences)
    beside = [name for name in beside if name not in baselines]
    _check(releases, baselines, beside, leading)
    check_baselines([*baselines, *beside], seen)
    evaluations: dict[str, Evaluation] = {}
    lists: dict[str, UserLists] = {}
    rules: dict[str, list[Seen]] = {}
    for one in _members(releases, baselines, seen):
        # Baselines for reference need one evaluation, that of the first release.
        others = baselines_of(seen, names=[] if evaluations else beside)
        evaluations[one.name] = evaluate(
            one, test, seen=seen, history=history, ks=ks, baselines=others, progress=progress
        )
        rules[one.name] = rules_of(one)
        lists[one.name] = user_lists(
            one, test, seen=seen, history=history, k=k, keep_seen=leading == Seen.KEPT
        )
    first = next(iter(releases))
    # By first appearance, the numbering of users in the ranks.
    users = Vocabulary(test.log["user_id"].unique(maintain_order=True)).rows(test.log["user_id"])
    columns = releases[first].manifest["schema"]["candidate"]
    viewer = _Viewer(lists[first], seen, title_column(seen.items, columns))
    return Comparison(
        reference=first,
        rows=len(test),
        users=len(lists[first].user_ids),
        k=k,
        leading=leading,
        models={
            name: {rule.value: one.test[rule] for rule in rules[name]}
            for name, one in evaluations.items()
        },
        baselines=evaluations[first].baselines,
        differences={
            name: Difference(
                _intervals(
                    evaluations[first], evaluations[name], rules[name], users, ks, resamples, seed
                ),
                *viewer.differences(lists[name]),
            )
            for name in list(evaluations)[1:]
        },
        targets_had=evaluations[first].targets_had,
    )


def _check(
    releases: dict[str, Release], baselines: Sequence[str], beside: Sequence[str], leading: str
) -> None:
    if not releases or len(releases) + len(baselines) < 2 or leading not in list(Seen):
        raise ConfigError(
            "A comparison takes two or more releases, or one and a baseline, and one rule of "
            f"{[rule.value for rule in Seen]}. Received: releases {list(releases)}, baselines "
            f"{list(baselines)} and {leading!r}."
        )
    taken = [name for name in (*baselines, *beside) if name in releases]
    if taken:
        raise ConfigError(
            f'A release and a baseline are both called "{taken[0]}". Give the release another name.'
        )


def _members(
    releases: dict[str, Release], baselines: Sequence[str], seen: Interactions
) -> Iterator[Retriever]:
    """Yields the compared retrievers, one at a time; a baseline is fitted at its turn."""
    for name, release in releases.items():
        yield retriever_of(name, release)
    yield from fit_baselines(baselines, seen)


def _intervals(
    first: Evaluation,
    second: Evaluation,
    rules: Sequence[Seen],
    users: np.ndarray,
    ks: Sequence[int],
    resamples: int,
    seed: int,
) -> dict[str, dict[str, Interval]]:
    def of(one: Evaluation, rule: Seen) -> PerUser:
        return per_user(one.rankings[one.model].by(rule), users, ks)

    return {
        rule.value: paired_bootstrap(of(first, rule), of(second, rule), resamples=resamples, seed=seed)
        for rule in rules
    }


class _Viewer:
    """Compares the lists of others with those of the first release."""

    def __init__(self, first: UserLists, seen: Interactions, column: str | None) -> None:
        self.first = first
        self.seen = seen
        self._places = Vocabulary(first.item_ids)
        self._titles = titles(seen.items, column)
        self._title_rows = seen.item_vocabulary.rows(first.item_ids)
        rows = self._places.rows(seen.log["item_id"])
        self._train_rows = np.bincount(rows[rows >= 0], minlength=len(first.item_ids))

    def differences(self, second: UserLists) -> tuple[float, Rows, Rows, Rows]:
        """Share in common, items gained, items lost, examples."""
        ours, theirs = self.first.rows, self._as_first(second)
        # [n_users, k, k]: place i of the one list and place j of the other hold the same item.
        alike = (ours[:, :, None] == theirs[:, None, :]) & (ours[:, :, None] >= 0)
        only_first = ~alike.any(axis=2) & (ours >= 0)
        only_second = ~alike.any(axis=1) & (theirs >= 0)
        # Lists end in -1 where no item is left: shares are of the longer list, not of k.
        longest = np.maximum((ours >= 0).sum(axis=1), (theirs >= 0).sum(axis=1))
        common = alike.any(axis=2).sum(axis=1) / np.maximum(longest, 1)
        gained = self._items(theirs[only_second], ours, theirs)
        lost = self._items(ours[only_first], ours, theirs)
        order = np.argsort(common, kind="stable")
        picked = [order[int(share * (len(order) - 1))] for share in EXAMPLES[: len(order)]]
        examples = [self._example(u, ours[u], theirs[u], float(common[u])) for u in picked]
        return float(common[longest > 0].mean() if longest.any() else 1.0), gained, lost, examples

    def _title(self, item: int) -> str:
        row = self._title_rows[item]
        return self._titles[int(row)] if row >= 0 else str(self.first.item_ids[item])

    def _as_first(self, second: UserLists) -> np.ndarray:
        """UserLists of another release in rows of the first one's catalogue."""
        places = self._places.rows(pl.Series(second.item_ids.tolist(), dtype=pl.String))
        return np.where(second.rows >= 0, places[second.rows], -1)

    def _items(self, chosen: np.ndarray, ours: np.ndarray, theirs: np.ndarray) -> list[dict[str, Any]]:
        n_items = len(self.first.item_ids)
        counts = np.bincount(chosen, minlength=n_items)
        first, second = (np.bincount(r[r >= 0], minlength=n_items) for r in (ours, theirs))
        best = np.argsort(-counts, kind="stable")[:SHOWN_ITEMS]
        return [
            {
                "item_id": self.first.item_ids[item],
                "title": self._title(item),
                "users": int(counts[item]),
                "first": int(first[item]),
                "second": int(second[item]),
                "train_rows": int(self._train_rows[item]),
            }
            for item in best[counts[best] > 0].tolist()
        ]

    def _example(
        self, user: int, ours: np.ndarray, theirs: np.ndarray, common: float
    ) -> dict[str, Any]:
        user_id = self.first.user_ids[user]
        log = self.seen.log.filter(pl.col("user_id") == user_id).sort(
            "timestamp", descending=True, maintain_order=True
        )
        history = self._places.rows(log["item_id"][:SHOWN_ITEMS])
        first, second = ([i for i in r.tolist() if i >= 0] for r in (ours, theirs))
        targets = set(self.first.targets[user].tolist())
        parts = {
            "history": history[history >= 0].tolist(),
            "both": [i for i in first if i in second],
            "only_first": [i for i in first if i not in second],
            "only_second": [i for i in second if i not in first],
            "chosen": [i for i in dict.fromkeys([*first, *second]) if i in targets],
        }
        named = {part: [self._title(i) for i in items] for part, items in parts.items()}
        return {"user_id": user_id, "common": common, **named}
