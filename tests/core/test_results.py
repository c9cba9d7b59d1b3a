"""Reasons in words, results as frames and as tables of a notebook."""

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tfrecall.core.dates import date_text, moment
from tfrecall.core.results import (
    Explanation,
    Reason,
    Recommendation,
    Recommendations,
    SimilarItems,
    common_reasons,
)


@pytest.mark.parametrize(
    ("reason", "text"),
    [
        (Reason("i1", None, 0.5), "Alien (1979)"),
        (Reason("i2", None, 0.5), "i2"),  # no title: the id
        (Reason(None, None, 0.5, "timestamp", 893286638.0), "last active 22 Apr 1998"),
        (Reason(None, None, 0.5, "timestamp", 17.0), "timestamp 17"),  # a counter is no date
        (Reason(None, None, 0.5, "timestamp", None), "timestamp unknown"),
        (Reason(None, None, 0.5, "price", 893286638.0), "price 893286638"),  # a number, no time
        (Reason(None, None, 0.5, "user_id", "42"), "the user's own vector"),
        (Reason(None, None, 0.5, "user_id", None), "an unknown user"),
        (Reason(None, None, 0.5, "tags", ["a", "b"]), "tags a, b"),
        (Reason(None, None, 0.5, "device", "web"), "device web"),
    ],
)
def test_a_reason_is_named_for_people(reason, text):
    assert reason.named({"i1": "Alien (1979)"}) == text


def test_moments_before_1970_are_dates_too():
    assert f"{moment(-86400):%Y-%m-%d}" == "1969-12-31"
    assert date_text(-86400) == "-86400"


@given(st.lists(st.lists(st.sampled_from("ab"), max_size=3), max_size=5))
def test_reasons_are_said_once_where_all_are_equal(lists):
    shared = common_reasons(lists)
    if len(lists) > 1 and len({tuple(one) for one in lists}) == 1:
        assert shared == lists[0]
    else:
        assert shared is None


EVIL = "<script>alert(1)</script>\u202e\x1b[31m"
TWO = Recommendations(
    [
        Recommendation("u", True, ["a", "b"], [2.0, 1.0], []),
        Recommendation("v", True, [], [], []),
        Recommendation(None, False, ["b"], [0.5], []),
    ]
)


def test_a_frame_has_a_row_for_each_item():
    frame = TWO.frame()
    assert frame.rows() == [(0, "u", 1, "a", 2.0), (0, "u", 2, "b", 1.0), (2, None, 1, "b", 0.5)]
    assert frame.schema == {
        "query": pl.Int32,
        "user_id": pl.String,
        "rank": pl.Int32,
        "item_id": pl.String,
        "score": pl.Float32,
    }
    assert Recommendations().frame().schema == frame.schema


def test_columns_of_items_keep_their_types_and_give_way_to_names_that_are_taken():
    items = pl.DataFrame({"item_id": ["b", "a"], "score": [7, 8], "tags": [["x"], []]})
    frame = TWO.frame(items)
    assert frame["score_of_item"].to_list() == [8, 7, 7]
    assert frame["tags"].dtype == pl.List(pl.String)
    assert frame["score"].to_list() == [2.0, 1.0, 0.5]


def test_reasons_are_a_frame_without_those_that_contribute_nothing():
    reasons = [Reason("a", None, 0.5), Reason(None, None, -0.25, "age", 34.0), Reason("b", None, 0.0)]
    frame = Explanation("u", "c", 1.0, 0.0, reasons).frame({"a": "Tea"})
    assert frame.rows() == [("Tea", 0.5, "a", None), ("age 34", -0.25, None, "age")]


@pytest.mark.parametrize(
    "result",
    [
        Recommendation(EVIL, False, [EVIL], [1.0], [{EVIL: EVIL, "tags": [EVIL]}]),
        Recommendations([Recommendation(EVIL, True, [EVIL], [1.0], [])] * 7),
        SimilarItems(EVIL, [EVIL], [1.0], [{"title": EVIL}]),
        Explanation(
            EVIL, EVIL, 1.0, 0.0, [Reason(EVIL, None, 0.5), Reason(None, 0.5, 1.0, EVIL, EVIL)]
        ),
    ],
)
def test_tables_of_a_notebook_escape_everything(result):
    html = result._repr_html_()
    assert "&lt;script&gt;" in html
    assert "<script" not in html
    assert "\u202e" not in html
    assert "\x1b" not in html


def test_a_notebook_shows_the_first_lists_and_the_number_of_the_others():
    html = Recommendations([Recommendation("u", True, ["a"], [1.0], [])] * 7)._repr_html_()
    assert html.count("<caption>Recommended to user u</caption>") == 5
    assert "and 2 more lists" in html
