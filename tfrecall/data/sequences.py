"""Histories as training wants them: padded windows, or whole sequences whose every position is a target.

Nothing is copied before a batch is made. A history list is one flat array of item indexes, sorted by
user and time; what a row of the log may see of it is a slice that ends before that row.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np
import polars as pl
from numpy.lib.stride_tricks import sliding_window_view

from tfrecall.core.ragged import Ragged, offsets_of, ranges
from tfrecall.data.histories import before
from tfrecall.data.interactions import Interactions
from tfrecall.errors import DataError
from tfrecall.schema.features import History

# For each context of histories the code of each row of a log.
Codes = Mapping[str, np.ndarray]


@dataclass(frozen=True)
class Events:
    """One history list of all users of a log.

    Attributes:
        items: int32 `[n]`, item indexes from 1 up, by user and time.
        counts: int64 `[n_rows + 1]`, how many of the log's sorted rows before each are in the list: row
            numbers of `Interactions.histories` become places in `items`.
        context: what else is known of each event: int32 `[n]` by name, see `build`.
    """

    items: np.ndarray
    counts: np.ndarray
    context: dict[str, np.ndarray] = field(default_factory=dict)

    @classmethod
    def build(
        cls, log: Interactions, spec: History, index: np.ndarray, codes: Codes | None = None
    ) -> "Events":
        """Takes the events that a history is made of.

        Args:
            log: whose events.
            spec: which of them.
            index: int32 `[n_items]`, for each row of the item table its index; 0 for an item that the
                list leaves out.
            codes: for each context of the spec int32 `[n_rows]`, the code of each row of the log.
        """
        histories = log.histories
        found = index[histories.items]
        kept = found > 0
        if spec.is_rated:
            rating = log.log["rating"].to_numpy()[histories.order]
            if spec.min_rating is not None:
                kept &= rating >= spec.min_rating
            if spec.below_rating is not None:
                kept &= rating < spec.below_rating
        counts = offsets_of(kept)
        context = {name: (codes or {})[name][histories.order[kept]] for name in spec.context}
        return cls(found[kept].astype(np.int32), counts, context)

    def windows(
        self, starts: np.ndarray, ends: np.ndarray, length: int
    ) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """The newest events of some slices of the log's sorted rows, and their context; see `windows`."""
        return self.cut(self.counts[starts], self.counts[ends], length)

    def cut(
        self, starts: np.ndarray, ends: np.ndarray, length: int
    ) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """As `windows`, of slices of the list itself."""
        context = {name: windows(codes, starts, ends, length) for name, codes in self.context.items()}
        return windows(self.items, starts, ends, length), context


def windows(items: np.ndarray, starts: np.ndarray, ends: np.ndarray, length: int) -> np.ndarray:
    """The last entries of slices, newest last.

    Args:
        items: int32 `[n]`, none of them 0.
        starts, ends: int `[rows]`, the slices.
        length: entries taken of each.

    Returns:
        int32 `[rows, length]`, 0 in front where a slice is shorter.

    >>> windows(np.array([5, 6, 7, 8], np.int32), np.array([0, 3]), np.array([3, 4]), 2).tolist()
    [[6, 7], [0, 8]]
    """
    if len(items) < length:
        return _cell_by_cell(items, starts, ends, length)
    first = ends - length
    # Rows of a view are copied whole, several times as fast as cell by cell.
    found = sliding_window_view(items, length)[np.maximum(first, 0)]
    missing = np.maximum(starts - first, 0)
    short = np.flatnonzero(missing)
    found[short] *= np.arange(length) >= missing[short, np.newaxis]
    early = np.flatnonzero(first < 0)  # would begin before the first entry of all
    found[early] = _cell_by_cell(items, starts[early], ends[early], length)
    return found


def _cell_by_cell(items: np.ndarray, starts: np.ndarray, ends: np.ndarray, length: int) -> np.ndarray:
    lengths = np.minimum(ends - starts, length)
    return Ragged(items[ranges(ends - lengths, lengths)], offsets_of(lengths)).padded("left", 0, length)


def past_windows(
    queries: pl.DataFrame,
    log: Interactions,
    specs: dict[str, History],
    index: np.ndarray,
    codes: Codes | None = None,
) -> dict[str, np.ndarray]:
    """What users had before some queries.

    Args:
        queries: with `user_id`; with `timestamp`, later events are not seen, but by `anytime`.
        log: what users had.
        specs: the lists wanted.
        index, codes: see `Events.build`.

    Returns:
        For each list int32 `[n, history_length]`, and so for each column of its context; see `windows`.
    """
    times = queries["timestamp"].to_numpy() if "timestamp" in queries.columns else None
    starts, ends = before(log, queries["user_id"], times)
    found = {}
    for name, spec in specs.items():
        events = Events.build(log, spec, index, codes)
        first, last = before(log, queries["user_id"], None) if spec.anytime else (starts, ends)
        found[name], context = events.windows(first, last, spec.history_length)
        found.update({column: context[told] for told, column in spec.context_columns.items()})
    return found


def check_apart(rows: Interactions, log: Interactions) -> None:
    """Refuses rows that stand in the log which their histories are taken from.

    Raises:
        DataError: if there is one: its target would be in its own history.
    """
    event = ["user_id", "item_id", "timestamp"]
    both = rows.log.select(event).join(log.log.select(event), on=event, how="semi")
    if len(both):
        user, item, time = both.row(0)
        raise DataError(
            f"{len(both):,} of {len(rows):,} rows are in the log that their histories come from, the first: "
            f'user "{user}", item "{item}", timestamp {time:g}. The model would see its own target. Pass a '
            'log without them; of an event that was logged twice keep one (filters.duplicates = "first").'
        )


@dataclass(frozen=True)
class Batch:
    """The histories of some targets.

    Attributes:
        rows: int64 `[n]`, rows of the log, the targets.
        items: for each list int32 `[sequences, cells]`, 0 where there is no event.
        positions: for each list int64 `[n]`, the flat cell of the last event before each target; none
            for windows, of which each target has one.
        context: for each list that has some int32 `[sequences, cells]` by name, beside the items.
    """

    rows: np.ndarray
    items: dict[str, np.ndarray]
    positions: dict[str, np.ndarray]
    context: dict[str, dict[str, np.ndarray]] = field(default_factory=dict)


class Sequences:
    """The targets of a log and what stands before each.

    Args:
        log: the training log.
        targets: int `[n]`, rows of the log to be predicted.
        lists: the events of each history list, with the most that count of it.
        context: events before its first target that a sequence sees, at least 1.
        targets_per_row: events of a user whose targets stand in one sequence.
    """

    def __init__(
        self,
        log: Interactions,
        targets: np.ndarray,
        lists: dict[str, tuple[Events, int]],
        context: int,
        targets_per_row: int,
    ) -> None:
        histories = log.histories
        place = np.empty(len(log), np.int64)  # of each row of the log among the sorted rows
        place[histories.order] = np.arange(len(log))
        self.log = log
        self.lists = lists
        self.context = context
        self.targets_per_row = targets_per_row
        # By user and time, so that the targets of a sequence are a slice.
        self.rows = targets[np.argsort(place[targets], kind="stable")]
        self.places = place[self.rows]
        self.starts = histories.offsets[log.user_rows[self.rows]]

    def __len__(self) -> int:
        return len(self.rows)

    def steps(self, batch_size: int) -> int:
        """Batches of an epoch, of about `batch_size` targets."""
        return -(-len(self) // batch_size)

    def epoch(
        self, batch_size: int, generator: np.random.Generator, whole: bool = True
    ) -> Iterator[Batch]:
        """The batches of one epoch, shuffled; every target once.

        Args:
            batch_size: targets a batch; of whole sequences about so many.
            generator: shuffles, and cuts users' events into sequences at other places in each epoch.
            whole: whether to give whole sequences, or one padded window a target.
        """
        if not whole:
            order = generator.permutation(len(self))
            for start in range(0, len(order), batch_size):
                yield self.windows_of(order[start : start + batch_size])
            return
        first = (
            self.places - (self.places - self.starts + self._shift(generator)) % self.targets_per_row
        )
        # Where one user ends, the next one's first sequence may begin at the place of the last one's.
        begins = np.diff(first, prepend=-(2**62)) | np.diff(self.starts, prepend=-1)
        bounds = np.flatnonzero(begins)
        ends = np.append(bounds[1:], len(first))
        for chosen in np.array_split(generator.permutation(len(bounds)), self.steps(batch_size)):
            yield self._sequence_batch(bounds[chosen], ends[chosen], first[bounds[chosen]])

    def windows_of(self, chosen: np.ndarray) -> Batch:
        """One padded window a target, for some targets given by their places in `rows`."""
        items, context = {}, {}
        for name, (events, length) in self.lists.items():
            starts, ends = self.starts[chosen], self.places[chosen]
            items[name], context[name] = events.windows(starts, ends, length)
        return Batch(self.rows[chosen], items, {}, _there(context))

    def _shift(self, generator: np.random.Generator) -> int:
        return int(generator.integers(self.targets_per_row))

    def _sequence_batch(self, bounds: np.ndarray, ends: np.ndarray, first: np.ndarray) -> Batch:
        """Sequences whose targets are `bounds` to `ends`, and whose events begin at place `first`."""
        lengths = ends - bounds
        sequence = np.repeat(np.arange(len(bounds)), lengths)
        targets = ranges(bounds, lengths)
        starts, last = self.starts[bounds], self.places[ends - 1]
        items, positions, context = {}, {}, {}
        for name, (events, _) in self.lists.items():
            begin, stop = events.counts[np.maximum(first, starts)], events.counts[last]
            cells = self.context + int((stop - begin).max())
            # All end in the last cell, so that shorter ones see more context instead of padding.
            items[name], context[name] = events.cut(events.counts[starts], stop, cells)
            unseen = stop[sequence] - events.counts[self.places[targets]]
            positions[name] = sequence * cells + cells - 1 - unseen
        return Batch(self.rows[targets], items, positions, _there(context))


def _there(context: dict[str, dict[str, np.ndarray]]) -> dict[str, dict[str, np.ndarray]]:
    return {name: codes for name, codes in context.items() if codes}
