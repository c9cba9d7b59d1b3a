"""The page of a ranker's run: whole, alone, safe, and it says what was measured."""

import re

import numpy as np
import polars as pl
import pytest

from tests.progress import RecordedProgress
from tests.report.helpers import Page
from tests.report.test_run_page import EVIL, assert_alone
from tests.tiny_ratings import rating_interactions
from tfrecall.data.splits import split_random
from tfrecall.evaluation.ranking import RatingJudge, evaluate_ranking
from tfrecall.report import example_lists, page_or_error, ranking_page
from tfrecall.report.bars import Bars, bar_chart
from tfrecall.report.ranking_page import slice_table, tiles
from tfrecall.schema.labels import Label

RATINGS = RatingJudge("rating", Label("rating", 1, 5))
CLICKS = RatingJudge("click", Label("rating", threshold=4))
LISTS = RatingJudge("list", Label("rating"))


class Guess:
    """Knows each label but for noise."""

    name = "guess"

    def predictions(self, rows):
        labels = rows.log["rating"].to_numpy()
        return labels + np.random.default_rng(0).normal(size=len(labels))


def a_run(judge=RATINGS, **changes):
    """Metrics and manifest of a run that was never trained."""
    known, test = split_random(rating_interactions(), 0.2, seed=1)
    judged = evaluate_ranking(Guess(), test, judge, known=known).to_dict()
    monitor = {"rating": "rmse", "click": "auc", "list": "ndcg"}[judge.kind]
    history = {"loss": [2.0, 1.5, 1.25], monitor: [1.4, 1.2, 1.1], f"val_{monitor}": [1.5, 1.3, 1.6]}
    metrics = {
        "recipe": "made_up",
        "model": "ranker",
        "task": judge.kind,
        "version": 7,
        "data": {"name": "tiny", "users": 61, "items": 40, "test_rows": len(test)},
        **{key: judged[key] for key in ("test", "baselines", "slices", "calibration")},
        "training": {"best_epoch": 2, "history": history},
        "timings": {"fit_seconds": 1.5, "epochs": 3},
        "notes": ["5 rows were filtered"],
        **changes,
    }
    manifest = {
        "label": {"column": "rating"},
        "config": {"recipe": "made_up", "training": {"monitor": monitor, "validate_every": 1}},
        "made_with": {"python": "3.11.7"},
        "created_at": "2024-05-06T07:08:09+00:00",
    }
    return metrics, manifest


@pytest.fixture(scope="module")
def run():
    return a_run()


@pytest.fixture(scope="module")
def html(run):
    return ranking_page(*run)


def test_the_page_is_whole_alone_and_small(html):
    assert html.lower().startswith("<!doctype html>")
    assert_alone(html)
    assert len(Page(html).all("svg")) == 4  # calibration, histogram, loss, rmse
    assert len(html.encode()) < 100_000


def test_it_fits_a_phone_and_the_dark(html):
    for name, attributes, around in Page(html).elements:
        if name == "table":
            assert "div.scroll" in around
        if any(element.startswith("svg") for element in around):
            assert not {"fill", "stroke", "style"} & attributes.keys()


def test_it_says_what_was_measured(run, html):
    metrics, text = run[0], Page(html).text
    for models in (metrics["test"], *metrics["baselines"].values()):
        for value in models.values():
            assert f"{value:.4f}" in text
    for part in metrics["slices"].values():
        assert f"{part['test']['rmse']:.4f}" in text
        assert f"{part['baselines']['biases']['rmse']:.4f}" in text
    for one in metrics["calibration"]["test"]["bins"]:
        assert f"{one['label'] - one['prediction']:+.3f}" in text
    for words in ("training rows of the item", "10 to 49", "right on average", "epoch 2", "3.11.7"):
        assert words in text
    assert 'recipe = "made_up"' in text
    assert "5 rows were filtered" in text


def test_a_tile_stands_beside_the_best_baseline():
    metrics = {"test": {"rmse": 1.0, "auc": 0.7}}
    metrics["baselines"] = {"a": {"rmse": 1.1, "auc": 0.5}, "b": {"rmse": 1.2, "auc": 0.6}}
    assert [(tile["name"], tile["best"]) for tile in tiles(metrics)] == [("a", 1.1), ("b", 0.6)]


def test_bars_of_slices_are_as_long_as_their_errors(run, html):
    table = slice_table(run[0], "history")
    assert [row["rows"] for row in table["rows"]] == [
        part["rows"] for name, part in run[0]["slices"].items() if name.startswith("history")
    ]
    widths = [100 * row["value"] / table["longest"] for row in table["rows"]]
    assert max(widths) == 100
    assert all(f"width:{width:.1f}%" in html for width in widths)


def test_clicks_have_a_reliability_curve():
    text = Page(ranking_page(*a_run(CLICKS))).text
    assert "Share that was clicked, by probability" in text
    assert "not clicked" in text
    assert "log_loss by training rows of the user" in text


def test_lists_have_neither_calibration_nor_slices_by_item():
    html = ranking_page(*a_run(LISTS))
    assert_alone(html)
    text = Page(html).text
    assert "mean what they say" not in text
    assert "ndcg@10 by training rows of the user" in text
    assert "training rows of the item" not in text


@pytest.mark.parametrize(
    "changes",
    [
        {"training": {"best_epoch": 1, "history": {"loss": [2.0]}}},
        {"training": {"best_epoch": 1, "history": {}}},
        {"baselines": {}, "slices": {}, "calibration": {}, "notes": []},
        {"diagnostics": [{"name": "x", "severity": "warning", "text": "Look here"}]},
    ],
)
def test_runs_of_other_kinds_have_a_page(changes):
    metrics, manifest = a_run(**changes)
    html = ranking_page(metrics, {"label": manifest["label"]})
    assert_alone(html)
    assert ("Warning: Look here" in Page(html).text) == ("diagnostics" in changes)


def test_texts_of_data_are_never_markup():
    metrics, manifest = a_run(recipe=EVIL, model=EVIL, notes=[EVIL], diagnostics=[EVIL])
    metrics["baselines"] = {EVIL: metrics["baselines"]["biases"]}
    for part in metrics["slices"].values():
        part["baselines"] = {EVIL: part["baselines"]["biases"]}
    metrics["calibration"]["baselines"] = {EVIL: metrics["calibration"]["baselines"]["biases"]}
    manifest["label"]["column"] = manifest["config"]["recipe"] = EVIL
    html = ranking_page(metrics, manifest)
    assert_alone(html)
    assert "<script" not in html
    assert Page(html).text.count("<script>alert('x')</script>") > 12


def test_an_error_in_a_picture_costs_a_note_and_not_the_run(run):
    progress = RecordedProgress()
    page = Page(page_or_error(lambda: ranking_page({"recipe": "x"}, run[1]), progress))
    assert "KeyError" in page.text
    assert "not affected" in progress.notes[0]


def test_bars_are_as_high_as_their_values():
    # From 0 at y = 194 to 2 at y = 12: a value of 1 is 91 high. Two groups of 148, two bars in 80 % of each.
    svg = bar_chart("a", ["x", "y"], [Bars("s", [1, 2]), Bars("t", [0, 1])], x_label="g")
    drawn = re.findall(
        r'<rect x="([\d.]+)" y="([\d.]+)" width="59.2" height="([\d.]+)" class="(.*?)"', svg
    )
    assert drawn == [
        ("60.8", "103.0", "91.0", "block s0"),
        ("208.8", "12.0", "182.0", "block s0"),
        ("120.0", "194.0", "0.0", "block s1"),
        ("268.0", "103.0", "91.0", "block s1"),
    ]
    assert bar_chart("a", [], [], x_label="g") == ""


# Example lists


@pytest.fixture(scope="module")
def evaluated():
    known, test = split_random(rating_interactions(), 0.2, seed=1)
    return test, evaluate_ranking(Guess(), test, RATINGS, known=known)


def test_example_lists_are_in_the_order_of_predictions(evaluated):
    test, evaluation = evaluated
    names = pl.Series([f"T{item}" for item in test.items["item_id"]])
    lists = example_lists(test, evaluation, RATINGS, names)
    lengths = [len_ for _, len_ in test.log.group_by("user_id").len().iter_rows() if len_ > 1]
    assert [one["length"] for one in lists] == sorted(one["length"] for one in lists)
    assert (lists[0]["length"], lists[-1]["length"]) == (min(lengths), max(lengths))
    scores = evaluation.predictions["guess"].tolist()
    for one in lists:
        own = [
            (score, f"T{item}", rating)
            for user, item, rating, score in zip(
                test.log["user_id"], test.log["item_id"], test.log["rating"], scores, strict=True
            )
            if user == one["name"]
        ]
        best = max(rating for _, _, rating in own)
        own.sort(key=lambda row: -row[0])
        assert [(r["prediction"], r["title"], r["label"]) for r in one["rows"]] == own[:10]
        assert [row["best"] for row in one["rows"]] == [rating == best for *_, rating in own[:10]]


def test_clicks_are_shown_by_probability(evaluated):
    test, _ = evaluated
    known, _ = split_random(rating_interactions(), 0.2, seed=1)
    evaluation = evaluate_ranking(Guess(), test, CLICKS, known=known)
    for one in example_lists(test, evaluation, CLICKS, test.items["item_id"]):
        assert all(0 <= row["prediction"] <= 1 and row["label"] in (0, 1) for row in one["rows"])


def test_single_rows_are_no_lists(evaluated):
    test, evaluation = evaluated
    alone = test.with_log(test.log.with_columns(user_id=pl.int_range(pl.len()).cast(pl.String)))
    assert example_lists(alone, evaluation, RATINGS, test.items["item_id"]) == []


def test_example_lists_stand_on_the_page_escaped(run, evaluated):
    test, evaluation = evaluated
    names = pl.Series([EVIL] * test.items.height)
    html = ranking_page(*run, example_lists(test, evaluation, RATINGS, names))
    assert_alone(html)
    page = Page(html)
    assert "Some lists" in page.text
    assert page.text.count("<script>alert") > 10
    assert "Some lists" not in Page(ranking_page(*run)).text
