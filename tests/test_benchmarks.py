"""The comparison of benchmark lines with the figures on record; no benchmark runs here."""

import json
import os
from pathlib import Path
from time import process_time

import numpy as np
import pytest

from benchmarks import check
from benchmarks.bench_shapes import COUNTING, behind, best_of, least_over, winners
from benchmarks.check import RATIOS, Guard, Verdict, compare, load, save, table, updated
from benchmarks.http_load import cpu_clock

HIGHER = Guard("training.ratio", 3.0, 0.1, "higher", bar=2.5)
LOWER = Guard("log.seconds", 20.0, 0.5, "lower", bar=25.0)


@pytest.mark.parametrize(
    ("guard", "measured", "fell"),
    [
        (HIGHER, 3.5, False),
        (HIGHER, 2.71, False),  # 10 % of 3.0 is .3
        (HIGHER, 2.69, True),
        (LOWER, 10.0, False),
        (LOWER, 29.9, False),  # 50 % of 20 is 10
        (LOWER, 30.1, True),
        (LOWER, None, True),
    ],
)
def test_a_figure_fell_if_it_is_worse_by_more_than_its_noise(guard, measured, fell):
    assert Verdict(guard, measured).fell is fell


def test_the_bar_is_judged_apart_from_the_noise():
    assert not Verdict(LOWER, 26.0).fell
    assert not Verdict(LOWER, 26.0).passes_bar
    assert not Verdict(HIGHER, 2.4).passes_bar
    assert Verdict(Guard("a.b", 1.0, 0.1, "lower"), 9.0).passes_bar


def test_only_benchmarks_that_ran_are_judged():
    verdicts = compare([HIGHER, LOWER], {"training": {"ratio": 2.9, "other": 1}})
    assert verdicts == [Verdict(HIGHER, 2.9)]


def test_a_benchmark_that_failed_has_no_figure():
    (verdict,) = compare([HIGHER, LOWER], {"log": {}})
    assert verdict.fell
    assert "missing" in table([verdict])


def test_an_update_keeps_what_was_not_measured(tmp_path):
    guards = updated([HIGHER, LOWER], [Verdict(HIGHER, 3.3)])
    assert [guard.value for guard in guards] == [3.3, 20.0]
    save(guards, tmp_path / "ratios.json")
    assert load(tmp_path / "ratios.json") == guards


def test_the_table_says_what_fell_and_what_misses_the_bar():
    text = table([Verdict(HIGHER, 2.4), Verdict(LOWER, 26.0)])
    assert text.splitlines() == [
        "figure          on record  now  change  noise  bar",
        "training.ratio  3          2.4  -20%    10%    >= 2.5  FELL",
        "log.seconds     20         26   +30%    50%    <= 25   below the bar",
    ]


@pytest.fixture
def recorded(tmp_path, monkeypatch):
    """A file of figures, and benchmarks that print what a test wants."""
    path = tmp_path / "ratios.json"
    save([HIGHER, LOWER], path)
    monkeypatch.setattr(check, "load", lambda: load(path))
    monkeypatch.setattr(check, "save", lambda guards: save(guards, path))
    lines = {"training": {"ratio": 2.0}, "log": {"seconds": 19.0}}
    monkeypatch.setattr(check, "run", lambda name: lines[name])
    return path


def test_the_command_names_what_fell(recorded, capsys):
    assert check.main([]) == 1
    assert capsys.readouterr().out.splitlines()[-1] == "Fell by more than their noise: training.ratio."
    assert check.main(["log"]) == 0


def test_the_command_updates_the_file(recorded):
    assert check.main(["--update"]) == 0
    assert [guard.value for guard in load(recorded)] == [2.0, 19.0]


def test_an_unknown_benchmark_is_refused(recorded, capsys):
    with pytest.raises(SystemExit):
        check.main(["trainig"])
    assert "there is no benchmark trainig; choose from training, log" in capsys.readouterr().err


LOG = {
    "chosen": {"hit_rate@10": 0.3, "ndcg@10": 0.1},
    "item_transitions": {"hit_rate@10": 0.2, "ndcg@10": 0.1},
    "popularity": {"hit_rate@10": 0.1, "ndcg@10": 0.05},
}


def test_the_best_model_of_each_column_is_named_ties_against_the_model():
    assert best_of(LOG) == {"hit_rate@10": "chosen", "ndcg@10": "item_transitions"}
    assert winners("in sequence", LOG) == (
        "in sequence: hit_rate@10 chosen 0.300, ndcg@10 item_transitions 0.100 (chosen 0.100)"
    )


def test_the_smallest_ratio_to_counting_is_over_all_columns_of_all_logs():
    weak = {
        "chosen": {"hit_rate@10": 0.18, "ndcg@10": 0.1},
        "item_cf": {"hit_rate@10": 0.2, "ndcg@10": 0.1},
    }
    metrics = ("hit_rate@10", "ndcg@10")
    # .1 / .1 of the first log, .18 / .2 of the second.
    assert least_over({"one": LOG}, COUNTING, metrics) == 1.0
    assert least_over({"one": LOG, "other": weak}, COUNTING, metrics) == pytest.approx(0.9)


def test_what_counts_and_is_above_the_model_is_named_with_the_interval_of_the_ratio():
    ranks = {
        "chosen": np.array([0, 50, 200, 4]),
        "item_cf": np.array([3, 9, 300, 5]),  # three hits among ten in the place of two
        "ease": np.array([0, 0, 0, 0]),  # solves for its weights
    }
    (line,) = behind(ranks, np.arange(4))
    assert line.startswith("hit_rate@10 is 0.667 (")
    assert line.endswith(" to 1.000) of that of item_cf")
    assert behind({**ranks, "item_cf": ranks["chosen"]}, np.arange(4)) == []


def test_every_benchmark_is_guarded_and_explained():
    scripts = {path.stem.removeprefix("bench_") for path in RATIOS.parent.glob("bench_*.py")}
    assert {guard.name.split(".")[0] for guard in load()} == scripts
    readme = Path(RATIOS.parent, "README.md").read_text("utf-8")
    assert all(f"`bench_{script}.py`" in readme for script in scripts)
    assert all(f"{name.split('.')[1]}" in readme for name in json.loads(RATIOS.read_text("utf-8")))


def test_the_cpu_clock_of_a_process_is_that_of_the_process():
    clock = cpu_clock(os.getpid())
    before, told, after = process_time(), clock(), process_time()
    assert before <= told <= after
