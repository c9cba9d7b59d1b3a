"""Recommendations of all users in a file: the same as asked one by one, a block at a time."""

import json
import os

import polars as pl
import pyarrow.parquet as pq
import pytest

from tests.tiny import N_USERS
from tfrecall.batch import recommend_all
from tfrecall.core.progress import ProgressReporter
from tfrecall.errors import ConfigError, DataError, ExportError


def one_by_one(release, users, k, **options):
    """(user, rank, item, score) as `recommend` gives them, one user at a time."""
    answers = [release.recommend([user], k, **options)[0] for user in users]
    return [
        (answer.user_id, place, item, score)
        for answer in answers
        for place, (item, score) in enumerate(zip(answer.item_ids, answer.scores, strict=True), 1)
    ]


def assert_same(file, expected):
    found = pl.read_parquet(file).rows()
    assert [row[:3] for row in found] == [row[:3] for row in expected]
    assert [row[3] for row in found] == pytest.approx([row[3] for row in expected], rel=1e-5)


def test_all_users_get_what_they_get_one_by_one(tiny_release, tmp_path):
    done = recommend_all(tiny_release, k=3, out=tmp_path / "recs.parquet", block_users=7)
    users = list(tiny_release.users.ids)
    assert (done.users, done.unknown) == (N_USERS + 1, 1)  # "absent" is in the user table only
    assert_same(done.file, one_by_one(tiny_release, users, 3))
    assert done.rows == pl.read_parquet(done.file).height


@pytest.mark.parametrize(
    "options",
    [
        {"exclude_seen": False},
        {"exclude": ["i1", "i2", "unheard of"]},
        {"allow": ["i3", "i4", "i5", "i6"]},
        {"index": "annoy"},
    ],
)
def test_options_are_those_of_recommend(tiny_release, tmp_path, options):
    users = ["u5", "nobody", "u1", "u5"]
    done = recommend_all(tiny_release, users, 6, tmp_path / "r.parquet", block_users=3, **options)
    assert_same(done.file, one_by_one(tiny_release, users, 6, **options))
    assert (done.users, done.unknown) == (4, 1)


def test_nobody_and_nothing_left_make_an_empty_file_with_its_columns(tiny_release, tmp_path):
    for users, options in (([], {}), (["u1"], {"allow": []})):
        done = recommend_all(tiny_release, users, 3, tmp_path / "r.parquet", **options)
        frame = pl.read_parquet(done.file)
        assert (frame.height, done.rows) == (0, 0)
        assert dict(frame.schema) == {
            "user_id": pl.String,
            "rank": pl.Int32,
            "item_id": pl.String,
            "score": pl.Float32,
        }


def test_at_most_a_block_is_held_and_each_is_a_row_group(tiny_release, tmp_path, monkeypatch):
    """Of a generator of users no more are taken than have been written, and one block."""
    taken, written, ahead = [], [], []
    users = (taken.append(user) or user for user in list(tiny_release.users.ids)[:50])
    find = type(tiny_release).find

    def watched(self, queries, *args, **kwargs):
        ahead.append(len(taken) - sum(written))
        written.append(len(queries))
        return find(self, queries, *args, **kwargs)

    monkeypatch.setattr(type(tiny_release), "find", watched)
    done = recommend_all(tiny_release, users, 2, tmp_path / "r.parquet", block_users=20)
    assert written == [20, 20, 10]
    assert max(ahead) <= 20
    groups = pq.ParquetFile(done.file).metadata
    assert [groups.row_group(i).num_rows for i in range(groups.num_row_groups)] == [40, 40, 20]


def test_progress_counts_users(tiny_release, tmp_path):
    heard = []

    class Counts(ProgressReporter):
        def progress(self, title, done, total, unit="rows"):
            heard.append((title, done, total, unit))

    options = {"block_users": 30, "progress": Counts()}
    recommend_all(tiny_release, k=1, out=tmp_path / "r.parquet", **options)
    assert heard == [("recommend", done, 61, "users") for done in (30, 60, 61)]
    heard.clear()
    recommend_all(tiny_release, iter(["u1"]), 1, tmp_path / "r.parquet", **options)
    assert heard == [("recommend", 1, 0, "users")]  # how many a generator gives is not known


def test_the_file_tells_which_model_answered(tiny_release, tmp_path):
    done = recommend_all(tiny_release, ["u1"], 1, tmp_path / "r.parquet")
    told = pq.read_schema(done.file).metadata
    assert told[b"tfrecall.model"] == b"tiny"
    assert told[b"tfrecall.fingerprint"].decode() == tiny_release.manifest["model"]["fingerprint"]


# All or nothing


def test_what_fails_halfway_leaves_the_file_before(tiny_release, tmp_path):
    file = tmp_path / "r.parquet"
    file.write_text("before")

    def failing():
        yield from ["u1", "u2"]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        recommend_all(tiny_release, failing(), 2, file, block_users=1)
    assert [path.name for path in tmp_path.iterdir()] == ["r.parquet"]
    assert file.read_text() == "before"


@pytest.mark.parametrize(
    ("users", "options", "error", "told"),
    [
        ("u1", {}, DataError, 'Received: "u1"'),
        ([7], {}, DataError, "Received: 7"),
        ([{"user_id": "u1"}], {}, DataError, "Received: {'user_id'"),
        (["u1"], {"k": 0}, ConfigError, "from 1 to 40"),
        (["u1"], {"index": "anoy"}, ConfigError, 'mean "annoy"'),
        (["u1"], {"block_users": 0}, ConfigError, "Received: 0"),
    ],
)
def test_what_makes_no_sense_is_refused_and_leaves_nothing(
    tiny_release, tmp_path, users, options, error, told
):
    with pytest.raises(error, match=told):
        recommend_all(tiny_release, users, out=tmp_path / "r.parquet", **options)
    assert list(tmp_path.iterdir()) == []


def test_a_place_that_cannot_be_written_is_named(tiny_release, tmp_path):
    (tmp_path / "file").touch()
    for out in (tmp_path, tmp_path / "file" / "r.parquet"):
        with pytest.raises(ExportError, match=str(out)):
            recommend_all(tiny_release, ["u1"], 1, out)


@pytest.mark.slow
def test_the_file_behind_a_link_is_written_and_the_link_stays(tiny_release, tmp_path):
    (tmp_path / "lists.parquet").symlink_to(tmp_path / "elsewhere")
    recommend_all(tiny_release, ["u1"], 3, tmp_path / "lists.parquet")
    assert (tmp_path / "lists.parquet").is_symlink()
    assert len(pl.read_parquet(tmp_path / "elsewhere")) == 3
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ExportError, match="device, a pipe or a socket"):
        recommend_all(tiny_release, ["u1"], 3, tmp_path / "pipe")


@pytest.mark.slow
def test_the_command_writes_the_file(tiny_root, tmp_path):
    from tests.cli.test_cli import ask

    (tmp_path / "users.txt").write_text("u1\nnobody\r\n\nu2\n")
    out = tmp_path / "r.parquet"
    arguments = ["recommend-all", tiny_root, "--out", out, "-k", 2, "--users", tmp_path / "users.txt"]
    answer = json.loads(ask(*arguments, "--json").stdout)
    assert (answer["users"], answer["rows"], answer["unknown"]) == (3, 6, 1)
    assert pl.read_parquet(out)["user_id"].to_list() == ["u1", "u1", "nobody", "nobody", "u2", "u2"]
    told = " ".join(ask(*arguments).stdout.split())
    assert "6 recommendations for 3 users" in told
    assert "cannot be read" in ask(*arguments[:-1], tmp_path / "none.txt", status=1).stderr
