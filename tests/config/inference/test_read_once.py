"""A log whose recipe is inferred is read once: the run goes on from the tables that were read to infer it."""

import json

import polars as pl
import pytest

from tests.commands import ask
from tfrecall.config.inference import propose
from tfrecall.data.files import TableFiles
from tfrecall.data.shards.prepare import prepare as write_shards
from tfrecall.errors import DataError
from tfrecall.runs.preparation import load_data, prepare

ROWS = [(f"{n % 30:03}", f"{n % 7}.0", 1_700_000_000 + 60 * n, n % 5 / 2) for n in range(120)]


def german(folder):
    lines = [
        "kunde;artikel;zeit;preis",
        *(f"{u};{i};{t};{str(p).replace('.', ',')}" for u, i, t, p in ROWS),
    ]
    # A second header, a repeated row, an id that is none, and a word for no price.
    lines[60:60] = [lines[0], lines[59], "NULL;3.0;1700000000;1,5", "004;2.0;1700009000;NULL"]
    (folder / "log.csv").write_text("\n".join(lines), "utf-8")
    (folder / "items.csv").write_text("artikel;name\n" + "".join(f"{n}.0;Name {n}\n" for n in range(7)))
    return (folder / "log.csv", None, folder / "items.csv"), {
        "user_id": "kunde",
        "item_id": "artikel",
        "timestamp": "zeit",
    }


def nested(folder):
    rows = [
        {"user": {"id": int(u)}, "item": {"id": i}, "timestamp": t, "tags": ["a", "b"]}
        for u, i, t, _ in ROWS
    ]
    (folder / "log.jsonl").write_text("\n".join(map(json.dumps, rows)), "utf-8")
    return (folder / "log.jsonl",), {"user_id": "user.id", "item_id": "item.id"}


def columnar(folder):
    pl.DataFrame(ROWS, schema=["user_id", "item_id", "timestamp", "price"], orient="row").write_parquet(
        folder / "log.parquet"
    )
    return (folder / "log.parquet",), {}


def shards(folder):
    (source,), _ = columnar(folder)
    write_shards(source, folder / "shards", partitions=2)
    return (folder / "shards",), {}


@pytest.mark.parametrize("write", [german, nested, columnar, shards])
def test_tables_that_were_read_give_what_reading_again_gives(tmp_path, write):
    paths, names = write(tmp_path)
    proposal = propose(*paths, **names)
    config = proposal.config()
    found, again = load_data(config.data, found=proposal.read_for(config)), load_data(config.data)
    for table in ("log", "users", "items"):
        assert getattr(found, table).equals(getattr(again, table)), table
    assert (found.notes, found.name, found.fingerprint) == (again.notes, again.name, again.fingerprint)


@pytest.mark.slow
def test_a_run_without_a_recipe_reads_each_file_once(tmp_path, monkeypatch):
    (log, _, items), names = german(tmp_path)
    read, original, seen = [], TableFiles.read, []
    monkeypatch.setattr(
        TableFiles, "read", lambda self, *keys: read.append(self.path) or original(self, *keys)
    )

    def run(config, out, progress, splits):
        seen.append((config, splits))
        raise DataError("enough")

    monkeypatch.setattr("tfrecall.runs.run.run", lambda *a, splits, **_: run(*a, splits))
    options = [f"--{role.split('_')[0]}-column={name}" for role, name in names.items()]
    command = ["run", "--data", log, "--items", items, *options, "--budget", "0"]
    ask(*command, status=1)
    assert read == [log, items]
    ((config, splits),) = seen
    assert splits.known.log.equals(prepare(config).known.log)
    # Other columns are other tables: ids as they are written.
    ask(*command, "--set", "data.user_column=preis", status=1)
    assert read[2:].count(log) > 1
