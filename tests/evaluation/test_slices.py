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
