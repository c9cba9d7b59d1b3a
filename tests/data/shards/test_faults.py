"""Folders of shards that are not whole, not theirs, or in the way."""

import json
import shutil

import polars as pl
import pytest

from tests.data.shards.test_contract import PLAIN, as_csv
from tfrecall.data import Interactions, prepare, read
from tfrecall.data.shards.manifest import MANIFEST, is_shards, sealed
from tfrecall.data.shards.scatter import partition_of
from tfrecall.errors import ConfigError, DataError


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    (folder / "log.csv").write_text(as_csv(PLAIN * 2))
    prepare(folder / "log.csv", folder / "shards", partitions=4, rating="rating")
    return folder / "shards"


@pytest.fixture
def shards(whole, tmp_path):
    return shutil.copytree(whole, tmp_path / "shards")


def test_users_are_whole_and_in_time_order_within_a_shard(shards):
    seen = []
    for part in range(4):
        log = pl.read_parquet(shards / f"shard-{part:06d}.parquet")
        assert log.equals(log.sort("user_id", "timestamp", "__place__"))
        seen += log["user_id"].unique().to_list()
    assert sorted(seen) == ["u", "v"]


def test_some_partitions_have_their_users_and_the_whole_tables(shards):
    data = Interactions.from_shards(shards)
    parts = [Interactions.from_shards(shards, [part]) for part in range(4)]
    assert sum(map(len, parts)) == len(data)
    for number, part in enumerate(parts):
        assert part.items.equals(data.items)
        assert part.users.equals(data.users)
        expected = data.log.filter(pl.Series(partition_of(data.log["user_id"], 4) == number))
        assert part.log.equals(expected)
    with pytest.raises(ConfigError, match=r"from 0 to 3.*Received: \[4\]"):
        Interactions.from_shards(shards, [4])


def _drop(shards):
    (shards / "shard-000001.parquet").unlink()


def _cut(shards):
    file = shards / "users.parquet"
    file.write_bytes(file.read_bytes()[:-1])


def _flip(shards):
    file = shards / "items.parquet"
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


def _swap(shards):
    # A shard of another preparation, of the same size in bytes or not.
    shutil.copy(shards / "shard-000000.parquet", shards / "shard-000001.parquet")


def _add(shards):
    shutil.copy(shards / "shard-000000.parquet", shards / "shard-000009.parquet")


def _edit(shards):
    text = (shards / MANIFEST).read_text()
    (shards / MANIFEST).write_text(text.replace('"kept": 3', '"kept": 4'))


def _tear(shards):
    (shards / MANIFEST).write_text((shards / MANIFEST).read_text()[:99])


def _reseal(shards, **changes):
    manifest = json.loads((shards / MANIFEST).read_text())
    del manifest["sha256"]
    (shards / MANIFEST).write_text(sealed({**manifest, **changes}))


def _part(name):
    return {"name": name, "rows": 2, "users": 2, "bytes": 1, "sha256": ""}


FAULTS = {
    "shard-000001.parquet is missing": _drop,
    "users.parquet is truncated": _cut,
    "items.parquet was altered": _flip,
    "shard-000001.parquet (is truncated or|was) altered": _swap,
    "does not list: shard-000009.parquet": _add,
    "manifest.json was altered": _edit,
    "manifest.json is truncated or altered": _tear,
    "is of format 2; this version": lambda shards: _reseal(shards, format=2),
    "foreign at partitions: .*Received: 7. Prepare the log again": lambda shards: _reseal(
        shards, partitions=7
    ),
    "nested too deep": lambda shards: (shards / MANIFEST).write_text("[" * 10**5),
    "no plain name": lambda shards: _reseal(shards, users=_part("../users.parquet")),
    "other columns than their manifest": lambda shards: _reseal(shards, columns={"user_id": "String"}),
}


@pytest.mark.parametrize("message", FAULTS)
def test_a_damaged_folder_is_refused_by_its_fault(shards, message):
    FAULTS[message](shards)
    with pytest.raises(DataError, match=message):
        read(shards)


def test_settings_beside_shards_must_be_those_of_the_preparation(shards):
    assert read(shards, rating="rating").log.equals(Interactions.from_shards(shards).log)
    with pytest.raises(ConfigError, match=r"user_id='user_id'\. Received: user_id='who'"):
        read(shards, user_id="who")
    with pytest.raises(ConfigError, match="`users` beside them"):
        read(shards, users=pl.DataFrame({"user_id": ["u"]}))
    assert read(shards, name="shop").name == "shop"


@pytest.mark.parametrize("partitions", [0, -1, 10_001])
def test_impossible_partitions_are_refused_before_the_log_is_read(tmp_path, partitions):
    with pytest.raises(ConfigError, match=f"from 1 to 10,000. Received: {partitions}"):
        prepare(tmp_path / "none.csv", tmp_path / "shards", partitions=partitions)


def test_invalid_settings_are_refused_before_the_log_is_read(tmp_path):
    refused = [
        ({"filtering": {"duplicates": "firts"}}, 'Did you mean "first"'),
        ({"filtering": {"min_user_interactions": 0}}, "must be at least 1"),
        ({"missing_items": "ad"}, 'Did you mean "add"'),
        ({"repeated_rows": "no"}, "`repeated_rows` must be one of"),
    ]
    for settings, message in refused:
        with pytest.raises(ConfigError, match=message):
            prepare(tmp_path / "none.csv", tmp_path / "shards", **settings)


def test_filters_by_rating_need_ratings_before_rows_are_moved(tmp_path, monkeypatch):
    (tmp_path / "log.csv").write_text("user_id,item_id,timestamp\nu,a,0\nv,b,60\n")
    monkeypatch.setattr("tfrecall.data.shards.passes.Scatter", lambda *_: pytest.fail("was scattered"))
    with pytest.raises(ConfigError, match="the log has no ratings"):
        prepare(tmp_path / "log.csv", tmp_path / "shards", filtering={"min_rating": 3.0})


def test_only_shards_are_replaced(shards, tmp_path):
    (tmp_path / "log.csv").write_text(as_csv(PLAIN))
    other = tmp_path / "other"
    other.mkdir()
    with pytest.raises(ConfigError, match="no folder of shards"):
        prepare(tmp_path / "log.csv", other)
    with pytest.raises(ConfigError, match="within the log"):
        prepare(tmp_path, tmp_path / "new")
    before = (shards / MANIFEST).read_text()
    with pytest.raises(DataError):
        prepare(tmp_path / "none.csv", shards)
    assert is_shards(shards)
    assert (shards / MANIFEST).read_text() == before
    prepare(tmp_path / "log.csv", shards, partitions=1)
    assert sorted(file.name for file in shards.iterdir()) == [
        "items.parquet",
        "manifest.json",
        "shard-000000.parquet",
        "users.parquet",
    ]
