"""A run whose model a baseline beats says so everywhere, and ends with status 3."""

import json

import pytest

from tests.cli.test_cli import ask
from tests.integration.runs import SMALL, options, write_files
from tests.report.helpers import Page
from tests.report.test_run_page import assert_alone
from tfrecall.cli import console
from tfrecall.release import load

pytestmark = pytest.mark.slow
# So small a rate leaves the towers where they began: any count is better.
IDLE = options("training.epochs=1", "training.learning_rate=0.00001")


@pytest.fixture(scope="module")
def opened():
    """Addresses that the browser was given."""
    return []


@pytest.fixture(scope="module")
def ended(tmp_path_factory, opened):
    folder = tmp_path_factory.mktemp("beaten")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(console.webbrowser, "open", lambda address: opened.append(address) or True)
        return folder / "out", ask("run", *write_files(folder), *IDLE, "--open", status=3)


def test_the_report_is_opened_even_so(ended, opened):
    root, _ = ended
    assert opened == [(root / "report.html").resolve().as_uri()]


def test_metrics_and_manifest_name_the_better_baselines_best_first(ended):
    root, _ = ended
    metrics = json.loads((root / "metrics.json").read_text("utf-8"))
    beaten = metrics["beaten_by"]
    assert (
        (beaten["metric"], beaten["rule"])
        == ("hit_rate@10", "seen_kept")
        == (
            "hit_rate@10",
            metrics["leading"],
        )
    )
    own = metrics["test"]["seen_kept"]["hit_rate@10"]
    figures = {name: rules["seen_kept"]["hit_rate@10"] for name, rules in metrics["baselines"].items()}
    better = {name: value for name, value in figures.items() if value > own}
    assert beaten["model"] == own
    assert beaten["baselines"] == better
    assert list(beaten["baselines"].values()) == sorted(better.values(), reverse=True)
    assert load(root).manifest["beaten_by"] == beaten
    assert "below_baseline" in [finding["name"] for finding in metrics["diagnostics"]]


def test_the_end_of_the_run_and_the_report_say_so(ended):
    root, result = ended
    assert "beat the model" in result.stderr.splitlines()[-2]
    assert "--allow-worse" in result.stderr.splitlines()[-1]
    assert f"Release 1 in {root}" in result.stdout, "everything is written and shown all the same"
    assert "beat the model" in Page((root / "report.html").read_text("utf-8")).text


@pytest.mark.parametrize("terminal", [True, False])
def test_the_release_says_so_whenever_it_is_asked_on_a_terminal(ended, monkeypatch, terminal):
    root, _ = ended
    monkeypatch.setattr(console.stderr, "_force_terminal", terminal)
    for command in (("recommend", root, "--user", "u1"), ("similar", root, "i1")):
        assert ("beat the model" in ask(*command).stderr) is terminal


def test_evaluate_repeats_it_and_ends_with_0(ended):
    root, _ = ended
    told = json.loads(ask("evaluate", root, "--json").stdout)
    assert told["beaten_by"] == load(root).manifest["beaten_by"]
    assert told["targets_had"] > 0
    assert told["intervals"]["two_tower"]["seen_kept"].keys() == {"hit_rate@10"}


def test_a_baseline_without_figures_of_the_rule_beats_nothing(tmp_path):
    settings = ("evaluation.seen=removed", 'evaluation.baselines=["own_most_recent"]')
    told = ask("run", *write_files(tmp_path), *IDLE, *options(*SMALL, *settings))
    assert "targets had been had before" in told.stdout
    assert load(tmp_path / "out").manifest["beaten_by"] is None
    assert_alone((tmp_path / "out" / "report.html").read_text("utf-8"))
