"""Values that are none, ids in several spellings, events logged twice: said, counted, settable."""

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tfrecall.config.inference import propose
from tfrecall.data import Interactions, describe, read
from tfrecall.data.cleaning import NULL_VALUES, repeats, spelt_as_number
from tfrecall.errors import ConfigError, DataError
from tfrecall.runs.preparation import load_data


def frame(users, items=None, times=None, **columns):
    rows = len(users)
    log = {
        "user_id": users,
        "item_id": items or [f"i{k % 3}" for k in range(rows)],
        "timestamp": times or list(range(rows)),
    }
    return pl.DataFrame({**log, **columns}, strict=False)


def notes(data):
    return " | ".join(data.notes)


# Values that are none

NONE = st.sampled_from([*NULL_VALUES, "NULL", "NaN", "None", "N/A", "", "  ", "\t", None])
PAD = st.sampled_from(["", " ", "  ", "\t", "\u00a0"])


@given(st.lists(st.tuples(NONE, PAD), min_size=1, max_size=6), st.sampled_from(["user_id", "item_id"]))
def test_rows_without_an_id_are_dropped_and_counted(written, key):
    wrong = [None if word is None else pad + word + pad for word, pad in written]
    log = frame(["u", "v", "u"]).vstack(
        frame(["w"] * len(wrong), times=[9] * len(wrong)).with_columns(pl.Series(key, wrong))
    )
    data = Interactions.from_frame(log, repeated_rows="keep")
    assert data.log["user_id"].to_list() == ["u", "v", "u"]
    word = key.removesuffix("_id")
    assert f"{len(wrong)} of {len(wrong) + 3} rows of the log have no {word}" in data.notes[0]


def test_the_words_are_named_with_their_numbers():
    data = Interactions.from_frame(frame(["u", "NULL", "v", "NULL", " ", "nan"]))
    assert 'no user (2 "NULL"' in data.notes[0]
    assert all(part in data.notes[0] for part in ('1 "nan"', "1 blank", "`null_values`"))


def test_words_can_be_kept_and_others_be_named():
    log = frame(["u", "NA", "?", "v"])
    assert Interactions.from_frame(log, null_values=[]).log["user_id"].to_list() == [
        "u",
        "NA",
        "?",
        "v",
    ]
    assert Interactions.from_frame(log, null_values=["?"]).log["user_id"].to_list() == ["u", "NA", "v"]
    with pytest.raises(DataError, match="null or empty ids"):
        Interactions.from_frame(frame(["u", None, "v"]), null_values=[])


def test_nulls_of_any_type_are_dropped():
    data = Interactions.from_frame(frame([7.0, float("nan"), 8.0, None]))
    assert data.log["user_id"].to_list() == ["7", "8"]


@given(st.lists(st.tuples(PAD, st.sampled_from("uvw"), PAD), min_size=1, max_size=9))
def test_blanks_around_ids_are_removed_and_counted(written):
    users = ["u", "v", *("".join(parts) for parts in written)]
    data = Interactions.from_frame(frame(users))
    assert data.log["user_id"].to_list() == [user.strip() for user in users]
    changed = sum(user != user.strip() for user in users)
    assert (f"{changed} user ids of the log have blanks" in notes(data)) == (changed > 0)


def test_ids_of_tables_are_cleaned_alike():
    items = pl.DataFrame({"item_id": [" i0", "i1 ", "i2", "N/A"], "kind": list("abcd")})
    data = Interactions.from_frame(frame(["u", "v", "u"]), items=items)
    assert data.items.rows() == [("i0", "a"), ("i1", "b"), ("i2", "c")]


def test_a_log_without_any_user_is_refused_with_the_reason():
    with pytest.raises(DataError, match=r'No row .* 3 rows of the log have no user \(3 "NULL"\)'):
        Interactions.from_frame(frame(["NULL"] * 3))


# One value in several spellings


def spellings(number):
    """One whole number as files, frames and spreadsheets spell it."""
    return st.sampled_from([str(number), f"{number}.0", f"000{number}", f" {number} ", f"{number}.000"])


@given(st.data())
def test_one_number_in_many_spellings_is_one_id_in_every_table(data):
    numbers = [7, 42, 10001, 0, 7, 42]
    log = frame([data.draw(spellings(n)) for n in numbers], [data.draw(spellings(n)) for n in numbers])
    items = pl.DataFrame({"item_id": [data.draw(spellings(n)) for n in (7, 42, 10001, 0)]})
    users = pl.DataFrame({"user_id": [7.0, 42.0, 10001.0, 0.0]})
    read = Interactions.from_frame(log, items=items, users=users, id_spelling="numbers")
    assert read.log["user_id"].to_list() == read.log["item_id"].to_list() == [str(n) for n in numbers]
    assert read.items["item_id"].to_list() == ["7", "42", "10001", "0"]
    assert read.users.height == 4


@given(st.text(max_size=8))
def test_ids_that_are_no_numbers_keep_their_spelling(text):
    spelt = spelt_as_number(pl.Series([text])).item()
    try:
        whole = float(text) == int(float(text)) and "e" not in text.lower() and "_" not in text
    except (ValueError, OverflowError):
        whole = False
    if not whole:
        assert spelt == pl.Series([text]).str.strip_chars().item()


@pytest.mark.parametrize("spell", ["{:05}", "{}.0", "item-{}"])
@pytest.mark.parametrize("policy", ["refuse", "add", "drop"])
def test_a_table_in_another_spelling_is_refused_with_the_remedy(spell, policy):
    items = pl.DataFrame(
        {"item_id": [str(k) if spell[0] == "{" else f"ITEM-{k}" for k in range(10, 30)]}
    )
    log = frame(["u", "v"] * 10, [spell.format(k) for k in range(10, 30)])
    with pytest.raises(DataError, match=r"spell their ids differently.*20 if"):
        Interactions.from_frame(log, items=items, missing_items=policy)
    if spell[0] == "{":
        fixed = Interactions.from_frame(log, items=items, id_spelling="numbers")
        assert fixed.log["item_id"].to_list() == items["item_id"].to_list()


def test_users_in_another_spelling_are_refused_too():
    users = pl.DataFrame({"user_id": [1, 2, 3], "age": [20, 30, 40]})
    with pytest.raises(DataError, match='"0001" of the log is "1" in the users table'):
        Interactions.from_frame(frame(["0001", "0002", "0001"]), users=users)


def test_a_few_ids_that_are_alike_by_chance_are_no_other_spelling():
    items = pl.DataFrame({"item_id": [str(k) for k in range(20)]})
    log = frame(["u", "v"] * 10, [*map(str, range(19)), "007"])
    data = Interactions.from_frame(log, items=items, missing_items="add")
    assert data.items.height == 21
    assert 'item_id="007"' not in notes(data)


def test_two_spellings_within_one_log_are_said():
    data = Interactions.from_frame(frame(["42", "42.0", "7", "A"]))
    assert data.users.height == 4
    assert "1 users of the log have several spellings, such as '42', '42.0'" in notes(data)


# Events that were logged twice


@given(
    st.lists(st.tuples(*[st.sampled_from("uv"), st.sampled_from("xy"), st.integers(0, 2)]), max_size=9)
)
def test_of_equal_rows_one_is_kept(rows):
    rows = [("u", "x", 0), ("v", "y", 1), *rows]
    log = pl.DataFrame(rows, schema=["user_id", "item_id", "timestamp"], orient="row")
    data = Interactions.from_frame(log)
    assert data.log.rows() == list(dict.fromkeys(rows))
    assert len(Interactions.from_frame(log, repeated_rows="keep")) == len(rows)


def test_nulls_nan_and_lists_are_equal_to_themselves_alone():
    rows = pl.DataFrame(
        {
            "a": [None, None, 1.0, float("nan"), float("nan"), float("nan")],
            "b": [["x"], ["x"], ["x"], ["x"], ["x"], None],
        }
    )
    equal = pl.zeros(rows.height, pl.UInt64, eager=True)
    assert repeats(rows, equal).to_list() == [False, True, False, False, True, False]
    # Rows as read that differ in a column that is gone have other hashes.
    assert not repeats(rows, pl.Series(range(6))).any()


def test_rows_that_differ_in_a_column_that_is_not_read_are_no_repetition(tmp_path):
    log = frame(["u", "u", "v", "v"], ["x", "x", "y", "y"], [1, 1, 2, 2], line=[1, 2, 1, 1])
    log.write_csv(tmp_path / "log.csv")
    data = read(tmp_path / "log.csv", ignore_columns=["log.line"])
    assert data.log["user_id"].to_list() == ["u", "u", "v"]
    assert "1 of 4 rows of the log (25.0%) repeat another row" in data.notes[0]


@pytest.mark.parametrize("times", [None, [5, 5, 5, 5]])
def test_without_times_equal_rows_may_be_two_events(times):
    log = frame(["u", "u", "v", "v"], ["x", "x", "y", "x"], times or [0] * 4)
    log = log.drop("timestamp") if times is None else log
    data = Interactions.from_frame(log, timestamp="" if times is None else "timestamp")
    assert len(data) == 4


# Headers in the middle of a file


@pytest.mark.parametrize("far", [0, 12_000])
def test_names_of_columns_in_the_middle_of_a_file_are_left_out_and_types_are_found(tmp_path, far):
    lines = [
        "user_id,item_id,timestamp,price",
        *(f"0{k % 7}7,i{k % 5},{k},{k}.5" for k in range(far + 9)),
    ]
    lines[far + 4 : far + 4] = lines[:1]
    lines.append(lines[0])
    (tmp_path / "log.csv").write_text("\n".join(lines) + "\n")
    data = read(tmp_path / "log.csv")
    assert len(data) == far + 9
    assert data.log["price"].dtype == pl.Float64
    assert data.log["user_id"].to_list()[:2] == ["007", "017"]
    assert "2 lines of log.csv repeat the names of the columns" in notes(data)
    found = describe(tmp_path / "log.csv")
    assert (found.rows, found.refused) == (far + 9, ())
    assert "repeat the names of the columns" in " ".join(found.guessed)


def test_ids_stay_as_written_beside_a_second_header(tmp_path):
    (tmp_path / "log.csv").write_text("who,sku,at\n1.0,5,1\n2.0,6,2\nwho,sku,at\n1.0,6,3\n")
    config = propose(tmp_path / "log.csv", user_id="who").config()
    assert load_data(config.data).log["user_id"].to_list() == ["1.0", "2.0", "1.0"]


# Settings


def test_unknown_settings_are_refused_with_the_nearest():
    with pytest.raises(ConfigError, match='mean "numbers"'):
        Interactions.from_frame(frame(["u", "v"]), id_spelling="number")
    with pytest.raises(ConfigError, match="repeated_rows"):
        Interactions.from_frame(frame(["u", "v"]), repeated_rows="first")


def test_what_is_described_is_what_a_run_reads(tmp_path):
    users = [f"{k % 9:03}" for k in range(90)] + ["NULL", " 001", "002", "002"]
    log = frame(users, [f"i{k % 7}" for k in range(94)], [*range(92), 92, 92])
    log = log.with_columns(
        pl.when(pl.col("timestamp") > 91).then(pl.lit("i0")).otherwise("item_id").alias("item_id")
    )
    log.write_csv(tmp_path / "log.csv")
    for rules in ({}, {"repeated_rows": "keep", "id_spelling": "numbers"}, {"null_values": ("-",)}):
        found = describe(tmp_path / "log.csv", **rules)
        config = propose(tmp_path / "log.csv", **rules).config()
        data = load_data(config.data)
        assert (found.usable_rows, found.users) == (len(data), data.users.height)
        assert set(found.cleaned) <= set(data.notes)
