"""Files of users are read as logs are: tables of all kinds, or one id a line."""

import gzip
import io
import json

import polars as pl
import pytest

from tfrecall.cli.options import json_features
from tfrecall.cli.user_lists import asked_users
from tfrecall.errors import DataError, MissingColumnError

IDS = ["007", "u2", "ü, 3"]


@pytest.mark.parametrize("name", ["users.txt", "users", "users.csv", "users.list", "users.txt.gz"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_a_file_of_one_id_a_line(tmp_path, name, mark):
    ids = ["007", "u2", "ü3", "u 4"]
    content = (mark + "\n".join(ids) + "\r\n\n").encode()
    (tmp_path / name).write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
    assert list(asked_users(tmp_path / name)) == ids


@pytest.mark.parametrize("separator", [",", ";", "\t"])
@pytest.mark.parametrize("named", ["user_id", "Customer ID"])
def test_a_table_of_text(tmp_path, separator, named):
    table = pl.DataFrame({named: IDS, "age": [1, 2, 3]})
    table.write_csv(tmp_path / "users.csv", separator=separator)
    column = None if named == "user_id" else named
    assert list(asked_users(tmp_path / "users.csv", column)) == IDS
    table.select(named).write_csv(tmp_path / "one.csv", separator=separator)
    assert list(asked_users(tmp_path / "one.csv", column, separator)) == IDS


def test_tables_that_know_types(tmp_path):
    pl.DataFrame({"user_id": [7, 8]}).write_parquet(tmp_path / "users.parquet")
    assert list(asked_users(tmp_path / "users.parquet")) == ["7", "8"]
    (tmp_path / "users.json").write_text(json.dumps([{"user": {"id": "a"}}, {"user": {"id": "b"}}]))
    assert list(asked_users(tmp_path / "users.json")) == ["a", "b"]
    assert list(asked_users(tmp_path / "users.json", "user.id")) == ["a", "b"]


def test_a_table_without_the_column_or_with_gaps_is_refused(tmp_path):
    (tmp_path / "users.csv").write_text("customer,age\na,1\n,2\n")
    with pytest.raises(MissingColumnError, match=r'no column "user_id".*customer, age.*--user-column'):
        list(asked_users(tmp_path / "users.csv"))
    with pytest.raises(DataError, match="null or empty ids"):
        list(asked_users(tmp_path / "users.csv", "customer"))
    with pytest.raises(DataError, match="there is no such file"):
        list(asked_users(tmp_path / "none.csv"))
    (tmp_path / "latin.txt").write_bytes("ü".encode("latin-1"))
    with pytest.raises(DataError, match="cannot be read"):
        list(asked_users(tmp_path / "latin.txt"))


@pytest.mark.parametrize("name", ["users.txt", "users.txt.gz"])
def test_a_line_without_end_is_refused_before_it_is_read_whole(tmp_path, name, monkeypatch):
    content = ("a\n" + "é" * 1024 + "\n" + "b" * 1_000_000).encode()
    (tmp_path / name).write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
    read = io.TextIOWrapper.readline
    asked = []

    # Not patched on the built-in class itself, which is immutable.
    class Wrapper(io.TextIOWrapper):
        def readline(self, size=-1):
            asked.append(size)
            return read(self, size)

    monkeypatch.setattr(io, "TextIOWrapper", Wrapper)
    users = asked_users(tmp_path / name)
    assert [next(users), next(users)] == ["a", "é" * 1024]
    with pytest.raises(DataError, match=r"Line 3 .* more than 1,024 characters.*bbb"):
        next(users)
    assert asked == [1026] * 3


def table_file(folder, name):
    """A table of 1,000 equal ids of 4 bytes: 5,008 bytes of text, 16,000 in memory, less in the file."""
    table, file = pl.DataFrame({"user_id": ["u123"] * 1000}), folder / name
    if name.endswith(".parquet"):
        table.write_parquet(file)
        assert file.stat().st_size < 5_000
    else:
        text = table.write_csv().encode()
        file.write_bytes(gzip.compress(text) if name.endswith(".gz") else text)
    return file


@pytest.mark.parametrize(
    ("name", "size"), [("u.csv", 5_008), ("u.csv.gz", 5_008), ("u.parquet", 16_000)]
)
def test_a_table_that_is_too_large_is_refused_before_it_is_read(tmp_path, name, size, monkeypatch):
    file = table_file(tmp_path, name)
    monkeypatch.setattr("tfrecall.cli.user_lists.MOST_BYTES", size)
    assert len(list(asked_users(file))) == 1000
    monkeypatch.setattr("tfrecall.cli.user_lists.MOST_BYTES", size - 1)
    monkeypatch.setattr("tfrecall.data.files.TableFiles.read", lambda *_: pytest.fail("was read"))
    with pytest.raises(DataError, match=r"too large for a list of users.*one user id a line"):
        list(asked_users(file))


def test_no_more_of_a_packed_table_is_unpacked_than_it_may_have(tmp_path, monkeypatch):
    (tmp_path / "u.csv.gz").write_bytes(gzip.compress(b"user_id\n" + bytes(50_000_000)))
    monkeypatch.setattr("tfrecall.cli.user_lists.MOST_BYTES", 1_000_000)
    read, unpacked = gzip.GzipFile.read, []

    def counted(self, size=-1):
        unpacked.append(size)
        return read(self, size)

    monkeypatch.setattr(gzip.GzipFile, "read", counted)
    with pytest.raises(DataError, match="too large"):
        list(asked_users(tmp_path / "u.csv.gz"))
    assert 0 < sum(unpacked) < 10_000_000
    assert min(unpacked) > 0


def test_a_damaged_table_is_told_of_as_such(tmp_path):
    (tmp_path / "u.parquet").write_bytes(b"PAR1 and no more")
    with pytest.raises(DataError, match="cannot be read as parquet"):
        list(asked_users(tmp_path / "u.parquet"))


def test_nested_features_are_named_as_the_columns_of_nested_logs():
    text = '{"user_id": "42", "user": {"age": 30, "home": {"zip": "02139"}}, "at.hour": 8}'
    assert json_features(text) == {
        "user_id": "42",
        "user_age": 30,
        "user_home_zip": "02139",
        "at_hour": 8,
    }
