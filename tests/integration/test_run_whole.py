"""The whole job at the command line on a log of files, and every command on what it leaves."""

import json
import math
import os
import shutil
import subprocess
import sys

import polars as pl
import pytest
from typer.testing import CliRunner

from tests.commands import ask
from tests.integration.runs import SMALL, options, write_files
from tests.processes import Forked
from tfrecall.cli import app
from tfrecall.runs import kinds, run

pytestmark = pytest.mark.slow


def tfrecall(*arguments, cwd=None):
    """Runs the command in a process of its own, which compares what it exports in another one."""
    command = [sys.executable, "-m", "tfrecall.cli", *map(str, arguments)]
    environment = {name: value for name, value in os.environ.items() if name != "TFRECALL_REPLAY"}
    return subprocess.run(
        command, check=False, capture_output=True, text=True, timeout=600, cwd=cwd, env=environment
    )


def answer_of(status, output, errors):
    """The one JSON object that is all of standard output."""
    assert status == 0, errors[-3000:]

    def refuse(constant):
        raise AssertionError(f"{constant} is not JSON")

    return json.loads(output, parse_constant=refuse)


@pytest.fixture(scope="module")
def ended(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    return folder, tfrecall("run", *write_files(folder), "--allow-worse", "--json")


@pytest.fixture(scope="module")
def metrics(ended):
    told = ended[1]
    return answer_of(told.returncode, told.stdout, told.stderr)


@pytest.fixture(scope="module")
def root(ended, metrics):
    return ended[0] / "out"


# What a run writes


def test_metrics_have_the_keys_that_others_rely_on(metrics):
    assert {"recipe", "model", "data", "test", "baselines", "timings", "index"} <= metrics.keys()
    assert (metrics["recipe"], metrics["model"]) == ("tiny_run", "two_tower")
    assert metrics["data"].keys() == {
        *("name", "users", "items", "train_rows", "test_rows", "fingerprint"),
    }
    assert (metrics["data"]["users"], metrics["data"]["items"]) == (61, 40)
    assert (metrics["data"]["train_rows"], metrics["data"]["test_rows"]) == (720, 180)
    # Users of the tiny log come back to items: their own stand beside, and lists keep them.
    own = {"own_most_frequent", "own_most_recent"}
    assert metrics["baselines"].keys() == {"popularity", "item_cf", *own}
    assert metrics["leading"] == "seen_kept"
    for name, rules in {"": metrics["test"], **metrics["baselines"]}.items():
        # Where seen items are removed, nothing is left that baselines of own items could rank.
        assert rules.keys() == {"seen_kept"} | (set() if name in own else {"seen_removed"})
        for figures in rules.values():
            assert {"hit_rate@100", "ndcg@10", "mrr", "user_recall@20"} <= figures.keys()
            assert all(math.isfinite(value) for value in figures.values())
    assert metrics["timings"].keys() == {
        *("prepare_seconds", "fit_seconds", "evaluate_seconds", "export_seconds"),
        *("epochs", "examples_per_second", "peak_rss_mb"),
    }
    assert all(value > 0 for value in metrics["timings"].values())
    # Of 40 items the best 100 are all of them.
    assert metrics["index"]["annoy"].keys() == {"recall@40", "search_k", "n_trees", "p50_us"}


def test_standard_output_is_the_file_and_where_the_release_is(metrics, root):
    assert json.loads((root / "metrics.json").read_text()) == {
        name: value for name, value in metrics.items() if name not in ("release", "report")
    }
    assert metrics["release"] == str(root)
    assert metrics["report"] == str(root / "report.html")


def test_standard_error_tells_the_steps(ended):
    told = ended[1].stderr
    for step in ("Prepare the data", "Fit the model", "Evaluate", "Export, index"):
        assert step in told
    assert "Rock & roll [with brackets] [/b]" in told
    assert "Traceback" not in told


def test_the_configuration_that_is_kept_runs_again(root):
    from tfrecall.config.recipes import config_from_dict, load_config
    from tfrecall.release.manifest import read_manifest

    kept = load_config(str(root / "config.toml"))
    assert kept == config_from_dict(read_manifest(root)["config"])
    assert kept.recipe == "tiny_run"


def test_the_manifest_tells_data_and_metrics(root, metrics):
    from tfrecall.release.manifest import read_manifest

    manifest = read_manifest(root)
    assert manifest["data"] == metrics["data"]
    assert manifest["test"] == metrics["test"]
    assert manifest["index"] == metrics["index"]


# The commands


def ask_json(*arguments):
    return json.loads(ask(*arguments, "--json").stdout)


def test_recommend_answers_known_and_unknown_users(root):
    users = ("--user", "u1", "--user", "nobody", "--features", '{"age": 33, "home_town": "Town 1"}')
    answers = ask_json("recommend", root, *users, "-k", 3, "--column", "title", "--column", "released")
    known, unknown, described = answers["recommendations"]
    assert (known["known"], unknown["known"], described["known"]) == (True, False, False)
    assert unknown["defaulted"] == ["home_town", "age", "timestamp"]
    assert described["defaulted"] == ["user_id", "timestamp"]
    assert all(len(answer["item_ids"]) == 3 for answer in answers["recommendations"])
    assert known["items"][0]["released"] == "2001-02-03"


def test_recommend_shows_titles_as_they_are(root):
    shown = ask("recommend", root, "--user", "u1", "-k", 3).stdout
    assert shown.count("[rec]") == 3


def test_recommend_leaves_out_and_brings_back(root):
    first = ask_json("recommend", root, "--user", "u1", "-k", 1)["recommendations"][0]["item_ids"][0]
    without = ask_json("recommend", root, "--user", "u1", "-k", 5, "--exclude", first)
    assert first not in without["recommendations"][0]["item_ids"]
    everything = ask_json("recommend", root, "--user", "u1", "-k", 40, "--keep-seen")
    assert len(everything["recommendations"][0]["item_ids"]) == 40


def test_both_indexes_answer(root):
    exact, annoy = (
        ask_json("recommend", root, "--user", "u1", "--index", index)["recommendations"][0]
        for index in ("exact", "annoy")
    )
    assert len(exact["item_ids"]) == len(annoy["item_ids"]) == 10
    assert all(a >= b for a, b in zip(exact["scores"], annoy["scores"], strict=True))


def test_similar_lists_other_items(root):
    answer = ask_json("similar", root, "i4", "-k", 5)
    assert len(answer["item_ids"]) == 5
    assert "i4" not in answer["item_ids"]
    assert "Similar to i4" in ask("similar", root, "i4").stdout


def test_evaluate_gives_the_figures_of_the_run(root, metrics):
    """The scores come from the exported query model this time."""
    judged = ask_json("evaluate", root)
    for rule, figures in metrics["test"].items():
        assert judged["test"][rule] == pytest.approx(figures, abs=1e-6)
    assert judged["baselines"] == metrics["baselines"]
    assert judged["model"] == metrics["model"]
    assert judged["data"]["fingerprint"] == metrics["data"]["fingerprint"]


def test_evaluate_says_when_the_data_are_others(root, ended, tmp_path):
    pl.read_csv(ended[0] / "log.csv")[1:].write_csv(tmp_path / "other.csv")
    told = ask("evaluate", root, "--data", tmp_path / "other.csv").stderr
    assert "not the data of the run" in told


def test_index_shows_the_tuning_and_builds_again(root, tmp_path):
    copy = shutil.copytree(root, tmp_path / "copy")
    shown = ask_json("index", copy)
    assert (shown["version"], shown["default"]) == (1, "exact")
    assert shown["index"]["annoy"]["n_trees"] == 5
    assert shown["tuning"]["rows"][-1]["search_k"] == shown["index"]["annoy"]["search_k"]
    again = ask_json("index", copy, "--n-trees", 9)
    assert (again["version"], again["index"]["annoy"]["n_trees"]) == (2, 9)
    assert again["tuning"]["target_recall"] == 0.95
    assert json.loads((copy / "metrics.json").read_text())["version"] == 2
    assert "search_k" in ask("index", copy).stdout


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["recommend", "ROOT"], "Nobody to recommend to"),
        (["recommend", "ROOT", "--user", "u1", "-k", "0"], "from 1 to 40"),
        (["recommend", "ROOT", "--user", "u1", "-k", "41"], "from 1 to 40"),
        (["recommend", "ROOT", "--user", "u1", "--index", "anoy"], 'mean "annoy"'),
        (["recommend", "ROOT", "--user", "u1", "--column", "titel"], 'mean "title"'),
        (["recommend", "ROOT", "--features", "{age: 3}"], "takes a JSON object"),
        (["recommend", "ROOT", "--features", "[3]"], "takes a JSON object"),
        (["recommend", "ROOT", "--features", '{"agee": 3}'], 'mean "age"'),
        (["recommend", "ROOT", "--features", '{"age": "old"}'], '"age" do not fit'),
        (["recommend", "ROOT", "--features", '{"age": NaN}'], '"age" do not fit'),
        (["similar", "ROOT", "no such item"], 'no item "no such item"'),
        (["index", "ROOT", "--n-trees", "0"], "`n_trees` must be an integer from 1"),
        (["index", "ROOT", "--target-recall", "0"], "`target_recall` must be above 0"),
        (["recommend", "/nowhere", "--user", "u1"], "no release at /nowhere"),
        (["evaluate", "ROOT", "--data", "/nowhere.csv"], "/nowhere.csv"),
        (["recipes", "show", "two_tower"], 'no recipe "two_tower"'),
        (["data", "fetch", "movielens-10k"], 'mean "movielens-100k"'),
    ],
)
def test_what_cannot_be_done_is_an_error_without_a_traceback(root, arguments, said):
    arguments = [str(root) if argument == "ROOT" else argument for argument in arguments]
    result = CliRunner().invoke(app, [*arguments, "--json"])
    assert result.exit_code == 1, (result.output, result.exception)
    assert isinstance(result.exception, SystemExit), result.exception
    assert result.stdout == ""
    assert "Error: " in result.stderr
    assert said in result.stderr


@pytest.mark.parametrize("file", ["manifest.json", "index/1/vectors.npy", "query/1/saved_model.pb"])
def test_a_damaged_release_is_named(root, tmp_path, file):
    copy = shutil.copytree(root, tmp_path / "copy")
    os.truncate(copy / file, 10)
    for command in (["recommend", copy, "--user", "u1"], ["evaluate", copy], ["index", copy]):
        result = CliRunner().invoke(app, [*map(str, command)])
        assert result.exit_code == 1
        assert str(copy / file) in result.stderr


# Again, and interrupted


def test_a_second_run_is_a_second_version(root, ended, tmp_path):
    """The same seed gives the same figures; a file in Parquet gives the same as in CSV.

    In another process, as the first: the last digits of one that traces graphs for tests are others.
    """
    copy = shutil.copytree(root, tmp_path / "copy")
    pl.read_csv(ended[0] / "log.csv").write_parquet(tmp_path / "log.parquet")
    files = [arg for arg in write_files(tmp_path) if not arg.endswith("log.csv")]
    files.insert(2, str(tmp_path / "log.parquet"))
    code = "from tfrecall import cli; cli.main()"
    again = answer_of(*Forked(code, "run", *files[:-1], copy, "--allow-worse", "--json").ended())
    first = json.loads((root / "metrics.json").read_text())
    assert again["version"] == 2
    assert again["test"] == first["test"]
    assert again["data"]["fingerprint"] == first["data"]["fingerprint"]
    assert json.loads((copy / "metrics.json").read_text())["version"] == 2
    assert ask_json("recommend", copy, "--user", "u1")["recommendations"][0]["known"]


STEPS = [(run, "prepare"), (run, "train"), (kinds, "evaluate"), (kinds, "stage_retriever")]


@pytest.mark.parametrize(("module", "step"), STEPS, ids=[step for _, step in STEPS])
def test_an_interrupted_run_leaves_nothing_and_ends_with_130(tmp_path, monkeypatch, module, step):
    def interrupted(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr(module, step, interrupted)
    given = options(*SMALL, "training.epochs=1")
    result = CliRunner().invoke(app, ["run", *write_files(tmp_path), *given])
    assert result.exit_code == 130
    assert "Interrupted" in result.stderr
    assert result.stdout == ""
    assert not (tmp_path / "out").exists()


def test_an_interrupted_second_run_leaves_the_first(root, tmp_path, monkeypatch):
    from tests.exporting.test_retriever import contents
    from tfrecall.release import layout

    copy = shutil.copytree(root, tmp_path / "copy")
    before = contents(copy)

    def interrupted(*args, **kwargs):
        raise KeyboardInterrupt

    # In the step that counts: all parts are in place, manifest.json is not yet replaced.
    original = layout.write_atomically
    monkeypatch.setattr(
        layout,
        "write_atomically",
        lambda file, text: interrupted() if file == copy / "manifest.json" else original(file, text),
    )
    result = CliRunner().invoke(
        app, ["run", *write_files(tmp_path)[:-1], str(copy), *options(*SMALL, "training.epochs=1")]
    )
    assert result.exit_code == 130, (result.output, result.exception)
    assert contents(copy) == before


@pytest.mark.parametrize(
    "settings",
    [
        [
            *("split.method=leave_last_out", "training.refit=true", "training.patience=1"),
            *("task={type='full_softmax'}", "model.normalize=true", "task.temperature=0.1"),
        ],
        [
            *("split.method=leave_last_out", "split.validation_fraction=0", "training.epochs=1"),
            *("task={type='tfrs_retrieval'}", "model.correct_sampling_bias=false"),
        ],
        [
            *("split.method=by_time", "split.at=2020-09-13T20:00:00", "split.known_users=true"),
            *("recipe=Mein Rezept Ä", "data.rating_column=score", "training.epochs=1"),
        ],
    ],
    ids=["leave_last_out", "without validation", "by_time"],
)
def test_other_configurations_run(tmp_path, settings):
    """Settings of different parts of a run, several at once."""
    from tests.tiny import tiny_interactions

    log = tiny_interactions().log.with_columns(score=pl.int_range(pl.len()) % 5)
    given = options(*SMALL, *settings)
    metrics = ask_json("run", *write_files(tmp_path, log=log), *given, "--allow-worse")
    assert metrics["test"]["seen_removed"]["hit_rate@100"] > 0


def test_the_tables_for_people_show_model_baselines_and_a_user(tmp_path):
    """Of a split at a number of seconds, without rows to validate by."""
    settings = ("split.method=by_time", "split.at=1600030000", "split.validation_fraction=0")
    given = options(*SMALL, *settings, "training.epochs=1")
    told = ask("run", *write_files(tmp_path), *given, "--allow-worse").stdout
    shown = " ".join(told.split())
    metrics = json.loads((tmp_path / "out" / "metrics.json").read_text("utf-8"))
    assert metrics["test"]["seen_removed"]["hit_rate@100"] > 0
    for text in (
        "popularity",
        "item_cf",
        "hit_rate",
        "@10",  # on a line of its own
        "had, latest first",
        "Recommended to user",
    ):
        assert text in shown
    # Whatever the program was started as.
    assert f" recommend {tmp_path / 'out'} --user" in shown
