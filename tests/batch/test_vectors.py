"""Vectors that leave for a database: they score as the release does, and nothing else is touched."""

import json
from types import SimpleNamespace

import numpy as np
import polars as pl
import pytest

from tests.tiny import N_ITEMS, N_USERS
from tfrecall.batch.vectors import export_vectors
from tfrecall.core.manifests import describe
from tfrecall.errors import ConfigError, ExportError, MissingColumnError


@pytest.fixture(scope="module")
def written(tiny_release, tmp_path_factory):
    out = tmp_path_factory.mktemp("vectors") / "out"
    return out, export_vectors(tiny_release, out, columns=["title", "genres", "released"])


def test_inner_products_are_the_scores_of_the_release(written, tiny_release):
    out, _ = written
    items, users = pl.read_parquet(out / "items.parquet"), pl.read_parquet(out / "users.parquet")
    scores = users["vector"].to_numpy() @ items["vector"].to_numpy().T
    answers = tiny_release.recommend(users["user_id"].to_list(), N_ITEMS, exclude_seen=False)
    places = {item: i for i, item in enumerate(items["item_id"])}
    for row, answer in zip(scores, answers, strict=True):
        rows = [places[item] for item in answer.item_ids]
        np.testing.assert_allclose(row[rows], answer.scores, rtol=1e-5, atol=1e-6)


def test_items_stand_in_catalogue_order_with_the_columns_wanted(written, tiny_release):
    items = pl.read_parquet(written[0] / "items.parquet")
    assert items.columns == ["item_id", "vector", "title", "genres", "released"]
    assert items["item_id"].to_list() == tiny_release.item_ids.tolist()
    assert items.schema["vector"] == pl.Array(pl.Float32, 8)
    assert items.drop("vector").equals(tiny_release.items.select("item_id", *items.columns[2:]))


def test_the_facts_say_how_to_compare_and_vouch_for_the_files(written, tiny_release):
    out, facts = written
    assert facts == json.loads((out / "vectors.json").read_text())
    told = (facts["metric"], facts["dimension"], facts["version"], facts["items"], facts["users"])
    assert told == ("inner_product", 8, 1, N_ITEMS, N_USERS + 1)
    assert facts["files"] == {name: describe(out / name) for name in facts["files"]}
    assert sorted(path.name for path in out.iterdir()) == sorted([*facts["files"], "vectors.json"])


def test_unit_vectors_are_compared_by_cosine(tiny_release, tmp_path, monkeypatch):
    model = {**tiny_release.manifest["model"], "normalize": True}
    monkeypatch.setitem(tiny_release.manifest, "model", model)
    facts = export_vectors(tiny_release, tmp_path / "out", users=False)
    assert (facts["metric"], facts["users"], list(facts["files"])) == ("cosine", 0, ["items.parquet"])


def test_an_earlier_export_is_replaced_whole(tiny_release, tmp_path):
    out = tmp_path / "out"
    export_vectors(tiny_release, out)
    export_vectors(tiny_release, out, users=False)
    assert sorted(path.name for path in out.iterdir()) == ["items.parquet", "vectors.json"]
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


@pytest.mark.parametrize("name", ["notes.txt", "items.parquet"])
def test_a_directory_with_something_else_is_refused_and_left(tiny_release, tmp_path, name):
    (tmp_path / name).write_text("mine")
    with pytest.raises(ExportError, match=f"holds something else: {name}"):
        export_vectors(tiny_release, tmp_path)
    assert [path.read_text() for path in tmp_path.iterdir()] == ["mine"]


def test_what_fails_leaves_nothing(tiny_release, tmp_path, monkeypatch):
    def full(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("tfrecall.batch.vectors._write_users", full)
    with pytest.raises(ExportError, match="No space left"):
        export_vectors(tiny_release, tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_columns_that_cannot_be_had_are_refused(tiny_release, tmp_path):
    with pytest.raises(MissingColumnError, match='mean "title"'):
        export_vectors(tiny_release, tmp_path / "out", columns=["titel"])
    release = SimpleNamespace(check_columns=lambda columns: None)
    with pytest.raises(ConfigError, match="same name"):
        export_vectors(release, tmp_path / "out", columns=["vector"])


@pytest.mark.slow
def test_the_command_writes_and_tells(tiny_root, tmp_path):
    from tests.cli.test_cli import ask

    arguments = ["export-vectors", tiny_root, "--out", tmp_path / "out", "--column", "title"]
    assert json.loads(ask(*arguments, "--json").stdout)["metric"] == "inner_product"
    assert "to compare by inner product" in " ".join(ask(*arguments, "--no-users").stdout.split())
