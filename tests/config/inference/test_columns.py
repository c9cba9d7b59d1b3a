"""Each kind of column becomes the feature a person would choose, or is left out for a reason."""

from datetime import date, datetime, timedelta

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tfrecall.config.inference.columns import decide
from tfrecall.config.inference.log_columns import (
    decide_log_column,
    follows_from_item,
    follows_from_time,
)

N = 200
ROW = range(N)

FEATURES = {
    "few words": (["Home & Garden", "Tea and Coffee"] * (N // 2), "categorical"),
    "few values with gaps": ([None, "a", "b", "a"] * (N // 4), "categorical"),
    "brands": ([f"brand{i % 90}" for i in ROW], "categorical"),
    "yes or no": ([True, False] * (N // 2), "categorical"),
    "titles": ([f"Cup of tea number {i}" for i in ROW], "text"),
    "titles with gaps": ([None, *(f"Cup of tea number {i}" for i in ROW[1:])], "text"),
    "prices": ([i * 1.7 for i in ROW], "bucketized"),
    "years": ([1950 + i % 60 for i in ROW], "bucketized"),
    "years with gaps": ([None, *(1950 + i % 60 for i in ROW[1:])], "categorical"),
    "levels": ([i % 5 for i in ROW], "categorical"),
    "lists": ([["a"], ["b", "a"], None, []] * (N // 4), "multi_categorical"),
    "lists with nulls": ([["a", None], [None]] * (N // 2), "multi_categorical"),
    "lists of numbers": ([[1], [2, 1]] * (N // 2), "multi_categorical"),
    "written lists": (["Drama|Comedy", "Comedy", "War|Drama|Comedy"] * 60, "multi_categorical"),
    "written lists with blanks": (["red, blue", "blue, green", "red", ""] * 50, "multi_categorical"),
}

LEFT_OUT = {
    "empty": ([None] * N, "is empty in every row"),
    "constant": (["x"] * N, "the same value in every row"),
    "row numbers": ([*ROW], "identifies the row"),
    "codes of the row": ([f"AB{i}" for i in ROW], "too rare to learn"),
    "prices with gaps": ([None, *(i * 1.7 for i in ROW[1:])], "no value in 1 of 200 rows"),
    "dates": ([date(2024, 1, 1 + i % 28) for i in ROW], "add a column with the year"),
    "date-times": ([datetime(2024, 1, 1, i % 24) for i in ROW], "add a column with the year"),
    "dates as text": ([f"2024-01-{1 + i % 28:02}" for i in ROW], "dates as text"),
    "documents": ([f"{i} " + "word " * 2_000 for i in ROW], "texts of up to 10,0"),
    "vectors": ([[0.1, 0.2]] * (N // 2) + [[0.3, 0.4]] * (N // 2), "holds List(Float64)"),
    "embeddings": (
        [[0.1 * i] * 768 for i in ROW],
        'up to 768 numbers; an embedding is a feature if you say so: { type = "vector", column = "column", '
        "length = 768 }",
    ),
    "very long lists": ([["a"] * 501, ["b"]] * (N // 2), "lists of up to 501 values"),
    "structs": ([{"a": i % 3} for i in ROW], "for which there is no feature"),
}


@pytest.mark.parametrize("kind", FEATURES)
def test_columns_become_features(kind):
    values, wanted = FEATURES[kind]
    assert decide("items", pl.Series("column", values)).feature["type"] == wanted


@pytest.mark.parametrize("kind", LEFT_OUT)
def test_columns_are_left_out_for_a_reason(kind):
    values, why = LEFT_OUT[kind]
    decision = decide("items", pl.Series("column", values))
    assert decision.feature is None
    assert why in decision.why


@pytest.mark.parametrize(
    ("name", "why"),
    [("Größe", "rename it to"), ("unit price", "rename it to unit_price"), ("2nd", "rename it to nd")],
)
def test_names_that_cannot_be_arguments_are_to_be_changed(name, why):
    decision = decide("items", pl.Series(name, ["a", "b"] * 50))
    assert decision.feature is None
    assert why in decision.why


def test_titles_with_commas_are_no_lists():
    titles = [f"Cup {i}, the {i % 7}th of the long red kind" for i in ROW]
    assert decide("items", pl.Series("title", titles)).feature["type"] == "text"


def test_the_mark_between_values_is_found():
    assert decide("items", pl.Series("genres", FEATURES["written lists"][0])).separator == "|"
    assert decide("items", pl.Series("tags", FEATURES["written lists with blanks"][0])).separator == ","


def test_a_number_that_added_rows_will_lack_is_left_out():
    decision = decide(
        "users", pl.Series("age", [20.5 + i % 40 for i in ROW]), gaps="3 users do not have"
    )
    assert decision.feature is None
    assert "a number that 3 users do not have" in decision.why


# Columns of the log

EVENTS = pl.DataFrame(
    {
        "user": [f"u{i % 20}" for i in ROW],
        "item": [f"i{i % 11}" for i in ROW],
        "device": ["web" if i % 7 < 3 else "app" for i in ROW],
        "category": [f"c{i % 11 % 4}" for i in ROW],
        "country": [f"land{i % 20 % 3}" for i in ROW],
        "age": [20 + i % 20 for i in ROW],
        "price": [i % 11 * 1.5 for i in ROW],
        "temperature": [i * 7 % 31 + 0.5 for i in ROW],
        "basket_id": [f"b{i // 3}" for i in ROW],
        "weather": [f"w{i}" for i in ROW],
        "tags": [["a", "b"][: i % 3] for i in ROW],
    }
)


@pytest.mark.parametrize(
    ("name", "kind", "why"),
    [
        ("device", "categorical", "circumstance of the event"),
        ("country", "categorical", "the same in all events of a user"),
        ("age", "bucketized", "the same in all events of a user"),
        ("category", None, "follows from the item and would give it away"),
        ("price", None, "known only with the event"),
        ("basket_id", None, "known only with the event"),
        ("temperature", None, "a number that comes with the event"),
        ("weather", None, "too rare to learn"),
        ("tags", None, "lists that come with the event"),
    ],
)
def test_columns_of_the_log_are_features_only_if_known_beforehand(name, kind, why):
    decision = decide_log_column(EVENTS, name)
    assert (decision.feature and decision.feature["type"]) == kind
    assert why in decision.why


def test_what_follows_from_the_item_is_measured_above_chance():
    # x goes with a in 9 of 10 events, y with b in 9 of 10: 18 of 20 are guessed, 10 of 20 by chance,
    # so (.9 - .5) / (1 - .5) = .8.
    events = pl.DataFrame({"item": ["x"] * 10 + ["y"] * 10, "c": ["a"] * 9 + ["b"] * 10 + ["a"]})
    assert follows_from_item(events, "c") == pytest.approx(0.8)
    assert follows_from_item(events.with_columns(c=pl.Series(["a", "b"] * 10)), "c") == 0


def test_codes_with_leading_zeros_are_codes_not_words():
    decision = decide("users", pl.Series("zip", ["02139", "2139", "00501", "10001"] * 25))
    assert decision.feature == {"type": "categorical"}
    assert decision.why == "codes, 4 different"


# A year of events, ten a day, of 40 users, in the order of the time.
DAYS = pl.Series([date(2023, 1, 1) + timedelta(days=k // 10) for k in range(3_650)])
SECONDS = DAYS.to_physical().cast(pl.Float64) * 86_400 + pl.Series(
    [k % 10 * 8_000.0 for k in range(3_650)]
)
PEOPLE = [f"u{k}" for k in np.random.default_rng(0).integers(0, 40, 3_650)]


@pytest.mark.parametrize(
    ("values", "why"),
    [
        (DAYS.dt.month(), "the month"),
        (DAYS.dt.strftime("%Y-%m"), "the month"),
        (DAYS.dt.week(), "the week"),
        (DAYS.dt.strftime("%Y-%m-%d"), "the day"),
        (DAYS.dt.day(), "the day of the month"),
        (DAYS.dt.weekday().cast(pl.String), "the day of the week"),
        (pl.Series([k % 10 * 8_000 // 3_600 for k in range(3_650)]), "the hour"),
        (pl.Series([f"release {k // 37}" for k in range(3_650)]), "an interval of its own"),
        (pl.Series(["web" if k * 3 % 7 < 3 else "app" for k in range(3_650)]), None),
        (pl.Series([f"city {int(user[1:]) % 5}" for user in PEOPLE]), None),
        (pl.Series([f"b{k // 3}" for k in range(3_650)]), None),
    ],
)
def test_what_the_time_says_already_is_left_out(values, why):
    events = pl.DataFrame(
        {"user": PEOPLE, "item": [f"i{k % 11}" for k in range(3_650)], "part": values}
    )
    decision = decide_log_column(events, "part", SECONDS)
    assert ("follows from the time" in decision.why) == (why is not None)
    if why is not None:
        assert decision.feature is None
        assert why in decision.why
    assert "follows from the time" not in decide_log_column(events, "part").why


@given(st.integers(0, 2**32 - 1), st.integers(2, 6))
def test_values_drawn_at_random_do_not_follow_from_the_time(seed, values):
    drawn = np.random.default_rng(seed).integers(0, values, len(PEOPLE))
    events = pl.DataFrame({"user": PEOPLE, "part": drawn})
    assert follows_from_time(events, "part", SECONDS) == ""


def test_a_few_events_in_the_next_partition_change_nothing():
    late = DAYS.dt.offset_by("1d")
    days = pl.select(pl.when(pl.int_range(3_650) % 50 == 49).then(late).otherwise(DAYS)).to_series()
    events = pl.DataFrame({"user": PEOPLE, "part": days.dt.strftime("%Y-%m-%d")})
    assert follows_from_time(events, "part", SECONDS) == "the day"
