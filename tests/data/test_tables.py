"""Logs come from files of many kinds; a file that cannot be read says why."""

import gzip

import polars as pl
import pytest

from tfrecall.data import Interactions, describe, read
from tfrecall.errors import DataError, MissingColumnError

LOG = pl.DataFrame(
    {
        "user_id": ["007", "8", "007", "9"],
        "item_id": ["a", "b", "b", "ü"],
        "timestamp": [10, 20, 30, 40],
        "device": ["tv", "web", None, "tv"],
    }
)
EXPECTED = Interactions.from_frame(LOG)


def write(log, path):
    writers = {
        ".csv": log.write_csv,
        ".tsv": lambda file: log.write_csv(file, separator="\t"),
        ".parquet": log.write_parquet,
        ".jsonl": log.write_ndjson,
    }
    writers[path.suffix](path)
    return path


@pytest.fixture(params=[".csv", ".tsv", ".parquet", ".jsonl"])
def suffix(request):
    return request.param


def test_all_kinds_of_files_give_the_same_log(tmp_path, suffix):
    data = read(write(LOG, tmp_path / f"shop{suffix}"))
    assert data.log.equals(EXPECTED.log)
    assert data.name == "shop"


def test_ids_in_csv_keep_their_leading_zeros(tmp_path):
    log = LOG.rename({"user_id": "who"})
    items = pl.DataFrame({"item_id": ["a", "b", "ü"], "price": [1, 2, 3]})
    users = pl.DataFrame({"who": ["007", "8", "9"], "age": [1, 2, 3]})
    data = read(
        write(log, tmp_path / "log.csv"),
        users=write(users, tmp_path / "users.csv"),
        items=str(write(items, tmp_path / "items.csv")),
        user_id="who",
    )
    assert data.users.rows() == [("007", 1), ("8", 2), ("9", 3)]
    assert data.user_rows.tolist() == [0, 1, 0, 2]


def test_a_folder_is_read_in_the_order_of_its_file_names(tmp_path, suffix):
    write(LOG.tail(2), tmp_path / f"part-2{suffix}")
    write(LOG.head(2), tmp_path / f"part-1{suffix}")
    (tmp_path / "_SUCCESS").touch()
    (tmp_path / f".part-1{suffix}.crc").touch()
    assert read(tmp_path).log.equals(EXPECTED.log)


def test_a_pattern_names_some_files_of_a_folder(tmp_path, suffix):
    write(LOG.head(2), tmp_path / f"day-1{suffix}")
    write(LOG.tail(2), tmp_path / f"day-2{suffix}")
    (tmp_path / "README.md").write_text("hello")
    data = read(tmp_path / f"day-*{suffix}")
    assert data.log.equals(EXPECTED.log)
    assert data.name == "day"


def test_a_folder_partitioned_by_a_column_gets_that_column(tmp_path):
    for device, part in LOG.drop_nulls().group_by("device", maintain_order=True):
        folder = tmp_path / f"device={device[0]}"
        folder.mkdir()
        part.drop("device").write_parquet(folder / "part.parquet")
    log = read(tmp_path).log
    assert dict(log.select("user_id", "device").rows()) == {"007": "tv", "9": "tv", "8": "web"}


def test_gzipped_csv_is_read(tmp_path):
    file = tmp_path / "log.csv.gz"
    file.write_bytes(gzip.compress(LOG.write_csv().encode()))
    assert read(file).log.equals(EXPECTED.log)


def test_csv_as_spreadsheets_write_it(tmp_path):
    file = tmp_path / "log.csv"
    file.write_bytes(b"\xef\xbb\xbf" + LOG.write_csv().replace("\n", "\r\n").encode())
    assert read(file).log.equals(EXPECTED.log)


def test_a_csv_column_may_turn_out_to_be_text_late(tmp_path):
    values = ["1"] * 20_000 + ["x"]
    n = len(values)
    log = pl.DataFrame(
        {"user_id": ["u1", "u2"] * (n // 2) + ["u1"], "item_id": ["a", "b"] * (n // 2) + ["b"]}
    ).with_columns(timestamp=pl.int_range(n), note=pl.Series(values))
    assert read(write(log, tmp_path / "log.csv")).log["note"][-1] == "x"


def test_a_field_that_comes_late_in_json_lines_is_not_lost(tmp_path):
    early = '{"user_id": "u1", "item_id": "a", "timestamp": 1}\n' * 2_000
    late = '{"user_id": "u2", "item_id": "b", "timestamp": 2, "device": "tv"}\n'
    (tmp_path / "log.jsonl").write_text(early + late)
    assert read(tmp_path / "log.jsonl").log["device"].to_list()[-1] == "tv"


def test_options_reach_the_validation(tmp_path):
    log = LOG.rename({"timestamp": "when"})
    data = read(write(log, tmp_path / "log.csv"), timestamp="when", name="mine", unit="ms")
    assert data.name == "mine"
    assert data.log["timestamp"][0] == 0.01


def test_a_missing_column_names_the_nearest(tmp_path):
    file = write(LOG.rename({"item_id": "itemid"}), tmp_path / "log.csv")
    with pytest.raises(MissingColumnError, match='Did you mean "itemid"'):
        read(file)


def test_a_file_that_is_not_there_names_the_nearest(tmp_path):
    write(LOG, tmp_path / "events.csv")
    with pytest.raises(DataError, match=r'there is no file .*event\.csv\. Did you mean "events'):
        read(tmp_path / "event.csv")
    with pytest.raises(DataError, match="There is no folder"):
        read(tmp_path / "nowhere" / "event.csv")


def test_a_missing_table_says_which_table(tmp_path):
    with pytest.raises(DataError, match="The items table was not found"):
        read(write(LOG, tmp_path / "log.csv"), items=tmp_path / "items.csv")


def test_an_empty_folder_is_refused(tmp_path):
    with pytest.raises(DataError, match="there are no files in the folder"):
        read(tmp_path)


def test_a_folder_of_mixed_kinds_is_refused(tmp_path):
    write(LOG, tmp_path / "a.csv")
    write(LOG, tmp_path / "b.parquet")
    with pytest.raises(DataError, match=r"mixes kinds of files: .*\.csv \(a\.csv\)"):
        read(tmp_path)


@pytest.mark.parametrize("name", ["log.xlsx", "log", "log.cvs"])
def test_an_unknown_suffix_is_refused(tmp_path, name):
    (tmp_path / name).write_text("x")
    with pytest.raises(DataError, match=r"suffix that is not known.*Known: \.csv"):
        read(tmp_path / name)


def test_an_empty_file_is_refused(tmp_path, suffix):
    (tmp_path / f"log{suffix}").touch()
    with pytest.raises(DataError, match=r"file .* is empty"):
        read(tmp_path / f"log{suffix}")


def test_a_file_with_a_header_only_is_an_empty_log(tmp_path):
    with pytest.raises(DataError, match="The log is empty"):
        read(write(LOG.clear(), tmp_path / "log.csv"))


def test_a_file_that_is_not_utf8_names_the_line_and_the_way_out(tmp_path):
    file = tmp_path / "log.csv"
    file.write_bytes(LOG.write_csv().encode("latin-1"))
    with pytest.raises(DataError) as caught:
        read(file)
    # The header is line 1, so the ü of the fourth event is in line 5, after `9,`.
    assert "is not UTF-8: line 5 has the byte 0xfc at position 3" in str(caught.value)
    assert "iconv -f LATIN1 -t UTF-8" in str(caught.value)


def test_a_header_that_is_not_utf8_is_refused(tmp_path):
    file = tmp_path / "log.csv"
    file.write_bytes("größe,user_id\n1,2\n".encode("latin-1"))
    with pytest.raises(DataError, match="not UTF-8: line 1"):
        read(file)


@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".txt", ".psv"])
def test_the_separator_is_recognised_whatever_the_suffix(tmp_path, separator, suffix):
    LOG.write_csv(tmp_path / f"log{suffix}", separator=separator)
    assert read(tmp_path / f"log{suffix}").log.equals(EXPECTED.log)


def test_a_truncated_file_is_refused(tmp_path):
    file = write(LOG, tmp_path / "log.parquet")
    file.write_bytes(file.read_bytes()[:-20])
    with pytest.raises(DataError, match=r"cannot be read as parquet"):
        read(file)


def test_a_csv_row_with_too_many_fields_is_refused(tmp_path):
    (tmp_path / "log.csv").write_text(LOG.write_csv() + "1,2,3,4,5\n")
    # The first line has the names, four events follow.
    with pytest.raises(DataError, match=r"log\.csv is broken in line 6: 5 columns instead of the 4"):
        read(tmp_path / "log.csv")


def test_broken_json_is_refused(tmp_path):
    (tmp_path / "log.jsonl").write_text('{"user_id": "u1"\n{"item_id"')
    with pytest.raises(DataError, match=r"log\.jsonl is broken in line 1: "):
        read(tmp_path / "log.jsonl")


def test_files_with_other_columns_do_not_mix(tmp_path):
    write(LOG, tmp_path / "a.csv")
    write(LOG.drop("device"), tmp_path / "b.csv")
    with pytest.raises(DataError, match=r"b\.csv has other columns .* it lacks device"):
        read(tmp_path)


GUESSED = LOG.rename({"user_id": "Customer ID", "item_id": "sku", "timestamp": "bought_at"})


def test_columns_are_found_on_request_as_on_the_command_line(tmp_path):
    items = pl.DataFrame({"sku": ["a", "b", "ü"], "price": [1, 2, 3]})
    file = write(GUESSED.with_columns(stars=pl.Series([1.0, 2.0, 3.0, 4.0])), tmp_path / "log.csv")
    data = read(file, items=write(items, tmp_path / "items.csv"), infer=True)
    assert data.log["user_id"].to_list() == ["007", "8", "007", "9"]
    assert data.log["rating"].to_list() == [1.0, 2.0, 3.0, 4.0]
    assert data.items.columns == ["item_id", "price"]
    assert data.notes[:2] == (
        'The user is taken from the column "Customer ID", by its name; `user_id` names another.',
        'The item is taken from the column "sku", by its name; `item_id` names another.',
    )
    found = describe(file)
    assert found.columns[:3] == ("Customer ID", "sku", "bought_at")
    assert found.guessed[:2] == data.notes[:2]
    with pytest.raises(MissingColumnError, match='no columns "user_id", "item_id", "timestamp"'):
        read(file)


def test_a_name_that_is_given_is_no_guess(tmp_path):
    file = write(GUESSED.with_columns(visitor_id=pl.col("device")).drop_nulls(), tmp_path / "log.csv")
    with pytest.raises(DataError, match='could be the user: "Customer ID", "visitor_id"'):
        read(file, infer=True)
    assert read(file, user_id="visitor_id", infer=True).users["user_id"].to_list() == ["tv", "web"]


def test_a_log_without_times_is_taken_in_its_order_where_columns_are_found(tmp_path):
    data = read(write(LOG.drop("timestamp"), tmp_path / "log.csv"), infer=True)
    assert data.log["timestamp"].to_list() == [0.0, 0.0, 0.0, 0.0]
    assert any(
        "the order of the file is taken for the order of the events" in note for note in data.notes
    )
