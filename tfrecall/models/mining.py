"""Hard negatives: items that the model itself ranks high, found between epochs."""

from collections.abc import Callable, Iterator

import numpy as np

from tfrecall.data.interactions import Interactions
from tfrecall.data.negatives import WeightedSampler, check_number
from tfrecall.errors import ConfigError
from tfrecall.index.interests import best_scores
from tfrecall.negatives import Hard, Uniform

# Scores held at a time: 32 MB.
BLOCK_SCORES = 1 << 23


class MinedItems:
    """Draws from a range of places of the list that a model gives at the start of an epoch.

    A list is found by exact search. Where a query is the user and nothing else, each user is asked once;
    else every target is, which takes `targets x items` products an epoch.

    Args:
        log: the events.
        spec: which places.
        rows: int `[n]`, the targets as rows of the log.
        embed: the vectors of some of the targets, given by their places in `rows`.
        catalogue: the vectors of all items, in the order of the item table.
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
        # Targets that are asked for together stand together.
        self._order = (
            np.argsort(log.user_rows[rows], kind="stable") if per_user else np.arange(len(rows))
        )
        self._per_user = per_user

    def mine(self, random: np.random.Generator) -> np.ndarray:
        """Draws for all targets: int32 `[rows of the log, per_positive]`, -1 for none and no target."""
        vectors = self._catalogue()
        drawn = np.full((len(self.log), self.spec.per_positive), -1, np.int32)
        for targets, query_of in self._blocks(max(BLOCK_SCORES // len(vectors), 1)):
            asked = targets[np.unique(query_of, return_index=True)[1]]
            scores = best_scores(self._embed(asked), vectors)
            places = self._places(scores, self.rows[asked])[query_of]
            rows = self.rows[targets]
            chosen = draw_places(places, self.spec.per_positive, random)
            drawn[rows] = np.where(chosen == self.log.item_rows[rows, np.newaxis], -1, chosen)
        return drawn

    def _blocks(self, queries: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Targets, and for each the number of its query within the block."""
        if not self._per_user:
            for start in range(0, len(self._order), queries):
                targets = self._order[start : start + queries]
                yield targets, np.arange(len(targets))
            return
        users = self.log.user_rows[self.rows[self._order]]
        number = np.cumsum(np.diff(users, prepend=users[:1]) != 0)
        for start in range(0, int(number[-1]) + 1 if len(number) else 0, queries):
            block = slice(*np.searchsorted(number, [start, start + queries]))
            yield self._order[block], number[block] - start

    def _places(self, scores: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """The items at the places wanted: int `[queries, places]`, -1 where there is none."""
        if self.spec.exclude_known:
            queries, items = self.log.histories.flat(self.log.user_rows[rows])
            scores[queries, items] = -np.inf
        best = np.argpartition(-scores, self._last - 1, axis=1)[:, : self._last]
        of_best = np.take_along_axis(scores, best, axis=1)
        order = np.argsort(-of_best, axis=1, kind="stable")[:, self._first - 1 :]
        found = np.take_along_axis(best, order, axis=1)
        return np.where(np.isneginf(np.take_along_axis(of_best, order, axis=1)), -1, found)


def check_mined(log: Interactions, spec: Hard, rows: np.ndarray) -> tuple[int, int]:
    """The first and the last place, where there are so many.

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
    WeightedSampler(log, Uniform(1, exclude_known=spec.exclude_known)).check(rows)
    return spec.ranks


def draw_places(places: np.ndarray, count: int, random: np.random.Generator) -> np.ndarray:
    """Some of each row's items, with replacement, -1 where it has none; the items come first."""
    there = (places >= 0).sum(axis=1)
    points = random.integers(0, np.maximum(there, 1)[:, np.newaxis], size=(len(places), count))
    return np.take_along_axis(places, points, axis=1).astype(np.int32)
