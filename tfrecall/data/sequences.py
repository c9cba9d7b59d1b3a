"""Histories in training batches: padded windows, or whole sequences whose every position is a target.

A history list is one flat array of item indexes, sorted by user and time. The history of a row of the log is
a slice that ends before the row, and nothing is copied before a batch is made.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np
import polars as pl
from numpy.lib.stride_tricks import sliding_window_view

from tfrecall.core.columns import ITEM, TIMESTAMP, USER
from tfrecall.core.parts import WHOLE, Part
from tfrecall.core.ragged import Ragged, offsets_of, ranges
from tfrecall.data.histories import basket_starts, slices_of
from tfrecall.data.interactions import Interactions
from tfrecall.errors import DataError
from tfrecall.schema.features import History

# For each context column of the histories (`<list>_<context>`), the code of each row of a log.
Codes = Mapping[str, np.ndarray]


@dataclass(frozen=True)
class Events:
    """One history list of all users of a log.

    Attributes:
        items: int32 `[n]`, item indexes from 1, sorted by user and time.
        counts: int64 `[n_rows + 1]`, number of the log's sorted rows before each that are in the list. It
            turns places in `Interactions.histories` into places in `items`.
        context: int32 `[n]` by name, the codes of each event's contexts.
        asked: int32 `[n_rows]`, the code of the time of each row of the log, for encoders that read times.
    """

    items: np.ndarray
    counts: np.ndarray
    context: dict[str, np.ndarray] = field(default_factory=dict)
    asked: np.ndarray | None = None

    @classmethod
    def build(
        cls, log: Interactions, spec: History, index: np.ndarray, codes: Codes | None = None
    ) -> "Events":
        """Selects the events of a history list.

        Args:
            log: the events.
            spec: the history; events whose rating it does not admit are left out.
            index: int32 `[n_items]`, the index of each row of the item table; 0 leaves the item out.
            codes: for each context column of the spec int32 `[n_rows]`, the code of each row of the log.
        """
        histories = log.histories
        items = index[histories.items]
        kept = items > 0
        if spec.is_rated:
            rating = log.log["rating"].to_numpy()[histories.order]
            if spec.min_rating is not None:
                kept &= rating >= spec.min_rating
            if spec.below_rating is not None:
                kept &= rating < spec.below_rating
        counts = offsets_of(kept)
        context = {
            name: (codes or {})[column][histories.order[kept]]
            for name, column in spec.context_columns.items()
        }
        asked = (codes or {}).get(spec.context_columns[TIMESTAMP]) if spec.is_timed else None
        return cls(items[kept].astype(np.int32), counts, context, asked)

    def windows(
        self, starts: np.ndarray, ends: np.ndarray, length: int
    ) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """Copies the newest events, with contexts, of slices of the log's sorted rows, padded on the left."""
        return self.cut(self.counts[starts], self.counts[ends], length)

    def cut(
        self, starts: np.ndarray, ends: np.ndarray, length: int
    ) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """Copies the newest events, with contexts, of slices of the list itself, padded on the left."""
        context = {name: windows(codes, starts, ends, length) for name, codes in self.context.items()}
        return windows(self.items, starts, ends, length), context


def windows(items: np.ndarray, starts: np.ndarray, ends: np.ndarray, length: int) -> np.ndarray:
    """Copies the last entries of slices into rows, newest last.

    Args:
        items: int32 `[n]`, none of them 0.
        starts: int `[rows]`, first entries of the slices.
        ends: int `[rows]`, ends of the slices, excluded.
        length: length of the rows.

    Returns:
        int32 `[rows, length]`, padded with 0 on the left.

    >>> windows(np.array([5, 6, 7, 8], np.int32), np.array([0, 3]), np.array([3, 4]), 2).tolist()
    [[6, 7], [0, 8]]
    """
    # A view of windows needs an array at least as long as one window.
    if len(items) < length:
        return _cell_by_cell(items, starts, ends, length)
    first = ends - length
    # Copying whole rows of a view is several times as fast as cell by cell. A row whose slice is shorter
    # begins with entries of the slice before it: these are multiplied by 0.
    rows = sliding_window_view(items, length)[np.maximum(first, 0)]
    missing = np.maximum(starts - first, 0)
    short = np.flatnonzero(missing)
    rows[short] *= np.arange(length) >= missing[short, np.newaxis]
    early = np.flatnonzero(first < 0)  # a window that would begin before the array
    rows[early] = _cell_by_cell(items, starts[early], ends[early], length)
    return rows


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
    """Looks up the histories of queries.

    Args:
        queries: table with `user_id`. With a column `events_before` so many first events of the user count;
            with a column `timestamp`, later events are left out, except from `anytime` lists; without
            either all events of the user count.
        log: the events.
        specs: the history lists by name.
        index: int32 `[n_items]`, the index of each row of the item table; 0 leaves the item out.
        codes: for each context int32 `[n_rows]`, the code of each row of the log.

    Returns:
        For each list, and each column of its contexts, int32 `[n, history_length]`, padded with 0 on the left.
    """
    starts, ends = slices_of(log, queries)
    columns = {}
    for name, spec in specs.items():
        events = Events.build(log, spec, index, codes)
        first, last = slices_of(log, queries, timed=False) if spec.anytime else (starts, ends)
        columns[name], context = events.windows(first, last, spec.history_length)
        columns.update({column: context[key] for key, column in spec.context_columns.items()})
    return columns


def check_apart(rows: Interactions, log: Interactions) -> None:
    """Refuses rows that are also in the log of their histories.

    Where all events have one time, as in a log without times, an event that came again looks like the one
    before it: only the log itself is refused there.

    Raises:
        DataError: if there is one, because its target would be in its own history.
    """
    event = [USER, ITEM, TIMESTAMP]
    ours, known = rows.log.select(event), log.log.select(event)
    if pl.concat([ours, known])[TIMESTAMP].n_unique() == 1 and not ours.equals(known):
        return
    both = ours.join(known, on=event, how="semi")
    if len(both):
        user, item, time = both.row(0)
        raise DataError(
            f"{len(both):,} of {len(rows):,} rows are in the log that their histories come from, the first: "
            f'user "{user}", item "{item}", timestamp {time:g}. The model would see its own target. Pass a '
            'log without them; of an event that was logged twice keep one (filters.duplicates = "first").'
        )


@dataclass(frozen=True)
class Batch:
    """Histories of the targets of a batch.

    Attributes:
        rows: int64 `[n]`, the targets as rows of the log.
        items: for each list int32 `[sequences, cells]`, 0 is padding.
        positions: for each list int64 `[n]`, the flat cell (row x cells + column) of the last event before
            each target; empty for windows, where each target has its own.
        context: for each list with contexts, int32 `[sequences, cells]` by name, parallel to the items.
        asked: for each list with times int32 `[sequences]`, the code of the time of the last target.
    """

    rows: np.ndarray
    items: dict[str, np.ndarray]
    positions: dict[str, np.ndarray]
    context: dict[str, dict[str, np.ndarray]] = field(default_factory=dict)
    asked: dict[str, np.ndarray] = field(default_factory=dict)


class Sequences:
    """Targets of a log with their histories, in batches.

    Args:
        log: the training log.
        targets: int `[n]`, rows of the log to predict.
        lists: by name, the events of a history list and the number of most recent ones that count.
        context: events before its first target that a sequence sees, at least 1.
        targets_per_row: number of a user's consecutive events that share one sequence.
        baskets: whether the events of a user at one time are one basket: the history of a target then ends
            before its basket.
        by_length: whether the sequences of a batch are about equally long.
    """

    def __init__(
        self,
        log: Interactions,
        targets: np.ndarray,
        lists: dict[str, tuple[Events, int]],
        context: int,
        targets_per_row: int,
        baskets: bool = False,
        by_length: bool = False,
    ) -> None:
        histories = log.histories
        # The place of each row of the log among the rows sorted by user and time: the inverse of `order`.
        place = np.empty(len(log), np.int64)
        place[histories.order] = np.arange(len(log))
        self.log = log
        self.lists = lists
        self.context = context
        self.targets_per_row = targets_per_row
        self.by_length = by_length
        # Sorted by user and time, so that the targets of a sequence are a slice.
        self.rows = targets[np.argsort(place[targets], kind="stable")]
        self.places = place[self.rows]
        self.starts = histories.offsets[log.user_rows[self.rows]]
        # Ends of the histories of the targets, excluded.
        self.ends = basket_starts(log)[self.places] if baskets else self.places

    def __len__(self) -> int:
        return len(self.rows)

    def steps(self, batch_size: int) -> int:
        """Number of batches of about `batch_size` targets in an epoch."""
        return -(-len(self) // batch_size)

    def epoch(
        self,
        batch_size: int,
        generator: np.random.Generator,
        whole: bool = True,
        part: Part = WHOLE,
    ) -> Iterator[Batch]:
        """Yields the batches of one epoch, shuffled, with each target once.

        Args:
            batch_size: targets a batch; with whole sequences approximately.
            generator: shuffles, and shifts the places at which users' events are cut into sequences.
            whole: whether to yield whole sequences, or one padded window a target.
            part: the part of the sequences or targets of each batch that is yielded.
        """
        if not whole:
            order = generator.permutation(len(self))
            for start in range(0, len(order), batch_size):
                yield self.windows_of(part.of(order[start : start + batch_size]))
            return
        # The place at which the sequence of each target begins: within a user, every `targets_per_row`
        # events from a random shift on. Targets with the same beginning share a sequence.
        # With 3 targets a row and the shift 1, places 10 to 14 of a user whose events begin at 10 get
        # (0 to 4 + 1) % 3 = 1 2 0 1 2, and so the beginnings 9 9 12 12 12: two sequences.
        first = (
            self.places - (self.places - self.starts + self._shift(generator)) % self.targets_per_row
        )
        # A new sequence begins where `first` changes, or the user: a shifted first sequence may nominally begin
        # before its user's events, at the same place as the last sequence of the user before.
        begins = np.diff(first, prepend=-(2**62)) | np.diff(self.starts, prepend=-1)
        bounds = np.flatnonzero(begins)
        ends = np.append(bounds[1:], len(first))
        if self.by_length:
            first = self.places  # each sequence begins at its first target
            batches = _by_length(ends - bounds, batch_size, generator)
        else:
            batches = np.array_split(generator.permutation(len(bounds)), self.steps(batch_size))
        for batch in batches:
            chosen = part.of(batch)
            yield self._sequence_batch(bounds[chosen], ends[chosen], first[bounds[chosen]])

    def windows_of(self, chosen: np.ndarray) -> Batch:
        """One padded window a target, for targets given as indexes into `rows`."""
        items, context = {}, {}
        for name, (events, length) in self.lists.items():
            starts, ends = self.starts[chosen], self.ends[chosen]
            items[name], context[name] = events.windows(starts, ends, length)
        rows = self.rows[chosen]
        return Batch(rows, items, {}, _not_empty(context), self._asked(rows))

    def _shift(self, generator: np.random.Generator) -> int:
        return int(generator.integers(self.targets_per_row))

    def _sequence_batch(self, bounds: np.ndarray, ends: np.ndarray, first: np.ndarray) -> Batch:
        """Sequences of the targets `bounds` to `ends`, whose events begin at place `first`."""
        # The sequence of each target, and its index into `rows`.
        lengths = ends - bounds
        sequence = np.repeat(np.arange(len(bounds)), lengths)
        targets = ranges(bounds, lengths)
        starts, last = self.starts[bounds], self.ends[ends - 1]
        # A sequence may begin within a basket, whose targets have their history before it.
        first = np.minimum(first, self.ends[bounds])
        items, positions, context = {}, {}, {}
        for name, (events, _) in self.lists.items():
            # From rows of the log to the list, which may lack some (other ratings). `first` may lie
            # before the user's events if the shift made it so.
            begin, stop = events.counts[np.maximum(first, starts)], events.counts[last]
            cells = self.context + int((stop - begin).max(initial=0))
            # All sequences end in the last cell: shorter ones then hold more context instead of padding.
            items[name], context[name] = events.cut(events.counts[starts], stop, cells)
            # Counted from the end: the list's events from the target's on lie after the cell that predicts it.
            unseen = stop[sequence] - events.counts[self.ends[targets]]
            positions[name] = sequence * cells + cells - 1 - unseen
        asked = self._asked(self.rows[ends - 1])
        return Batch(self.rows[targets], items, positions, _not_empty(context), asked)

    def _asked(self, rows: np.ndarray) -> dict[str, np.ndarray]:
        events = {name: events for name, (events, _) in self.lists.items()}
        return {name: one.asked[rows] for name, one in events.items() if one.asked is not None}


def _by_length(
    lengths: np.ndarray, batch_size: int, generator: np.random.Generator
) -> list[np.ndarray]:
    """Places of sequences of about one length, with about `batch_size` targets together, in random order."""
    # Up to a tenth longer or shorter, so that a user has other company in each epoch.
    order = np.argsort(lengths * generator.uniform(0.9, 1.1, len(lengths)), kind="stable")
    targets = np.cumsum(lengths[order])
    # No sequence is longer than a batch, so each full batch ends at a place of its own.
    full = np.arange(batch_size, targets[-1], batch_size)
    batches = np.split(order, np.searchsorted(targets, full, side="right"))
    return [batches[i] for i in generator.permutation(len(batches))]


def _not_empty(context: dict[str, dict[str, np.ndarray]]) -> dict[str, dict[str, np.ndarray]]:
    return {name: codes for name, codes in context.items() if codes}
