"""Columns of a table as arrays: nulls, lists, numbers."""

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tfrecall.core.raw import UNKNOWN_TOKEN, raw_features
from tfrecall.errors import DataError, MissingColumnError


def convert(values, form, dtype=None) -> np.ndarray:
    return raw_features(pl.DataFrame({"x": pl.Series(values, dtype=dtype)}), {"x": form})["x"]


def test_a_null_string_is_the_unknown_value():
    assert convert(["a", None], "string").tolist() == ["a", UNKNOWN_TOKEN]


def test_integers_become_their_digits():
    assert convert([7, -1, None], "string").tolist() == ["7", "-1", UNKNOWN_TOKEN]


def test_a_null_list_is_empty_and_a_null_inside_is_no_value():
    lists = convert([["a", None, "b"], None, [], ["c"]], "strings", pl.List(pl.String))
    assert lists.tolist() == [["a", "b"], ["", ""], ["", ""], ["c", ""]]


@pytest.mark.parametrize("dtype", [pl.List(pl.String), pl.Null])
def test_lists_that_are_all_null_are_one_column_of_padding(dtype):
    assert convert([None, None], "strings", dtype).tolist() == [[""], [""]]


def test_lists_of_integers_and_arrays_of_fixed_width_are_lists():
    assert convert([[1], [2, 3]], "strings").tolist() == [["1", ""], ["2", "3"]]
    assert convert([["a", "b"]], "strings", pl.Array(pl.String, 2)).tolist() == [["a", "b"]]


@pytest.mark.slow
@given(
    st.lists(st.one_of(st.none(), st.lists(st.one_of(st.none(), st.text()), max_size=4)), max_size=6)
)
def test_every_value_of_a_list_is_kept_in_its_row(rows):
    lists = convert(rows, "strings", pl.List(pl.String))
    assert lists.shape[0] == len(rows)
    for row, values in zip(lists, rows, strict=True):
        wanted = [value for value in values or [] if value is not None]
        assert row.tolist() == wanted + [""] * (lists.shape[1] - len(wanted))


@pytest.mark.parametrize("bad", [None, float("nan"), float("inf"), -float("inf")])
def test_a_number_that_is_none_is_refused_with_count_and_row(bad):
    with pytest.raises(DataError, match=r'"x" has 2 values that are .* the first in row 1'):
        convert([1.0, bad, 3.0, bad], "number", pl.Float64)


def test_numbers_keep_all_digits_of_a_float64():
    assert convert([893286638, 893286639], "number").tolist() == [893286638.0, 893286639.0]
    assert convert([True, False], "number").tolist() == [1.0, 0.0]


def test_integers_stay_whole_and_refuse_nulls():
    assert convert([2**53 + 1], "integer").tolist() == [2**53 + 1]
    with pytest.raises(DataError, match="1 nulls"):
        convert([1, None], "integer")


@pytest.mark.parametrize(
    ("values", "form", "message"),
    [
        ([["a"]], "string", "Use a MultiCategorical"),
        (["a|b"], "strings", "takes a list of strings"),
        (["12"], "number", "takes a number"),
    ],
)
def test_a_column_that_cannot_take_its_form_is_refused(values, form, message):
    with pytest.raises(DataError, match=message):
        convert(values, form)


def test_a_missing_column_is_named_with_the_nearest():
    with pytest.raises(MissingColumnError, match=r'"colour".*Did you mean "color"'):
        raw_features(pl.DataFrame({"color": ["red"]}), {"colour": "string"})


def test_an_empty_table_gives_empty_arrays():
    frame = pl.DataFrame(schema={"a": pl.String, "b": pl.List(pl.String), "c": pl.Float64})
    arrays = raw_features(frame, {"a": "string", "b": "strings", "c": "number"})
    assert [len(arrays[name]) for name in "abc"] == [0, 0, 0]


def test_vectors_are_rows_of_numbers_and_null_is_zeros():
    for dtype in (pl.List(pl.Float64), pl.List(pl.Int64), pl.Array(pl.Float32, 2)):
        frame = pl.DataFrame({"v": pl.Series([[1, 2], None, [-3, 4]], dtype=dtype)})
        found = raw_features(frame, {"v": "vector"})["v"]
        assert found.dtype == np.float32
        assert found.tolist() == [[1, 2], [0, 0], [-3, 4]]


def test_without_any_vector_the_length_is_not_known():
    for column in (pl.Series([None, None]), pl.Series([None], dtype=pl.List(pl.Float32))):
        frame = column.alias("v").to_frame()
        assert raw_features(frame, {"v": "vector"})["v"].shape == (len(frame), 0)


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ([[1.0, 2.0], None, [1.0]], "lists of 2 and of 1 numbers, the first such in row 2"),
        ([[1.0, 2.0], []], "lists of 2 and of 0 numbers"),
        ([[1.0], [None], [float("nan")]], "2 vectors with a null, NaN or infinite number.*row 1"),
        ([1.0, 2.0], "holds Float64.*list of numbers"),
        ([["a"], ["b"]], r"holds List\(String\).*list of numbers"),
    ],
)
def test_what_is_no_vector_is_refused(rows, words):
    with pytest.raises(DataError, match=words):
        raw_features(pl.DataFrame({"v": rows}), {"v": "vector"})
