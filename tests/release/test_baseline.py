"""Releases of baselines: files that are refused, versions, histories of queries, commands."""

import errno
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from typer.testing import CliRunner

from tfrecall.baselines.item_cf import ItemCF
from tfrecall.baselines.popularity import Popularity
from tfrecall.batch import recommend_all
from tfrecall.cli import app
from tfrecall.data import synthetic
from tfrecall.errors import ConfigError, DataError, ExportError, ReleaseError
from tfrecall.exporting import baseline as saving
from tfrecall.exporting.export import export
from tfrecall.release import layout, load
from tfrecall.release.manifest import versions

FILES = [
    "manifest.json",
    *(f"context/1/{name}.parquet" for name in ("users", "items")),
    *(f"context/1/seen_{name}.npy" for name in ("offsets", "items", "times")),
    *(f"scorer/1/similarity_{name}.npy" for name in ("data", "indices", "indptr")),
]


@pytest.fixture(scope="module")
def train():
    return synthetic(n_users=20, n_items=40, n_rows=300)


@pytest.fixture(scope="module")
def model(train):
    return ItemCF(3, history_half_life_days=5).fit(train)


@pytest.fixture(scope="module")
def saved(model, tmp_path_factory):
    """A release, not to be changed: copy it."""
    return export(model, tmp_path_factory.mktemp("releases") / "item_cf").root


@pytest.fixture
def root(saved, tmp_path):
    return shutil.copytree(saved, tmp_path / "release")


def truncate(file):
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def alter(file):
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


def test_the_list_of_files_is_whole(saved):
    manifest = json.loads((saved / "manifest.json").read_text())
    assert set(FILES) - {"manifest.json"} == set(manifest["files"])


@pytest.mark.parametrize("damage", [Path.unlink, truncate, alter])
@pytest.mark.parametrize("name", FILES)
def test_a_damaged_file_is_refused_by_name(root, name, damage):
    damage(root / name)
    with pytest.raises(ReleaseError, match=name.rsplit("/", 1)[-1]):
        load(root)


def test_a_scorer_of_another_version_is_refused(root):
    told = load(root).manifest
    scorer = {**told["scorer"], "kind": "crystal_ball"}
    manifest = {**told, "scorer": scorer}
    manifest["sha256"] = layout.manifest_checksum(manifest)
    (root / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(ReleaseError, match=r"'crystal_ball', which .* does not know"):
        load(root)


def test_versions_are_kept_and_another_kind_may_follow(root, train):
    export(Popularity().fit(train), root)
    assert versions(root) == [1, 2]
    assert load(root).name == "popularity"
    assert load(root, version=1).name == "item_cf"


@pytest.mark.parametrize("linked", [True, False])
def test_parts_that_stay_are_stored_once_where_files_can_have_two_names(
    root, tmp_path, monkeypatch, linked
):
    release = load(root)
    if not linked:
        monkeypatch.setattr(os, "link", _no_links)
    release.copy_parts(("context",), tmp_path / "shared", shared=True)
    release.copy_parts(("scorer",), tmp_path / "own")
    for folder, part, same in (("shared", "context", linked), ("own", "scorer", False)):
        names = [path.name for path in release.part(part).iterdir()]
        assert sorted(path.name for path in (tmp_path / folder / part).iterdir()) == sorted(names) != []
        for name in names:
            before, after = release.part(part) / name, tmp_path / folder / part / name
            assert before.read_bytes() == after.read_bytes()
            assert before.samefile(after) == same


def _no_links(*_):
    raise OSError(errno.EPERM, "Operation not permitted")


def test_a_full_disk_leaves_the_version_before(root, model, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(saving.np, "save", full)
        with pytest.raises(ExportError, match="No space left"):
            export(model, root)
    assert versions(root) == [1]
    assert sorted(path.name for path in (root / "scorer").iterdir()) == ["1"]
    assert not list(root.glob(".unfinished*"))
    load(root)


def test_facts_that_json_cannot_hold_are_refused_before_anything_is_written(model, tmp_path):
    with pytest.raises(ConfigError, match="cannot hold"):
        export(model, tmp_path / "new", facts={"odd": object()})
    assert not (tmp_path / "new").exists()


def test_the_manifest_says_what_was_fitted(saved):
    manifest = load(saved).manifest
    assert manifest["model"]["type"] == "ItemCF"
    assert ItemCF(**manifest["model"]["settings"]).top_n == 3


def test_a_history_answers_somebody_new(saved, model):
    answers = load(saved).answers
    (found,) = load(saved).recommend([{"history": ["i1", "i2", "no such"]}], 3)
    weights = np.zeros(40)
    weights[[1, 2]] = 1
    wanted = weights @ answers.scorer.similarity.toarray()
    wanted[[1, 2]] = 0
    assert found.item_ids == [f"i{row}" for row in np.argsort(-wanted, kind="stable")[:3]]
    assert not found.known


def test_a_history_stands_for_what_is_known_of_a_user(saved):
    release = load(saved)
    asked = {"user_id": "u1", "history": ["i1"]}
    told = release.explain(asked, "i2")
    assert [reason.item_id for reason in told.reasons] == ["i1"]
    # Beside others who are answered by their own times.
    together = release.recommend(["u2", asked, "u3"], 5)
    assert together == [release.recommend([one], 5)[0] for one in ("u2", asked, "u3")]
    (kept,) = release.recommend([{"user_id": "nobody", "history": []}], 5)
    assert kept.item_ids == []


def test_what_users_had_is_kept_if_the_release_was_made_so(model, tmp_path, train):
    release = export(model, tmp_path, exclude_seen=False)
    seen = set(train.log.filter(pl.col("user_id") == "u1")["item_id"])
    (kept,), (removed,) = (release.recommend(["u1"], 40, exclude_seen=rule) for rule in (None, True))
    assert seen & set(kept.item_ids)
    assert not seen & set(removed.item_ids)


def test_columns_of_the_item_table_come_along(saved, train):
    column = train.items.columns[1]
    (answer,) = load(saved).recommend(["u1"], 2, columns=[column])
    assert all(list(item) == [column] for item in answer.items)


def test_what_a_baseline_has_not_is_refused(saved):
    release = load(saved)
    with pytest.raises(ConfigError, match="no vectors and no index"):
        _ = release.bundle
    with pytest.raises(ConfigError, match='no index "annoy"'):
        release.recommend(["u1"], index="annoy")
    with pytest.raises(DataError, match='no item "x"'):
        release.explain("u1", "x")


def test_all_users_as_a_file(saved, tmp_path):
    done = recommend_all(load(saved), k=2, out=tmp_path / "all.parquet")
    table = pl.read_parquet(done.file)
    assert table.columns == ["user_id", "rank", "item_id", "score"]
    (one,) = load(saved).recommend(["u3"], 2)
    assert table.filter(pl.col("user_id") == "u3")["item_id"].to_list() == one.item_ids


# Frames and notebooks


def test_recommendations_as_a_frame_are_those_of_the_lists(saved, model):
    release = load(saved)
    lists = release.recommend(
        ["u3", "nobody", "u1"], 3, columns=["item_id", *release.items.columns[1:2]]
    )
    frame = release.recommend(
        ["u3", "nobody", "u1"], 3, columns=release.items.columns[1:2], as_frame=True
    )
    rows = [
        (query, one.user_id, rank, item_id)
        for query, one in enumerate(lists)
        for rank, item_id in enumerate(one.item_ids, start=1)
    ]
    assert frame.select("query", "user_id", "rank", "item_id").rows() == rows
    for column in release.items.columns[1:2]:
        assert frame[column].to_list() == [item[column] for one in lists for item in one.items]
        assert frame[column].dtype == release.items[column].dtype
    assert model.recommend(["u3"], 3, as_frame=True)["item_id"].to_list() == lists[0].item_ids
    assert "Recommended to user u3" in lists._repr_html_()


def test_reasons_as_a_frame_have_the_titles_of_items(saved):
    release = load(saved)
    item = release.recommend(["u1"], 1)[0].item_ids[0]
    frame = release.explain("u1", item, as_frame=True)
    told = [reason for reason in release.explain("u1", item).reasons if reason.contribution]
    names = release.item_names()
    assert frame["reason"].to_list() == [names[reason.item_id] for reason in told]
    assert frame["contribution"].to_list() == [reason.contribution for reason in told]


def test_a_notebook_shows_the_facts_of_a_release(saved):
    html = load(saved)._repr_html_()
    assert "Release of item_cf" in html
    assert f">{len(load(saved).item_ids)}</td>" in html


# Commands


def shown(*arguments, status=0):
    result = CliRunner().invoke(app, [*map(str, arguments)])
    assert result.exit_code == status, (result.output, result.exception)
    return " ".join((result.stdout if not status else result.stderr).split())


def test_recommend_says_why(saved):
    found = json.loads(shown("recommend", saved, "--user", "u1", "-k", "2", "--explain", "--json"))
    (answer,), (reasons,) = found["recommendations"], found["explanations"]
    for item_id, score, told in zip(answer["item_ids"], answer["scores"], reasons, strict=True):
        assert told["item_id"] == item_id
        total = told["base"] + sum(reason["contribution"] for reason in told["because"])
        assert total == pytest.approx(score, rel=1e-5)
    assert "because of" in shown("recommend", saved, "--user", "u1", "-k", "1", "--explain")


def test_recommend_answers_a_history_and_nobody(saved):
    table = shown("recommend", saved, "--history", "i1,i2", "-k", "1")
    assert "unknown: answered from the history alone" in table
    assert "no items are left" in shown("recommend", saved, "--user", "nobody")


def test_everyone_is_given_what_is_popular(train, tmp_path):
    saved = export(Popularity().fit(train), tmp_path).root
    assert "everyone is given this" in shown("recommend", saved, "--user", "u1", "--explain")


def test_other_commands_answer_or_say_why_not(saved, tmp_path):
    assert "Similar to i1" in shown("similar", saved, "i1", "-k", "1")
    assert "no vectors" in shown("index", saved, status=1)
    assert "no vectors" in shown("export-vectors", saved, "--out", tmp_path / "v", status=1)


@pytest.mark.slow
def test_a_baseline_is_asked_without_tensorflow(saved):
    code = (
        "import sys; from tfrecall.cli import app; sys.argv[0] = 'tfrecall'\n"
        "try: app()\n"
        "finally: assert 'tensorflow' not in sys.modules, 'TensorFlow was imported'"
    )
    command = [sys.executable, "-c", code, "recommend", str(saved), "--user", "u1", "--explain"]
    ended = subprocess.run(command, check=False, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
