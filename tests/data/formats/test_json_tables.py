"""JSON is read from lines and from arrays, nested or not; what is broken is refused with its line."""

import gzip
import json

import polars as pl
import pytest

from tfrecall.data import describe, from_frame, read
from tfrecall.errors import DataError

ROWS = [
    {"user": {"id": "a", "age": 30}, "item_id": "x", "timestamp": 1},
    {"user": {"id": "b", "age": None}, "item_id": "y", "timestamp": 2, "device": "tv"},
]
FLAT = {
    "user_id": ["a", "b"],
    "item_id": ["x", "y"],
    "timestamp": [1.0, 2.0],
    "user_age": [30, None],
    "device": [None, "tv"],
}


def lines(rows):
    return "\n".join(json.dumps(row) for row in rows)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("log.jsonl", lines(ROWS)),
        ("log.ndjson", "\ufeff" + lines(ROWS)),
        ("log.json", json.dumps(ROWS)),
        ("log.json", "\ufeff \n" + json.dumps(ROWS, indent=2)),
        ("log.json", lines(ROWS)),
        ("log.jsonl", "\n" + lines(ROWS) + "\n\n"),
    ],
    ids=["lines", "lines after a mark", "array", "array after a mark", "lines in .json", "empty lines"],
)
@pytest.mark.parametrize("packed", ["", ".gz"])
def test_lines_and_arrays_with_nested_fields_give_one_log(tmp_path, name, text, packed):
    content = text.encode()
    (tmp_path / (name + packed)).write_bytes(gzip.compress(content) if packed else content)
    data = read(tmp_path / (name + packed), user_id="user.id")
    assert data.log.to_dict(as_series=False) == FLAT
    assert describe(tmp_path / (name + packed), user_id="user.id").columns.user_id == "user_id"


def test_fields_of_nested_frames_and_parquet_are_columns(tmp_path):
    frame = pl.DataFrame(ROWS)
    frame.write_parquet(tmp_path / "log.parquet")
    for data in (from_frame(frame, user_id="user.id"), read(tmp_path / "log.parquet")):
        assert data.log.to_dict(as_series=False) == FLAT
    data = read(tmp_path / "log.parquet", ignore_columns=["log.user.age"])
    assert data.log.columns == ["user_id", "item_id", "timestamp", "device"]


def test_a_field_whose_flat_name_is_taken_keeps_its_path():
    frame = pl.DataFrame(
        {
            "user": [{"id": "a"}, {"id": "b"}],
            "user_id": [1, 2],
            "item_id": ["x", "y"],
            "timestamp": [1, 2],
        }
    )
    assert from_frame(frame).log["user_id"].to_list() == ["1", "2"]
    # The other column would have the name of the role.
    with pytest.raises(DataError, match=r'"user_id" beside "user\.id"'):
        from_frame(frame, user_id="user.id")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (lines(ROWS) + '\n{"user_id": "c", ', "broken in line 3: "),
        (lines(ROWS) + "\n[1, 2]", "broken in line 3: a list instead of an object"),
        (lines(ROWS) + '\n{"item_id": NaN}', "broken in line 3: NaN is no JSON, write null"),
        (lines(ROWS) + '\n{"item_id": "x"} {"item_id": "y"}', "broken in line 3: Extra data"),
        (json.dumps(ROWS)[:-3], "is no whole JSON array: "),
        ("[1, 2]", "must be an array of objects, but row 1 is '1'"),
        (json.dumps({"rows": 1}, indent=1), "line 1: .* Or is the whole file one object"),
        ("nothing", "broken in line 1"),
    ],
    ids=["open", "a list", "NaN", "two", "open array", "numbers", "an object", "no JSON"],
)
def test_broken_json_is_refused_with_its_line(tmp_path, text, said):
    (tmp_path / "log.json").write_text(text)
    with pytest.raises(DataError, match=said):
        read(tmp_path / "log.json")


def test_half_characters_in_arrays_are_refused(tmp_path):
    (tmp_path / "log.json").write_text('[{"user_id": "a",\n"item_id": "\\ud800"}]')
    with pytest.raises(DataError, match="half a character in line 2"):
        read(tmp_path / "log.json")


def test_one_object_of_lists_is_refused(tmp_path):
    (tmp_path / "log.json").write_text(json.dumps({"user_id": ["a", "b"], "item_id": ["x", "y"]}))
    with pytest.raises(DataError, match="is one object of lists, a table by columns"):
        read(tmp_path / "log.json")
    # What programs answer: the rows in one field, often beside their number.
    rows = [{"user_id": "a", "item_id": "x"}, {"user_id": "b", "item_id": "y"}]
    for more in ({}, {"total": 2}):
        (tmp_path / "log.json").write_text(json.dumps({**more, "events": rows}))
        with pytest.raises(
            DataError, match=r"rows stand in its field \"events\".*jq -c '\.events\[\]' log"
        ):
            read(tmp_path / "log.json")


@pytest.mark.parametrize("name", ["log[1].jsonl", "log[1].parquet"])
def test_a_name_with_brackets_is_no_pattern(tmp_path, name):
    frame = pl.DataFrame({"user_id": ["a", "b"], "item_id": ["x", "y"], "timestamp": [1, 2]})
    if name.endswith("jsonl"):
        (tmp_path / name).write_text(frame.write_ndjson())
    else:
        with (tmp_path / name).open("wb") as file:
            frame.write_parquet(file)
    assert len(read(tmp_path / name)) == 2


def test_times_that_are_lists_are_refused(tmp_path):
    (tmp_path / "log.jsonl").write_text(lines([{**row, "timestamp": [1]} for row in ROWS]))
    with pytest.raises(
        DataError, match=r"must be numbers, dates, date-times or strings. Received: List"
    ):
        read(tmp_path / "log.jsonl")


@pytest.mark.parametrize("packed", ["", ".gz"])
@pytest.mark.parametrize(
    ("first", "second", "said"),
    [
        ({"user_id": {"id": 1}}, {"user_id": "x"}, r'an object in line 1, in the field "user_id"'),
        ({"user_id": "x"}, {"user_id": ["y"]}, r'a list in line 2, in the field "user_id"'),
        (
            {"user_id": "x", "a": {"b": "t"}},
            {"user_id": "y", "a": {"b": {"c": 1}}},
            r'line 2, in .*"a\.b"',
        ),
    ],
)
def test_a_field_of_texts_and_objects_is_refused_with_its_line(tmp_path, first, second, said, packed):
    content = lines([{"item_id": "i", "timestamp": 1, **row} for row in (first, second)]).encode()
    file = tmp_path / f"log.jsonl{packed}"
    file.write_bytes(gzip.compress(content) if packed else content)
    with pytest.raises(DataError, match=said):
        read(file)


def test_texts_that_look_like_json_stay_texts(tmp_path):
    rows = [
        {"user_id": "a", "item_id": "[x]", "timestamp": 1},
        {"user_id": "b", "item_id": '{"y": 1}', "timestamp": 2},
    ]
    (tmp_path / "log.jsonl").write_text(lines(rows))
    assert read(tmp_path / "log.jsonl").log["item_id"].to_list() == ["[x]", '{"y": 1}']
