"""A run leaves its report, and two runs are compared at the command line."""

import json
import shutil

import pytest

from tests.cli.test_cli import ask
from tests.integration.runs import SMALL, options, write_files
from tests.report.helpers import Page
from tests.report.test_run_page import assert_alone
from tfrecall.config.recipes import load_config
from tfrecall.runs.run import run

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """`out` has a version of one epoch, and with `outcome` one of two epochs."""
    folder = tmp_path_factory.mktemp("report")
    ask("run", *write_files(folder), "--set", "training.epochs=1", "--allow-worse")
    return folder


@pytest.fixture(scope="module", autouse=True)
def outcome(folder):
    """The second version, of a run from Python."""
    recipe, *arguments = write_files(folder)
    files = dict(zip(arguments[::2], arguments[1::2], strict=True))
    settings = [f"data.{name}='{files['--' + name]}'" for name in ("users", "items")]
    config = load_config(recipe, [*settings, f"data.source='{files['--data']}'", "training.epochs=2"])
    return run(config, folder / "out")


def test_the_report_is_published_with_the_metrics(folder):
    html = (folder / "out" / "report.html").read_text("utf-8")
    assert_alone(html)
    metrics = json.loads((folder / "out" / "metrics.json").read_text())
    text = Page(html).text
    assert "Version 2" in text
    assert f"{metrics['test']['seen_removed']['mrr']:.3f}" in text
    assert "[rec]" in text
    assert "search_k" in text
    assert "because of" in text


def test_the_report_can_be_drawn_again_from_python(folder, outcome):
    again = Page(outcome.report())
    first = Page((folder / "out" / "report.html").read_text("utf-8"))
    # Scores come from the exported model now: what is told of users and figures is the same.
    assert again.text == first.text


def test_two_versions_are_compared(folder):
    arguments = ["compare", folder / "out@1", folder / "out@2", "--html", folder / "compared.html"]
    answer = json.loads(ask(*arguments, "--json").stdout)
    assert list(answer["models"]) == ["out@1", "out@2"]
    assert answer["baselines"].keys() >= {"popularity", "item_cf"}
    metrics = json.loads((folder / "out" / "metrics.json").read_text())
    for rule, figures in metrics["test"].items():
        assert answer["models"]["out@2"][rule] == pytest.approx(figures, abs=1e-6)
    assert_alone((folder / "compared.html").read_text("utf-8"))
    shown = " ".join(ask(*arguments).stdout.split())
    for text in ("out@2 less out@1", "95 % interval", "of the items in common", "compared.html"):
        assert text in shown


def test_one_version_is_compared_with_baselines(folder):
    arguments = ["compare", folder / "out", "--baseline", "swing", "--baseline", "popularity", "--json"]
    answer = json.loads(ask(*arguments).stdout)
    assert list(answer["models"]) == ["out", "swing", "popularity"]
    metrics = json.loads((folder / "out" / "metrics.json").read_text())
    for rule, figures in metrics["baselines"]["popularity"].items():
        assert answer["models"]["popularity"][rule] == pytest.approx(figures)
    interval = answer["differences"]["swing"]["intervals"]["seen_kept"]["mrr"]
    assert interval["low"] <= interval["difference"] <= interval["high"]


@pytest.fixture(scope="module")
def other(tmp_path_factory):
    """The folder of a run with another split and other baselines, and its figures."""
    folder = tmp_path_factory.mktemp("other")
    settings = ("training.epochs=1", "split.seed=7", 'evaluation.baselines=["ease", "swing"]')
    given = options(*SMALL, *settings)
    told = ask("run", *write_files(folder), *given, "--allow-worse", "--json").stdout
    return folder, json.loads(told)


def test_the_baselines_of_a_run_are_those_of_its_configuration(other):
    folder, made = other
    assert list(made["baselines"]) == ["ease", "swing"]
    judged = json.loads(ask("evaluate", folder / "out", "--json").stdout)
    assert judged["baselines"] == made["baselines"]


def test_runs_on_other_splits_are_refused(folder, other, tmp_path):
    release = other[0] / "out"
    told = ask("compare", folder / "out", release, status=1).stderr
    assert "split.seed is 42" in told
    log = other[0] / "log.csv"
    moved = shutil.move(log, tmp_path / "moved.csv")
    try:
        again = ask("compare", folder / "out", release, "--data", moved, status=1).stderr
    finally:
        shutil.move(moved, log)
    assert "split.seed is 42" in again


def test_all_users_and_vectors_leave_a_run(folder):
    import polars as pl

    ask("recommend-all", folder / "out", "--out", folder / "recs.parquet", "-k", 3)
    assert pl.read_parquet(folder / "recs.parquet")["user_id"].n_unique() == 61
    ask("embed", folder / "out", "--out", folder / "vectors", "--column", "title")
    assert pl.read_parquet(folder / "vectors" / "items.parquet").height == 40
