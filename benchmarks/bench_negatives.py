"""Four negatives for each row of MovieLens-1M, against plain loops such as tutorials publish, on a sample.

A loop draws one item after the other, and again if the user has rated it: uniformly in the first case; in
the second with the chance .3 by the number of ratings to the power of .75, else from rare items
(`head_tail`). Both sides leave out the same and draw alike.
"""

import random

import numpy as np

from benchmarks.measure import fastest_in_turn, movielens_folder, report
from tfrecall.data import Interactions, movielens
from tfrecall.data.negatives import draw_negatives

ROUNDS = 3
PER_TARGET = 4
# Rows that the loops draw for; the slower one for a tenth of them.
SAMPLE = 20_000


def by_loop(users: list[int], known: dict[int, set[int]], items: list[int]) -> list[list[int]]:
    """A draw from all items, again if the user has it."""
    drawn = []
    for user in users:
        found: list[int] = []
        while len(found) < PER_TARGET:
            item = random.choice(items)
            if item not in known[user]:
                found.append(item)
        drawn.append(found)
    return drawn


def by_weighted_loop(
    users: list[int], known: dict[int, set[int]], counts: np.ndarray
) -> list[list[int]]:
    """A draw from the head by weight, or from the tail, again if the user has it."""
    head = np.flatnonzero(counts >= 5)
    weights = counts[head] ** 0.75 / (counts[head] ** 0.75).sum()
    tail = np.flatnonzero(counts < 5)
    drawn = []
    for user in users:
        found: list[int] = []
        while len(found) < PER_TARGET:
            is_head = random.random() < 0.3
            item = int(np.random.choice(head, p=weights) if is_head else np.random.choice(tail))
            if item not in known[user]:
                found.append(item)
        drawn.append(found)
    return drawn


def known_items(data: Interactions) -> dict[int, set[int]]:
    """What each user has."""
    known: dict[int, set[int]] = {}
    for user, item in zip(data.user_rows.tolist(), data.item_rows.tolist(), strict=True):
        known.setdefault(user, set()).add(item)
    return known


def main() -> None:
    """Seconds of the loops are those of a sample, by rows scaled to the whole log."""
    data = movielens("1m", movielens_folder("1m"))
    rows, known = np.arange(len(data)), known_items(data)
    users = np.random.default_rng(0).choice(data.user_rows, SAMPLE).tolist()
    items = list(range(data.items.height))
    counts = np.bincount(data.item_rows, minlength=data.items.height)
    head_tail, uniform, weighted_loop, loop = fastest_in_turn(
        [
            lambda: draw_negatives(data, rows, PER_TARGET, source="head_tail"),
            lambda: draw_negatives(data, rows, PER_TARGET),
            lambda: by_weighted_loop(users[: SAMPLE // 10], known, counts),
            lambda: by_loop(users, known, items),
        ],
        ROUNDS,
    )
    loop *= len(data) / SAMPLE
    weighted_loop *= len(data) / (SAMPLE // 10)
    report(
        "negatives",
        seconds=uniform,
        head_tail_seconds=head_tail,
        loop_seconds=loop,
        weighted_loop_seconds=weighted_loop,
        ratio=loop / uniform,
        weighted_ratio=weighted_loop / head_tail,
    )


if __name__ == "__main__":
    main()
