"""What a log and its tables must be, and what `Interactions` makes of them."""

import logging

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from tfrecall.core.arguments import command_line
from tfrecall.data import Interactions
from tfrecall.errors import ConfigError, DataError, MissingColumnError


def frame(**columns):
    """Three events of two users and two items; keywords replace or add columns."""
    log = {"user_id": ["u1", "u2", "u1"], "item_id": ["a", "b", "b"], "timestamp": [10, 20, 30]}
    return pl.DataFrame({**log, **columns}, strict=False)


def test_ids_become_strings_and_times_float_seconds():
    data = Interactions.from_frame(frame(user_id=[7, 8, 7]))
    assert data.log.schema == {
        "user_id": pl.String,
        "item_id": pl.String,
        "timestamp": pl.Float64,
    }
    assert data.log["user_id"].to_list() == ["7", "8", "7"]


@pytest.mark.parametrize(
    "convert",
    [
        lambda log: log,
        lambda log: log.lazy(),
        lambda log: pd.DataFrame(log.to_dict(as_series=False)),
        lambda log: pa.table(log.to_dict(as_series=False)),
        lambda log: pa.table(log.to_dict(as_series=False)).to_batches()[0],
    ],
    ids=["polars", "lazy", "pandas", "arrow", "arrow-batch"],
)
def test_frames_of_all_libraries_give_the_same(convert):
    expected = Interactions.from_frame(frame())
    assert Interactions.from_frame(convert(frame())).fingerprint == expected.fingerprint


def test_something_that_is_no_frame_is_refused():
    with pytest.raises(DataError, match="builtins"):
        Interactions.from_frame({"user_id": ["u1"]})


def test_columns_get_their_canonical_names_in_log_and_tables():
    log = frame().rename({"user_id": "household", "item_id": "sku", "timestamp": "when"})
    data = Interactions.from_frame(
        log.with_columns(stars=pl.Series([1, 2, 3])),
        users=pl.DataFrame({"age": [30, 40], "household": ["u1", "u2"]}),
        items=pl.DataFrame({"sku": ["b", "a"], "price": [1.0, 2.0]}),
        user_id="household",
        item_id="sku",
        timestamp="when",
        rating="stars",
    )
    assert data.log.columns == ["user_id", "item_id", "timestamp", "rating"]
    assert data.users.columns == ["user_id", "age"]
    assert data.items.columns == ["item_id", "price"]


def test_tables_may_carry_the_canonical_name_already():
    log = frame().rename({"item_id": "sku"})
    data = Interactions.from_frame(log, items=pl.DataFrame({"item_id": ["a", "b"]}), item_id="sku")
    assert data.items["item_id"].to_list() == ["a", "b"]


def test_without_tables_they_hold_the_ids_in_order_of_first_appearance():
    data = Interactions.from_frame(frame(item_id=["z", "a", "a"]))
    assert data.items["item_id"].to_list() == ["z", "a"]
    assert data.users["user_id"].to_list() == ["u1", "u2"]


def test_the_item_table_sets_the_order_of_the_catalogue():
    data = Interactions.from_frame(frame(), items=pl.DataFrame({"item_id": ["c", "b", "a"]}))
    assert data.item_rows.tolist() == [2, 1, 1]
    assert data.item_rows.dtype == np.int32


def test_context_columns_come_along_and_categories_become_strings():
    log = frame(device=["tv", "web", "tv"]).with_columns(pl.col("device").cast(pl.Categorical))
    assert Interactions.from_frame(log).log["device"].dtype == pl.String


def test_rating_and_weight_columns_are_used_when_they_are_there():
    data = Interactions.from_frame(frame(rating=[1, 2, 3], weight=[0, 1, 2]))
    assert data.log.schema["rating"] == pl.Float64
    assert data.log["weight"].to_list() == [0.0, 1.0, 2.0]


def test_a_missing_column_is_refused_with_the_nearest_name_and_all_names():
    with pytest.raises(MissingColumnError) as caught:
        Interactions.from_frame(frame().rename({"user_id": "usr_id"}))
    message = str(caught.value)
    assert 'no column "user_id". Did you mean "usr_id"?' in message
    assert "usr_id, item_id, timestamp" in message
    assert 'user_id="..."' in message
    with command_line(), pytest.raises(MissingColumnError, match="Say which they are: --user-column"):
        Interactions.from_frame(frame().rename({"user_id": "usr_id"}))


def test_all_missing_columns_are_named_at_once_each_with_the_nearest():
    with pytest.raises(MissingColumnError) as caught:
        Interactions.from_frame(frame().rename({"user_id": "usr_id", "item_id": "itm_id"}))
    message = str(caught.value)
    assert 'has no columns "user_id", "item_id". Did you mean "usr_id" for "user_id"?' in message
    assert 'Did you mean "itm_id" for "item_id"?' in message
    assert 'Say which they are: user_id="...", item_id="...".' in message


def test_a_named_rating_column_must_be_there():
    with pytest.raises(MissingColumnError, match='no column "stars"'):
        Interactions.from_frame(frame(), rating="stars")


def test_one_column_cannot_be_user_and_item():
    with pytest.raises(DataError, match="cannot have two roles"):
        Interactions.from_frame(frame(), user_id="item_id")


def test_a_canonical_name_that_is_taken_by_another_column_is_refused():
    with pytest.raises(DataError, match='a column "user_id" beside "household"'):
        Interactions.from_frame(frame(household=[1, 2, 1]), user_id="household")


@pytest.mark.parametrize("broken", [None, "", "  "])
def test_null_and_empty_ids_are_counted_and_placed(broken):
    with pytest.raises(DataError, match='"user_id": 2 of 3 rows, the first is row 2'):
        Interactions.from_frame(frame(user_id=["u1", broken, broken]), null_values=[])


def test_whole_floats_are_ids_because_pandas_makes_them_of_integers():
    data = Interactions.from_frame(frame(user_id=[7.0, 8.0, 7.0]))
    assert data.log["user_id"].to_list() == ["7", "8", "7"]


def test_nan_is_a_missing_id():
    with pytest.raises(DataError, match="null or empty ids"):
        Interactions.from_frame(frame(user_id=[7.0, float("nan"), 7.0]), null_values=[])


def test_fractions_are_no_ids():
    with pytest.raises(DataError, match=r"the first is row 2: 8\.5"):
        Interactions.from_frame(frame(user_id=[7.0, 8.5, 7.0]))


@pytest.mark.parametrize(
    ("ids", "dtype"),
    [
        ([2.0**53, 5.0, 6.0], pl.Float64),  # 2^53 + 1 is the same Float64
        ([-(2.0**53), 5.0, 6.0], pl.Float64),
        ([1e19, 5.0, 6.0], pl.Float64),  # beyond int64
        ([float("inf"), 5.0, 6.0], pl.Float64),
        ([2.0**24, 5.0, 6.0], pl.Float32),
    ],
)
def test_floats_that_may_be_two_ids_are_refused(ids, dtype):
    with pytest.raises(DataError, match="too large to be exact: 1 of 3 rows, the first is row 1"):
        Interactions.from_frame(frame(item_id=pl.Series(ids, dtype=dtype)))


@pytest.mark.parametrize(("largest", "dtype"), [(2**53 - 1, pl.Float64), (2**24 - 1, pl.Float32)])
def test_the_largest_exact_floats_are_ids(largest, dtype):
    data = Interactions.from_frame(frame(item_id=pl.Series([float(largest), 5.0, 6.0], dtype=dtype)))
    assert data.log["item_id"].to_list() == [str(largest), "5", "6"]


@pytest.mark.parametrize("dtype", [pl.Float64, pl.Float32])
@pytest.mark.parametrize("second", [None, 501.0])
def test_whole_floats_are_whole_numbers_again(dtype, second):
    zips = pl.Series("zip", [10001.0, second], dtype=dtype)
    users = pl.DataFrame({"user_id": ["u1", "u2"]}).with_columns(zips)
    read = Interactions.from_frame(frame(), users=users).users["zip"]
    assert (read.to_list(), read.dtype) == ([10001, second], pl.Int64)


def test_lists_of_whole_floats_are_lists_of_whole_numbers():
    tags = pl.Series("tags", [[1.0, 2.0], [], None, [3.0]], dtype=pl.List(pl.Float64))
    users = pl.DataFrame({"user_id": ["u1", "u2", "u3", "u4"]}).with_columns(tags)
    read = Interactions.from_frame(frame(), users=users).users["tags"]
    assert (read.to_list(), read.dtype) == ([[1, 2], [], None, [3]], pl.List(pl.Int64))


@pytest.mark.parametrize("values", [[0.5, None], [2.0**53, None], [1.0, 2.5], [None, None]])
def test_other_floats_stay_floats(values):
    users = pl.DataFrame({"user_id": ["u1", "u2"], "score": pl.Series(values, dtype=pl.Float64)})
    assert Interactions.from_frame(frame(), users=users).users.schema["score"] == pl.Float64


def test_ids_that_end_in_nul_are_refused_and_others_may_hold_it():
    with pytest.raises(DataError, match=r"NUL character .* the first is row 2: 'b\\x00'"):
        Interactions.from_frame(frame(item_id=["a", "b\0", "c"]))
    assert Interactions.from_frame(frame(item_id=["a", "\0b", "c"])).items["item_id"][1] == "\0b"


def test_half_characters_of_pandas_are_refused_with_row_and_value():
    log = pd.DataFrame({"user_id": ["u", "v", "u"], "timestamp": [1, 2, 3]})
    log["item_id"] = pd.Series(["a", "b\ud800", "c"], dtype=object)
    with pytest.raises(DataError, match=r"not valid Unicode: column \"item_id\", row 2: 'b\\ud800'"):
        Interactions.from_frame(log)


def test_times_that_are_hardly_seconds_are_noted():
    notes = Interactions.from_frame(frame(timestamp=[20180101, 20180102, 20180103])).notes
    assert any("read as dates written as YYYYMMDD" in note for note in notes)
    stated = Interactions.from_frame(frame(timestamp=[20180101, 20180102, 20180103]), unit="s").notes
    assert not any("look like" in note for note in stated)


def test_lists_are_no_ids():
    with pytest.raises(DataError, match="must hold strings or integers"):
        Interactions.from_frame(frame(user_id=[["u1"], ["u2"], ["u1"]]))


def test_bytes_are_ids_if_they_are_text():
    data = Interactions.from_frame(frame(item_id=["ä".encode(), b"b", b"b"]))
    assert data.log["item_id"].to_list() == ["ä", "b", "b"]
    with pytest.raises(DataError, match="not UTF-8"):
        Interactions.from_frame(frame(item_id=[b"\xff", b"b", b"b"]))


def test_an_empty_log_is_refused():
    with pytest.raises(DataError, match="The log is empty"):
        Interactions.from_frame(frame().clear())


@pytest.mark.parametrize(("column", "word"), [("user_id", "user"), ("item_id", "item")])
def test_a_log_of_one_user_or_one_item_is_refused(column, word):
    with pytest.raises(DataError, match=f'only one {word} \\("x"\\)'):
        Interactions.from_frame(frame(**{column: ["x", "x", "x"]}))


def test_duplicate_ids_in_a_table_are_counted_and_placed():
    items = pl.DataFrame({"item_id": ["a", "b", "a", "b"]})
    with pytest.raises(DataError, match='2 of 4 rows repeat an id, the first is row 3: "a"'):
        Interactions.from_frame(frame(), items=items)


@pytest.mark.parametrize("column", ["user_id", "item_id"])
def test_ids_of_more_than_1024_bytes_are_refused_with_their_row(column):
    longest = "é" * 512  # of two bytes each
    with pytest.raises(DataError, match=rf'The log .*1,024 bytes in "{column}": .* row 3.*1,025 bytes'):
        Interactions.from_frame(frame(**{column: ["a", "b", longest + "x"]}))
    assert longest in Interactions.from_frame(frame(**{column: ["a", "b", longest]})).log[column]
    items = pl.DataFrame({"item_id": ["a", "b", "c", longest + "x"]})
    with pytest.raises(DataError, match=r"items table .*1,024 bytes"):
        Interactions.from_frame(frame(item_id=["a", "b", "c"]), items=items)


def test_ids_that_are_equal_only_as_strings_are_duplicates():
    users = pd.DataFrame({"user_id": ["u1", "u2", 7, "7"]}).astype(str)
    with pytest.raises(DataError, match='row 4: "7"'):
        Interactions.from_frame(frame(), users=users)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_nan_and_infinities_are_refused_wherever_they_stand(value):
    items = pl.DataFrame({"item_id": ["a", "b"], "price": [1.0, value]})
    with pytest.raises(DataError, match=r'"price" of the items table.*1 of 2 rows.*row 2'):
        Interactions.from_frame(frame(), items=items)
    with pytest.raises(DataError, match=r'"speed" of the log.*1 of 3 rows.*row 1'):
        Interactions.from_frame(frame(speed=[value, 1.0, 2.0]))
    users = pl.DataFrame({"user_id": ["u1", "u2"], "sizes": [[1.0], [2.0, value]]})
    with pytest.raises(DataError, match='"sizes" of the users table'):
        Interactions.from_frame(frame(), users=users)


def test_missing_features_may_stand_as_null():
    items = pl.DataFrame({"item_id": ["a", "b"], "price": [1.0, None]})
    assert Interactions.from_frame(frame(), items=items).items["price"].null_count() == 1


@pytest.mark.parametrize("value", [None, float("nan"), float("inf")])
def test_ratings_must_be_numbers(value):
    with pytest.raises(DataError, match=r'"rating" of the log.*1 of 3 rows, the first is row 3'):
        Interactions.from_frame(frame(rating=[1.0, 2.0, value]))


def test_ratings_in_words_are_refused():
    with pytest.raises(DataError, match="must hold numbers"):
        Interactions.from_frame(frame(rating=["good", "bad", "good"]))


def test_negative_weights_are_refused():
    with pytest.raises(DataError, match=r"at least 0: 1 of 3 rows, the first is row 2: -1\.0"):
        Interactions.from_frame(frame(importance=[1, -1, 0]), weight="importance")


@pytest.mark.parametrize(
    ("tables", "where"),
    [
        ({"items": {"item_id": ["a", "b"], "device": ["x", "y"]}}, "The log and the items table share"),
        (
            {"users": {"user_id": ["u1", "u2"], "device": ["x", "y"]}},
            "The log and the users table share",
        ),
        (
            {"users": {"user_id": ["u1", "u2"], "item_id": ["x", "y"]}},
            "The log and the users table share",
        ),
    ],
)
def test_a_name_in_two_tables_is_refused(tables, where):
    tables = {key: pl.DataFrame(columns) for key, columns in tables.items()}
    with pytest.raises(DataError, match=where):
        Interactions.from_frame(frame(device=["tv", "web", "tv"]), **tables)


def test_a_name_in_both_tables_is_refused():
    users = pl.DataFrame({"user_id": ["u1", "u2"], "name": ["x", "y"]})
    items = pl.DataFrame({"item_id": ["a", "b"], "name": ["x", "y"]})
    with pytest.raises(DataError, match='users table and the items table share columns: "name"'):
        Interactions.from_frame(frame(), users=users, items=items)


class TestMissingItems:
    """The item table lacks "b", which stands in rows 2 and 3."""

    items = pl.DataFrame({"item_id": ["a", "c"], "price": [1.0, 3.0]})

    def read(self, policy, log=None):
        log = frame() if log is None else log
        return Interactions.from_frame(log, items=self.items, missing_items=policy)

    def test_they_are_refused_by_default(self):
        with pytest.raises(DataError) as caught:
            Interactions.from_frame(frame(), items=self.items)
        message = str(caught.value)
        assert "1 items of the log (2 of 3 events)" in message
        assert 'the first in row 2: "b"' in message
        assert 'missing_items="add"' in message

    def test_add_keeps_them_without_features(self, caplog):
        with caplog.at_level(logging.INFO, logger="tfrecall"):
            data = self.read("add")
        assert data.items.rows() == [("a", 1.0), ("c", 3.0), ("b", None)]
        assert len(data) == 3
        assert "1 items of the log (2 of 3 events)" in data.notes[-1]
        assert data.notes[-1] in caplog.messages

    def test_drop_removes_their_events(self):
        log = frame(item_id=["a", "b", "c"], user_id=["u1", "u3", "u2"])
        data = self.read("drop", log)
        assert data.log["item_id"].to_list() == ["a", "c"]
        assert data.items["item_id"].to_list() == ["a", "c"]
        assert data.users["user_id"].to_list() == ["u1", "u2"]
        assert "1 items of the log (1 of 3 events)" in data.notes[-1]

    def test_drop_that_leaves_too_little_is_refused(self):
        with pytest.raises(DataError, match="after the events of missing items were dropped"):
            self.read("drop")

    def test_another_policy_is_refused(self):
        with pytest.raises(ConfigError, match='Did you mean "drop"'):
            self.read("dropp")


def test_users_that_are_not_in_the_table_are_added_and_noted():
    users = pl.DataFrame({"user_id": ["u2"], "age": [40]})
    data = Interactions.from_frame(frame(), users=users)
    assert data.users.rows() == [("u2", 40), ("u1", None)]
    assert "1 users of the log were not in the users table" in data.notes[-1]


def test_the_recognised_unit_of_time_is_noted():
    data = Interactions.from_frame(frame(timestamp=[1e9, 1e9 + 1, 1e9 + 2]))
    assert data.notes == ("timestamps read as seconds since 1970",)


def test_the_unit_of_time_can_be_stated():
    data = Interactions.from_frame(frame(), unit="ms")
    assert data.log["timestamp"].to_list() == [0.01, 0.02, 0.03]


def test_queries_join_the_user_table_in_the_order_of_the_log():
    users = pl.DataFrame({"user_id": ["u2", "u1"], "age": [40, 30]})
    assert Interactions.from_frame(frame(), users=users).queries["age"].to_list() == [30, 40, 30]


def test_with_log_keeps_tables_name_and_notes():
    data = Interactions.from_frame(frame(), name="shop")
    part = data.with_log(data.log.head(1), "the first only")
    assert (len(part), part.name, part.items.height) == (1, "shop", 2)
    assert part.notes == (*data.notes, "the first only")
    assert part.user_rows.tolist() == [0]


def test_describe_counts_the_tables():
    data = Interactions.from_frame(frame(), items=pl.DataFrame({"item_id": ["a", "b", "c"]}))
    described = data.describe()
    assert described.pop("fingerprint") == data.fingerprint
    assert described == {"name": "log", "users": 2, "items": 3, "rows": 3}


def test_a_notebook_shows_the_facts_of_a_log_escaped():
    evil = "<script>alert(1)</script>"
    ids = [evil, "other"]
    log = pl.DataFrame({"user_id": ids, "item_id": ids, "timestamp": [879024327.0] * 2, evil: ids})
    html = Interactions.from_frame(log, name=evil)._repr_html_()
    assert "<script" not in html
    assert html.count("1997-11-08 21:25") == 4  # from, to, and the two rows
    assert html.count("&lt;script&gt;") >= 4


def test_a_notebook_shows_a_log_without_rows():
    log = Interactions.from_frame(
        pl.DataFrame({"user_id": ["u", "v"], "item_id": ["a", "b"], "timestamp": [1.0, 2.0]})
    )
    assert "<table>" in log.with_log(log.log[:0])._repr_html_()
