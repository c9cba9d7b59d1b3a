"""Equal content gives an equal fingerprint; any other content another one."""

import hashlib
from datetime import date

import numpy as np
import polars as pl
import pytest

from tfrecall.data import fingerprint as fingerprints
from tfrecall.data.fingerprint import fingerprint

TABLE = pl.DataFrame(
    {
        "id": ["a", "b", None, "ü"],
        "n": [1, 2, 3, None],
        "x": [0.5, 1.5, None, 2.5],
        "day": [date(2020, 1, 1), None, date(2020, 1, 2), date(2020, 1, 3)],
        "tags": [["p", "q"], [], None, ["r"]],
        "flag": [True, False, None, True],
        "pair": [{"a": 1, "b": "x"}, {"a": 2, "b": None}, None, {"a": 3, "b": "z"}],
        "raw": [b"\xff", b"", None, b"x"],
    }
)


def test_it_is_the_same_in_every_process_and_release():
    table = pl.DataFrame({"id": ["a", "bc"], "n": [1.0, 2.0]})
    by_hand = hashlib.sha256(
        b"table 2 2\n"
        + b"column 'id' String\n"
        + b"whole"
        + np.array([1, 2], dtype="<u4").tobytes()  # how long the strings are
        + b"abc"
        + b"column 'n' Float64\n"
        + b"whole"
        + np.array([1.0, 2.0], dtype="<f8").tobytes()
    )
    assert fingerprint(table) == by_hand.hexdigest()


def test_chunks_do_not_matter():
    chunked = pl.concat([TABLE.head(1), TABLE.slice(1, 2), TABLE.tail(1)], rechunk=False)
    assert chunked.n_chunks() == 3
    assert fingerprint(chunked) == fingerprint(TABLE)


def test_slices_of_the_hash_see_every_row(monkeypatch):
    monkeypatch.setattr(fingerprints, "SLICE_ROWS", 2)
    assert fingerprint(TABLE) != fingerprint(TABLE.head(3))
    assert fingerprint(TABLE) == fingerprint(TABLE.clone())


CHANGES = {
    "order of rows": lambda t: t.reverse(),
    "order of columns": lambda t: t.select(reversed(t.columns)),
    "a name": lambda t: t.rename({"n": "m"}),
    "a type": lambda t: t.with_columns(pl.col("n").cast(pl.Int32)),
    "a row less": lambda t: t.head(3),
    "a string": lambda t: t.with_columns(pl.col("id").replace("b", "c")),
    "null made empty": lambda t: t.with_columns(pl.col("id").fill_null("")),
    "a number": lambda t: t.with_columns(pl.col("x") * 2),
    "null made zero": lambda t: t.with_columns(pl.col("n").fill_null(0)),
    "a list": lambda t: t.with_columns(pl.col("tags").list.reverse()),
    "null made an empty list": lambda t: t.with_columns(pl.col("tags").fill_null([])),
    "a flag": lambda t: t.with_columns(~pl.col("flag")),
    "a date": lambda t: t.with_columns(pl.col("day").dt.offset_by("1d")),
    "a field": lambda t: t.with_columns(pl.col("pair").struct.with_fields(a=pl.field("a") + 7)),
}


@pytest.mark.parametrize("change", CHANGES)
def test_any_other_content_gives_another_fingerprint(change):
    assert fingerprint(CHANGES[change](TABLE)) != fingerprint(TABLE)


def test_text_cannot_move_from_one_value_to_the_next():
    one, other = (pl.DataFrame({"id": ids}) for ids in (["ab", "c"], ["a", "bc"]))
    assert fingerprint(one) != fingerprint(other)


def test_null_cannot_move_from_one_value_to_the_next():
    one, other = (pl.DataFrame({"id": ids}) for ids in (["a", None], [None, "a"]))
    assert fingerprint(one) != fingerprint(other)


def test_elements_cannot_move_from_one_list_to_the_next():
    one, other = (pl.DataFrame({"tags": tags}) for tags in ([["a"], ["b"]], [["a", "b"], []]))
    assert fingerprint(one) != fingerprint(other)


def test_rows_cannot_move_from_one_table_to_the_next():
    assert fingerprint(TABLE.head(1), TABLE.tail(3)) != fingerprint(TABLE.head(2), TABLE.tail(2))
