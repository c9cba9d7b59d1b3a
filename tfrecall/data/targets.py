"""Target events: the events of a log that a model with histories is trained to predict."""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from tfrecall.core.ragged import offsets_of
from tfrecall.data.histories import basket_starts
from tfrecall.data.interactions import Interactions, ratings
from tfrecall.errors import ConfigError, DataError, nearest

WHICH = ("all", "last")


@dataclass(frozen=True)
class Targets:
    """Events to predict, each from the history before it.

    Attributes:
        rows: int64 `[n]`, rows of the log, ascending.
        notes: a sentence for each rule that left events out.
    """

    rows: np.ndarray
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.rows)


def choose_targets(
    log: Interactions,
    *,
    min_rating: float | None = None,
    minimum_history: int = 1,
    which: Literal["all", "last"] = "all",
    suppression_threshold: float | None = None,
    max_per_user: int | None = None,
    seed: int = 42,
    baskets: bool = False,
    new: np.ndarray | None = None,
) -> Targets:
    """Chooses the targets of a log by six rules, applied in the order of the arguments.

    Events of one user at the same time keep the order of the log.

    Args:
        log: the training log.
        min_rating: only events rated at least this are targets, none without a rating. All events remain
            history.
        minimum_history: least number of earlier events of a target's user. 0 admits first events, for
            models with other query features than the history.
        which: "all" events (sliding windows), or each user's "last" one that the rules before left.
        suppression_threshold: share of the events above which targets of popular items are thinned out
            with `keep_probability`; .001 is word2vec's. An event is drawn by its row and `seed`, so other
            rules do not change the draw.
        max_per_user: most targets a user, the most recent of those left, so that active users do not
            dominate the batches.
        seed: seed of the thinning.
        baskets: whether the events of a user at one time are one basket, none earlier than another.
        new: bool `[n_rows]`, the events that may be targets; None for all.

    Raises:
        ConfigError: if an argument is invalid, or needs ratings that the log does not have.
        DataError: if no target is left; the message names the rules that left events out.

    >>> from tfrecall.data import synthetic
    >>> log = synthetic(n_users=3, n_items=5, n_rows=12)
    >>> targets = choose_targets(log, max_per_user=2)
    >>> len(targets), targets.notes[0]
    (6, '3 events have fewer than minimum_history=1 events of their user before them')
    """
    _check(minimum_history, which, max_per_user, suppression_threshold)
    choice = _Choice(log)
    if min_rating is not None:
        choice.leave_out(
            ~(choice.ratings() >= min_rating),  # not "<": missing ratings are NaN
            f"events are not rated {min_rating:g} or higher (min_rating)",
        )
    choice.leave_out(
        choice.earlier(baskets) < minimum_history,
        f"events have fewer than minimum_history={minimum_history:,} events of their user before them",
    )
    if which == "last":
        choice.leave_out(choice.kept_after() > 0, 'events are not their user\'s last (which="last")')
    if suppression_threshold is not None:
        choice.leave_out(
            choice.drawn_out(suppression_threshold, seed),
            f"events of popular items were thinned out (suppression_threshold={suppression_threshold:g})",
        )
    if new is not None:
        choice.leave_out(
            ~new[log.histories.order], "events were learned by the release of the warm start"
        )
    if max_per_user is not None:
        choice.leave_out(
            choice.kept_after() >= max_per_user,
            f"events come before their user's max_per_user={max_per_user:,} most recent targets",
        )
    return choice.targets()


def keep_probability(share: np.ndarray, threshold: float) -> np.ndarray:
    """Probability of keeping a target when popular items are thinned out: float64, at most 1.

    `(sqrt(f / t) + 1) * t / f` for an item with the share `f` of all events and the threshold `t`: items up
    to 2.6 thresholds are all kept, an item of 100 thresholds in 11 % of its events.

    Reference:
        Mikolov et al., "Distributed Representations of Words and Phrases and their Compositionality",
        NIPS 2013, section 2.3, in the form of their program, which differs from the paper's.
    """
    ratio = share / threshold
    with np.errstate(divide="ignore"):  # an item without events has no targets either
        return np.minimum(1.0, (np.sqrt(ratio) + 1) / ratio)


class _Choice:
    """Events of a log in the order of its histories, and whether each is still a target."""

    def __init__(self, log: Interactions) -> None:
        self._log = log
        self._histories = log.histories
        self._kept = np.ones(len(log), dtype=bool)
        self._notes: list[str] = []

    def earlier(self, baskets: bool) -> np.ndarray:
        """Number of events of the same user before each event, or before its basket: int64 `[n_rows]`."""
        places = basket_starts(self._log) if baskets else np.arange(len(self._log))
        return places - self._of_user(self._histories.offsets[:-1])

    def ratings(self) -> np.ndarray:
        """Ratings of the events, NaN where there is none: float64 `[n_rows]`."""
        return ratings(self._log, "min_rating")[self._histories.order]

    def kept_after(self) -> np.ndarray:
        """Number of targets of the same user after each event: int64 `[n_rows]`."""
        # Differences of one running count over all users.
        before = offsets_of(self._kept)
        return self._of_user(before[self._histories.offsets[1:]]) - before[1:]

    def _of_user(self, values: np.ndarray) -> np.ndarray:
        return np.repeat(values, self._histories.lengths)

    def drawn_out(self, threshold: float, seed: int) -> np.ndarray:
        """Whether the thinning of popular items removes each event: bool `[n_rows]`."""
        counts = np.bincount(self._histories.items, minlength=self._log.items.height)
        keep = keep_probability(counts / max(len(self._log), 1), threshold)
        # One number for each row of the log, whatever is a target: the draw of an event stays the same.
        numbers = np.random.default_rng(seed).random(len(self._log))[self._histories.order]
        return numbers >= keep[self._histories.items]

    def leave_out(self, out: np.ndarray, words: str) -> None:
        """Removes events from the targets, and notes how many were still in."""
        count = int(np.count_nonzero(self._kept & out))
        if count:
            self._notes.append(f"{count:,} {words}")
            self._kept &= ~out

    def targets(self) -> Targets:
        """The remaining targets, in the order of the log."""
        if not self._kept.any():
            raise DataError(
                f"No target is left of {len(self._log):,} events by {self._log.users.height:,} users: "
                f"{'; '.join(self._notes) or 'the log is empty'}. Loosen these rules, or use a log "
                "whose users have more events."
            )
        kept = np.zeros(len(self._log), dtype=bool)
        # From the order of the histories back to that of the log.
        kept[self._histories.order] = self._kept
        return Targets(np.flatnonzero(kept), tuple(self._notes))


def _check(minimum_history: int, which: str, max_per_user: int | None, threshold: float | None) -> None:
    if minimum_history < 0:
        raise ConfigError(
            "`minimum_history` counts earlier events and must be at least 0. "
            f"Received: {minimum_history}."
        )
    if which not in WHICH:
        raise ConfigError(
            f'`which` targets must be one of {list(WHICH)}. Received: "{which}".{nearest(which, WHICH)}'
        )
    if max_per_user is not None and max_per_user < 1:
        raise ConfigError(
            f"`max_per_user` must be at least 1, or None for no limit. Received: {max_per_user}."
        )
    if threshold is not None and not 0 < threshold <= 1:
        raise ConfigError(
            "`suppression_threshold` is a share of the events, above 0 and at most 1 (.001 is "
            f"usual), or None for no thinning. Received: {threshold}."
        )
