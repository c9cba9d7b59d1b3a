"""Slices mark the rows they are named for."""

from tests.evaluation.helpers import make_log
from tfrecall.evaluation import slice_masks
from tfrecall.evaluation.slices import HISTORY_BINS, ranking_masks

HISTORY_SLICES = ("history_0", "history_1_9", "history_10_49", "history_50_199", "history_200_plus")


def test_head_is_the_most_popular_fifth_of_the_items() -> None:
    # Ten items, a most popular, then b; the head is two items. j has no rows, x is in no table.
    # a stands last: row -1, which an unknown item gets, must not be read as the last row.
    catalogue = list("bcdefghija")
    seen = make_log(
        [("u", "a", 0)] * 3 + [("u", "b", 0)] * 2 + [("u", item, 0) for item in "cdefghi"],
        items=catalogue,
    )
    test = make_log([("u", item, 1) for item in ("b", "c", "j", "x", "a")])
    masks = slice_masks(test, seen)
    assert masks["head_items"].tolist() == [True, False, False, False, True]
    assert masks["tail_items"].tolist() == [False, True, False, False, False]
    assert masks["new_items"].tolist() == [False, False, True, True, False]


def test_history_length_counts_the_rows_of_the_user() -> None:
    lengths = {"u0": 0, "u1": 1, "u9": 9, "u10": 10, "u49": 49, "u50": 50, "u199": 199, "u200": 200}
    seen = make_log([(user, "a", n) for user, length in lengths.items() for n in range(length)])
    test = make_log([(user, "a", 1000) for user in lengths])
    masks = slice_masks(test, seen)
    found = {}
    for row, user in enumerate(lengths):
        found[user] = [name for name in HISTORY_SLICES if masks[name][row]]
    assert found == {
        "u0": ["history_0"],
        "u1": ["history_1_9"],
        "u9": ["history_1_9"],
        "u10": ["history_10_49"],
        "u49": ["history_10_49"],
        "u50": ["history_50_199"],
        "u199": ["history_50_199"],
        "u200": ["history_200_plus"],
    }
    assert masks["new_users"].tolist() == masks["history_0"].tolist()
    assert len(HISTORY_BINS) == len(HISTORY_SLICES)


def test_popularity_counts_the_rows_of_the_item() -> None:
    seen = make_log(
        [("u", item, n) for item, rows in {"a": 10, "b": 9, "c": 200}.items() for n in range(rows)],
        items=[*"dabc"],
    )
    # x is in no table; c stands last, where row -1 of an unknown item points.
    masks = ranking_masks(make_log([(user, "axcbd"[i], 1) for i, user in enumerate("uuvvu")]), seen)
    found = [[name for name, mask in masks.items() if mask[row]] for row in range(5)]
    assert found == [
        ["popularity_10_49", "history_200_plus"],
        ["popularity_0", "history_200_plus"],
        ["popularity_200_plus", "history_0"],
        ["popularity_1_9", "history_0"],
        ["popularity_0", "history_200_plus"],
    ]


def test_gaps_are_times_since_the_newest_event_of_the_user() -> None:
    seen = make_log([("u", "a", 0), ("u", "b", 1000), ("v", "a", 5), ("later", "a", 900_000)])
    asked = [("u", 1000), ("u", 1001), ("u", 4600), ("u", 4601), ("u", 87_400), ("u", 87_401)]
    # `later` has its first event after the row, `new` has none: both are in no part.
    test = make_log([(user, "c", time) for user, time in [*asked, ("later", 9), ("new", 9)]])
    masks = slice_masks(test, seen)
    names = ("same_second", "1_hour", "1_day", "over_1_day")
    found = [[name for name in names if masks[f"gap_{name}"][row]] for row in range(8)]
    hour, day, over = ["1_hour"], ["1_day"], ["over_1_day"]
    assert found == [["same_second"], hour, hour, day, day, over, [], []]


def test_a_log_without_times_has_no_gaps() -> None:
    seen = make_log([("u", "a", 7), ("v", "b", 7)])
    assert not [name for name in slice_masks(seen, seen) if name.startswith("gap")]
