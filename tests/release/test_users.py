"""Categories of whole numbers in queries: 10001, 10001.0 and "10001" are one value."""

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tfrecall.release.users import UserStore

FORMS = {"user_id": "string", "zip": "string"}


def people(zips):
    """Users u0, u1, ... with these zip codes, who have seen nothing."""
    table = pl.DataFrame({"user_id": [f"u{i}" for i in range(len(zips))], "zip": zips})
    offsets, items = np.zeros(len(zips) + 1, np.int64), np.empty(0, np.int32)
    defaults = dict.fromkeys(FORMS, "[UNK]")
    return UserStore.of(table, offsets, items, {}, FORMS, defaults, (), {})


def zips(stored, *values):
    queries = [{"user_id": "u1", "zip": value} for value in values]
    return people(stored).build_queries(queries).features["zip"].tolist()


@pytest.mark.parametrize(
    "values",
    [[10001], [10001.0], ["10001"], [10001, 10001.0, "10001"], [10001.0, 10001], [np.float64(10001)]],
)
def test_a_whole_number_is_one_category_whatever_stands_beside_it(values):
    assert zips([10001, None], *values) == ["10001"] * len(values)


def test_fractions_and_unknown_values_stay_as_they_are():
    assert zips([10001, None], 0.5, None) == ["0.5", "[UNK]"]
    assert zips([10001, None], 1e300) == ["1e+300"]


def test_releases_that_learned_decimals_are_still_asked_with_them():
    assert zips([10001.0, None], 10001.0, 10001, "10001") == ["10001.0"] * 3


def test_versions_are_texts_that_may_end_alike():
    assert zips(["1.0", "1"], "1.0", "1") == ["1.0", "1"]


@given(st.integers(-(2**53) + 1, 2**53 - 1))
def test_any_exact_whole_number_is_one_category_and_one_user(number):
    store = people([number, None])
    same = [number, float(number), str(number)]
    built = store.build_queries([{"user_id": value, "zip": value} for value in same])
    assert set(built.features["zip"]) == set(built.user_ids) == {str(number)}


def test_a_table_of_queries_is_read_alike():
    table = pl.DataFrame({"user_id": ["u0", "u1"], "zip": [10001.0, None]})
    assert people([10001, None]).of_table(table)["zip"].tolist() == ["10001", "[UNK]"]
    assert people([10001.0, None]).of_table(table)["zip"].tolist() == ["10001.0", "[UNK]"]
