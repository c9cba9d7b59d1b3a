"""Reasons in words: titles, dates, and what all items share."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tfrecall.core.dates import date_text, moment
from tfrecall.core.results import Reason, common_reasons


@pytest.mark.parametrize(
    ("reason", "text"),
    [
        (Reason("i1", None, 0.5), "Alien (1979)"),
        (Reason("i2", None, 0.5), "i2"),  # no title: the id
        (Reason(None, None, 0.5, "timestamp", 893286638.0), "timestamp = 1998-04-22 23:10"),
        (Reason(None, None, 0.5, "timestamp", 17.0), "timestamp = 17"),  # a counter is no date
        (Reason(None, None, 0.5, "timestamp", None), "timestamp = unknown"),
        (Reason(None, None, 0.5, "price", 893286638.0), "price = 893286638"),  # a number, no time
        (Reason(None, None, 0.5, "user_id", "42"), "the user's own vector"),
        (Reason(None, None, 0.5, "user_id", None), "an unknown user"),
        (Reason(None, None, 0.5, "tags", ["a", "b"]), "tags = a|b"),
        (Reason(None, None, 0.5, "device", "web"), "device = web"),
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
