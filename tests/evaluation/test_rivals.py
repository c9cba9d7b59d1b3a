"""Baselines that beat a model, the best of a column, intervals of figures."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.evaluation.helpers import TableModel, make_log
from tfrecall.baselines.popularity import OwnItems, Popularity
from tfrecall.evaluation import evaluate
from tfrecall.evaluation.bootstrap import figure_intervals
from tfrecall.evaluation.metrics import UserTargets
from tfrecall.evaluation.ranks import RuleRanks
from tfrecall.evaluation.rivals import Beaten, beaten_by, best_of_columns


def test_better_baselines_come_best_first_and_equal_ones_do_not_count() -> None:
    figures = {"towers": 0.2, "popularity": 0.1, "item_cf": 0.25, "ease": 0.3, "transitions": 0.2}
    found = beaten_by({m: {"hit_rate@10": v} for m, v in figures.items()}, "hit_rate@10", "seen_kept")
    assert found == Beaten("hit_rate@10", "seen_kept", 0.2, {"ease": 0.3, "item_cf": 0.25})
    assert str(found) == (
        "ease (.3000) and item_cf (.2500) beat the model (.2000) on the test rows: hit_rate@10, seen items "
        "kept."
    )
    assert Beaten(**json.loads(json.dumps(found.to_dict()))) == found


def test_of_errors_the_smaller_one_is_better() -> None:
    figures = {"ranker": {"rmse": 0.9}, "mean": {"rmse": 1.1}, "biases": {"rmse": 0.85}}
    found = beaten_by(figures, "rmse")
    assert found.baselines == {"biases": 0.85}
    assert str(found) == "biases (.8500) beats the model (.9000) on the test rows: rmse."
    assert beaten_by({**figures, "biases": {"rmse": float("nan")}}, "rmse") is None


def test_baselines_without_the_figure_are_left_out() -> None:
    assert beaten_by({"towers": {"mrr": 0.1}, "own": {}}, "mrr") is None
    assert beaten_by({"towers": {"mrr": 0.1}}, "mrr") is None


@given(st.dictionaries(st.sampled_from("abcde"), st.floats(0, 1), min_size=1))
def test_a_model_is_beaten_unless_it_is_the_best_of_its_column(values: dict[str, float]) -> None:
    figures = {name: {"mrr": round(value, 3)} for name, value in values.items()}
    first = next(iter(figures))
    best = best_of_columns(figures, ["mrr"])["mrr"]
    assert (beaten_by(figures, "mrr") is None) == (first in best)
    assert {figures[name]["mrr"] for name in best} == {max(row["mrr"] for row in figures.values())}


def ranks(rows: list[int]) -> RuleRanks:
    array = np.array(rows)
    return RuleRanks(array, UserTargets(np.arange(len(array)), array), {})


def test_an_interval_is_that_of_resampled_users() -> None:
    """Rows of one user are drawn together: resampling rows would give a third of the width."""
    random = np.random.default_rng(3)
    hits = np.repeat(random.random(100) < 0.3, 9)  # nine equal rows a user
    users = np.repeat(np.arange(100), 9)
    ((low, high),) = figure_intervals([ranks(np.where(hits, 0, 50).tolist())], users, "hit_rate@10")
    error = np.sqrt(hits.mean() * (1 - hits.mean()) / 100)  # of 100 users, not of 900 rows
    assert high - low == pytest.approx(2 * 1.96 * error, rel=0.15)
    assert low < hits.mean() < high


def test_a_certain_figure_has_an_interval_of_no_width() -> None:
    found = figure_intervals([ranks([0, 0, 0]), ranks([1, 1, 1])], np.array([0, 0, 1]), "ndcg@5")
    assert found[0] == [1.0, 1.0]
    assert found[1] == pytest.approx([1 / np.log2(3), 1 / np.log2(3)])
    assert figure_intervals([ranks([1, 1])], np.array([0, 1]), "mrr") == [[0.5, 0.5]]


def test_an_evaluation_has_intervals_of_its_leading_figure_for_everybody_in_the_table() -> None:
    rows = [(f"u{n}", "abc"[n % 3], float(n)) for n in range(40)]
    seen, test = make_log(rows), make_log([(user, "a", time + 99) for user, _, time in rows])
    model = TableModel("abc", np.random.default_rng(0).random((40, 3)))
    found = evaluate(
        model, test, seen=seen, ks=(1, 2), baselines=[Popularity().fit(seen), OwnItems().fit(seen)]
    )
    assert found.intervals.keys() == {"table", "popularity", "own_most_frequent"}
    assert found.intervals["own_most_frequent"].keys() == {"seen_kept"}
    for name, rules in found.intervals.items():
        figures = found.test if name == "table" else found.baselines[name]
        for rule, metrics in rules.items():
            assert metrics.keys() == {"hit_rate@2"}  # of lists below 10 the longest leads
            low, high = metrics["hit_rate@2"]
            assert low <= figures[rule]["hit_rate@2"] <= high
    assert found.to_dict()["intervals"] == found.intervals
    low, high = found.intervals["table"]["seen_kept"]["hit_rate@2"]
    assert f"{low:.3f}-{high:.3f}" in str(found)
    assert "Only 40 test rows (fewer than 300)" in str(found)


def test_a_baseline_of_the_models_name_keeps_its_own_figures() -> None:
    seen = make_log([("u", "a", 1.0), ("v", "b", 1.0)])
    test = make_log([("u", "c", 2.0), ("v", "c", 2.0)])
    model, other = (TableModel("abc", [scores] * 2) for scores in ([3, 2, 1], [1, 2, 3]))
    found = evaluate(model, test, seen=seen, ks=(1,), baselines=[other])
    assert found.test["seen_kept"]["hit_rate@1"] == 0
    assert found.baselines["table"]["seen_kept"]["hit_rate@1"] == 1
    assert found.intervals["table"]["seen_kept"]["hit_rate@1"] == [0, 0]
