"""What an evaluation carries and prints, and its baselines."""

import json
from dataclasses import replace

import numpy as np
import pytest

from tests.evaluation.helpers import TableModel, make_log
from tests.progress import RecordedProgress
from tfrecall.baselines.popularity import OwnItems, Popularity
from tfrecall.errors import ConfigError
from tfrecall.evaluation import Evaluation, evaluate

SEEN = make_log([("ann", "a", 0), ("ann", "b", 1), ("bob", "a", 0), ("bob", "c", 1)], items="abcd")
TEST = make_log([("ann", "c", 2), ("bob", "b", 2), ("eve", "x", 2)])
MODEL = TableModel("abcd", [[1, 0, 2, 0], [3, 2, 1, 0], [0, 0, 0, 1]], name="mine")


@pytest.fixture(scope="module")
def evaluation() -> Evaluation:
    return evaluate(MODEL, TEST, seen=SEEN, ks=(1, 2, 10))


def test_rows_users_and_unknown_targets_are_counted(evaluation: Evaluation) -> None:
    assert (evaluation.model, evaluation.rows, evaluation.users) == ("mine", 3, 3)
    assert evaluation.unknown_targets == 1


def test_both_rules_are_reported(evaluation: Evaluation) -> None:
    # Ranks kept 0, 1, miss; removed 0, 0, miss, for bob has seen a and c.
    assert evaluation.test["seen_kept"]["hit_rate@1"] == pytest.approx(1 / 3)
    assert evaluation.test["seen_removed"]["hit_rate@1"] == pytest.approx(2 / 3)
    assert evaluation.test["seen_kept"]["mrr"] == pytest.approx((1 + 1 / 2) / 3)


def test_baselines_are_fitted_on_the_seen_rows(evaluation: Evaluation) -> None:
    # Popularity a 2, b 1, c 1, d 0. Kept: c loses to a and ties with b, rank 2; b likewise.
    popularity = evaluation.baselines["popularity"]
    assert popularity["seen_kept"]["hit_rate@2"] == 0
    # Removed: ann's c is left with d, bob's b with d: both first.
    assert popularity["seen_removed"]["hit_rate@1"] == pytest.approx(2 / 3)
    # bob's a and c make b similar through a: b is first once they are gone.
    assert evaluation.baselines["item_cf"]["seen_removed"]["hit_rate@1"] == pytest.approx(2 / 3)


def test_metric_names_are_the_published_ones(evaluation: Evaluation) -> None:
    at_k = ["hit_rate", "ndcg", "user_recall", "user_precision", "user_ndcg", "user_map"]
    at_k += ["coverage", "novelty", "popularity_share", "gini"]
    expected = {f"{name}@{k}" for name in at_k for k in (1, 2, 10)} | {"mrr"}
    assert set(evaluation.test["seen_kept"]) == expected
    assert set(evaluation.baselines["item_cf"]["seen_removed"]) == expected


def test_slices_carry_rows_and_both_rules(evaluation: Evaluation) -> None:
    eve = evaluation.slices["new_users"]
    assert eve["rows"] == 1
    assert eve["seen_kept"] == {"hit_rate@1": 0, "hit_rate@2": 0, "hit_rate@10": 0, "ndcg@10": 0}
    assert evaluation.slices["history_200_plus"] == {"rows": 0, "seen_removed": {}, "seen_kept": {}}


def test_slices_by_item_and_by_history_each_make_up_all_rows(evaluation: Evaluation) -> None:
    rows = {name: part["rows"] for name, part in evaluation.slices.items()}
    assert rows["head_items"] + rows["tail_items"] + rows["new_items"] == 3
    assert sum(n for name, n in rows.items() if name.startswith("history")) == 3


def test_it_survives_json(evaluation: Evaluation) -> None:
    plain = json.loads(json.dumps(evaluation.to_dict(), allow_nan=False))
    assert Evaluation(**plain) == evaluation


def test_table_has_the_model_first(evaluation: Evaluation) -> None:
    table = evaluation.table(["hit_rate@1", "mrr"])
    assert table["model"].to_list() == ["mine", "popularity", "item_cf"]
    assert table.columns[1:] == ["hit_rate@1 kept", "hit_rate@1 removed", "mrr kept", "mrr removed"]
    assert table["hit_rate@1 removed"][0] == pytest.approx(2 / 3)


def test_table_shows_the_headline_metrics_that_were_computed(evaluation: Evaluation) -> None:
    assert evaluation.table().columns[1::2] == ["hit_rate@10 kept", "ndcg@10 kept", "mrr kept"]


def test_a_metric_that_was_not_computed_is_refused_with_the_nearest(evaluation: Evaluation) -> None:
    with pytest.raises(ConfigError, match=r'no metric "hitrate@10". Did you mean "hit_rate@10"'):
        evaluation.table(["hitrate@10"])


def test_text_shows_models_slices_and_unknown_targets(evaluation: Evaluation) -> None:
    lines = str(evaluation).splitlines()
    assert lines[:2] == [
        "mine: 3 test rows of 3 users",
        "1 targets outside the catalogue, all misses",
    ]
    starts = [line.split()[0] for line in lines if line]
    assert starts.index("popularity") < starts.index("item_cf") < starts.index("new_users")
    assert "history_200_plus" not in starts  # no rows, no line


def test_baselines_can_be_left_out_or_given() -> None:
    assert evaluate(MODEL, TEST, seen=SEEN, baselines=False).baselines == {}
    given = evaluate(MODEL, TEST, seen=SEEN, baselines=[Popularity().fit(SEEN)])
    assert list(given.baselines) == ["popularity"]


def test_baselines_of_one_name_are_refused() -> None:
    twice = [Popularity().fit(SEEN), Popularity().fit(SEEN)]
    with pytest.raises(ConfigError, match=r"different names.*popularity"):
        evaluate(MODEL, TEST, seen=SEEN, baselines=twice)


def test_progress_names_each_model() -> None:
    progress = RecordedProgress()
    evaluate(MODEL, TEST, seen=SEEN, progress=progress)
    assert progress.counts == [(name, 3, 3, "rows") for name in ("mine", "popularity", "item_cf")]


def test_a_log_of_seen_rows_may_be_empty() -> None:
    empty = make_log([], items="abcd")
    result = evaluate(MODEL, TEST, seen=empty)
    assert result.test["seen_kept"]["mrr"] == result.test["seen_removed"]["mrr"]
    assert np.isfinite(list(result.baselines["item_cf"]["seen_kept"].values())).all()


def test_a_baseline_of_own_items_has_no_figures_where_those_are_removed() -> None:
    rows = [("ann", "a", 0), ("ann", "b", 1), ("ann", "a", 2), ("bob", "c", 3), ("bob", "b", 4)]
    seen, test = make_log(rows), make_log([("ann", "a", 5), ("bob", "a", 6)])
    own = OwnItems().fit(seen)
    found = evaluate(TableModel("abc", np.eye(3)[:2]), test, seen=seen, ks=(1,), baselines=[own])
    # Ann has had "a" twice and Bob never: a hit and a miss.
    assert found.baselines["own_most_frequent"].keys() == {"seen_kept"}
    assert found.baselines["own_most_frequent"]["seen_kept"]["hit_rate@1"] == 0.5
    # The model misses both of "kept" but for ann, and of "removed" but for bob, who has a left alone.
    assert found.table(["hit_rate@1"]).rows() == [("table", 0.5, 0.5), ("own_most_frequent", 0.5, None)]
    assert str(found).splitlines()[1].startswith("1 of 2 targets had been had")


def test_a_notebook_shows_the_table_escaped(evaluation: Evaluation) -> None:
    html = replace(evaluation, model="<b>mine</b>")._repr_html_()
    assert "&lt;b&gt;mine&lt;/b&gt;: 3 test rows of 3 users" in html
    assert "<b>" not in html
    first = evaluation.table().row(0)
    assert f">{first[1]:.4g}</td>" in html


def test_text_has_a_table_for_each_rule_that_fits_a_terminal(evaluation: Evaluation) -> None:
    lines = str(evaluation).splitlines()
    assert [line.split()[:2] for line in lines if line.startswith("seen ")] == [
        ["seen", "kept"],
        ["seen", "removed"],
    ]
    start = lines.index("")  # after the sentences
    assert max(map(len, lines[start:])) <= 80
