"""Timestamps become seconds in UTC; what cannot be told apart for certain is refused."""

import re
from datetime import date, datetime, timedelta, timezone

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tfrecall.core.arguments import command_line
from tfrecall.data.time_doubts import doubts
from tfrecall.data.timestamps import to_seconds
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
    with pytest.raises(DataError, match=r'row 3: "3 h".*timestamp_format="%d/%m/%Y %H:%M"'):
        seconds(["2020-01-01", "2020-01-02", "3 h"])


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


# 2023-12-31T08:15:00Z: 53 years of 365 days and 13 leap days are 19,358 days to 2023-01-01; 364 days later.
LAST_DAY = (19_358 + 364) * 86_400
MORNING = LAST_DAY + 8 * 3_600 + 15 * 60


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2023-12-31 08:15:00 UTC", MORNING),  # BigQuery
        ("2023-12-31 08:15:00.000 utc", MORNING),
        ("2023-12-31 08:15:00+00", MORNING),  # PostgreSQL
        ("2023-12-31 09:15:00 +0100", MORNING),
        ("2023/12/31 08:15", MORNING),
        ("2023.12.31", LAST_DAY),
        ("20231231T081500Z", MORNING),
        ("2023-12-31 08:15:00,000", MORNING),  # logs of Python and Java
        ("31/12/2023 08:15", MORNING),
        ("31/12/2023", LAST_DAY),
        ("31.12.2023 08:15:00", MORNING),
        ("31-12-2023T08:15:00", MORNING),
        ("31/12/2023 08:15:00 UTC", MORNING),
        ("12/31/2023 8:15", MORNING),  # spreadsheets
        ("12/31/2023 8:15:00 AM", MORNING),
        ("12/31/2023 08:15 PM", MORNING + 12 * 3_600),
        ("31/Dec/2023:08:15:00", MORNING),  # Apache
        ("[31/Dec/2023:09:15:00 +0100]", MORNING),
        ("Sun, 31 Dec 2023 08:15:00 GMT", MORNING),  # mail and HTTP
        ("Sun Dec 31 08:15:00 2023", MORNING),  # ctime
        ("Sun Dec 31 08:15:00 +0000 2023", MORNING),  # Twitter
        ("Sun Dec 31 08:15:00 UTC 2023", MORNING),  # date
        ("31 Dec 2023 08:15", MORNING),
        ("31-DEC-2023", LAST_DAY),
        ("December 31, 2023", LAST_DAY),
        ("Dec 31, 2023 8:15 AM", MORNING),
        ("12/31/2023, 8:15:00 AM", MORNING),  # browsers
        ("Dec 31, 2023, 8:15:00 AM", MORNING),
        ("20231231T0815", MORNING),
        ("Sun, 31 Dec 2023 03:15:00 EST", MORNING),  # RFC 5322: EST is -0500
        ("Sun Dec 31 00:15:00 PST 2023", MORNING),
        ("2023-12-31 10:15 CEST", MORNING),
        ("31/12/2023 01:15:00 AM MST", MORNING),
        ("Dec 31, 2023 3:15:00 AM EST", MORNING),
        ("2023-12-31T09:15:00+01:00[Europe/Berlin]", MORNING),  # Java
    ],
)
def test_dates_as_programs_and_people_write_them(text, expected):
    assert seconds([text]) == [expected]
    # Another row of the same form changes nothing.
    assert seconds([text, text]) == [expected, expected]


def test_one_row_tells_for_the_whole_column_whether_days_come_first():
    first = [f"0{day}/0{month}/2020" for day in range(1, 10) for month in range(1, 10)]
    # 2020 is a leap year: 2 March is 61 days after New Year, 3 February 33.
    assert seconds(["02/03/2020", *first, "13/01/2020"])[0] == NEW_YEAR + 61 * 86_400
    assert seconds(["02/03/2020", *first, "01/13/2020"])[0] == NEW_YEAR + 33 * 86_400
    assert seconds(["02.03.2020"]) == [
        NEW_YEAR + 61 * 86_400
    ]  # nobody writes the month first with points
    assert seconds(["05/05/2020"]) == [NEW_YEAR + 125 * 86_400]


def test_days_that_cannot_be_told_from_months_are_refused_with_both_readings():
    with pytest.raises(DataError) as caught:
        seconds(["05/05/2020 08:15", "02/03/2020 08:15"])
    assert (
        '"02/03/2020 08:15" is 2020-03-02 with timestamp_format="%d/%m/%Y %H:%M", or 2020-02-03 with '
        'timestamp_format="%m/%d/%Y %H:%M"'
    ) in str(caught.value)
    with command_line(), pytest.raises(DataError, match='--timestamp-format "%d/%m/%Y %H:%M"'):
        seconds(["02/03/2020 08:15"])
    # The formats of the message read the column.
    column = pl.Series(["02/03/2020 08:15"])
    assert to_seconds(column, form="%d/%m/%Y %H:%M")[0].item() == NEW_YEAR + 61 * 86_400 + 29_700
    assert to_seconds(column, form="%m/%d/%Y %H:%M")[0].item() == NEW_YEAR + 33 * 86_400 + 29_700


def test_days_first_in_one_row_and_months_first_in_another_are_refused():
    with pytest.raises(DataError, match='1 of 2 rows, the first is row 2: "12/31/2020"'):
        seconds(["31/12/2020", "12/31/2020"])


@pytest.mark.parametrize(
    "text",
    ["24-01-31", "31/12/23", "08:15", "2024-13-01", "31/02/2024", "2024-01-31 08:15 CST", "Q1 2024"],
)
def test_times_without_a_whole_date_or_with_the_name_of_a_zone_are_refused(text):
    with pytest.raises(DataError, match="cannot be read: 1 of 1 rows"):
        seconds([text])


def test_zones_are_said_and_may_differ_from_row_to_row():
    # 8:15 in UTC, 9:15 an hour east of it: the same moment. DEST is no zone.
    column = pl.Series(["2023-12-31 08:15 UTC", "2023-12-31 09:15 CET", "2023-12-31 03:15 EST"])
    moments, kind = to_seconds(column)
    assert moments.to_list() == [MORNING] * 3
    assert kind.endswith("EST as -0500, CET as +0100")
    with pytest.raises(DataError, match="cannot be read: 1 of 1 rows"):
        seconds(["2023-12-31 08:15 DEST"])


@pytest.mark.parametrize(
    ("text", "zone"),
    [
        ("2023-12-31 08:15:00 IST", "IST"),
        ("Sun Dec 31 08:15:00 CST 2023", "CST"),  # of America, and of China
        ("2023-12-31 08:15:00 Europe/Berlin", "Europe/Berlin"),
        ("2023-12-31T08:15:00[America/Argentina/Ushuaia]", "America/Argentina/Ushuaia"),
    ],
)
def test_other_zones_are_refused_by_name_and_read_with_an_offset(text, zone):
    with pytest.raises(DataError, match=f'The zone "{zone}" is not read.*Write its offset'):
        seconds([text])
    assert seconds([text.replace(f"[{zone}]", zone).replace(zone, "+00:00")]) == [MORNING]


@pytest.mark.parametrize(
    "clock", ["", " %H:%M", " %H:%M:%S.%f", "T%H:%M:%S", " %I:%M:%S %p", ", %I:%M %p"]
)
@pytest.mark.parametrize(
    ("order", "mark"), [("%d %m %y", "/"), ("%m %d %y", "-"), ("%y %m %d", "."), ("%d %m %y", ".")]
)
def test_years_of_two_digits_are_refused_with_the_formats_that_read_them(order, mark, clock):
    form = order.replace(" ", mark) + clock
    # The 31st and the 13th of a month: no number above 12 is a month, and 31 may be a year.
    written = [datetime(2023, 12, day, 20, 15, 30).strftime(form) for day in (31, 13)]
    with pytest.raises(DataError, match="A year has four digits") as error:
        seconds(written)
    forms = re.findall(r'timestamp_format="([^"]+)"', str(error.value))
    assert form in forms
    for one in forms:
        moments, _ = to_seconds(pl.Series(written), form=one)
        day = str(datetime.fromtimestamp(moments[0], timezone.utc).date())
        assert f'{day} with timestamp_format="{one}"' in str(error.value)


FORMATS = [
    "%Y-%m-%d %H:%M:%S.%f",
    "%d/%m/%Y %H:%M:%S.%f",
    "%m-%d-%y %I:%M:%S.%f %p",
    "%d %B %Y, %H:%M:%S.%f",
    "%Y%m%d%H%M%S%f",
    "%f %S %M %H %j %Y",
    "%Y-%m-%dT%H:%M:%S.%f%z",
    "%A %d.%m.%Y %H h %M:%S.%f",
]


@given(st.lists(MOMENTS, min_size=1, max_size=10), st.sampled_from(FORMATS), st.integers(0, 999_999))
def test_a_format_reads_what_it_writes(moments, form, microseconds):
    # %y stands for 1969 to 2068.
    moments = [
        m.replace(tzinfo=timezone.utc, microsecond=microseconds) for m in moments if m.year < 2068
    ]
    column = pl.Series([moment.strftime(form) for moment in moments], dtype=pl.String)
    expected = [moment.timestamp() for moment in moments]
    assert to_seconds(column, form=form)[0].to_list() == pytest.approx(expected, rel=0, abs=1e-6)


def test_a_format_reads_digits_of_numbers_and_refuses_other_rows():
    found = to_seconds(pl.Series([20200101, 20200102]), form="%Y%m%d")[0].to_list()
    assert found == [NEW_YEAR, NEW_YEAR + 86_400]
    assert to_seconds(pl.Series([2020.0]), form="%Y")[0].item() == NEW_YEAR
    with pytest.raises(DataError, match=r'row 2: "2020-01-01"\. They must have the format "%d/%m/%Y"'):
        to_seconds(pl.Series(["01/01/2020", "2020-01-01"]), form="%d/%m/%Y")


@pytest.mark.parametrize("form", ["", "dd/mm/yyyy", "%d/%m", "%H:%M", "%d/%m/%Y %Z"])
def test_a_format_without_a_year_is_refused(form):
    with pytest.raises(ConfigError, match="is no format of dates with a year"):
        to_seconds(pl.Series(["01/01/2020"]), form=form)


def test_a_unit_and_a_format_exclude_each_other():
    with pytest.raises(ConfigError, match="a unit or a format"):
        to_seconds(pl.Series(["1"]), "s", form="%Y")


@given(st.lists(MOMENTS, min_size=1, max_size=20))
def test_numbers_that_are_dates_in_digits_or_days_of_a_spreadsheet_are_read(moments):
    moments = [moment for moment in moments if 1990 <= moment.year < 2100]
    days = [m.replace(hour=0, minute=0, second=0, tzinfo=timezone.utc).timestamp() for m in moments]
    minutes = [m.replace(second=0, tzinfo=timezone.utc).timestamp() for m in moments]
    exact = [moment.replace(tzinfo=timezone.utc).timestamp() for moment in moments]
    for form, expected in (("%Y%m%d", days), ("%Y%m%d%H%M", minutes), ("%Y%m%d%H%M%S", exact)):
        digits = [moment.strftime(form) for moment in moments]
        if digits:
            assert seconds(digits, dtype=pl.String) == expected
        assert seconds([int(text) for text in digits], dtype=pl.Int64) == expected
        assert seconds([float(text) for text in digits], dtype=pl.Float64) == expected
    # Spreadsheets end here in 2049; days as numbers have steps of less than a microsecond.
    recent = [m for m in moments if m.year < 2049]
    since = [(moment - datetime(1899, 12, 30)) / timedelta(days=1) for moment in recent]
    expected = [moment.replace(tzinfo=timezone.utc).timestamp() for moment in recent]
    assert seconds(since, dtype=pl.Float64) == pytest.approx(expected, abs=1e-5)


def test_years_and_months_are_their_first_days():
    assert seconds([2020, 1971]) == [NEW_YEAR, 365 * 86_400]
    assert seconds([202001, 197101]) == [NEW_YEAR, 365 * 86_400]


def test_a_stated_unit_reads_numbers_as_such():
    assert seconds([20200101, 2020, 43_831], unit="s") == [20200101, 2020, 43_831]
    assert seconds([18_262], unit="d") == [NEW_YEAR]
    assert seconds(["18262.5"], unit="d") == [NEW_YEAR + 43_200]


def test_rows_that_are_no_dates_among_dates_in_digits_are_refused():
    days = [20200101 + day for day in range(30)]
    said = "YYYYMMDD, but some are none: 2 of 32 rows, the first is row 31: 0"
    with pytest.raises(DataError, match=said):
        seconds([*days, 0, 20201301])


NOW = NEW_YEAR + 10 * 86_400


def doubted(values, **options):
    return doubts(*to_seconds(pl.Series(values)), now=NOW, **options)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ([20180101, 20180131], "read as dates written as YYYYMMDD, from 2018-01-01 to 2018-01-31"),
        (["20180101", "20171231"], "read as dates written as YYYYMMDD"),
        ([1990, 1991, 2019], "read as years"),
        ([201901, 201912], "read as months written as YYYYMM"),
        ([43101.0, 43101.25, 43130.5], "read as days of a spreadsheet, from 2018-01-01 to 2018-01-30"),
        ([1, 2, 14], "look like counts of days or steps"),
        ([20181301, 20180101], "look like counts"),  # there is no month 13
        ([-5, 99_999_999], "from 1969-12-31T23:59:55 to 1973-03-03T09:46:39"),
        ([100_000_000, 100_000_001], "The times end on 1973-03-03, before 1990"),
        (["1989-12-31"], "The times end on 1989-12-31, before 1990"),
        (["2020-01-01", "2020-01-20"], "1 of 2 times are after tomorrow, the last is 2020-01-20"),
        ([NEW_YEAR * 1_000, NEW_YEAR * 1_500], "1 of 2 times are after tomorrow"),
    ],
)
def test_times_that_are_hardly_meant_are_doubted(values, words):
    found = doubted(values)
    assert len(found) == 1
    assert words in found[0]


@pytest.mark.parametrize(
    "values",
    [
        [NEW_YEAR - 1, NEW_YEAR],
        [NEW_YEAR * 1000],
        ["2020-01-12"],  # in another zone it may be tomorrow already
        [date(2019, 1, 1)],
        [],
    ],
)
def test_other_times_are_not_doubted(values):
    column = pl.Series(values) if values else pl.Series([], dtype=pl.Int64)
    assert doubts(*to_seconds(column), now=NOW) == []


def test_a_declared_unit_is_not_doubted():
    assert doubts(*to_seconds(pl.Series([1, 2, 14]), "s"), declared=True, now=NOW) == []


@pytest.mark.parametrize(
    ("mark", "day"),
    [
        (0, "1970-01-01"),
        (-1, "1969-12-31"),
        (4_102_444_800, "2100-01-01"),
        (253_402_300_799, "9999-12-31"),
        (2**31 - 1, "2038-01-19"),
    ],
)
@pytest.mark.parametrize("per_second", [1, 1_000])
def test_times_that_stand_for_no_time_are_counted_and_named(mark, day, per_second):
    if (mark, per_second) == (-1, 1_000):
        mark = -1 / per_second  # -1 is the mark in every unit
    times = [(NEW_YEAR - 3_600 * hour) * per_second for hour in range(50)]
    found = doubted([*times, int(mark * per_second), int(mark * per_second)])
    assert [text[:43] for text in found] == [f"2 of 52 rows have the time {day}, far "]


@pytest.mark.parametrize("text", ["0001-01-01", "1900-01-01", "9999-12-31 23:59:59"])
def test_texts_that_stand_for_no_time_are_counted_too(text):
    found = doubted(["2019-05-31", "2019-06-01", text])
    assert found[0].startswith(f"1 of 3 rows have the time {text[:10]}")
    assert len(found) == 1


def test_steps_from_0_and_logs_of_such_days_have_no_marks():
    assert len(doubted([0, 1, 2, 3])) == 1  # counts of steps
    assert doubted(["1999-12-31", "2000-01-01"]) == []
