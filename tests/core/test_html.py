"""Tables in HTML: cut, counted, escaped."""

import xml.etree.ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tfrecall.core.html import escaped, html_facts, html_list, html_table


def cells(html):
    return [cell.text or "" for cell in ET.fromstring(html).iter("td")]


@given(st.lists(st.dictionaries(st.text(max_size=5), st.text(max_size=20), max_size=3), max_size=5))
def test_any_text_is_well_formed(rows):
    html = html_table(rows, caption="a<b")
    ET.fromstring(html)
    ET.fromstring(html_facts("a&b", {name: value for row in rows for name, value in row.items()}))


def test_numbers_texts_lists_and_nothing():
    rows = [{"a": 12345, "b": 0.123456, "c": ["x", "y"], "d": True}, {"b": 1e9, "c": None}]
    assert cells(html_table(rows)) == ["12,345", "0.1235", "x, y", "True", "", "1000000000", "", ""]


def test_long_texts_are_cut_with_the_whole_as_a_tooltip():
    html = html_table([{"title": "<" * 100}])
    assert html.count("&lt;") == 100 + 79
    assert f'<span title="{"&lt;" * 100}">' in html


def test_more_rows_than_a_notebook_shows_are_counted():
    html = html_table([{"a": str(i)} for i in range(25)], most=20)
    assert html.count("<tr>") == 21
    assert html.endswith("<p>and 5 more</p>")


def test_lists_of_sentences():
    assert html_list(["a & b", "c"]) == "<ul><li>a &amp; b</li><li>c</li></ul>"
    assert html_list([]) == ""


@pytest.mark.parametrize("sign", ["\u200b", "\ufeff", "\u2060", "\U000e0041"])
def test_signs_that_nobody_sees_are_written_out(sign):
    assert escaped(f"a{sign}b") == "a" + sign.encode("unicode_escape").decode("ascii") + "b"
