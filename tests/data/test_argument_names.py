"""Refusals name arguments of Python, and on the command line the options and settings."""

import polars as pl
import pytest

from tfrecall.core.arguments import OPTIONS, argument, command_line
from tfrecall.data import filter_log, from_frame, split_by_time, split_random
from tfrecall.data.shaping import drop_columns, split_lists
from tfrecall.errors import TfrecallError

FRAME = pl.DataFrame({"user_id": list("aabb"), "item_id": list("xyxy"), "timestamp": [1, 2, 3, 4]})
ITEMS = pl.DataFrame({"item_id": ["x", "y"]})

REFUSED = {
    "unit": lambda: from_frame(FRAME, unit="weeks"),
    "repeated_rows": lambda: from_frame(FRAME, repeated_rows="some"),
    "id_spelling": lambda: from_frame(FRAME, id_spelling="any"),
    "missing_items": lambda: from_frame(FRAME, items=ITEMS, missing_items="keep"),
    "ignore_columns": lambda: drop_columns({"log": FRAME}, ["log.price"]),
    "list_separators": lambda: split_lists({"log": FRAME}, {"genres": "|"}),
    "duplicates": lambda: filter_log(from_frame(FRAME), duplicates="none"),
    "min_rating": lambda: filter_log(from_frame(FRAME), min_rating=3),
    "min_user_interactions": lambda: filter_log(from_frame(FRAME), min_user_interactions=0),
    "max_user_interactions": lambda: filter_log(from_frame(FRAME), max_user_interactions=0),
    "test_fraction": lambda: split_random(from_frame(FRAME), test_fraction=2.0),
    "at": lambda: split_by_time(from_frame(FRAME), "soon"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_refusal_names_what_its_caller_wrote(name):
    with pytest.raises(TfrecallError) as in_python:
        REFUSED[name]()
    with command_line(), pytest.raises(TfrecallError) as in_shell:
        REFUSED[name]()
    assert argument(name) in str(in_python.value)
    assert OPTIONS[name] in str(in_shell.value)
    assert f"`{name}`" not in str(in_shell.value)


def test_mixed_units_are_refused_with_the_option_that_states_one():
    mixed = FRAME.with_columns(timestamp=pl.Series([1_600_000_000, 1_600_000_000_000, 1, 2]))
    with pytest.raises(TfrecallError, match='unit="ms"'):
        from_frame(mixed)
    with command_line(), pytest.raises(TfrecallError, match="--timestamp-unit ms"):
        from_frame(mixed)
