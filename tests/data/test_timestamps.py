"""Timestamps become seconds in UTC; what cannot be told apart for certain is refused."""

from datetime import date, datetime, timedelta, timezone

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tfrecall.data.timestamps import doubt, to_seconds
from tfrecall.errors import ConfigError, DataError

# 2020-01-01T00:00:00Z: 50 years of 365 days and 12 leap days, 18,262 days of 86,400 seconds.
NEW_YEAR = 18_262 * 86_400


def seconds(values, unit=None, **kwargs):
    column = pl.Series("timestamp", values, **kwargs)
    return to_seconds(column, unit)[0].to_list()


@pytest.mark.parametrize(
    ("per_second", "kind"),
    [
        (1, "seconds"),
        (1_000, "milliseconds"),
        (1_000_000, "microseconds"),
        (1_000_000_000, "nanoseconds"),
    ],
)
def test_the_unit_of_whole_numbers_is_told_by_magnitude(per_second, kind):
    column = pl.Series([NEW_YEAR * per_second, (NEW_YEAR + 60) * per_second])
    found, words = to_seconds(column)
    assert found.to_list() == [NEW_YEAR, NEW_YEAR + 60]
    assert found.dtype == pl.Float64
    assert words == f"{kind} since 1970"


def test_floats_are_seconds_with_fractions():
    assert seconds([NEW_YEAR + 0.5, 1.25]) == [NEW_YEAR + 0.5, 1.25]


def test_floats_of_milliseconds_are_recognised_too():
    assert seconds([NEW_YEAR * 1000.0]) == [NEW_YEAR]


def test_small_numbers_are_seconds_so_that_steps_can_serve_as_times():
    assert seconds([1, 2, 3]) == [1.0, 2.0, 3.0]


def test_zero_fits_every_unit():
    assert seconds([0, NEW_YEAR * 1000]) == [0.0, NEW_YEAR]


def test_times_before_1970_are_negative():
    assert seconds([-NEW_YEAR * 1000]) == [-NEW_YEAR]


def test_a_column_that_mixes_units_is_refused_with_the_rows_of_each_kind():
    with pytest.raises(DataError) as caught:
        seconds([NEW_YEAR, NEW_YEAR + 1, NEW_YEAR * 1000])
    assert "2 rows like seconds (first: row 1)" in str(caught.value)
    assert "1 rows like milliseconds (first: row 3)" in str(caught.value)


def test_a_stated_unit_overrules_magnitude():
    assert seconds([5_000, NEW_YEAR * 1000], unit="ms") == [5.0, NEW_YEAR]


def test_an_unknown_unit_is_refused():
    with pytest.raises(ConfigError, match='Received: "sec"'):
        seconds([1], unit="sec")


def test_dates_are_midnight_utc():
    assert seconds([date(2020, 1, 1)]) == [NEW_YEAR]


def test_date_times_without_a_zone_are_utc():
    assert seconds([datetime(2020, 1, 1, 0, 0, 30)]) == [NEW_YEAR + 30]


@pytest.mark.parametrize("unit", ["ms", "us", "ns"])
def test_date_times_with_a_zone_are_the_moment_they_name(unit):
    # One o'clock in Berlin's winter is midnight UTC.
    column = pl.Series([datetime(2020, 1, 1, 1)]).cast(pl.Datetime(unit))
    found, words = to_seconds(column.dt.replace_time_zone("Europe/Berlin"))
    assert found.to_list() == [NEW_YEAR]
    assert words == "date-times in Europe/Berlin"


@pytest.mark.parametrize(
    "text",
    [
        "2020-01-01",
        "2020-01-01T00:00",
        "2020-01-01 00:00:00",
        "2020-01-01T00:00:00.000",
        "2020-01-01T00:00:00Z",
        "2020-01-01T00:00Z",
        "2020-01-01T01:00:00+01:00",
        "2019-12-31 19:00:00-0500",
        " 2020-01-01 ",
        "1577836800",
        "1577836800000",
    ],
)
def test_strings_in_iso_form_or_of_digits(text):
    assert seconds([text]) == [NEW_YEAR]


def test_iso_forms_may_differ_from_row_to_row():
    found = seconds(["2020-01-01", "2020-01-01T00:00:01Z", "2020-01-01 00:00:02"])
    assert found == [NEW_YEAR, NEW_YEAR + 1, NEW_YEAR + 2]


def test_unreadable_strings_are_counted_and_the_first_is_shown():
    with pytest.raises(DataError, match='2 of 3 rows, the first is row 2: "31/12/2019"'):
        seconds(["2020-01-01", "31/12/2019", "soon"])


def test_numbers_among_dates_are_refused():
    with pytest.raises(DataError, match=r"1 rows are numbers \(first: row 2\)"):
        seconds(["2020-01-01", "1577836800"])


@pytest.mark.parametrize("values", [[1, None, None], ["2020-01-01", None, None]])
def test_missing_timestamps_are_counted(values):
    with pytest.raises(DataError, match="2 of 3 rows, the first is row 2"):
        seconds(values)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_timestamps_that_are_no_numbers_are_refused(value):
    with pytest.raises(DataError, match="NaN or infinite: 1 of 2 rows, the first is row 2"):
        seconds([1.0, value])


def test_a_column_of_another_type_is_refused():
    with pytest.raises(DataError, match="Received: List"):
        seconds([[1]])


MOMENTS = st.datetimes(datetime(1980, 1, 1), datetime(2100, 1, 1)).map(
    lambda moment: moment.replace(microsecond=0)
)
ZONES = st.integers(-12, 14).map(lambda hours: timezone(timedelta(hours=hours)))


@given(st.lists(MOMENTS, min_size=1, max_size=20), ZONES)
def test_all_ways_to_write_a_moment_agree(moments, zone):
    expected = [moment.replace(tzinfo=timezone.utc).timestamp() for moment in moments]
    local = [moment.replace(tzinfo=timezone.utc).astimezone(zone) for moment in moments]
    assert seconds([int(second) for second in expected]) == expected
    assert seconds([int(second) * 1000 for second in expected]) == expected
    assert seconds(moments) == expected
    assert seconds([moment.isoformat() for moment in moments]) == expected
    assert seconds([moment.isoformat() for moment in local]) == expected


@pytest.mark.parametrize(
    "values", [[1, 2], [1.5, 2.5], ["1", "2"], ["2024-05-31", "2024-06-01"], [date(2024, 5, 31)] * 2]
)
def test_the_column_keeps_its_name(values):
    assert to_seconds(pl.Series("timestamp", values))[0].name == "timestamp"


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ([20180101, 20180131, 20180201], "look like dates written as YYYYMMDD"),
        (["20180101", "20171231"], "look like dates written as YYYYMMDD"),
        ([1990, 1991, 2020], "look like years"),
        ([43101.0, 43101.25, 43130.5], "look like days of a spreadsheet"),
        ([1, 2, 14], "look like counts of days or steps"),
        ([20181301, 20180101], "look like counts"),  # there is no month 13
        ([-5, 99_999_999], "from 1969-12-31T23:59:55 to 1973-03-03T09:46:39"),
    ],
)
def test_numbers_of_the_years_after_1970_are_doubted(values, words):
    assert words in doubt(*to_seconds(pl.Series(values)))


@pytest.mark.parametrize(
    "values",
    [
        [1, NEW_YEAR],
        [100_000_000],  # 1973-03-03T09:46:40, where milliseconds are recognised
        [NEW_YEAR * 1000],
        [20180101 * 1000],  # milliseconds by their size? no: 2e10 is seconds of the year 2609
        ["1970-01-01"],
        [date(1970, 1, 1)],
        [],
    ],
)
def test_other_times_are_not_doubted(values):
    column = pl.Series(values) if values else pl.Series([], dtype=pl.Int64)
    assert doubt(*to_seconds(column)) == ""
