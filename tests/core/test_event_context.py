"""What is known of events beside their items: names, texts, lists that lie side by side."""

import numpy as np
import polars as pl
import pytest

from tfrecall.core.event_context import GAP_NAMES, aligned, checked_context, gap_places, texts
from tfrecall.errors import DataError

MINUTE, HOUR, DAY = 60, 3600, 86400


@pytest.mark.parametrize(
    ("seconds", "name"),
    [
        (float("nan"), "start"),
        (0, "seconds"),
        (MINUTE - 1, "seconds"),
        (MINUTE, "minutes"),
        (HOUR - 1, "minutes"),
        (HOUR, "hours"),
        (DAY, "days"),
        (7 * DAY - 1, "days"),
        (7 * DAY, "weeks"),
        (30 * DAY, "months"),
        (365 * DAY - 1, "months"),
        (365 * DAY, "years"),
        (3000 * DAY, "years"),
    ],
)
def test_a_gap_has_the_name_of_its_order_of_magnitude(seconds, name):
    assert GAP_NAMES[gap_places(np.array([seconds], np.float64))[0]] == name


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (pl.Series([4.0, 10.0, 3.5, None, float("nan")]), ["4", "10", "3.5", "", ""]),
        (pl.Series([4, None]), ["4", ""]),
        (pl.Series(["4.0", "web", None]), ["4.0", "web", ""]),
        (pl.Series([True, False]), ["true", "false"]),
        (pl.Series([None, None]), ["", ""]),
    ],
    ids=["floats", "whole numbers", "texts", "yes and no", "nothing"],
)
def test_values_of_a_column_have_the_texts_that_requests_use(values, expected):
    assert texts(values).to_list() == expected


# Of requests


@pytest.mark.parametrize("given", [[5, 4.0, "3", None], np.array([5, 4.0, "3", None], object)])
def test_numbers_are_the_texts_of_the_log(given):
    assert checked_context("h", "rating", given, ["a", "b", "c", "d"]) == ["5", "4", "3", ""]


def test_what_stands_beside_padding_is_left_out_with_it():
    assert checked_context("h", "rating", [1, 2, 3], ["a", "", "c"]) == ["1", "3"]


def test_nothing_is_known_of_any_event_without_a_list():
    assert checked_context("h", "rating", None, ["a", "", "c"]) == ["", ""]


@pytest.mark.parametrize(
    ("context", "given", "ids", "said"),
    [
        (
            "rating",
            [1, 2],
            ["a"],
            r'"h_rating" takes one value for each id of "h".* 2 values for 1 ids',
        ),
        ("rating", [], ["a"], "0 values for 1 ids"),
        ("rating", [1], None, r'the list "h", which the query does not give.*"h_rating" = \[1\]'),
        ("rating", None, None, "which the query does not give"),
        ("rating", "5", ["a"], "takes a list, one value for each id.*of type str"),
        ("rating", {5}, ["a"], "of type set"),
        ("rating", [[5]], ["a"], r"takes texts or numbers.*\[5\] of type list"),
        ("rating", [True], ["a"], "takes texts or numbers.*of type bool"),
        ("gap", ["day"], ["a"], r'start, seconds, .*Received: \'day\'. Did you mean "days"'),
        ("gap", [3600], ["a"], "how long each event came after the one before.*Received: 3600"),
    ],
)
def test_what_cannot_be_used_is_refused_with_what_came(context, given, ids, said):
    with pytest.raises(DataError, match=said):
        checked_context("h", context, given, ids)


# Of tables


def test_lists_of_a_table_lie_side_by_side():
    frame = pl.DataFrame(
        {"h": [["a", None, "b"], None, []], "h_rating": [[4.0, 5.0, None], None, []], "more": [1, 2, 3]}
    )
    found = aligned(frame, {"h": ["rating", "gap"]})
    assert found["h"].to_list() == [["a", "b"], [], []]
    assert found["h_rating"].to_list() == [["4", ""], [], []]
    assert found["h_gap"].to_list() == [["", ""], [], []]
    assert found["more"].to_list() == [1, 2, 3]


def test_a_table_without_the_lists_stays_as_it_is():
    frame = pl.DataFrame({"user_id": ["u"]})
    assert aligned(frame, {"h": ["rating"]}).equals(frame)


def test_a_table_with_context_of_a_list_that_it_lacks_is_refused():
    with pytest.raises(DataError, match='"h_rating" tells of the events of the list "h"'):
        aligned(pl.DataFrame({"h_rating": [["5"]]}), {"h": ["rating"]})


def test_rows_of_other_lengths_are_refused():
    frame = pl.DataFrame({"h": [["a"], ["a", "b"]], "h_rating": [["5"], ["5"]]})
    with pytest.raises(DataError, match="1 values for 2 ids"):
        aligned(frame, {"h": ["rating"]})
