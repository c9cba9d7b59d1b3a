"""What a rank is: ties, seen items, unknown targets, unusable scores."""

import numpy as np
import pytest

from tests.evaluation.helpers import TableModel, make_log
from tests.progress import RecordedProgress
from tfrecall.errors import ConfigError, DataError
from tfrecall.evaluation import evaluate, rank
from tfrecall.evaluation.metrics import MISS

NOTHING = make_log([], items=["a", "b", "c", "d"])


def test_worked_case() -> None:
    test = make_log([("ann", "c", 0)])
    seen = make_log([("ann", "a", 0), ("bob", "b", 0)])
    model = TableModel("abcd", [[9, 5, 5, 1]])
    ranking = rank(model, test, seen=seen)
    assert ranking.kept.rows.tolist() == [2]  # a is better, b ties
    assert ranking.removed.rows.tolist() == [1]  # ann has seen a; what bob has seen stays


def test_a_target_that_was_seen_is_removed_and_so_a_miss() -> None:
    test = make_log([("ann", "a", 1), ("ann", "c", 2), ("bob", "a", 3)])
    seen = make_log([("ann", "a", 0), ("ann", "b", 0)])
    ranking = rank(TableModel("abc", [[3, 2, 1]] * 3), test, seen=seen)
    assert ranking.kept.rows.tolist() == [0, 2, 0]
    assert ranking.removed.rows.tolist() == [MISS, 0, 0]  # ann has had a; of hers c alone is left
    assert ranking.kept.targets.ranks.tolist() == [0, 2, 0]
    assert ranking.removed.targets.ranks.tolist() == [MISS, 0, 0]


def test_a_user_that_had_everything_is_missed_by_every_model_where_seen_items_are_removed() -> None:
    seen = make_log([("ann", item, 0) for item in "abc"])
    found = evaluate(
        TableModel("abc", [[3, 2, 1]]), make_log([("ann", "a", 1)]), seen=seen, ks=(1,), baselines=False
    )
    removed, kept = found.test["seen_removed"], found.test["seen_kept"]
    names = ("hit_rate@1", "ndcg@1", "mrr", "user_recall@1", "user_ndcg@1", "user_map@1")
    assert [removed[name] for name in names] == [0] * 6
    assert [kept[name] for name in names] == [1] * 6
    assert found.targets_had == 1
    assert "1 of 1 targets had been had before" in str(found)


def test_an_item_seen_twice_is_removed_once() -> None:
    seen = make_log([("ann", "b", 0), ("ann", "b", 5)])
    ranking = rank(TableModel("abc", [[1, 2, 3]]), make_log([("ann", "a", 9)]), seen=seen)
    assert ranking.removed.rows.tolist() == [1]


def test_a_constant_model_hits_only_when_everything_is_listed() -> None:
    test = make_log([("ann", "a", 0), ("bob", "d", 0)])
    ranking = rank(TableModel("abcd", np.zeros((2, 4))), test, seen=NOTHING)
    assert ranking.kept.rows.tolist() == [3, 3]
    assert ranking.kept.targets.ranks.tolist() == [3, 3]


def test_a_perfect_model_has_rank_zero_everywhere() -> None:
    test = make_log([("ann", "c", 0), ("bob", "a", 0), ("ann", "d", 1)])
    table = np.zeros((3, 4))
    table[0, 2] = table[1, 0] = table[2, 3] = 1e-6
    ranking = rank(TableModel("abcd", table), test, seen=NOTHING)
    assert ranking.kept.rows.tolist() == [0, 0, 0]


def test_one_list_holds_all_targets_of_a_user() -> None:
    # Asked with the row at time 1, though it stands second in the file.
    test = make_log([("ann", "a", 2), ("ann", "b", 1), ("ann", "b", 3)])
    model = TableModel("abcd", [[0, 0, 0, 0], [4, 2, 3, 1], [0, 0, 0, 0]])
    targets = rank(model, test, seen=NOTHING).kept.targets
    assert targets.users.tolist() == [0, 0]
    assert targets.ranks.tolist() == [0, 2]  # a, c, b, d


def test_of_two_earliest_rows_the_first_in_the_file_asks() -> None:
    test = make_log([("ann", "a", 1), ("ann", "a", 1)])
    model = TableModel("ab", [[1, 0], [0, 1]])
    assert rank(model, test, seen=NOTHING).kept.targets.ranks.tolist() == [0]


def test_exposure_counts_the_lists_of_users_without_what_they_have_seen() -> None:
    test = make_log([("ann", "a", 0), ("bob", "b", 0), ("ann", "c", 1)])
    seen = make_log([("ann", "d", 0), ("ann", "a", 0)])
    model = TableModel("abcd", [[3, 2, 1, 4], [3, 2, 1, 4], [0, 0, 9, 0]])
    ranking = rank(model, test, seen=seen, ks=[1, 2])
    assert ranking.kept.exposure[1].tolist() == [0, 0, 0, 2]
    assert ranking.kept.exposure[2].tolist() == [2, 0, 0, 2]
    assert ranking.removed.exposure[1].tolist() == [0, 1, 0, 1]  # ann: b, c; bob: d, a
    assert ranking.removed.exposure[2].tolist() == [1, 1, 1, 1]


def test_targets_outside_the_catalogue_are_misses_and_counted() -> None:
    test = make_log([("ann", "x", 0), ("bob", "a", 0)])
    ranking = rank(TableModel("ab", [[1, 2], [2, 1]]), test, seen=NOTHING)
    assert ranking.unknown_targets == 1
    assert ranking.kept.rows.tolist() == [MISS, 0]
    assert ranking.removed.targets.ranks.tolist() == [MISS, 0]


def test_minus_infinity_takes_an_item_out_of_the_list() -> None:
    test = make_log([("ann", "a", 0), ("bob", "b", 0)])
    table = [[-np.inf, 1], [-np.inf, -5]]
    ranking = rank(TableModel("ab", table), test, seen=NOTHING, ks=[2])
    assert ranking.kept.rows.tolist() == [MISS, 0]
    assert ranking.kept.exposure[2].tolist() == [0, 2]


def test_ranks_come_in_the_order_of_the_test_log_whatever_the_block() -> None:
    random = np.random.default_rng(0)
    rows = [(f"u{random.integers(30)}", f"i{random.integers(20)}", 0.0) for _ in range(700)]
    test = make_log(rows)
    model = TableModel([f"i{n}" for n in range(20)], random.integers(0, 9, (700, 20)))
    expected = [
        np.sum(model.table[n] >= model.table[n, int(item[1:])]) - 1
        for n, (_, item, _) in enumerate(rows)
    ]
    for block_size in (7, 300, 2048):
        ranking = rank(model, test, seen=NOTHING, block_size=block_size)
        assert ranking.kept.rows.tolist() == expected


def test_each_row_is_asked_once_in_blocks_and_without_its_outcome() -> None:
    test = make_log([("ann", "a", 0), ("bob", "b", 0), ("ann", "b", 1)])
    model = TableModel("ab", np.zeros((3, 2)))
    progress = RecordedProgress()
    rank(model, test, seen=NOTHING, block_size=2, progress=progress)
    assert [block.height for block in model.asked] == [2, 1]
    assert sorted(row for block in model.asked for row in block["row"]) == [0, 1, 2]
    assert model.asked[0].columns == ["user_id", "timestamp", "row"]
    assert progress.counts == [("table", 2, 3, "rows"), ("table", 3, 3, "rows")]


def test_nan_is_refused_with_the_name_of_the_model() -> None:
    model = TableModel("ab", [[np.nan, 1]], name="two_tower")
    with pytest.raises(ConfigError, match=r'"two_tower" gave NaN for 1 of 2 scores'):
        rank(model, make_log([("ann", "a", 0)]), seen=NOTHING)


@pytest.mark.parametrize("table", [[[1, 2, 3]], [[1]]])
def test_scores_of_another_shape_are_refused(table: list) -> None:
    with pytest.raises(ConfigError, match=r'"table" must be floats of shape \(1, 2\)'):
        rank(TableModel("ab", table), make_log([("ann", "a", 0)]), seen=NOTHING)


def test_whole_number_scores_are_refused() -> None:
    model = TableModel("ab", [[1, 2]])
    model.table = model.table.astype(int)
    with pytest.raises(ConfigError, match="Received: int64"):
        rank(model, make_log([("ann", "a", 0)]), seen=NOTHING)


@pytest.mark.parametrize("ks", [[], [0], [-1, 5], [5, 5], [2.5], [True]])
def test_senseless_ks_are_refused(ks: list) -> None:
    with pytest.raises(ConfigError, match="distinct whole numbers from 1"):
        rank(TableModel("ab", [[1, 2]]), make_log([("ann", "a", 0)]), seen=NOTHING, ks=ks)


def test_senseless_block_size_empty_test_and_empty_catalogue_are_refused() -> None:
    test = make_log([("ann", "a", 0)])
    model = TableModel("ab", [[1, 2]])
    with pytest.raises(ConfigError, match="`block_size` must be 1 or more"):
        rank(model, test, seen=NOTHING, block_size=0)
    with pytest.raises(DataError, match="no test rows"):
        rank(model, NOTHING, seen=test)
    with pytest.raises(ConfigError, match='catalogue of "table" is empty'):
        rank(TableModel([], np.zeros((1, 0))), test, seen=NOTHING)
