"""Exact ranks of the true items over the whole catalogue, in one pass over the scores."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import polars as pl

from tfrecall.core.progress import LogProgress, ProgressReporter
from tfrecall.core.retriever import AnswersByRule, Retriever
from tfrecall.core.seen import Seen
from tfrecall.core.top_k import CHUNK_ROWS, Pairs, count_among, count_at_least, places_within, top_k
from tfrecall.data.interactions import Interactions
from tfrecall.errors import ConfigError, DataError
from tfrecall.evaluation.metrics import MISS, UserTargets
from tfrecall.evaluation.truth import Truth

# 128 MB of float32: with many items a block has fewer rows than `block_size`. A model holds several such
# blocks while it scores, and larger ones are no faster.
MAX_SCORES = 2**25

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class RuleRanks:
    """Ranks and exposure under one rule, seen items kept or removed.

    Attributes:
        rows: int64 `[n_rows]`, the rank of each test row's item, in the order of the test log;
            `MISS` for an item that is outside the catalogue, scored -inf, or removed as seen.
        targets: ranks of each user's distinct test items in the user's one list.
        exposure: k -> int64 `[n_items]`, number of users' lists of length k that hold each item.
    """

    rows: np.ndarray
    targets: UserTargets
    exposure: dict[int, np.ndarray]


@dataclass(frozen=True)
class Ranking:
    """Ranks of one model under both rules, and the number of targets outside its catalogue."""

    model: str
    kept: RuleRanks
    removed: RuleRanks
    unknown_targets: int

    def by(self, rule: Seen) -> RuleRanks:
        """The ranks under one rule."""
        return self.removed if rule is Seen.REMOVED else self.kept

    def of_rows(self, rows: np.ndarray) -> "Ranking":
        """The ranks of some test rows; lists of users and their exposure stay those of all."""
        kept, removed = (replace(one, rows=one.rows[rows]) for one in (self.kept, self.removed))
        return replace(self, kept=kept, removed=removed)


def rank(
    retriever: Retriever,
    test: Interactions,
    *,
    seen: Interactions,
    history: Interactions | None = None,
    ks: Sequence[int] = (1, 5, 10, 20, 50, 100),
    block_size: int = 2048,
    progress: ProgressReporter | None = None,
) -> Ranking:
    """Ranks every test row's item among all items of the retriever's catalogue.

    The rank of a row is the number of other candidates that score at least as much: ties count
    against the model. Removing takes the user's seen items out of the candidates, so a target that the
    user had before is a miss, as in a release asked with `exclude_seen`. A user's one list comes from the
    query of the user's earliest test row (ties by file order); its targets are all the user's distinct test
    items, of which removing makes the seen ones misses; within equal scores targets come last. Exposure is
    taken from `top_k` of the same queries, ties by lower row: the list that the user would be shown.

    Args:
        retriever: scores each test row once.
        test: at least one row.
        seen: seen items of users; mapped by ids, so catalogues and orders may differ.
        history: the log with all events, test rows included: queries then have the column `events_before`,
            and a user has seen the items of the events before each row. None for the items of `seen`.
        ks: lengths of the lists for exposure.
        block_size: most queries scored at once; fewer where a block would exceed 128 MB.
        progress: receives the model's name, rows done and all rows after each block; without it the
            logger "tfrecall" does.

    Raises:
        DataError: if `test` is empty.
        ConfigError: if an argument makes no sense or the scores are unusable, naming the model.
    """
    progress = progress or LogProgress()
    check_ks(ks)
    if block_size < 1:
        raise ConfigError(f"`block_size` must be 1 or more rows. Received: {block_size}.")
    if len(test) == 0:
        raise DataError("There are no test rows to evaluate. Received an empty log as `test`.")
    if len(retriever.item_ids) == 0:
        raise ConfigError(
            f'The catalogue of "{retriever.name}" is empty, so nothing can be ranked. '
            "Fit the model before it is evaluated."
        )
    if isinstance(retriever, AnswersByRule):
        kept, removed = (
            _ranked(retriever.under(rule), test, seen, history, ks, block_size, progress)
            for rule in (Seen.KEPT, Seen.REMOVED)
        )
        return replace(kept, removed=removed.removed)
    return _ranked(retriever, test, seen, history, ks, block_size, progress)


def _ranked(
    retriever: Retriever,
    test: Interactions,
    seen: Interactions,
    history: Interactions | None,
    ks: Sequence[int],
    block_size: int,
    progress: ProgressReporter,
) -> Ranking:
    truth = Truth.build(test, seen, retriever.item_ids, history)
    ranker = _Ranker(truth, len(retriever.item_ids), ks)
    step = max(1, min(block_size, MAX_SCORES // len(retriever.item_ids)))
    for start in range(0, len(test), step):
        queries = ranker.truth.queries[start : start + step]
        ranker.add(start, checked_scores(retriever, queries))
        progress.progress(retriever.name, min(start + step, len(test)), len(test))
    return ranker.result(retriever.name)


def check_ks(ks: Sequence[int]) -> None:
    """Checks that cut-offs are distinct whole numbers from 1.

    Raises:
        ConfigError: naming what was received.
    """
    whole = all(isinstance(k, (int, np.integer)) and not isinstance(k, bool) for k in ks)
    if not ks or not whole or min(ks) < 1 or len(set(ks)) < len(ks):
        raise ConfigError(
            f"`ks` are the lengths of lists: distinct whole numbers from 1. Received: {ks!r}."
        )


class _Ranker:
    """Collects ranks and exposure block by block; rows come in the order of `truth`."""

    def __init__(self, truth: Truth, n_items: int, ks: Sequence[int]) -> None:
        self.truth = truth
        self.ks = ks
        # Index 0 of each first axis: seen items kept; 1: removed.
        self._rows = np.empty((2, len(truth)), dtype=np.int64)
        self._targets: list[np.ndarray] = []
        self._exposure = np.zeros((2, len(ks), n_items), dtype=np.int64)

    def add(self, start: int, scores: np.ndarray) -> None:
        for offset in range(0, len(scores), CHUNK_ROWS):
            chunk = scores[offset : offset + CHUNK_ROWS]
            rows = np.arange(start + offset, start + offset + len(chunk))
            leads = self.truth.leads[rows]
            self._rows[:, rows] = self._row_ranks(chunk, rows)
            if leads.any():
                seen = self.truth.seen_at(rows[leads])
                users = self.truth.users[rows[leads]]
                self._targets.append(self._target_ranks(chunk[leads], users, seen))
                self._expose(chunk[leads], seen)

    def result(self, model: str) -> Ranking:
        # Blocks come by user, so targets are already in the order of `truth.targets`.
        targets = np.concatenate(self._targets, axis=1)
        users = self.truth.targets.owners()
        rows = np.empty_like(self._rows)
        # From the order of users back to that of the test log.
        rows[:, self.truth.order] = self._rows
        kept, removed = (
            RuleRanks(
                rows[rule],
                UserTargets(users, targets[rule]),
                {int(k): self._exposure[rule, i] for i, k in enumerate(self.ks)},
            )
            for rule in (0, 1)
        )
        return Ranking(model, kept, removed, int(np.count_nonzero(self.truth.items < 0)))

    def _row_ranks(self, scores: np.ndarray, sorted_rows: np.ndarray) -> np.ndarray:
        """Ranks of one item for each row of scores, kept and removed: int64 `[2, n_rows]`."""
        rows, items = np.arange(len(scores)), self.truth.items[sorted_rows]
        own, seen = _scores_of(scores, rows, items), self.truth.seen_at(sorted_rows)
        kept = count_at_least(scores, rows, own) - 1  # the target itself is one of them
        removed = kept - count_among(scores, rows, own, seen)
        removed[_listed_in(rows, items, seen, scores.shape[1])] = MISS
        return np.where(own == -np.inf, MISS, np.stack([kept, removed]))

    def _target_ranks(self, scores: np.ndarray, users: np.ndarray, seen: Pairs) -> np.ndarray:
        """Ranks of all targets of each row's user, kept and removed: int64 `[2, n_targets]`."""
        rows, items = self.truth.targets.flat(users)
        own = _scores_of(scores, rows, items)
        had = _listed_in(rows, items, seen, scores.shape[1])
        # Before a target of the list come the better targets of the same user, of which "removed" keeps
        # the unseen ones, and all other candidates that score as much.
        unseen = np.where(had, -np.inf, own)
        before = np.stack([places_within(rows, own), places_within(rows, unseen)])
        # A user may have more targets than a block has rows: hence parts here as well.
        for start in range(0, len(rows), CHUNK_ROWS):
            part = slice(start, start + CHUNK_ROWS)
            before[:, part] += self._others_before(scores, rows[part], users, own[part])
        return np.where(np.stack([own, unseen]) == -np.inf, MISS, before)

    def _others_before(
        self, scores: np.ndarray, rows: np.ndarray, users: np.ndarray, own: np.ndarray
    ) -> np.ndarray:
        """Candidates that are no targets and score at least `own`, kept and removed."""
        # Counts of all candidates less those that cannot push a target down: the user's targets, and
        # under the rule "removed" also the seen items. Of the targets `places_within` has counted the
        # better ones.
        everything = count_at_least(scores, rows, own)
        positions, targets = self.truth.targets.flat(users[rows])
        inside = targets >= 0
        among_targets = count_among(scores, rows, own, (positions[inside], targets[inside]))
        among_shielded = count_among(scores, rows, own, self.truth.shielded.flat(users[rows]))
        return np.stack([everything - among_targets, everything - among_shielded])

    def _expose(self, scores: np.ndarray, seen: Pairs) -> None:
        longest = max(self.ks)
        # The longest list once: shorter ones are its beginning.
        for rule, excluded in enumerate((None, seen)):
            lists = top_k(scores, longest, excluded)
            for i, k in enumerate(self.ks):
                shown = lists[:, :k]
                self._exposure[rule, i] += np.bincount(shown[shown >= 0], minlength=scores.shape[1])


def _scores_of(scores: np.ndarray, rows: np.ndarray, items: np.ndarray) -> np.ndarray:
    """The score of each item in its row, -inf for item -1.

    Read from the block itself: a score computed separately differs in its last bit and loses to itself.
    """
    return np.where(items < 0, scores.dtype.type(-np.inf), scores[rows, items])


def _listed_in(rows: np.ndarray, items: np.ndarray, listed: Pairs, n_items: int) -> np.ndarray:
    """Whether `(rows[j], items[j])` is one of the listed pairs: bool `[n]`; item -1 never is."""
    places, others = listed
    # A pair as one number; int64, because rows times items exceed int32.
    asked = rows.astype(np.int64) * n_items + items
    return (items >= 0) & np.isin(asked, places.astype(np.int64) * n_items + others)


def checked_scores(retriever: Retriever, queries: pl.DataFrame) -> np.ndarray:
    """Computes scores of queries, and raises `ConfigError` for a wrong shape, dtype or NaN."""
    scores = np.asarray(retriever.scores(queries))
    expected = (queries.height, len(retriever.item_ids))
    if scores.shape != expected or not np.issubdtype(scores.dtype, np.floating):
        raise ConfigError(
            f'The scores of "{retriever.name}" must be floats of shape {expected}: one row '
            f"a query, one column an item. Received: {scores.dtype} of shape {scores.shape}."
        )
    n_nan = np.count_nonzero(np.isnan(scores))
    if n_nan:
        raise ConfigError(
            f'"{retriever.name}" gave NaN for {n_nan} of {scores.size} scores; NaN has no rank. '
            "Look for a diverged loss or NaN features; use -inf to take an item out of the list."
        )
    return scores
