"""Files that people have: read as they are meant, or refused with what to do."""

import gzip
from pathlib import Path

import polars as pl
import pytest

from tfrecall.data import describe, read
from tfrecall.errors import DataError, TfrecallError

HEAD, ROWS = "user_id,item_id,timestamp\n", "a,x,1\nb,y,2\na,y,3\n"
EVENTS = [("a", "x", 1.0), ("b", "y", 2.0), ("a", "y", 3.0)]


def write(folder, name, text, encoding="utf-8"):
    (folder / name).write_bytes(text.encode(encoding))
    return folder / name


@pytest.mark.parametrize(
    ("name", "text", "encoding"),
    [
        ("bom.csv", HEAD + ROWS, "utf-8-sig"),
        ("blank.csv", "\n\n" + HEAD + ROWS, "utf-8"),
        ("windows.csv", (HEAD + ROWS).replace("\n", "\r\n"), "utf-8"),
        ("tabs.tsv", (HEAD + ROWS).replace(",", "\t"), "utf-8"),
    ],
)
def test_marks_blank_lines_and_line_ends_do_no_harm(tmp_path, name, text, encoding):
    assert read(write(tmp_path, name, text, encoding)).log.rows() == EVENTS


@pytest.mark.parametrize("suffix", [".csv.gz", ".tsv.gz"])
def test_compressed_text_is_read(tmp_path, suffix):
    text = HEAD + ROWS if "csv" in suffix else (HEAD + ROWS).replace(",", "\t")
    (tmp_path / f"log{suffix}").write_bytes(gzip.compress(text.encode()))
    assert read(tmp_path / f"log{suffix}").log.rows() == EVENTS


def test_ids_of_mixed_types_stay_as_they_are_written(tmp_path):
    file = write(tmp_path, "log.csv", HEAD + "1,x,1\nabc,007,2\n1,7,3\n")
    assert read(file).log["user_id"].to_list() == ["1", "abc", "1"]
    assert read(file).items["item_id"].to_list() == ["x", "007", "7"]
    assert describe(file).items == 3


def test_whole_floats_are_ids_and_fractions_are_none(tmp_path):
    log = pl.DataFrame({"user_id": [1.0, 2.0], "item_id": [10.0, 11.0], "timestamp": [1, 2]})
    log.write_parquet(tmp_path / "log.parquet")
    assert read(tmp_path / "log.parquet").items["item_id"].to_list() == ["10", "11"]
    log.with_columns(item_id=pl.Series([10.0, 11.5])).write_parquet(tmp_path / "log.parquet")
    with pytest.raises(DataError, match=r"row 2: 11\.5"):
        read(tmp_path / "log.parquet")
    assert describe(tmp_path / "log.parquet").usable_rows == 1


def test_codes_with_leading_zeros_stay_text_and_hours_stay_numbers(tmp_path):
    users = "user_id,zip,hour,age\na,02139,08,30\nb,2139,12,31\n"
    data = read(write(tmp_path, "log.csv", HEAD + ROWS), users=write(tmp_path, "users.csv", users))
    # "02139" and "2139" are two codes; "08" is an hour.
    assert data.users.rows() == [("a", "02139", 8, 30), ("b", "2139", 12, 31)]


def test_a_code_of_one_file_is_text_in_all(tmp_path):
    write(tmp_path, "1.csv", "user_id,item_id,timestamp,shop\na,x,1,0012\n")
    write(tmp_path, "2.csv", "user_id,item_id,timestamp,shop\nb,y,2,12\n")
    assert read(tmp_path).log["shop"].to_list() == ["0012", "12"]


@pytest.mark.parametrize("look", [read, describe])
@pytest.mark.parametrize("half", ["u\\ud800", "\\uDFFF", "\\ude00\\ud83d"])
def test_half_characters_in_json_lines_are_refused_with_line_and_value(tmp_path, half, look):
    lines = [
        f'{{"user_id": "{user}", "item_id": "{i}", "timestamp": {i}}}' for i, user in enumerate("ab")
    ]
    lines.append(f'{{"user_id": "a", "item_id": "{half}", "timestamp": 3}}')
    file = write(tmp_path, "log.jsonl", "\n".join(lines))
    with pytest.raises(DataError, match=r'half a character in "item_id" of line 3: '):
        look(file)


def test_whole_characters_and_backslashes_in_json_lines_are_read(tmp_path):
    ids = ["\\ud83d\\ude00", "\\\\ud800", "\\u00e4"]
    lines = [
        f'{{"user_id": "{i % 2}", "item_id": "{item}", "timestamp": 1}}' for i, item in enumerate(ids)
    ]
    data = read(write(tmp_path, "log.jsonl", "\n".join(lines)))
    assert data.items["item_id"].to_list() == ["😀", "\\ud800", "ä"]


def test_a_log_that_is_described_is_read_once(tmp_path, monkeypatch):
    from tfrecall.data.formats import delimited

    file, names = write(tmp_path, "log.csv", HEAD + "1,x,1\n2,y,2\n1,y,3\n"), []
    original = delimited.pl.read_csv

    def counted(source, **options):
        if options.get("n_rows") != 0:  # the header
            names.append(options.get("columns"))
        return original(source, **options)

    monkeypatch.setattr(delimited.pl, "read_csv", counted)
    describe(file)
    # The first rows for their types, all columns once, and the ids that are numbers as text.
    assert names == [None, None, ["user_id"]]


REFUSED = {
    "empty": ("log.csv", "", "utf-8", "is empty"),
    "only names": ("log.csv", HEAD, "utf-8", "empty|no row with a user and an item"),
    "repeated names": (
        "log.csv",
        "user_id,item_id,timestamp,item_id\na,x,1,q\nb,y,2,r\n",
        "utf-8",
        "columns of the same name: item_id. Rename or drop",
    ),
    "no names": ("log.csv", ROWS, "utf-8", 'no columns "user_id"|first line of a file has the names'),
    "UTF-16": ("log.csv", HEAD + ROWS, "utf-16", "iconv -f UTF-16"),
    "too many fields": (
        "log.csv",
        HEAD + "a,x,1\nb,y,2,3\n",
        "utf-8",
        "line 3: 4 columns instead of the 3",
    ),
    "too few fields": ("log.csv", HEAD + "a,x,1\nb,y\n", "utf-8", "line 3: 2 columns instead of the 3"),
    "a spreadsheet": ("log.xlsx", "PK", "utf-8", "a suffix that is not known"),
    "a broken archive": ("log.zip", "PK", "utf-8", "log.zip cannot be decompressed"),
    "no gzip": ("log.csv.gz", "PK", "utf-8", "log.csv.gz cannot be decompressed"),
    "no zstandard": ("log.csv.zst", "PK", "utf-8", "log.csv.zst cannot be decompressed"),
    "no Parquet": ("log.parquet", "PAR1 garbage", "utf-8", "cannot be read as parquet"),
}


@pytest.mark.parametrize("look", [read, describe])
@pytest.mark.parametrize("kind", REFUSED)
def test_what_cannot_be_read_is_refused_in_words(tmp_path, kind, look):
    name, text, encoding, said = REFUSED[kind]
    with pytest.raises(TfrecallError, match=said):
        look(write(tmp_path, name, text, encoding))


def test_a_folder_without_files_or_with_several_kinds_is_refused(tmp_path):
    with pytest.raises(DataError, match="there are no files in the folder"):
        describe(tmp_path)
    for name in ("a.csv", "b.txt"):
        write(tmp_path, name, HEAD + ROWS)
    with pytest.raises(DataError, match="mixes kinds of files"):
        describe(tmp_path)


def test_lists_with_nulls_are_read_and_described(tmp_path):
    items = pl.DataFrame({"item_id": ["x", "y"], "tags": [["a", None], None]})
    data = read(write(tmp_path, "log.csv", HEAD + ROWS), items=items)
    assert data.items["tags"].to_list() == [["a", None], None]
    assert describe(data).refused == ()


def test_users_who_come_once_have_no_last_event_to_leave_out(tmp_path):
    from tfrecall.data import split_leave_last_out

    data = read(write(tmp_path, "log.csv", HEAD + "a,x,1\nb,y,2\nc,x,3\n"))
    with pytest.raises(DataError, match=r"No user of the log has two events \(3 users have one\)"):
        split_leave_last_out(data)


@pytest.mark.parametrize("place", ["", "part"])
def test_a_folder_that_may_not_be_looked_into_is_refused(tmp_path, monkeypatch, place):
    (tmp_path / "part").mkdir()
    write(tmp_path, "log.csv", HEAD + ROWS)
    plain = Path.iterdir

    def iterdir(path):
        if path == tmp_path / place:
            raise PermissionError(13, "Permission denied", str(path))
        return plain(path)

    monkeypatch.setattr(Path, "iterdir", iterdir)  # permissions do not bind the administrator
    with pytest.raises(DataError, match=r"The log cannot be read: .*Check the permissions"):
        read(tmp_path)


def test_links_that_go_round_in_a_circle_do_no_harm(tmp_path):
    write(tmp_path, "log.csv", HEAD + ROWS)
    (tmp_path / "again").symlink_to(tmp_path)
    assert read(tmp_path).log.rows() == EVENTS
