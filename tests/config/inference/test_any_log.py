"""Any log goes through: what is proposed can be prepared, and each feature takes what its column holds."""

from datetime import date, datetime

import polars as pl
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from tests.properties import examples
from tfrecall.config.inference import propose
from tfrecall.core.raw import raw_features
from tfrecall.errors import DataError
from tfrecall.runs.preparation import prepare

VALUES = {
    "words": st.sampled_from(["red", "blue", "dark green", "", "ü", "a|b", "x, y"]),
    "texts": st.text(st.characters(codec="utf-8", exclude_characters="\x00"), max_size=30),
    "numbers": st.floats(-1e6, 1e6, width=32),
    "wild numbers": st.floats(allow_nan=True, allow_infinity=True),
    "counts": st.integers(0, 5),
    "big numbers": st.integers(-(2**40), 2**40),
    "flags": st.booleans(),
    "days": st.dates(date(2000, 1, 1), date(2030, 1, 1)),
    "moments": st.datetimes(datetime(2000, 1, 1), datetime(2030, 1, 1)),
    "lists": st.lists(st.sampled_from(["a", "b", None]), max_size=3),
    "lists of numbers": st.lists(st.floats(allow_nan=False, width=32), max_size=3),
    "nothing": st.none(),
}
NAMES = st.sampled_from(
    ["colour", "Größe", "unit price", "price", "rating", "age", "shop_id", "k", "2nd", "title", "tags"]
)


@st.composite
def columns(draw, rows):
    """Up to four columns of any kind, with or without gaps."""
    made = {}
    for name in draw(st.lists(NAMES, max_size=4, unique=True)):
        values = VALUES[draw(st.sampled_from(sorted(VALUES)))]
        values = values | st.none() if draw(st.booleans()) else values
        made[name] = draw(st.lists(values, min_size=rows, max_size=rows))
    return made


@st.composite
def logs(draw):
    """A log, a user table and an item table; the tables may lack some and hold others."""
    rows, users, items = draw(st.integers(6, 30)), draw(st.integers(2, 8)), draw(st.integers(2, 8))
    log = {
        "user_id": [f"u{i % users}" for i in range(rows)],
        "item_id": [f"i{draw(st.integers(0, items - 1)) if i > 1 else i}" for i in range(rows)],
    }
    if draw(st.booleans()):
        log["timestamp"] = draw(st.lists(st.integers(0, 9), min_size=rows, max_size=rows))
    log |= draw(columns(rows))
    tables = {}
    for name, key, count in (("users", "user_id", users), ("items", "item_id", items)):
        if draw(st.booleans()):
            size = max(1, count + draw(st.integers(-1, 3)))
            ids = {key: [f"{key[0]}{i}" for i in range(size)]}
            tables[name] = pl.DataFrame({**ids, **draw(columns(size))}, strict=False)
    return pl.DataFrame(log, strict=False), tables


@pytest.mark.slow
@settings(
    examples(30), suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(logs())
def test_what_is_proposed_can_be_prepared(tmp_path, made):
    log, tables = made
    log.write_parquet(tmp_path / "log.parquet")
    paths = {}
    for name, table in tables.items():
        table.write_parquet(tmp_path / f"{name}.parquet")
        paths[name] = tmp_path / f"{name}.parquet"
    try:
        config = propose(tmp_path / "log.parquet", **paths).config()
    except DataError as error:
        # Two columns of dates and none named like the time: that question is the answer.
        assume("Several columns of the log could be the time" not in str(error))
        raise
    prepared = prepare(config)
    for part in (prepared.train, prepared.test):
        raw_features(
            part.queries, {f.column: f.form for f in config.schema.query if f.type != "history"}
        )
    raw_features(prepared.known.items, {f.column: f.form for f in config.schema.candidate})
