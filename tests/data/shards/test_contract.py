"""A log read from its shards is the log read at once, whatever its pieces and partitions."""

import polars as pl
import pytest
from hypothesis import Phase, example, given, settings
from hypothesis import strategies as st

from tfrecall.core.progress import ProgressReporter
from tfrecall.data import Interactions, filter_log, prepare, read
from tfrecall.errors import ConfigError, DataError

# Ids that are none, spelt in several ways, padded, or of no ASCII.
USERS = ["u", "v", "w", "7", "07", "7.0", " u ", "", "NULL", "ü"]
ITEMS = ["a", "b", "c", "d", "A", "n/a", "", "b "]
# Ties, equal times, and forms that a column must agree on.
TIMES = {
    "seconds": ["0", "60", "60", "120", "86400"],
    "milliseconds": ["0", "1700000000000", "1700000060000"],
    "days": ["20240131", "20240201", "20231231"],
    "digits and counts": ["20240131", "1", "2", "3", "20240201"],
    "years": ["1999", "2000", "2024", "5"],
    "iso": ["2024-01-31", "2024-01-31T08:15:00", "2024-02-01 10:00:00+01:00"],
    "spoken": ["31/01/2024", "01/02/2024", "02/02/2024 08:00"],
    "named": ["31 January 2024", "1 February 2024", "2024-01-31"],
    "mixed": ["2024-01-31", "17", "x", ""],
}
# Whole numbers, codes, fractions, words for no value, truth values, text, decimal commas.
VALUES = [
    "1",
    "2",
    "02139",
    "1.5",
    "2.0",
    "nan",
    "None",
    "-",
    "",
    "true",
    "False",
    "x",
    "+4",
    '1"2"',
    "9" * 25,
]
FILTERS = st.fixed_dictionaries(
    {},
    optional={
        "min_rating": st.sampled_from([2.0, 3.0]),
        "duplicates": st.sampled_from(["first", "last"]),
        "max_user_interactions": st.sampled_from([3, 6]),
        "min_user_interactions": st.sampled_from([2, 3]),
        "min_item_interactions": st.sampled_from([2, 3]),
    },
)
OPTIONS = st.fixed_dictionaries(
    {},
    optional={
        "repeated_rows": st.just("keep"),
        "id_spelling": st.just("numbers"),
        "null_values": st.sampled_from([[], ["x"], ["null", "-"]]),
        "ignore_columns": st.just(["log.note"]),
    },
)


@st.composite
def logs(draw):
    """Rows of a small messy log, as text."""
    times = TIMES[draw(st.sampled_from(list(TIMES)))]
    values = draw(st.lists(st.sampled_from(VALUES), min_size=1, max_size=4))
    row = st.tuples(
        st.sampled_from(draw(st.lists(st.sampled_from(USERS), min_size=2, max_size=6))),
        st.sampled_from(draw(st.lists(st.sampled_from(ITEMS), min_size=2, max_size=6))),
        st.sampled_from(times),
        st.sampled_from(["1", "2", "3", "4.5"]),
        st.sampled_from(values),
    )
    # Fewer rows are mostly refused: one user, one item, nothing left.
    return draw(st.lists(row, min_size=8, max_size=40))


def outcome(make):
    """What reading gives, or the word that it is refused."""
    try:
        return make()
    except (DataError, ConfigError) as error:
        return error


def assert_equal_logs(shards, memory):
    assert shards.log.schema == memory.log.schema
    for name in ("log", "users", "items"):
        assert getattr(shards, name).equals(getattr(memory, name), null_equal=True), name
    assert shards.fingerprint == memory.fingerprint
    assert shards.name == memory.name


def check_contract(path, out, partitions=3, filters=None, size=40, rows=5, **options):
    """Prepares and reads a log both ways; both are refused, or equal."""
    memory = outcome(lambda: filter_log(read(path, **options), **(filters or {})))
    prepared = outcome(
        lambda: prepare(
            path,
            out,
            partitions=partitions,
            filtering=filters,
            progress=ProgressReporter(),
            piece_bytes=size,
            piece_rows=rows,
            **options,
        )
    )
    if isinstance(memory, Exception):
        assert isinstance(prepared, Exception), memory
        assert not out.exists()
        return None
    assert not isinstance(prepared, Exception), prepared
    data = Interactions.from_shards(out)
    assert_equal_logs(data, memory)
    assert prepared.counts.kept == len(memory)
    return data, memory, prepared


def as_csv(rows, mark=","):
    lines = [mark.join(["user_id", "item_id", "timestamp", "rating", "note"]), *map(mark.join, rows)]
    return "\n".join(lines) + "\n"


PLAIN = [("u", "a", "0", "1", "1"), ("v", "b", "60", "2", "x"), ("u", "b", "60", "3", "nan")]


@pytest.mark.slow
@pytest.mark.parametrize("partitions", [1, 3, 8])
def test_a_plain_log_is_the_same_from_shards_with_its_notes(tmp_path, partitions):
    (tmp_path / "log.csv").write_text(as_csv(PLAIN * 2))
    shards, memory, prepared = check_contract(tmp_path / "log.csv", tmp_path / "shards", partitions)
    # 6 rows, of which the last three repeat the first.
    assert (prepared.counts.read, prepared.counts.repeated, prepared.counts.kept) == (6, 3, 3)
    assert len(prepared.partitions) == partitions
    values = '1 of 3 values of "note"'
    assert shards.notes == tuple(note for note in memory.notes if not note.startswith(values))


def test_repeated_rows_without_a_user_meet_wherever_they_stand(tmp_path):
    (tmp_path / "log.csv").write_text(as_csv([*PLAIN, *[("", "a", "0", "1", "x")] * 4]))
    *_, prepared = check_contract(tmp_path / "log.csv", tmp_path / "shards")
    assert (prepared.counts.repeated, prepared.counts.no_user) == (3, 1)


def test_rows_of_equal_hashes_are_compared_in_every_column(tmp_path, monkeypatch):
    """As among billions of rows two may have; here all have the same."""
    zeros = lambda rows, **_: pl.zeros(rows.height, pl.UInt64, eager=True)  # noqa: E731
    monkeypatch.setattr(pl.DataFrame, "hash_rows", zeros)
    # Each row differs from the first in one column, but the last, which repeats the second.
    rows = [
        ("u", "a", "0", "1", "x"),
        *(("v", "a", "0", "1", "x"), ("u", "b", "0", "1", "x"), ("u", "a", "9", "1", "x")),
        *(("u", "a", "0", "2", "x"), ("u", "a", "0", "1", "y"), ("u", "a", "0", "1", "")),
        ("v", "a", "0", "1", "x"),
    ]
    (tmp_path / "log.csv").write_text(as_csv(rows))
    *_, prepared = check_contract(tmp_path / "log.csv", tmp_path / "shards")
    assert (prepared.counts.repeated, prepared.counts.kept) == (1, 7)


@pytest.mark.slow
# Shrinking would prepare for minutes: rows are few anyway.
@settings(max_examples=12, deadline=None, phases=[Phase.explicit, Phase.generate])
@given(
    logs(),
    FILTERS,
    OPTIONS,
    st.sampled_from([1, 3, 8]),
    st.sampled_from([200, 10_000]),
    st.sampled_from(",;"),
)
@example(PLAIN, {}, {}, 3, 1, ",")
@example(PLAIN * 2, {"min_item_interactions": 2}, {}, 8, 1, ";")
def test_a_log_of_text_is_the_same_from_shards(
    tmp_path_factory, rows, filters, options, parts, size, mark
):
    folder = tmp_path_factory.mktemp("log")
    (folder / "log.csv").write_text(as_csv(rows, mark))
    check_contract(folder / "log.csv", folder / "shards", parts, filters, size, **options)
