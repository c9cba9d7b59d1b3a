"""Bad input at the command line: `Error: ...` on standard error, exit status 1, nothing left behind.

Each is refused before training, so none of these takes long.
"""

import polars as pl
import pytest
from typer.testing import CliRunner

from tests.integration.runs import write_files
from tests.progress import RecordedProgress
from tests.tiny import tiny_interactions
from tfrecall.cli import app

DATA = tiny_interactions()
LOG, USERS, ITEMS = DATA.log, DATA.users.drop("tags"), DATA.items


def swap(frame, row, **values):
    """The table with other values in one row."""
    at = pl.int_range(pl.len()) == row
    return frame.with_columns(
        pl.when(at)
        .then(pl.lit(value))
        .otherwise(pl.col(column).cast(pl.String, strict=False))
        .alias(column)
        if isinstance(value, str | None)
        else pl.when(at).then(pl.lit(value)).otherwise(pl.col(column)).alias(column)
        for column, value in values.items()
    )


ROW = pl.int_range(pl.len())
OLD = {
    "NaN": USERS.with_columns(age=pl.when(ROW == 2).then(float("nan")).otherwise(30.0)),
    "null": swap(USERS, 2, age=None).with_columns(pl.col("age").cast(pl.Int64)),
    "text": USERS.with_columns(age=pl.lit("old")),
}
MIXED = pl.when(ROW < 9).then(pl.col("timestamp") * 1000).otherwise(pl.col("timestamp"))
# Without words for "no id", rows without one are refused, not dropped.
KEPT = ["--set", "data.null_values=[]"]
NO_VALIDATION = ["--set", "training.refit=true", "--set", "split.validation_fraction=0"]
BY_TIME = ["--set", "split.method=by_time", "--set"]

# What is given, further options, and what the message must say.
CASES = {
    "missing column": (
        {"log": LOG.rename({"user_id": "userid"})},
        [],
        ['"user_id"', 'mean "userid"', "--user-column"],
    ),
    "misnamed column": ({}, ["--item-column", "itm_id"], ['"itm_id"', 'mean "item_id"']),
    "null ids": ({"log": swap(LOG, 3, user_id=None)}, KEPT, ["null or empty ids", "first is row 4"]),
    "empty ids": ({"log": swap(LOG, 3, item_id=" ")}, KEPT, ["null or empty ids", "first is row 4"]),
    "unreadable time": (
        {"log": swap(LOG, 3, timestamp="soon")},
        [],
        ["mix numbers and dates", "row 4"],
    ),
    "unreadable times": (
        {"log": LOG.with_columns(timestamp=pl.lit("yesterday"))},
        [],
        ["cannot be read", '"yesterday"', "ISO 8601"],
    ),
    "mixed units": ({"log": LOG.with_columns(timestamp=MIXED)}, [], ["9 rows like milliseconds"]),
    "empty log": ({"log": LOG[:0]}, [], ["log is empty"]),
    "one user": ({"log": LOG.with_columns(user_id=pl.lit("u1"))}, [], ["only one user", '"u1"']),
    "one item": ({"log": LOG.with_columns(item_id=pl.lit("i1"))}, [], ["only one item", '"i1"']),
    "items not in the table": ({"items": ITEMS[5:]}, [], ["5 items of the log", "missing_items"]),
    "duplicate items": ({"items": pl.concat([ITEMS, ITEMS[:2]])}, [], ["duplicate ids", "2 of 42"]),
    "duplicate users": ({"users": pl.concat([USERS, USERS[:1]])}, [], ["duplicate ids", '"user_id"']),
    "NaN in a feature": ({"users": OLD["NaN"]}, [], ['"age"', "NaN", "row 3"]),
    "null in a numeric feature": ({"users": OLD["null"]}, [], ['"age"', "null"]),
    "text in a numeric feature": ({"users": OLD["text"]}, [], ['"age"', "takes a number"]),
    "no user table": ({"users": None}, [], ['"home_town"', "the schema names"]),
    "schema column not there": (
        {"items": ITEMS.rename({"title": "titles"})},
        [],
        ['"title"', 'mean "titles"'],
    ),
    "k below one": ({}, ["--set", "export.k=0"], ["export.k", "greater than 0"]),
    "k beyond the catalogue": ({}, ["--set", "export.k=41"], ["`export.k` is 41", "only 40 items"]),
    "unknown key": ({}, ["--set", "training.epoch=2"], ['mean "epochs"']),
    "refit without validation": ({}, NO_VALIDATION, ["`training.refit` needs"]),
    "empty part": ({}, [*BY_TIME, "split.at=2030-01-01"], ["test part has no rows", "spans"]),
    "no such date": ({}, [*BY_TIME, "split.at=someday"], ["split.at cannot be read", "'someday'"]),
    "no such file": ({}, ["--data", "nowhere.csv"], ["nowhere.csv", "not found"]),
    "no suffix": ({}, ["--data", "/etc/hostname"], ["suffix"]),
}


def run(arguments):
    result = CliRunner().invoke(app, ["run", *arguments, "--json"])
    assert result.exit_code == 1, result.output
    assert isinstance(result.exception, SystemExit), result.exception
    assert result.stdout == ""
    assert "Traceback" not in result.stderr
    return result.stderr


def wanted(said):
    return [" ".join(text.split()).lower() for text in said]


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_bad_input_is_refused(name, tmp_path):
    changes, options, said = CASES[name]
    arguments = write_files(tmp_path, **changes)
    message = run([*arguments, *options])
    error = message[message.index("Error: ") :].lower()
    assert all(text in error for text in wanted(said)), error
    assert not (tmp_path / "out").exists()


def test_a_file_that_is_not_utf_8_is_refused_by_line(tmp_path):
    arguments = write_files(tmp_path)
    log = (tmp_path / "log.csv").read_bytes().splitlines()
    log[4] = log[4].replace(b"u", "ü".encode("latin-1"), 1)
    (tmp_path / "log.csv").write_bytes(b"\n".join(log))
    message = run(arguments)
    assert all(text in message for text in ("log.csv is not UTF-8", "line 5", "iconv"))
    assert not (tmp_path / "out").exists()


def test_an_output_directory_that_cannot_be_made_is_told_before_anything_else(tmp_path):
    arguments = write_files(tmp_path, log=LOG[:0])
    (tmp_path / "file").write_text("")
    message = run([*arguments[:-1], str(tmp_path / "file" / "out")])
    assert "cannot be written" in message
    assert "--out" in message
    assert "log is empty" not in message


def test_an_unknown_recipe_is_refused_with_the_nearest():
    message = run(["two_tower_ml10k"])
    assert 'There is no recipe "two_tower_ml10k". Did you mean "two_tower_ml100k"?' in message


def test_a_recipe_for_other_data_names_what_is_missing(tmp_path):
    arguments = write_files(tmp_path)
    message = run(["two_tower_ml100k", *arguments[1:]])
    assert 'the query column "raw_user_age"' in message


def test_items_that_the_table_lacks_may_be_added_or_dropped_on_request(tmp_path):
    from tfrecall.config.recipes import load_config
    from tfrecall.runs.preparation import prepare

    arguments = write_files(tmp_path, items=ITEMS[5:])
    settings = [f"data.{key}={tmp_path}/{key}.parquet" for key in ("users", "items")]
    settings.append(f"data.source={tmp_path}/log.csv")
    progress = RecordedProgress()
    for policy, items in (("add", 40), ("drop", 35)):
        config = load_config(arguments[0], [*settings, f"data.missing_items={policy}"])
        assert prepare(config, progress).known.items.height == items
    assert sum("5 items of the log" in note for note in progress.notes) >= 2


def test_baselines_that_cannot_be_fitted_are_refused_before_training(tmp_path, monkeypatch):
    from tfrecall.baselines import ease

    monkeypatch.setattr("tfrecall.runs.run.train", lambda *_, **__: pytest.fail("it trained"))
    arguments = ["run", *write_files(tmp_path), "--set"]
    monkeypatch.setattr(ease, "available_bytes", lambda: 100)
    result = CliRunner().invoke(app, [*arguments, 'evaluation.baselines=["popularity", "ease"]'])
    assert result.exit_code == 1
    assert "Error: EASE inverts a matrix of items by items" in result.stderr
    assert not (tmp_path / "out").exists()
