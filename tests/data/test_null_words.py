"""Words for no value are missing values in every column, and numbers between them stay numbers."""

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tfrecall.config.inference import propose
from tfrecall.data import describe, from_frame, read
from tfrecall.data.formats.text_types import NULL_VALUES
from tfrecall.data.null_words import REAL_WORDS, without_null_words
from tfrecall.errors import DataError

# Any spelling of a word for no value, with blanks around it.
WORDS = st.sampled_from(NULL_VALUES).flatmap(
    lambda word: st.sampled_from([word, word.upper(), word.title(), f" {word} "])
)


def plain(values, roles=(), words=NULL_VALUES):
    table, notes = without_null_words(pl.DataFrame({"x": values}), (), roles, words, "log")
    return table["x"].to_list(), notes


@given(
    st.lists(
        st.one_of(st.integers(-999, 999), st.floats(-9, 9), WORDS), min_size=2, max_size=12
    ).filter(lambda values: any(not isinstance(one, str) for one in values))
)
def test_numbers_between_words_are_numbers(values):
    expected = [None if isinstance(one, str) else one for one in values]
    found, notes = plain([str(one) for one in values])
    if any(isinstance(one, str) for one in values):
        assert found == pytest.approx(expected)
        assert f"{expected.count(None):,} of {len(values)} values" in notes["x"]
    else:
        assert not notes


@given(st.lists(WORDS | st.sampled_from(["clerk", "not a number", "nanny", "Bananas"]), min_size=1))
def test_in_texts_words_that_may_be_values_stay(values):
    values = [*values, "clerk"]
    found, _ = plain(values)
    gone = [one for one in values if one.strip().lower() in set(NULL_VALUES) - REAL_WORDS]
    assert found == [None if one in gone else one for one in values]
    assert plain(values, words=()) == (values, {})


def test_codes_stay_codes_and_truth_values_are_such():
    assert plain(["007", "NULL", "12"])[0] == ["007", None, "12"]
    assert plain(["true", "-", "false"])[0] == [True, None, False]
    assert plain(["x", "-"], roles={"x"})[0] == ["x", None]


@pytest.mark.parametrize("kind", ["csv", "parquet", "jsonl"])
def test_files_frames_and_descriptions_agree(tmp_path, kind):
    log = pl.DataFrame({"user_id": ["NULL", "u1", "u2", "u1"], "item_id": ["a", "b", "none", "c"]})
    log = log.with_columns(
        timestamp=pl.Series([1, 2, 3, 4]) * 86_400, price=pl.Series(["1.5", "2", "nan", "NULL"])
    )
    log = pl.concat([log, log.with_columns(pl.lit("u3").alias("user_id"), pl.col("timestamp") + 9)])
    items = pl.DataFrame(
        {"item_id": list("abc"), "year": ["1999", "NULL", "2004"], "kind": ["x", "n/a", "y"]}
    )
    for name, table in (("log", log), ("items", items)):
        write = {"csv": table.write_csv, "parquet": table.write_parquet, "jsonl": table.write_ndjson}[
            kind
        ]
        write(tmp_path / f"{name}.{kind}")
    paths = tmp_path / f"log.{kind}", tmp_path / f"items.{kind}"
    data = read(paths[0], items=paths[1])
    assert data.log["price"].to_list() == [
        2,
        None,
        1.5,
        2,
        None,
    ]  # without the rows of no user and no item
    assert data.items.rows() == [("a", 1999, "x"), ("b", None, None), ("c", 2004, "y")]
    assert read(paths[0], items=paths[1], infer=True).log.equals(data.log)
    assert from_frame(log, items=items).items.equals(data.items)
    described = describe(*paths[:1], items=paths[1])
    year = next(one for one in described.profiles if one.name == "year")
    assert (year.dtype, year.nulls) == ("Int64", 1)
    kept = read(paths[0], items=paths[1], null_values=[], missing_items="add")
    assert kept.items["kind"].to_list() == ["x", "n/a", "y", None]


def test_decimal_commas_between_words_are_numbers(tmp_path):
    path = tmp_path / "log.csv"
    path.write_text("user_id;item_id;timestamp;price\na;x;60;1,5\nb;y;120;NULL\na;y;180;nan\n")
    assert read(path).log["price"].to_list() == [1.5, None, None]


def test_times_of_no_value_are_missing_and_refused_as_such(tmp_path):
    path = tmp_path / "log.csv"
    path.write_text("user_id,item_id,timestamp\na,x,-\nb,y,2024-05-31\na,y,\n")
    with pytest.raises(DataError, match="rows without a timestamp: 2 of 3 rows, the first is row 1"):
        read(path)
    assert "2 of 3 rows" in describe(path).refused[0]


def test_a_price_with_gaps_is_proposed_as_a_number_with_gaps(tmp_path):
    rows = [f"u{n % 12},i{n % 9},{n * 3_600}" for n in range(200)]
    (tmp_path / "log.csv").write_text("\n".join(["user_id,item_id,timestamp", *rows]) + "\n")
    prices = ["3.5", "NULL", "4.25", "7", "2.5", "9.5", "nan", "1.5", "8"]
    items = [f"i{n},{price}" for n, price in enumerate(prices)]
    (tmp_path / "items.csv").write_text("\n".join(["item_id,price", *items]) + "\n")
    proposal = propose(tmp_path / "log.csv", items=tmp_path / "items.csv")
    why = next(one.why for one in proposal.decisions if one.column == "price")
    assert why.startswith("a number that has no value in 2 of 9 rows")
