"""The example: its generator gives the files that are there, and its recipe fits them."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.progress import RecordedProgress
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
