"""MovieLens-1M from its files to training arrays, and padded windows against a loop over pandas' groups."""

from collections.abc import Iterator

import numpy as np
import pandas as pd

from benchmarks.measure import fastest_in_turn, movielens_folder, report, seconds_of
from tfrecall._keras import keras
from tfrecall.core.vocabulary import FIRST
from tfrecall.data import Interactions, movielens
from tfrecall.data.negatives import draw_negatives
from tfrecall.data.sequences import windows
from tfrecall.data.targets import choose_targets

ROUNDS = 4
LENGTH = 50
BATCH_SIZE = 4096

# The user row of each target, its item, the events of its window (at most LENGTH), the padded window.
Arrays = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]


def load() -> Interactions:
    """MovieLens-1M, validated."""
    return movielens("1m", movielens_folder("1m"))


def encoded(data: Interactions) -> Interactions:
    """The log with its ids looked up, and nothing sorted yet."""
    fresh = data.with_log(data.log)
    _ = fresh.user_rows, fresh.item_rows
    return fresh


def as_slices(data: Interactions) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The user row of each target and where in the histories its past starts and ends, by user and time.

    The target is the event that stands at the end.
    """
    histories = data.histories
    is_target = np.zeros(len(data), dtype=bool)
    is_target[choose_targets(data).rows] = True
    ends = np.flatnonzero(is_target[histories.order])
    users = np.repeat(np.arange(len(histories)), histories.lengths)[ends]
    return users, histories.offsets[users], ends


def as_windows(data: Interactions) -> Iterator[Arrays]:
    """The batches that an epoch of windows reads; an array of all of them is never made."""
    users, starts, ends = as_slices(data)
    items = data.histories.items + np.int32(FIRST)
    for start in range(0, len(ends), BATCH_SIZE):
        batch = slice(start, start + BATCH_SIZE)
        first, last = starts[batch], ends[batch]
        padded = windows(items, first, last, LENGTH)
        yield users[batch], items[last], np.minimum(last - first, LENGTH), padded


def read(batches: Iterator[Arrays]) -> int:
    """Makes them all, one after the other, and counts their rows."""
    return sum(len(batch[0]) for batch in batches)


def by_loop(frame: pd.DataFrame) -> Arrays:
    """The same in the way of many tutorials: a tuple for each event of each user, and Keras' padding.

    As in these the newest event of a window comes first, and zeros behind the oldest.
    """
    rows = []
    for user, events in frame.sort_values("timestamp", kind="stable").groupby("user"):
        items = events["item"].tolist()
        for place in range(1, len(items)):
            history = items[:place]
            rows.append((user, items[place], min(place, LENGTH), history[::-1][:LENGTH]))
    users, targets, lengths = (np.array([row[k] for row in rows]) for k in range(3))
    padded = keras.utils.pad_sequences(
        [row[3] for row in rows], maxlen=LENGTH, padding="post", truncating="post"
    )
    return users, targets, lengths, padded


def check_equal(data: Interactions, frame: pd.DataFrame) -> None:
    """Refuses to compare what is not the same."""
    *ours, window = map(np.concatenate, zip(*as_windows(data), strict=True))
    *theirs, padded = by_loop(frame)
    for one, other in zip([*ours, window], [*theirs, padded[:, ::-1]], strict=True):
        np.testing.assert_array_equal(one, other)


def main() -> None:
    """Both sides of the ratio are given users and items as numbers."""
    seconds = min(seconds_of(lambda: as_slices(load())) for _ in range(ROUNDS))
    data = encoded(load())
    frame = pd.DataFrame(
        {
            "user": data.user_rows,
            "item": data.item_rows + FIRST,
            "timestamp": data.log["timestamp"].to_numpy(),
        }
    )
    check_equal(data, frame)
    # A log keeps its histories once they are sorted, so each round has a log of its own.
    logs = [encoded(data) for _ in range(2 * ROUNDS)]
    loop, ours, slices = fastest_in_turn(
        [
            lambda: by_loop(frame),
            lambda: read(as_windows(logs.pop())),
            lambda: as_slices(logs.pop()),
        ],
        ROUNDS,
    )
    rows = np.arange(len(data))
    report(
        "histories",
        seconds=seconds,
        windows_seconds=ours,
        slices_seconds=slices,
        loop_seconds=loop,
        ratio=loop / ours,
        ratio_of_slices=loop / slices,
        four_negatives_seconds=min(
            seconds_of(lambda: draw_negatives(data, rows, 4)) for _ in range(ROUNDS)
        ),
    )


if __name__ == "__main__":
    main()
