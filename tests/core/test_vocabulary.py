"""Ids go in and come out unchanged, in both directions."""

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tfrecall.core.vocabulary import FIRST, PADDING, UNKNOWN, Vocabulary, item_row
from tfrecall.errors import DataError

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
IDS = st.lists(TEXT, unique=True, min_size=1, max_size=30)


@given(IDS, st.data())
def test_ids_round_trip(ids, data):
    vocabulary = Vocabulary(ids)
    asked = data.draw(st.lists(st.sampled_from(ids), max_size=50))
    assert vocabulary.decode(vocabulary.encode(asked)).tolist() == asked


@given(IDS, st.lists(TEXT, max_size=30))
def test_rows_agree_with_a_look_up_one_by_one(ids, asked):
    expected = [ids.index(one) if one in ids else -1 for one in asked]
    rows = Vocabulary(ids).rows(asked)
    assert rows.tolist() == expected
    assert rows.dtype == np.int32


def test_padding_and_unknown_come_before_the_first_id():
    assert (PADDING, UNKNOWN, FIRST) == (0, 1, 2)
    assert Vocabulary(["a", "b"]).encode(["b", "?", "a"]).tolist() == [3, 1, 2]


@pytest.mark.parametrize(
    "asked",
    [
        ["b", "a"],
        np.array(["b", "a"]),
        np.array(["b", "a"], dtype=object),
        np.array([b"b", b"a"], dtype=object),
        np.array([b"b", b"a"]),
        [b"b", b"a"],
        pl.Series(["b", "a"]),
        pl.Series(["b", "a"], dtype=pl.Categorical),
    ],
)
def test_ids_may_come_in_any_array_of_strings_or_bytes(asked):
    assert Vocabulary(["a", "b"]).rows(asked).tolist() == [1, 0]


def test_nothing_asked_gives_nothing():
    assert Vocabulary(["a"]).rows([]).shape == (0,)
    assert Vocabulary([]).rows(["a"]).tolist() == [-1]


def test_null_is_unknown():
    assert Vocabulary(["a"]).rows(pl.Series([None, "a"])).tolist() == [-1, 0]


def test_rows_may_be_written_to():
    rows = Vocabulary(["a"]).rows(["a"])
    rows[0] = 5
    assert rows.tolist() == [5]


@pytest.mark.parametrize("ids", [["a", "a"], ["a", None]])
def test_ids_of_a_vocabulary_are_distinct_and_not_null(ids):
    with pytest.raises(DataError, match="distinct and not null"):
        Vocabulary(ids)


@pytest.mark.parametrize("ids", [[1, 2], np.array([1, 2]), pl.Series([1, 2]), [b"\xff"], ["a", 1]])
def test_ids_that_are_no_strings_are_refused(ids):
    with pytest.raises(DataError, match="Ids must be strings"):
        Vocabulary(ids)


@pytest.mark.parametrize("index", [-1, PADDING, UNKNOWN, 4])
def test_indexes_that_stand_for_no_id_are_refused(index):
    with pytest.raises(DataError, match="Only indexes from 2 to 3"):
        Vocabulary(["a", "b"]).decode([2, index])


@given(IDS, st.lists(TEXT, max_size=30))
def test_one_by_one_in_a_list_and_in_a_column_are_the_same(ids, asked):
    vocabulary = Vocabulary(ids)
    rows = vocabulary.rows(pl.Series(asked, dtype=pl.String)).tolist()  # by a join
    assert vocabulary.rows(asked).tolist() == rows  # by a dictionary
    assert [vocabulary.row(one) for one in asked] == rows
    assert [one in vocabulary for one in asked] == [row >= 0 for row in rows]


def test_an_item_that_is_not_there_is_refused_with_the_nearest():
    catalogue = Vocabulary(["heat", "alien"])
    assert item_row(catalogue, "alien") == 1
    with pytest.raises(DataError, match=r'no item "aliens" in the catalogue of 2 .* mean "alien"'):
        item_row(catalogue, "aliens")
