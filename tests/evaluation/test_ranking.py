"""Figures of rankers and of what stands beside them."""

import json

import numpy as np
import polars as pl
import pytest

from tfrecall.baselines.rating import ITEM_ROWS, USER_ROWS, label_biases, mean_label
from tfrecall.data import Interactions
from tfrecall.errors import DataError
from tfrecall.evaluation import metrics
from tfrecall.evaluation.ranking import RatingJudge, evaluate_ranking
from tfrecall.schema.labels import Label

LABEL = Label("rating", 1, 5)


class Constant:
    name = "constant"

    def __init__(self, *scores):
        self.scores = np.array(scores)

    def predictions(self, rows):
        return self.scores


def log(users, items, ratings):
    columns = {"user_id": [*users], "item_id": [*items], "rating": ratings}
    frame = pl.DataFrame({**columns, "timestamp": range(len(ratings))})
    items = pl.DataFrame({"item_id": [*"abcd"]})
    return Interactions.from_frame(frame, items=items, users=pl.DataFrame({"user_id": [*"uvw"]}))


TRAIN = log("uuvv", "abab", [5.0, 3.0, 4.0, 2.0])
TEST = log("uvw", "aad", [4.0, 4.0, 1.0])


def test_errors_are_those_of_the_scores():
    found = evaluate_ranking(Constant(3.0, 4.0, 1.0), TEST, RatingJudge("rating", LABEL), known=TRAIN)
    assert found.test == {"rmse": pytest.approx(3**-0.5), "mae": pytest.approx(1 / 3)}
    # The mean is 3.5: errors .5, .5 and 2.5.
    assert found.baselines["mean"]["mae"] == pytest.approx(3.5 / 3)
    assert found.table()["model"].to_list() == ["constant", "mean", "biases"]
    assert found.to_dict()["rows"] == 3


def test_biases_are_where_no_single_one_would_be_better():
    random = np.random.default_rng(0)
    users, items = random.integers(3, size=90), random.integers(4, size=90)
    data = log(np.array([*"uvw"])[users], np.array([*"abcd"])[items], random.uniform(1, 5, 90).round(2))
    found = label_biases(data, LABEL)
    residual = data.log["rating"].to_numpy() - found.predictions(data)
    # At the least squares with weights on the squares, sum of residuals = weight * bias.
    for rows, values, weight in (
        (data.user_rows, found.users, USER_ROWS),
        (data.item_rows, found.items, ITEM_ROWS),
    ):
        sums = np.bincount(rows, weights=residual, minlength=len(values))
        assert sums == pytest.approx(weight * values, abs=1e-3)


def test_who_is_not_known_gets_the_mean():
    strangers = TEST.log[:1].with_columns(user_id=pl.lit("x"), item_id=pl.lit("d"))
    for baseline in (mean_label(TRAIN, LABEL), label_biases(TRAIN, LABEL)):
        rows = TRAIN.with_log(strangers)
        assert baseline.predictions(rows).tolist() == [3.5]


def test_clicks_are_judged_within_users_too():
    test = log("uuvv", "abab", [5.0, 3.0, 4.0, 2.0])
    judge = RatingJudge("click", Label("rating", threshold=4))
    scores = np.array([2.0, 1.0, 0.0, -1.0])
    figures = judge.figures(scores, test)
    # Clicked are 2 and 0, against 1 and -1: of four pairs one is wrong; within each user none.
    assert figures["auc"] == 0.75
    assert figures["gauc"] == 1.0
    assert figures["log_loss"] == pytest.approx(
        np.mean([np.log1p(np.exp(-2)), np.log1p(np.exp(1)), np.log(2), np.log1p(np.exp(-1))])
    )
    assert judge.of_baseline(np.array([0.5, 0.0, 2.0])) == pytest.approx([0, -9.21, 9.21], abs=0.01)


def test_lists_are_judged_one_by_one():
    test = log("uuvw", "abac", [1.0, 2.0, 5.0, 3.0])
    figures = RatingJudge("list", LABEL, gain="linear", k=10).figures(
        np.array([2.0, 1.0, 0.0, 0.0]), test
    )
    # Only u has two rows, in the wrong order: (1 + 2 / log2 3) / (2 + 1 / log2 3).
    expected = (1 + 2 / np.log2(3)) / (2 + 1 / np.log2(3))
    assert figures == {"ndcg@10": pytest.approx(expected)}
    gains = np.array([1.0, 2.0, 5.0, 3.0])
    assert len(metrics.graded_ndcg(gains, gains, np.array([0, 0, 1, 2]), 10)) == 1


def test_scores_that_are_not_finite_are_refused():
    with pytest.raises(DataError, match="1 of 3 test rows a score that is NaN"):
        evaluate_ranking(Constant(1.0, np.nan, 2.0), TEST, RatingJudge("rating", LABEL), known=TRAIN)


def test_test_rows_need_labels_in_range():
    wrong = TEST.with_log(TEST.log.with_columns(rating=pl.lit(9.0)))
    with pytest.raises(DataError, match="3 of 3 test rows"):
        evaluate_ranking(Constant(1, 1, 1), wrong, RatingJudge("rating", LABEL), known=TRAIN)


# Parts of the rows


def test_a_slice_is_judged_by_its_rows_alone():
    found = evaluate_ranking(Constant(3.0, 4.0, 2.0), TEST, RatingJudge("rating", LABEL), known=TRAIN)
    # a has two training rows, d none; u and v have two, w none.
    assert list(found.slices) == ["popularity_0", "popularity_1_9", "history_0", "history_1_9"]
    assert found.slices["popularity_0"]["rows"] == 1
    assert found.slices["popularity_0"]["test"] == {"rmse": 1.0, "mae": 1.0}
    known = found.slices["history_1_9"]
    assert known["rows"] == 2
    assert known["test"] == {"rmse": pytest.approx(0.5**0.5), "mae": 0.5}
    assert known["baselines"]["mean"]["rmse"] == 0.5  # 3.5 for 4 and 4


def test_all_rows_stand_in_a_slice_of_either_kind():
    random = np.random.default_rng(3)
    users, items = random.integers(3, size=400), random.integers(4, size=400)
    data = log(np.array([*"uvw"])[users], np.array([*"abcd"])[items], random.uniform(1, 5, 400))
    test = data.with_log(data.log[:50])
    found = evaluate_ranking(Constant(*np.full(50, 3)), test, RatingJudge("rating", LABEL), known=data)
    for kind in ("popularity", "history"):
        parts = [part for name, part in found.slices.items() if name.startswith(kind)]
        assert sum(part["rows"] for part in parts) == 50
        squares = sum(part["rows"] * part["test"]["rmse"] ** 2 for part in parts)
        assert squares / 50 == pytest.approx(found.test["rmse"] ** 2)


def test_calibration_of_clicks_is_that_of_probabilities():
    test = log("uuvv", "abab", [5.0, 3.0, 4.0, 2.0])
    judge = RatingJudge("click", Label("rating", threshold=4))
    found = evaluate_ranking(Constant(0.0, 0.0, 0.0, 0.0), test, judge, known=TRAIN).to_dict()
    assert found["calibration"]["test"]["bins"] == [
        {"low": 0.5, "high": 0.5, "rows": 4, "prediction": 0.5, "label": 0.5}
    ]
    assert found["calibration"]["histogram"]["clicked"] == [0, 0, 0, 0, 2, 0, 0, 0, 0, 0]
    assert found["slices"]["history_1_9"]["test"] == {"log_loss": pytest.approx(np.log(2))}
    json.dumps(found, allow_nan=False)


def test_lists_are_cut_by_history_and_never_apart():
    test = log("uuvw", "abac", [1.0, 2.0, 5.0, 3.0])
    model = Constant(2.0, 1.0, 0.0, 0.0)
    found = evaluate_ranking(model, test, RatingJudge("list", LABEL), known=TRAIN).to_dict()
    assert found["calibration"] == {}
    assert list(found["slices"]) == ["history_0", "history_1_9"]
    assert found["slices"]["history_0"]["test"] == {"ndcg@10": None}  # w has a single row
    assert found["slices"]["history_1_9"]["test"]["ndcg@10"] == found["test"]["ndcg@10"]
    json.dumps(found, allow_nan=False)
    # Lists that hold rows of several users have no history of one user.
    shared = evaluate_ranking(model, test, RatingJudge("list", LABEL, group="item_id"), known=TRAIN)
    assert shared.slices == {}


@pytest.mark.parametrize(
    ("judge", "metric"),
    [
        (RatingJudge("rating", LABEL), "rmse"),
        (RatingJudge("click", Label("rating", threshold=4)), "log_loss"),
        (RatingJudge("list", LABEL), "ndcg@10"),
    ],
    ids=lambda one: getattr(one, "kind", one),
)
def test_the_first_metric_has_an_interval_about_it(judge, metric):
    random = np.random.default_rng(0)
    users = np.array([*"uvw"])[random.integers(3, size=90)]
    data = log(users, np.array([*"abcd"])[random.integers(4, size=90)], random.integers(1, 6, 90) * 1.0)
    found = evaluate_ranking(Constant(*random.normal(3, 1, 90)), data, judge, known=TRAIN)
    assert next(iter(found.test)) == metric
    assert found.intervals.keys() == {"constant", *found.baselines}
    for name, figures in {"constant": found.test, **found.baselines}.items():
        low, high = found.intervals[name][metric]
        assert low - 1e-12 <= figures[metric] <= high + 1e-12
    low, high = found.intervals["constant"][metric]
    assert low < high
    assert found.to_dict()["intervals"] == found.intervals
