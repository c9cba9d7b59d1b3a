"""The run of a ranker from files to a release that is asked, on the command line."""

import json

import polars as pl
import pytest

from tests.commands import ask
from tests.progress import RecordedProgress
from tests.tiny_ratings import rating_interactions
from tfrecall.config.recipes import load_config
from tfrecall.errors import ConfigError
from tfrecall.runs.kinds import judge_of
from tfrecall.runs.run import run

RECIPE = """
description = "Ratings of a tiny log"

[schema]
candidate = [{ type = "categorical", column = "item_id", embedding_dim = 8 }]

[[schema.query]]
type = "categorical"
column = "user_id"
embedding_dim = 8

[[schema.query]]
type = "history"
column = "rated"
of = { type = "categorical", column = "item_id", embedding_dim = 8 }
encoder = { type = "root_sum" }
anytime = true

[model]
type = "ranker"
layer_sizes = [8]
crosses = ["dot", "concat"]
biases = ["user_id", "item_id"]

[task]
type = "rating"
low = 1
high = 5

[training]
optimizer = "adam"
learning_rate = 0.01
batch_size = 256
epochs = 4
monitor = "rmse"
patience = 2
refit = true
"""


def write_files(folder, **columns):
    data = rating_interactions()
    (folder / "tiny.toml").write_text(RECIPE, "utf-8")
    data.log.with_columns(**columns).write_csv(folder / "log.csv")
    arguments = [str(folder / "tiny.toml"), "--data", str(folder / "log.csv")]
    return [*arguments, "--out", str(folder / "out")]


@pytest.fixture(scope="module")
def ran(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ranking")
    answer = ask("run", *write_files(folder), "--allow-worse", "--json")
    return folder / "out", json.loads(answer.stdout)


def test_a_run_writes_its_figures_beside_the_baselines(ran):
    root, told = ran
    metrics = json.loads((root / "metrics.json").read_text("utf-8"))
    assert {**metrics, "release": str(root), "report": str(root / "report.html")} == told
    assert set(metrics["test"]) == {"rmse", "mae"}
    assert metrics["test"]["rmse"] < metrics["baselines"]["biases"]["rmse"]
    assert set(metrics["baselines"]) == {"mean", "biases"}
    assert metrics["training"]["history"]["val_rmse"]
    assert not (root / "checkpoints").exists()
    assert load_config(str(root / "config.toml")).ranks


def test_a_run_says_where_it_errs_and_draws_it(ran):
    root, told = ran
    page = (root / "report.html").read_text("utf-8")
    assert "could not be drawn" not in page
    assert "Mean label, by prediction" in page
    for kind in ("popularity", "history"):
        parts = [part["rows"] for name, part in told["slices"].items() if name.startswith(kind)]
        assert sum(parts) == told["data"]["test_rows"]
    found = told["calibration"]["test"]
    assert sum(one["rows"] for one in found["bins"]) == told["data"]["test_rows"]
    assert 0 < found["error"] < told["test"]["mae"]


@pytest.mark.slow
def test_items_are_ranked_on_the_command_line(ran):
    root, _ = ran
    answer = json.loads(ask("rank", root, "--user", "u3", "--items", "i1,i2,i3", "--json").stdout)
    assert answer["known"]
    scores = [row["score"] for row in answer["scores"]]
    assert scores == sorted(scores, reverse=True)
    assert {row["item_id"] for row in answer["scores"]} == {"i1", "i2", "i3"}
    assert "u3" in ask("rank", root, "--user", "u3", "--items", "i1").stdout
    new = json.loads(
        ask("rank", root, "--features", '{"rated": ["i1"]}', "--items", "i2", "--json").stdout
    )
    assert not new["known"]
    assert new["user_id"] is None


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--items", "i1"], "Say who asks"),
        (["--user", "u1", "--items", ","], "nothing to score"),
        (["--user", "u1", "--items", "i1,i77"], 'no item "i77"'),
        (["--features", "[]", "--items", "i1"], "JSON object"),
    ],
)
def test_what_cannot_be_ranked_is_refused(ran, arguments, words):
    assert words in ask("rank", ran[0], *arguments, status=1).stderr


def test_the_release_is_judged_as_its_run_was(ran):
    root, told = ran
    judged = json.loads(ask("evaluate", root, "--json").stdout)
    assert judged["test"] == pytest.approx(told["test"], rel=1e-4)
    assert judged["baselines"]["biases"] == pytest.approx(told["baselines"]["biases"])
    assert judged["model"] == "ranker"


def test_a_retriever_does_not_rank(tiny_root):
    said = ask("rank", tiny_root, "--user", "u1", "--items", "i1", status=1).stderr
    assert "tfrecall recommend" in said


def test_wrong_labels_end_a_run_before_training(tmp_path):
    arguments = write_files(tmp_path, rating=pl.col("rating") * 2)
    said = ask("run", *arguments, status=1).stderr
    assert "outside 1 to 5" in said
    assert "epoch" not in said
    assert not (tmp_path / "out").exists()


def test_vectors_of_other_rows_are_no_start(tmp_path, tiny_root):
    recipe, _, data, *_ = write_files(tmp_path)
    config = load_config(recipe, [f"data.source='{data}'", f"model.start_from='{tiny_root}'"])
    with pytest.raises(ConfigError, match="learned from other rows"):
        run(config, tmp_path / "out")


@pytest.mark.slow
def test_a_ranker_begins_with_the_release_of_a_retriever(tmp_path):
    recipe, _, data, *_ = write_files(tmp_path)
    source = f"data.source='{data}'"
    retriever = tmp_path / "retriever.toml"
    schema = RECIPE[RECIPE.index("[schema]") : RECIPE.index("[[schema.query]]")]
    query = """query = [{ type = "categorical", column = "user_id", embedding_dim = 8 }]"""
    retriever.write_text(f"{schema}{query}\n[model]\nlayer_sizes = [8]\n", "utf-8")
    monitor = "training.monitor=hit_rate@5"
    config = load_config(str(retriever), [source, "training.epochs=2", "export.k=5", monitor])
    run(config, tmp_path / "towers")
    progress = RecordedProgress()
    config = load_config(recipe, [source, f"model.start_from='{tmp_path / 'towers'}'"])
    outcome = run(config, tmp_path / "out", progress)
    assert (
        sum("begin with the vectors" in text for text in progress.notes) == 2
    )  # the fit, and the refit
    assert outcome.metrics["test"]["rmse"] < outcome.metrics["baselines"]["mean"]["rmse"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("settings", "names"),
    [
        (['task={type="click", threshold=4}', "training.monitor=auc"], {"log_loss", "auc", "gauc"}),
        (['task={type="list"}', "training.monitor=ndcg"], {"ndcg@10"}),
    ],
)
def test_clicks_and_lists_run_alike(tmp_path, settings, names):
    recipe, _, data, *_ = write_files(tmp_path)
    more = [
        f"data.source='{data}'",
        "training.refit=false",
        "model.crosses=['dot']",
        "training.epochs=6",
    ]
    config = load_config(recipe, [*more, *settings])
    outcome = run(config, tmp_path / "out")
    assert set(outcome.metrics["test"]) == names
    last = next(iter(names - {"log_loss"}))
    assert outcome.metrics["test"][last] > outcome.metrics["baselines"]["biases"][last]
    assert judge_of(config).kind == config.task.type
    assert "could not be drawn" not in (tmp_path / "out" / "report.html").read_text("utf-8")
