"""What users had, and how much each of it counts."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import scipy.sparse as sp

SECONDS_A_DAY = 86_400.0


@dataclass(frozen=True, eq=False)
class Had:
    """What each of some queries is answered from: slices of flat arrays, oldest events first.

    Attributes:
        users: int `[n]`, the row of each query's user in the training data, -1 for somebody unknown.
        starts, ends: int64 `[n]`, the events of query `q` are `items[starts[q]:ends[q]]`.
        items: int, rows of the catalogue; -1 is an unknown item, which counts for nothing.
        times: number, seconds, of each entry of `items`; alike where they are not known.
    """

    users: np.ndarray
    starts: np.ndarray
    ends: np.ndarray
    items: np.ndarray
    times: np.ndarray

    @classmethod
    def of_lists(
        cls, users: np.ndarray, lists: Sequence[np.ndarray], times: Sequence[np.ndarray]
    ) -> "Had":
        """From one list of item rows a query, and the times of each."""
        ends = np.cumsum([len(rows) for rows in lists], dtype=np.int64)
        starts = ends - np.array([len(rows) for rows in lists], dtype=np.int64)
        items = np.concatenate([np.empty(0, np.int64), *lists]).astype(np.int64)
        return cls(np.asarray(users), starts, ends, items, np.concatenate([np.empty(0), *times]))

    def __len__(self) -> int:
        return len(self.starts)

    def rows(self, at: Any) -> "Had":
        """Some of the queries, by number or slice."""
        return replace(self, users=self.users[at], starts=self.starts[at], ends=self.ends[at])

    def list(self, query: int) -> np.ndarray:
        """The item rows of one query."""
        return self.items[self.starts[query] : self.ends[query]]

    def distinct(self) -> tuple["Had", np.ndarray]:
        """Each different query once, and for every query which of them it is."""
        keys = np.stack([self.users, self.starts, self.ends], axis=1)
        _, first, back = np.unique(keys, axis=0, return_index=True, return_inverse=True)
        return self.rows(first), back.reshape(-1)


@dataclass(frozen=True)
class HistoryWeights:
    """How much each event counts of what a user had.

    An event `d` events back (1 is the latest) and `age` days older than the user's latest one weighs

        d ** -decay * 0.5 ** (age / half_life_days)

    The age counts from the user's own latest event, not from a moment of asking: that would multiply all
    weights of a user by one number, which changes no order and no share.

    Attributes:
        window: the latest events that count; None for all.
        decay: how fast weight fades with the place of an event.
        half_life_days: how fast it fades with time; None for not at all.
        repeated: whether an item counts for each of its events; otherwise for the latest one.
    """

    window: int | None = None
    decay: float = 0.0
    half_life_days: float | None = None
    repeated: bool = False

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    def matrix(self, had: Had, n_items: int) -> sp.csr_array:
        """The weights of items for queries: float32 `[n, n_items]`, columns ascending in a row."""
        starts = had.starts if self.window is None else np.maximum(had.starts, had.ends - self.window)
        lengths = had.ends - starts
        queries = np.repeat(np.arange(len(had)), lengths)
        places = np.repeat(had.ends - np.cumsum(lengths), lengths) + np.arange(len(queries))
        back = np.repeat(had.ends, lengths) - places
        items = np.asarray(had.items[places], dtype=np.int64)
        weights = back ** -float(self.decay)
        if self.half_life_days is not None and len(places):
            latest = np.repeat(had.times[np.maximum(had.ends - 1, 0)], lengths)
            weights *= np.exp2((had.times[places] - latest) / (self.half_life_days * SECONDS_A_DAY))
        counts = items >= 0
        if not self.repeated:
            counts &= _is_last(queries, items, n_items)
        cells = queries[counts], items[counts]
        shape = (len(had), n_items)
        return sp.csr_array((weights[counts].astype(np.float32), cells), shape=shape)


def _is_last(queries: np.ndarray, items: np.ndarray, n_items: int) -> np.ndarray:
    """Whether no later event of the query has the same item."""
    keys = queries * (n_items + 1) + items + 1  # -1 must not meet an item of the query before
    _, places = np.unique(keys[::-1], return_index=True)
    last = np.zeros(len(keys), dtype=bool)
    last[len(keys) - 1 - places] = True
    return last
