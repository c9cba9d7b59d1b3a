"""Jobs over a release by engines: the rows of the one file, in parts, whole or not at all."""

import json
import os
import signal

import polars as pl
import pyarrow.parquet as pq
import pytest

import tfrecall as tr
from tests.progress import RecordedProgress
from tfrecall.batch import export_vectors, parts, recommend, recommend_all
from tfrecall.core.manifests import describe
from tfrecall.engines import Engine, Local, engine_of
from tfrecall.errors import ConfigError, DataError, EngineError, ExportError

# Ray runs such a job in `tests.engines.test_contract`, beside its others: a cluster takes seconds to start.
ENGINES = {"local": (), "local 2": ((), 2), "beam": ()}
SLOW = [pytest.mark.slow]


@pytest.fixture(scope="module")
def counted(tmp_path_factory):
    """A release that answers without TensorFlow."""
    log = tr.data.synthetic(n_users=90, n_items=20, n_rows=1500, seed=4)
    return tr.export(tr.ItemCF().fit(log), tmp_path_factory.mktemp("counted") / "release")


@pytest.fixture(params=[pytest.param(name, marks=[] if name == "local" else SLOW) for name in ENGINES])
def engine(request) -> Engine:
    return engine_of(request.param.split()[0], *ENGINES[request.param])


def rows(place):
    return pl.read_parquet(place).rows()


def test_parts_hold_the_rows_of_one_file(counted, tmp_path, engine):
    one = recommend_all(counted, k=5, out=tmp_path / "one.parquet", block_users=4)
    # 90 users in blocks of 4 are 23 blocks, 2 a part: 12 parts of 8 users, the last one of 2.
    done = recommend_all(counted, k=5, out=tmp_path / "parts", block_users=4, engine=engine)
    assert (done.file, done.users, done.rows) == (tmp_path / "parts", 90, one.rows)
    files = sorted(path.name for path in done.file.iterdir())
    assert (len(files), files[3]) == (12, "part-00003-of-00012.parquet")
    assert rows(done.file) == rows(one.file)  # to the last bit of a score
    assert sorted(path.name for path in tmp_path.iterdir()) == ["one.parquet", "parts"]


@pytest.mark.parametrize(
    "options", [{"exclude_seen": False}, {"exclude": ["i1"]}, {"allow": ["i3", "i4", "i5"]}]
)
def test_options_and_lists_of_users_reach_the_workers(counted, tmp_path, options):
    users = [f"u{number}" for number in range(70)] + ["nobody", "u3"]
    one = recommend_all(counted, users, 4, tmp_path / "one.parquet", block_users=3, **options)
    for kind, given in (("list", users), ("generator", iter(users))):
        done = recommend_all(
            counted, given, 4, tmp_path / kind, block_users=3, engine=Local(), **options
        )
        assert rows(done.file) == rows(one.file)
        assert (done.users, done.unknown, done.rows) == (72, 1, one.rows)
    # A generator has no length: its parts have 16 blocks of 3, so 72 users are 2 of them.
    assert len(list((tmp_path / "generator").iterdir())) == 2


def test_a_model_answers_in_parts_as_in_one(tiny_release, tmp_path):
    one = recommend_all(tiny_release, k=3, out=tmp_path / "one.parquet", block_users=7)
    done = recommend_all(tiny_release, k=3, out=tmp_path / "parts", block_users=7, engine=Local())
    assert rows(done.file) == rows(one.file)


@pytest.mark.slow
def test_workers_load_the_model_themselves(tiny_release, tmp_path):
    one = recommend_all(tiny_release, k=3, out=tmp_path / "one.parquet", block_users=30)
    done = recommend_all(tiny_release, k=3, out=tmp_path / "parts", block_users=30, engine=Local(2))
    assert rows(done.file) == rows(one.file)


def test_nobody_makes_one_empty_part_with_its_columns(counted, tmp_path):
    done = recommend_all(counted, [], 3, tmp_path / "parts", engine=Local())
    assert (done.users, done.rows) == (0, 0)
    assert pl.read_parquet(done.file).columns == ["user_id", "rank", "item_id", "score"]


def test_a_process_opens_a_release_once(counted, tmp_path, monkeypatch):
    loaded = []
    load = parts.load
    monkeypatch.setattr(
        parts, "load", lambda *given, **how: loaded.append(given) or load(*given, **how)
    )
    opening = parts.Opening.of(counted, trust=False)
    assert opening.open() is opening.open()
    assert loaded == [(counted.root.absolute(), 1)]
    with opening.shared(counted):
        assert opening.open() is counted
    assert not parts._OPEN


def test_progress_counts_parts_and_each_part_tells_its_model(counted, tmp_path):
    recorded = RecordedProgress()
    options = {"block_users": 4, "engine": Local(), "progress": recorded}
    done = recommend_all(counted, k=2, out=tmp_path / "parts", **options)
    assert recorded.counts[-1] == ("recommend", 12, 12, "parts")
    for file in done.file.iterdir():
        assert pq.read_schema(file).metadata[b"tfrecall.model"].decode() == counted.name


# All or nothing


def killed_at_5(*given):
    if given[-1][0] == 5:
        os.kill(os.getpid(), signal.SIGKILL)
    return recommend._answer(*given)


@pytest.mark.slow
def test_a_killed_worker_leaves_nothing(counted, tmp_path, monkeypatch):
    monkeypatch.setattr(recommend, "_answer", killed_at_5)
    with pytest.raises(EngineError, match=r'"recommend" stopped at the task \(5, '):
        recommend_all(counted, k=2, out=tmp_path / "parts", block_users=4, engine=Local(2))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("users", "options", "error", "told"),
    [
        (["u1"], {"k": 0}, ConfigError, "from 1 to 20"),
        (["u1"], {"index": "anoy"}, ConfigError, "anoy"),
        ([7], {}, DataError, "Received: 7"),
    ],
)
def test_what_is_refused_leaves_nothing(counted, tmp_path, users, options, error, told):
    with pytest.raises(error, match=told):
        recommend_all(counted, users, out=tmp_path / "parts", engine=Local(), **options)
    assert list(tmp_path.iterdir()) == []


def test_a_directory_that_is_there_is_kept(counted, tmp_path):
    (tmp_path / "parts").mkdir()
    (tmp_path / "parts" / "mine").touch()
    with pytest.raises(ExportError, match="exists already"):
        recommend_all(counted, out=tmp_path / "parts", engine=Local())
    assert [path.name for path in tmp_path.rglob("*")] == ["parts", "mine"]


# Vectors


def test_vectors_in_parts_are_those_of_the_files(tiny_release, tmp_path, monkeypatch):
    monkeypatch.setattr("tfrecall.batch.vectors._PART", 16)
    columns = ["title", "genres"]
    export_vectors(tiny_release, tmp_path / "files", columns=columns)
    facts = export_vectors(tiny_release, tmp_path / "parts", columns=columns, engine=Local())
    out = tmp_path / "parts"
    # 40 items are 3 parts of 16 rows, 61 users are 4.
    assert sorted(path.name for path in out.iterdir()) == ["items", "users", "vectors.json"]
    assert (len(list((out / "items").iterdir())), len(list((out / "users").iterdir()))) == (3, 4)
    assert rows(out / "items") == rows(tmp_path / "files" / "items.parquet")
    found, expected = (
        pl.read_parquet(out / "users"),
        pl.read_parquet(tmp_path / "files" / "users.parquet"),
    )
    assert found["user_id"].equals(expected["user_id"])
    assert abs(found["vector"].to_numpy() - expected["vector"].to_numpy()).max() < 1e-6
    assert facts["files"] == {name: describe(out / name) for name in facts["files"]}
    assert len(facts["files"]) == 7
    # An export takes the place of an earlier one, of files or of parts.
    export_vectors(tiny_release, out, users=False)
    assert sorted(path.name for path in out.iterdir()) == ["items.parquet", "vectors.json"]


def test_the_commands_take_an_engine(tiny_root, tmp_path):
    from tests.cli.test_cli import ask

    asked = ["recommend-all", tiny_root, "-k", 2, "--engine", "local", "--out", tmp_path / "parts"]
    answer = json.loads(ask(*asked, "--json").stdout)
    assert (answer["users"], answer["file"]) == (61, str(tmp_path / "parts"))
    assert len(rows(tmp_path / "parts")) == answer["rows"]
    ask("embed", tiny_root, "--processes", 1, "--no-users", "--out", tmp_path / "vectors")
    assert len(rows(tmp_path / "vectors" / "items")) == 40
    refused = ask(*asked[:-1], tmp_path / "more", "--engine-option", "runner=x", status=1)
    assert "takes no options" in refused.stderr
