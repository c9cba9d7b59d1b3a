"""Hard negatives: items that the model itself ranks high, found between epochs."""

from collections.abc import Callable, Iterator

import numpy as np

from tfrecall.core.progress import LogProgress, ProgressReporter
from tfrecall.core.top_k import best_scores, top_k
from tfrecall.data.interactions import Interactions
from tfrecall.data.negatives import WeightedNegatives, check_number
from tfrecall.errors import ConfigError, DataError
from tfrecall.release import Release
from tfrecall.schema.negatives import Hard, Uniform

# Scores held at a time: 32 MB.
BLOCK_SCORES = 1 << 23


class HardNegativeMiner:
    """Hard-negative mining: draws between two ranks of the model's lists at the start of an epoch.

    Lists are found by exact search: one a user where queries have user features only, else one a target,
    which takes `targets x items` products an epoch.

    Args:
        log: the events.
        spec: the ranks to draw between.
        rows: int `[n]`, the targets as rows of the log.
        embed: function from places in `rows` to the vectors of those targets.
        catalogue: function that gives the vectors of all items, in the order of the item table.
        per_user: whether all targets of a user have the same vector.

    Raises:
        ConfigError: if the last place is beyond the catalogue.
        DataError: if a user has every item.
    """

    def __init__(
        self,
        log: Interactions,
        spec: Hard,
        rows: np.ndarray,
        embed: Callable[[np.ndarray], np.ndarray],
        catalogue: Callable[[], np.ndarray],
        per_user: bool,
    ) -> None:
        self._first, self._last = check_mined(log, spec, rows)
        self.log = log
        self.spec = spec
        self.rows = rows
        self._embed, self._catalogue = embed, catalogue
        # Targets of one user are neighbours, so a block asks for each user once.
        self._order = (
            np.argsort(log.user_rows[rows], kind="stable") if per_user else np.arange(len(rows))
        )
        self._per_user = per_user

    def mine(self, random: np.random.Generator) -> np.ndarray:
        """Draws for all targets: int32 `[rows of the log, per_positive]`, -1 for none."""
        vectors = self._catalogue()
        drawn = np.full((len(self.log), self.spec.per_positive), -1, np.int32)
        for targets, query_of in self._blocks(max(BLOCK_SCORES // len(vectors), 1)):
            # The first target of each query stands for all: they have one vector.
            queries = targets[np.unique(query_of, return_index=True)[1]]
            scores = best_scores(self._embed(queries), vectors)
            places = self._places(scores, self.rows[queries])[query_of]
            rows = self.rows[targets]
            chosen = draw_places(places, self.spec.per_positive, random)
            # The target itself may be in the list where known items are not excluded.
            drawn[rows] = np.where(chosen == self.log.item_rows[rows, np.newaxis], -1, chosen)
        return drawn

    def _blocks(self, queries: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yields blocks of targets, with the number of each target's query within its block."""
        if not self._per_user:
            for start in range(0, len(self._order), queries):
                targets = self._order[start : start + queries]
                yield targets, np.arange(len(targets))
            return
        users = self.log.user_rows[self.rows[self._order]]
        # Users numbered from 0 along the order: [4, 4, 9, 9, 9] becomes [0, 0, 1, 1, 1], so a block
        # of users is a slice of targets.
        number = np.cumsum(np.diff(users, prepend=users[:1]) != 0)
        for start in range(0, int(number[-1]) + 1 if len(number) else 0, queries):
            block = slice(*np.searchsorted(number, [start, start + queries]))
            yield self._order[block], number[block] - start

    def _places(self, scores: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """The items between the two ranks: int `[queries, places]`, -1 where there is none."""
        if self.spec.exclude_known:
            queries, items = self.log.histories.flat(self.log.user_rows[rows])
            scores[queries, items] = -np.inf
        # Ranks count from 1.
        return top_k(scores, self._last)[:, self._first - 1 :]


def check_mined(log: Interactions, spec: Hard, rows: np.ndarray) -> tuple[int, int]:
    """Checks the ranks of mining against the catalogue; gives the first and the last.

    Raises:
        ConfigError: if the last place is beyond the catalogue.
        DataError: if a user has every item.
    """
    if spec.ranks is None or spec.ranks[1] >= log.items.height:
        raise ConfigError(
            f"The catalogue has {log.items.height:,} items, so `ranks` must end at "
            f"{log.items.height - 1:,} or before. Received: {spec.ranks and list(spec.ranks)}."
        )
    check_number(log, spec.per_positive)
    WeightedNegatives(log, Uniform(1, exclude_known=spec.exclude_known)).check(rows)
    return spec.ranks


def draw_places(places: np.ndarray, count: int, random: np.random.Generator) -> np.ndarray:
    """Draws items of each row with replacement, -1 for a row without items; places without one come last."""
    counts = (places >= 0).sum(axis=1)
    # A row without items draws its first place, which holds -1.
    points = random.integers(0, np.maximum(counts, 1)[:, np.newaxis], size=(len(places), count))
    return np.take_along_axis(places, points, axis=1).astype(np.int32)


# Places of lists in one request to a release: with scores 8 MB.
BLOCK_PLACES = 1 << 20
MOST_USERS = 2048


class ReleasedItems:
    """Hard negatives of a release: draws between two ranks of the list it gives each user.

    Lists are those of the release, exact or by its index, restricted to the items of this log; with
    `exclude_known` without the user's items in this log. Items of the user elsewhere, such as a
    validation row that the release learned from, stay in. One list a user is kept.

    Args:
        log: the events.
        spec: the ranks to draw between.
        rows: int `[n]`, the targets as rows of the log.
        release: the release to query.
        progress: receives the number of users whose lists are complete; without it the logger "tfrecall" does.

    Attributes:
        notes: message on users with lists too short to draw from.

    Raises:
        ConfigError: if the last place is beyond the catalogue.
        DataError: if the release does not know a user of the targets or an item of the log, or a user has
            every item.
    """

    def __init__(
        self,
        log: Interactions,
        spec: Hard,
        rows: np.ndarray,
        release: Release,
        progress: ProgressReporter | None = None,
    ) -> None:
        self._first, self._last = check_mined(log, spec, rows)
        self._log, self._spec, self._release = log, spec, release
        users = np.unique(log.user_rows[rows])
        self._check_users(users)
        self._ours = self._rows_of_items()
        self._places = np.full((len(users), self._last - self._first + 1), -1, np.int32)
        self._row_of = np.full(log.users.height, -1, np.int64)
        self._row_of[users] = np.arange(len(users))
        self._mine(users, progress or LogProgress())
        without = np.count_nonzero(self._places[:, 0] < 0)
        self.notes: tuple[str, ...] = ()
        if without:
            self.notes = (
                f"negatives: the lists of {release.root} are shorter than {self._first} for {without:,} of "
                f"{len(users):,} users, whose targets stand without",
            )

    def check(self, rows: np.ndarray) -> None:
        """Checks nothing: targets without negatives are allowed."""

    def draw(self, rows: np.ndarray, random: np.random.Generator) -> np.ndarray:
        """Item rows for some rows of the log: int32 `[n, per_positive]`, -1 for none."""
        places = self._places[self._row_of[self._log.user_rows[rows]]]
        chosen = draw_places(places, self._spec.per_positive, random)
        return np.where(chosen == self._log.item_rows[rows, np.newaxis], -1, chosen)

    def _check_users(self, users: np.ndarray) -> None:
        people, ids = self._release.users, self._log.user_vocabulary.ids[users]
        rows = people.rows_of(ids.tolist())
        offsets = np.asarray(people.seen_offsets)
        known = rows >= 0
        # A user without events is as good as unknown.
        known[known] = offsets[rows[known] + 1] > offsets[rows[known]]
        if not known.all():
            raise DataError(
                f"The release {self._release.root} has no training rows of {np.count_nonzero(~known):,} of "
                f'{len(users):,} users, such as "{ids[np.argmin(known)]}", so its lists say nothing of them. '
                "Give a release that learned from the same users, or leave `release` out: then the model "
                "mines its own lists."
            )

    def _rows_of_items(self) -> np.ndarray:
        """Item row in the log of each item of the release, -1 for items that the log lacks."""
        catalogue = self._log.item_vocabulary
        ours = catalogue.rows(self._release.item_ids).astype(np.int64)
        absent = np.delete(np.arange(len(catalogue)), ours[ours >= 0])
        if len(absent):
            raise DataError(
                f"The release {self._release.root} does not know {len(absent):,} of {len(catalogue):,} items, "
                f'such as "{catalogue.ids[absent[0]]}", which could never be drawn. Give a '
                "release of the same catalogue, or leave `release` out: then the model mines its own lists."
            )
        return ours

    def _mine(self, users: np.ndarray, progress: ProgressReporter) -> None:
        progress.note(f"Asking {self._release.root} for the lists that negatives are drawn from.")
        foreign = (self._ours < 0).any()
        # A filter costs time in an index, so only where the release has items that the log lacks.
        allow = self._log.item_vocabulary.ids.tolist() if foreign else None
        done = 0
        for block, k in self._blocks(users):
            ids = self._log.user_vocabulary.ids[block].tolist()
            _, hits = self._release.find(ids, k, exclude_seen=False, allow=allow)
            self._keep(block, np.where(hits.rows >= 0, self._ours[hits.rows], -1))
            done += len(block)
            progress.progress(f"lists of {self._release.root}", done, len(users), "users")

    def _blocks(self, users: np.ndarray) -> Iterator[tuple[np.ndarray, int]]:
        """Yields users of similar history lengths, and a list length that covers these and the last rank."""
        had = (
            self._log.histories.lengths[users]
            if self._spec.exclude_known
            else np.zeros(len(users), int)
        )
        # Sorted, so that a short list is not asked for at the length of the longest. The list has to
        # cover the user's own items, which are removed afterwards.
        order, most = np.argsort(had, kind="stable"), len(self._release.item_ids)
        start = 0
        while start < len(order):
            # As many users as the block can hold with its longest list, which is that of its last user.
            stop = start + 1
            while (
                stop < min(len(order), start + MOST_USERS)
                and (stop + 1 - start) * min(self._last + had[order[stop]], most) <= BLOCK_PLACES
            ):
                stop += 1
            yield users[order[start:stop]], int(min(self._last + had[order[stop - 1]], most))
            start = stop

    def _keep(self, users: np.ndarray, found: np.ndarray) -> None:
        """Keeps the items between the two ranks of each user's list, the first rank first."""
        there = found >= 0
        if self._spec.exclude_known:
            n_items = self._log.items.height
            queries, items = self._log.histories.flat(users)
            # Pairs of user and item as one integer, user * n_items + item, so one `isin` compares
            # them all.
            keys = np.arange(len(users))[:, np.newaxis] * n_items + found
            there &= ~np.isin(keys, queries.astype(np.int64) * n_items + items)
        # Ranks from 1 among the items that are left. there [1, 0, 1, 1] has the ranks [1, 1, 2, 3];
        # the removed one repeats a rank, but `there` keeps it out.
        place = np.cumsum(there, axis=1)
        rows, columns = np.nonzero(there & (place >= self._first) & (place <= self._last))
        at = place[rows, columns] - self._first
        self._places[self._row_of[users[rows]], at] = found[rows, columns]
