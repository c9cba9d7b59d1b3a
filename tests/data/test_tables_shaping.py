"""Columns left out and texts split on the way from the file."""

import polars as pl
import pytest

from tfrecall.data import read
from tfrecall.errors import DataError, MissingColumnError

LOG = "user_id,item_id,timestamp,price\na,x,1,5\nb,y,2,inf\n"
ITEMS = 'item_id,genres,price,year\nx,"Drama| Comedy ||",3,1999\ny,,4,2001\n'


@pytest.fixture
def files(tmp_path):
    (tmp_path / "log.csv").write_text(LOG)
    (tmp_path / "items.csv").write_text(ITEMS)
    return {"path": tmp_path / "log.csv", "items": tmp_path / "items.csv"}


def test_ignored_columns_are_not_read_and_not_checked(files):
    with pytest.raises(DataError, match=r"\"price\" of the log has NaN or infinite"):
        read(**files)
    data = read(**files, ignore_columns=["log.price"])
    assert data.log.columns == ["user_id", "item_id", "timestamp"]
    assert data.items.columns == ["item_id", "genres", "price", "year"]


def test_texts_are_split_into_lists_without_empty_values(files):
    data = read(**files, ignore_columns=["log.price"], list_separators={"genres": "|"})
    assert data.items["genres"].to_list() == [["Drama", "Comedy"], None]


@pytest.mark.parametrize(
    ("options", "error", "said"),
    [
        ({"ignore_columns": ["log.prise"]}, MissingColumnError, 'Did you mean "log.price"'),
        ({"list_separators": {"genre": "|"}}, MissingColumnError, 'Did you mean "genres"'),
        ({"list_separators": {"year": "|"}}, DataError, '"year" of the items is to be split'),
    ],
)
def test_columns_that_are_not_there_or_no_text_are_refused(files, options, error, said):
    with pytest.raises(error, match=said):
        read(**files, **options)


def test_a_log_without_times_keeps_the_order_of_the_file(tmp_path):
    pl.DataFrame({"user_id": list("aab"), "item_id": list("yxx")}).write_csv(tmp_path / "log.csv")
    data = read(tmp_path / "log.csv", timestamp="")
    assert data.histories.items[:2].tolist() == [0, 1]  # y, then x: as in the file
    assert "no times: the order of the file" in data.notes[0]
    with pytest.raises(MissingColumnError, match='no column "timestamp"'):
        read(tmp_path / "log.csv")


def test_equal_times_are_said_and_keep_the_order_of_the_file(tmp_path):
    log = pl.DataFrame({"user_id": list("aab"), "item_id": list("yxx"), "timestamp": [5, 5, 5]})
    log.write_csv(tmp_path / "log.csv")
    assert "all timestamps are equal" in read(tmp_path / "log.csv").notes[1]
    with pytest.raises(DataError, match='has a column "timestamp" that was not named as the time'):
        read(tmp_path / "log.csv", timestamp="")
