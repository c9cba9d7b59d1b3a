"""Drift between two releases: their ids, the popularity of their items, their scores and lists."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import polars as pl

from tfrecall.core.vocabulary import Vocabulary
from tfrecall.errors import ConfigError, DataError, UnsupportedError, nearest
from tfrecall.release.base import Release

# Users whose lists are compared: a share is known to some .015 then.
USERS = 1000
# Name of a limit -> the figure that it bounds, and whether from above.
LIMITS = {
    "max_unknown_items": ("unknown_items", True),
    "max_unknown_users": ("unknown_users", True),
    "max_popularity_shift": ("popularity_shift", True),
    "max_score_shift": ("score_shift", True),
    "min_overlap": ("overlap", False),
}


@dataclass(frozen=True)
class Change:
    """Ids of two releases.

    Attributes:
        before, after: how many each has.
        added, gone: how many only the newer, and only the older one has.
    """

    before: int
    after: int
    added: int
    gone: int

    @classmethod
    def of(cls, old: Vocabulary, new: Vocabulary) -> "Change":
        shared = int(np.count_nonzero(old.rows(new.series) >= 0))
        return cls(len(old), len(new), len(new) - shared, len(old) - shared)


@dataclass(frozen=True)
class Drift:
    """Differences between two releases; shares are from 0 to 1.

    Attributes:
        items, users: their ids. Users are those with events.
        unknown_items: share of the newer release's events with items that the older one does not have.
        unknown_users: share of those events by users whom the older one has no events of.
        popularity_shift: total variation distance between the shares of the items in the events: 0 for the
            same shares, 1 where no item has events in both.
        compared: number of users, known to both, whose lists of `k` items were compared.
        k: length of those lists.
        overlap: mean share of a list that the other one has, too; None without users to compare.
        same_lists: share of users whose lists hold the same items; None likewise.
        best_scores: median of the best score of a list, of the older and of the newer release.
        score_shift: Kolmogorov-Smirnov distance between the distributions of the best scores; None likewise.
            Scores of models that were trained apart have scales of their own.
    """

    items: Change
    users: Change
    unknown_items: float
    unknown_users: float
    popularity_shift: float
    compared: int
    k: int
    overlap: float | None
    same_lists: float | None
    best_scores: tuple[float, float] | None
    score_shift: float | None

    def to_dict(self) -> dict[str, Any]:
        """Plain form."""
        return asdict(self)

    def crossed(self, limits: Mapping[str, float]) -> list[str]:
        """A sentence for each limit that the drift crosses.

        Args:
            limits: by the names of `LIMITS`. A figure that could not be measured crosses none.

        Raises:
            ConfigError: if there is no such limit, or it is no share.
        """
        sentences = []
        for name, limit in limits.items():
            if name not in LIMITS:
                raise ConfigError(
                    f'There is no limit "{name}".{nearest(name, LIMITS)} Choose of: {", ".join(LIMITS)}.'
                )
            if not 0 <= limit <= 1:
                raise ConfigError(f"`{name}` is a share from 0 to 1. Received: {limit:g}.")
            figure, from_above = LIMITS[name]
            value = getattr(self, figure)
            if value is not None and (value > limit if from_above else value < limit):
                word = "above" if from_above else "below"
                sentences.append(f"{figure} is {value:.3f}, {word} the limit of {limit:g}")
        return sentences


def drift(old: Release, new: Release, *, k: int = 10, users: int = USERS, seed: int = 0) -> Drift:
    """Measure the drift between two releases, such as last week's and this week's.

    No log is read: events are those that the releases keep of their users, each item once a user.

    Args:
        old: the release before.
        new: the release after.
        k: length of the lists that are compared, at most the smaller catalogue.
        users: most users, drawn from those with events in both, whose lists are compared.
        seed: seed of the draw.

    Raises:
        UnsupportedError: if one of them is a ranker, which recommends nothing.
        DataError: if a release has no events.
        ConfigError: if `k` or `users` is below 1.

    Example:

    >>> import tempfile
    >>> import tfrecall as tr
    >>> weeks = [tr.data.synthetic(n_users=20, n_items=10, n_rows=n) for n in (60, 100)]
    >>> old, new = (tr.export(tr.Popularity().fit(log), tempfile.mkdtemp()) for log in weeks)
    >>> found = drift(old, new, k=3)
    >>> found.items.after, 0 <= found.overlap <= 1, found.crossed({"min_overlap": 0.0})
    (10, True, [])
    """
    if k < 1 or users < 1:
        raise ConfigError(f"`k` and `users` are at least 1. Received: k={k}, users={users}.")
    for release in (old, new):
        if not hasattr(release, "recommend"):
            raise UnsupportedError(
                f"{release.root} is a ranker, which recommends nothing. Measure the drift of its retriever."
            )
        if not len(release.users.seen_items):
            raise DataError(f"{release.root} keeps no events of users, so no drift can be measured.")
    active = [_active(release) for release in (old, new)]
    events = _events(new)
    k = min(k, len(old.item_ids), len(new.item_ids))
    both = sorted(set(active[0].series) & set(active[1].series))
    chosen = pl.Series(both, dtype=pl.String).sample(min(users, len(both)), seed=seed).to_list()
    return Drift(
        items=Change.of(old.catalogue.vocabulary, new.catalogue.vocabulary),
        users=Change.of(*active),
        unknown_items=_unknown_share(new.event_counts, old.catalogue.vocabulary, new.item_ids),
        unknown_users=_unknown_share(events, active[0], np.asarray(new.users.ids, object)),
        popularity_shift=_popularity_shift(old, new),
        compared=len(chosen),
        k=k,
        **_lists(old, new, chosen, k),
    )


def _events(release: Release) -> np.ndarray:
    """Events of each user: int64 `[n_users]`."""
    return np.diff(np.asarray(release.users.seen_offsets))


def _active(release: Release) -> Vocabulary:
    """Users with events."""
    return Vocabulary(np.asarray(release.users.ids)[_events(release) > 0])


def _unknown_share(counts: np.ndarray, known: Vocabulary, ids: np.ndarray) -> float:
    """Share of events whose id is none of the known ones."""
    return float(counts[known.rows(ids) < 0].sum() / counts.sum())


def _popularity_shift(old: Release, new: Release) -> float:
    rows = old.catalogue.vocabulary.rows(new.item_ids)
    before, after = (release.event_counts / release.event_counts.sum() for release in (old, new))
    aligned = np.where(rows >= 0, before[rows], 0.0)
    gone = 1.0 - aligned.sum()  # of items that the newer one does not have
    return float((np.abs(after - aligned).sum() + gone) / 2)


def _lists(old: Release, new: Release, users: list[str], k: int) -> dict[str, Any]:
    """Figures of the lists of some users."""
    if not users:
        return dict.fromkeys(("overlap", "same_lists", "best_scores", "score_shift"))
    before, after = (release.recommend(users, k=k) for release in (old, new))
    shared = [
        len({*a.item_ids} & {*b.item_ids}) / max(len(a.item_ids), len(b.item_ids), 1)
        for a, b in zip(before, after, strict=True)
    ]
    # Users who had everything have empty lists.
    best = [np.sort([one.scores[0] for one in lists if one.scores]) for lists in (before, after)]
    has_scores = all(len(scores) for scores in best)
    return {
        "overlap": float(np.mean(shared)),
        "same_lists": float(np.mean([share == 1 for share in shared])),
        "best_scores": tuple(float(np.median(s)) for s in best) if has_scores else None,
        "score_shift": _distance(*best) if has_scores else None,
    }


def _distance(one: np.ndarray, other: np.ndarray) -> float:
    """Largest difference between two distribution functions, of sorted samples."""
    places = np.concatenate([one, other])
    shares = [np.searchsorted(s, places, side="right") / len(s) for s in (one, other)]
    return float(np.abs(shares[0] - shares[1]).max())
