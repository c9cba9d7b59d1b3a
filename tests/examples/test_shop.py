"""The example: its generator gives the files that are there, and its recipe fits them."""

import runpy
import subprocess
import sys
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace

import pytest
from typer.main import get_command

from tests.progress import RecordedProgress
from tfrecall.cli import app
from tfrecall.config.inference import propose
from tfrecall.config.recipes import load_config
from tfrecall.runs.preparation import prepare

ROOT = Path(__file__).parents[2]
SHOP = ROOT / "examples" / "shop"
TABLES = ("purchases.csv", "products.csv", "customers.csv")


@pytest.fixture
def at_root(monkeypatch):
    """The recipe names its files as seen from the folder above `examples`."""
    monkeypatch.chdir(ROOT)


@pytest.mark.slow
def test_the_generator_gives_the_same_files_byte_for_byte(tmp_path):
    subprocess.run([sys.executable, SHOP / "make_log.py", tmp_path], check=True)
    for name in TABLES:
        assert (tmp_path / name).read_bytes() == (SHOP / name).read_bytes(), name


def test_the_files_are_small():
    assert sum((SHOP / name).stat().st_size for name in TABLES) < 1_500_000


def test_the_recipe_fits_the_files(at_root):
    config = load_config("examples/shop/shop.toml")
    progress = RecordedProgress()
    prepared = prepare(config, progress)
    assert any(note.startswith("min_item_interactions=5 left out") for note in progress.notes)
    assert prepared.known.items.height == 491  # of 499 that were bought, 8 less than five times
    assert prepared.known.items["tags"].dtype.is_nested()
    assert len(prepared.known) + len(prepared.test) > 30_000


@pytest.mark.slow
def test_the_recipe_reads_the_files_as_a_proposal_does(at_root):
    config = load_config("examples/shop/shop.toml")
    proposed = propose(
        *(f"examples/shop/{name}" for name in (TABLES[0], TABLES[2], TABLES[1]))
    ).config()
    assert (config.data, config.split) == (proposed.data, proposed.split)
    for side in ("query", "candidate"):
        features = [getattr(one.schema, side) for one in (config, proposed)]
        mine, theirs = ([(f.column, f.type) for f in one] for one in features)
        assert mine == theirs


@pytest.mark.slow
def test_purchases_repeat_and_products_are_known():
    log, items, users = TABLES
    description = propose(SHOP / log, SHOP / users, SHOP / items).description
    assert description.refused == ()
    assert description.repeated_share > 0.2
    assert description.exact_duplicates == 0


def week(tmp_path, root, *, runs=0, drifts=0):
    """Status of `weekly.sh` for a release, and the commands that it gave, where two of them end so."""
    (tmp_path / "bin").mkdir()
    program = tmp_path / "bin" / "tfrecall"
    program.write_text(
        "#!/bin/sh\n"
        f'for word in "$@"; do printf "%s\\t" "$word"; done >> {tmp_path}/said\n'
        f"echo >> {tmp_path}/said\n"
        f"case $1 in run) exit {runs};; drift) exit {drifts};; esac\n"
    )
    program.chmod(0o755)
    done = subprocess.run(
        [SHOP / "weekly.sh", "log.csv", root], env={"PATH": f"{tmp_path / 'bin'}:/usr/bin:/bin"}
    )
    said = [line.rstrip("\t").split("\t") for line in (tmp_path / "said").read_text().splitlines()]
    for words in said:  # each is a command with options that there are
        name, *arguments = words
        get_command(app).get_command(None, name).make_context(name, arguments)
    return done.returncode, [words[0] for words in said]


@pytest.fixture
def root(tmp_path):
    (tmp_path / "release").mkdir()
    (tmp_path / "release" / "manifest.json").touch()
    return tmp_path / "release"


def test_the_first_week_trains(tmp_path):
    assert week(tmp_path, tmp_path / "none") == (0, ["run"])


def test_a_later_week_goes_on_and_looks_at_the_drift(tmp_path, root):
    assert week(tmp_path, root) == (0, ["run", "drift"])


@pytest.mark.parametrize("status", [1, 3])
def test_a_week_ends_with_a_run_that_ends_otherwise(tmp_path, root, status):
    assert week(tmp_path, root, runs=status) == (status, ["run"])


def test_a_week_with_other_lists_is_rolled_back(tmp_path, root):
    assert week(tmp_path, root, drifts=4) == (4, ["run", "drift", "rollback"])


def test_the_dag_runs_the_week(monkeypatch):
    tasks = []
    dag = SimpleNamespace(DAG=lambda *args, **settings: nullcontext())
    bash = SimpleNamespace(BashOperator=lambda **settings: tasks.append(settings))
    for name, module in {
        "airflow": dag,
        "airflow.operators": None,
        "airflow.operators.bash": bash,
    }.items():
        monkeypatch.setitem(sys.modules, name, module)
    runpy.run_path(str(SHOP / "weekly_dag.py"))
    (task,) = tasks
    # Airflow takes a command that ends in .sh for the file of a template; a blank behind it prevents that.
    assert task["bash_command"].split()[0] == "examples/shop/weekly.sh"
    assert task["bash_command"].endswith(" ")
