"""Files and times as people have them, on the command line: what is said, and what a recipe keeps."""

import gzip

import polars as pl
import pytest

from tests.commands import ask
from tests.tiny import tiny_interactions
from tfrecall.config.recipes import load_config
from tfrecall.runs.preparation import load_data


@pytest.fixture(scope="module")
def log(tmp_path_factory):
    """The tiny log with carets between columns, and days before months in two digits, compressed."""
    data = tiny_interactions()
    moments = (data.log["timestamp"] * 1_000_000).cast(pl.Int64).cast(pl.Datetime("us"))
    table = data.log.with_columns(timestamp=moments.dt.strftime("%d/%m/%y %H:%M:%S"))
    text = table.rename({"user_id": "Kunde", "item_id": "Artikel", "timestamp": "Zeit"}).write_csv(
        separator="^"
    )
    file = tmp_path_factory.mktemp("reading") / "events.csv.gz"
    file.write_bytes(gzip.compress(text.encode()))
    return file, data


READING = ["--separator", "^", "--timestamp-format", "%d/%m/%y %H:%M:%S"]


def test_options_are_named_where_a_log_cannot_be_read(log):
    file, _ = log
    assert (
        "--separator names the mark between columns" in ask("data", "describe", file, status=1).stderr
    )
    # A time that cannot be read: described as far as possible, and refused.
    said = " ".join(ask("data", "describe", file, "--separator", "^", status=1).output.split())
    assert "--timestamp-format" in said
    assert "Kunde" in ask("data", "describe", file, *READING).output


def test_a_recipe_keeps_how_the_log_is_read(log, tmp_path):
    file, data = log
    ask("recipes", "init", file, *READING, "--out", tmp_path / "mine.toml")
    config = load_config(str(tmp_path / "mine.toml"))
    assert (config.data.separator, config.data.timestamp_format) == ("^", READING[3])
    back = load_data(config.data)
    assert back.log["user_id"].equals(data.log["user_id"])
    assert back.log["timestamp"].to_list() == data.log["timestamp"].to_list()


def test_options_go_over_the_keys_of_a_recipe(log):
    from tfrecall.cli.options import LogTables, data_settings

    file, _ = log
    tables = LogTables(separator="tab", timestamp_unit="ms", null_values="-, none")
    settings = data_settings(file, tables)
    assert settings == {
        "source": str(file),
        "separator": "tab",
        "timestamp_unit": "ms",
        "null_values": ("-", "none"),
    }
