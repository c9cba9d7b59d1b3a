"""A recipe on every fold of its data: nothing tested twice, nothing tested that was learned from."""

import json
from math import sqrt

import polars as pl
import pytest
from typer.testing import CliRunner

from tests.integration import runs
from tests.integration.test_run_ranking import write_files
from tfrecall.baselines.rating import mean_label
from tfrecall.cli import app
from tfrecall.config.recipes import load_config
from tfrecall.errors import ConfigError, DataError
from tfrecall.evaluation.ranking import evaluate_ranking
from tfrecall.runs import cross_validation
from tfrecall.runs.cross_validation import CrossValidation, cross_validate
from tfrecall.runs.kinds import judge_of
from tfrecall.runs.preparation import prepare, prepare_folds


def configured(folder, *settings, **columns):
    """The recipe of a tiny ranker over a log of 2,400 rows in files."""
    recipe, _, log, *_ = write_files(folder, **columns)
    return load_config(recipe, [f"data.source='{log}'", "training.refit=false", *settings])


@pytest.fixture
def scripted(monkeypatch):
    """Folds that take no time: of the i-th the model has the i-th value, its baseline 1 more."""

    def script(*values):
        parts = []

        def evaluated(kind, splits, leading, progress):
            parts.append(splits)
            value = values[len(parts) - 1]
            return {"ranker": {"rmse": value}, "mean": {"rmse": value + 1}}, len(parts)

        monkeypatch.setattr(cross_validation, "_evaluate_fold", evaluated)
        return parts

    return script


def events(part):
    return part.log.select("user_id", "item_id", "timestamp", "rating")


def test_mean_and_spread_are_those_of_the_folds(tmp_path, scripted):
    scripted(1.0, 2.0, 6.0)
    found = cross_validate(configured(tmp_path), 3)
    assert found.figures == {"ranker": {"rmse": [1.0, 2.0, 6.0]}, "mean": {"rmse": [2.0, 3.0, 7.0]}}
    assert found.mean("ranker", "rmse") == 3.0
    # Of 1, 2, 6 around 3: ((-2)^2 + (-1)^2 + 3^2) / (3 - 1) = 7
    assert found.spread("ranker", "rmse") == pytest.approx(sqrt(7))
    told = found.to_dict()
    assert told["figures"]["mean"]["rmse"] == {
        "mean": 4.0,
        "spread": pytest.approx(sqrt(7)),
        "folds": [2.0, 3.0, 7.0],
    }
    assert (told["folds"], told["test_rows"], told["best_epochs"]) == (3, [800] * 3, [1, 2, 3])
    assert json.loads(json.dumps(told)) == told


def test_no_fold_learns_from_what_it_is_tested_on(tmp_path, scripted):
    parts = scripted(*[1.0] * 5)
    config = configured(tmp_path, "split.validation_fraction=0.25")
    cross_validate(config, 5)
    whole = pl.read_csv(tmp_path / "log.csv", schema_overrides={"user_id": pl.String})
    order = ["user_id", "item_id", "timestamp", "rating"]

    def rows_of(*found):
        return pl.concat([events(part) for part in found]).sort(order)

    everything = rows_of(*(prepared.test for prepared in parts))
    assert len(everything) == len(whole) == 2400
    for prepared in parts:
        # 2,400 / 5 = 480 to test by; a quarter of the other 1,920 to stop by.
        sizes = (len(prepared.test), len(prepared.validation), len(prepared.train))
        assert sizes == (480, 480, 1440)
        assert rows_of(prepared.train, prepared.validation, prepared.test).equals(everything)
        assert rows_of(prepared.known, prepared.test).equals(everything)


def test_the_first_of_five_folds_is_the_split_of_the_recipe(tmp_path):
    config = configured(tmp_path)
    first, other = prepare_folds(config, 5)[0], prepare(config)
    for part in ("train", "validation", "known", "test"):
        assert getattr(first, part).log.equals(getattr(other, part).log)


@pytest.mark.slow
def test_model_and_baselines_are_fitted_anew_to_each_fold(tmp_path):
    config = configured(tmp_path, "training.batch_size=32")
    found = cross_validate(config, 2)
    assert set(found.figures) == {"ranker", "mean", "biases"}
    assert found.leading == ["rmse", "mae"]
    for i, prepared in enumerate(prepare_folds(config, 2)):
        judge = judge_of(config)
        mean = mean_label(prepared.known, judge.label)
        told = evaluate_ranking(mean, prepared.test, judge, known=prepared.known, baselines=[])
        assert found.figures["mean"]["rmse"][i] == pytest.approx(told.test["rmse"])
        # Whatever was learned from the other fold alone would do no better than the mean.
        assert found.figures["ranker"]["rmse"][i] < 0.9 * found.figures["mean"]["rmse"][i]
    assert all(1 <= epoch <= 4 for epoch in found.best_epochs)


@pytest.mark.slow
def test_retrievers_are_judged_by_the_rule_that_leads_their_tables(tmp_path):
    out = tmp_path / "folds.json"
    command = [
        "cross-validate",
        *runs.write_files(tmp_path)[:-2],
        *runs.options(*runs.SMALL),
        "--folds",
        "2",
        "--out",
        str(out),
        "--json",
    ]
    result = CliRunner().invoke(app, command)
    assert result.exit_code == 0, (result.output, result.exception)
    told = json.loads(result.stdout)
    assert {**json.loads(out.read_text("utf-8")), "out": str(out)} == told
    assert told["seen"] in ("seen_removed", "seen_kept")
    assert "hit_rate@10" in told["leading"]
    assert list(told["figures"])[:2] == ["two_tower", "popularity"]


def test_the_command_shows_each_fold_beside_the_baselines(tmp_path, scripted):
    scripted(0.5, 0.7)
    recipe, *data = write_files(tmp_path)[:3]
    out = tmp_path / "f.json"
    command = ["cross-validate", recipe, *data, "--folds", "2", "--out", str(out)]
    result = CliRunner().invoke(app, command)
    assert result.exit_code == 0, (result.output, result.exception)
    # (0.5 + 0.7) / 2 = 0.6; sqrt(0.1^2 + 0.1^2) = 0.1414
    for cell in ("0.5000", "0.7000", "0.6000", "0.1414", "tiny, 2 folds", "ranker", "mean", "rmse"):
        assert cell in result.stdout
    assert json.loads(out.read_text("utf-8"))["figures"]["ranker"]["rmse"]["folds"] == [0.5, 0.7]


def test_many_folds_are_shown_by_mean_and_spread():

    from tfrecall.cli.tables import fold_table

    values = [float(i) for i in range(6)]
    found = CrossValidation("r", 1, [1] * 6, [1] * 6, None, ["rmse"], {"r": {"rmse": values}})
    table = fold_table(found.to_dict(), "rmse")
    assert [column.header for column in table.columns] == ["model", "mean", "spread"]


def test_what_folds_would_break_is_refused(tmp_path):
    config = configured(tmp_path, "split.method=leave_last_out")
    with pytest.raises(ConfigError, match="leave_last_out"):
        cross_validate(config)
    with pytest.raises(ConfigError, match="Received: 1"):
        cross_validate(configured(tmp_path), 1)


def test_wrong_labels_and_places_are_refused_before_training(tmp_path, scripted):
    parts = scripted()
    with pytest.raises(DataError, match="outside 1 to 5"):
        cross_validate(configured(tmp_path, rating=pl.col("rating") * 2))
    recipe, *data = write_files(tmp_path)[:3]
    nowhere = str(tmp_path / "none" / "f.json")
    result = CliRunner().invoke(app, ["cross-validate", recipe, *data, "--out", nowhere])
    assert result.exit_code == 1
    assert "cannot be written" in result.stderr
    assert not parts
