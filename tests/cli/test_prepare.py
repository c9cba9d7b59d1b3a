"""`tfrecall prepare`, and commands that take shards for a log."""

import json

import pytest

from tests.commands import ask
from tfrecall.config.data import DataConfig
from tfrecall.config.inference import propose
from tfrecall.data import Interactions, filter_log, read
from tfrecall.errors import ConfigError
from tfrecall.runs.preparation import load_data


@pytest.fixture(scope="module")
def log(tmp_path_factory):
    file = tmp_path_factory.mktemp("log") / "orders.csv"
    rows = [f"c{n % 11};s{n % 5};{31 - n % 9:02}/01/2024;{n % 4}" for n in range(60)]
    file.write_text("\n".join(["customer;sku;day;rating", *rows]))
    return file


@pytest.fixture(scope="module")
def shards(log):
    columns = ["--user-column", "customer", "--item-column", "sku", "--timestamp-column", "day"]
    made = ask(
        "prepare",
        log,
        "--out",
        log.parent / "shards",
        "--partitions",
        3,
        *columns,
        "--set",
        "filters.min_user_interactions=6",
        "--json",
    )
    answer = json.loads(made.stdout)
    # 60 rows of 11 users: c0 to c4 have six, the others five.
    assert answer["counts"]["kept"] == 30
    assert answer["counts"]["filtered"] == {"min_user_interactions=6": 30}
    return log.parent / "shards"


def test_shards_are_the_log_of_a_recipe(log, shards):
    named = {"user_id": "customer", "item_id": "sku", "timestamp": "day"}
    expected = filter_log(read(log, **named), min_user_interactions=6)
    found = load_data(DataConfig(source=str(shards)))
    assert found.fingerprint == expected.fingerprint
    assert found.name == "orders"


def test_settings_of_a_recipe_that_contradict_shards_are_refused(shards):
    with pytest.raises(ConfigError, match=r"missing_items='refuse'\. Received: missing_items='drop'"):
        load_data(DataConfig(source=str(shards), missing_items="drop"))
    assert len(load_data(DataConfig(source=str(shards), user_column="customer"))) == 30


def test_a_recipe_inferred_from_shards_reads_them(shards):
    config = propose(shards).config([])
    assert config.data.source == str(shards)
    assert config.data.rating_column == "rating"
    assert load_data(config.data).fingerprint == Interactions.from_shards(shards).fingerprint


def test_shards_are_described_as_their_log(shards):
    described = json.loads(ask("data", "describe", shards, "--json").stdout)
    assert (described["rows"], described["users"], described["items"]) == (30, 5, 5)


def test_impossible_settings_are_refused_by_their_options(log, tmp_path):
    out = ("--out", tmp_path / "shards")
    assert "local, beam, ray" in ask("prepare", log, *out, "--engine", "spark", status=1).stderr
    told = ask("prepare", log, *out, "--set", "training.epochs=2", status=1).stderr
    assert "--set takes settings of data and filters here" in told
    assert "--user-column" in ask("prepare", log, *out, status=1).stderr
    told = ask("prepare", log, *out, "--partitions", 0, status=1).stderr
    assert "from 1 to 10,000" in told
    assert not (tmp_path / "shards").exists()
