"""Kinds of files, times, ids and tables that a preparation reads as reading at once does."""

import gzip
import json
from datetime import datetime, timezone

import polars as pl
import pytest

from tests.data.shards.test_contract import as_csv, check_contract
from tfrecall.core.progress import ProgressReporter
from tfrecall.data import prepare
from tfrecall.data.shards.pieces import cut
from tfrecall.engines import Local
from tfrecall.errors import DataError, MissingColumnError

# Each prepares a log once or twice: seconds in sum.
pytestmark = pytest.mark.slow
ROWS = [
    (f"u{n % 7}", f"i{n % 5}", str(60 * (n // 2)), str(1 + n % 5), "x" if n == 20 else str(n))
    for n in range(24)
]
FRAME = pl.DataFrame(ROWS, schema=["user_id", "item_id", "timestamp", "rating", "note"], orient="row")
TYPED = FRAME.with_columns(pl.col("timestamp", "rating").cast(pl.Int64))


@pytest.fixture
def out(tmp_path):
    return tmp_path / "shards"


def test_parquet_is_cut_by_rows(tmp_path, out):
    log = TYPED.with_columns(
        tags=pl.Series([["a"], [], None] * 8),
        price=pl.Series([1.0, 2.0, None] * 7 + [4.0, 0.5, 1.0]),
        kind=pl.Series(["p", "q"] * 12, dtype=pl.Categorical),
        nested=pl.struct(pl.col("rating").alias("deep")),
        amounts=pl.Series([[1.0], [2.0, None]] * 12),
    )
    log.write_parquet(tmp_path / "log.parquet", row_group_size=4)
    data, _, _ = check_contract(tmp_path / "log.parquet", out, rows=7)
    # Whole in all pieces but the last.
    assert data.log.schema["price"] == pl.Float64
    assert data.log.schema["amounts"] == pl.List(pl.Int64)


@pytest.mark.parametrize(
    "times",
    [
        [datetime(2024, 1, 1 + n, tzinfo=timezone.utc) for n in range(24)],
        [20240101.0 + n for n in range(24)],
        [1.7e12 + n for n in range(22)] + [0.0, -1.0],
        [45_000.5 + n for n in range(24)],
        # Dates in digits but in the last piece: counts, by all of them together.
        [20240101 + n for n in range(18)] + [1, 2, 3, 4, 5, 6],
        # One fault among dates: refused.
        [20240101 + n for n in range(23)] + [7],
    ],
)
def test_times_are_read_as_in_the_whole_log(tmp_path, out, times):
    TYPED.with_columns(timestamp=pl.Series(times)).write_parquet(tmp_path / "log.parquet")
    check_contract(tmp_path / "log.parquet", out, rows=6)


def test_times_in_a_unit_a_format_or_none(tmp_path, out):
    TYPED.write_parquet(tmp_path / "log.parquet")
    check_contract(tmp_path / "log.parquet", out, unit="ms")
    check_contract(tmp_path / "log.parquet", out, timestamp="", ignore_columns=["log.timestamp"])
    path = tmp_path / "text.csv"
    path.write_text(as_csv([(u, i, f"{1 + n}.2.2024", r, x) for n, (u, i, _, r, x) in enumerate(ROWS)]))
    check_contract(path, tmp_path / "others", timestamp_format="%d.%m.%Y")


@pytest.mark.parametrize("suffix", [".csv.gz", ".jsonl", ".json"])
def test_files_of_one_piece_each(tmp_path, out, suffix):
    folder = tmp_path / "log"
    folder.mkdir()
    for n, part in enumerate((TYPED[:11], TYPED[11:].with_columns(pl.col("note").cast(pl.String)))):
        file = folder / f"{n}{suffix}"
        if suffix == ".jsonl":
            part.write_ndjson(file)
        elif suffix == ".json":
            part.write_json(file)
        else:
            file.write_bytes(gzip.compress(part.write_csv().encode()))
    check_contract(folder, out)


@pytest.mark.parametrize(
    ("changed", "is_cut"),
    [
        ({}, True),
        # A field that comes late, whole numbers before fractions, nulls before values: still one type.
        ({20: {"late": 1}, 21: {"rating": 1.5}, 22: {"note": None}}, True),
        # Text beside numbers, objects of several fields, a text that looks like a list: the whole file at once.
        ({n: {"note": n} for n in range(16, 24)}, False),
        ({3: {"deep": {"a": 1}}, 20: {"deep": {"b": "x"}}}, False),
        ({20: {"note": "[1]"}}, False),
        # Refused: a list beside text, a broken line.
        ({20: {"note": [1]}}, None),
        ({20: {"note": float("nan")}}, None),
    ],
)
def test_json_lines_are_cut_where_they_agree(tmp_path, out, changed, is_cut):
    rows = [row | changed.get(n, {}) for n, row in enumerate(TYPED.to_dicts())]
    lines = [json.dumps(row) + "\n" for row in rows]
    (tmp_path / "log.jsonl").write_text("".join(lines))
    size = sum(map(len, lines)) // 5
    if is_cut is None:
        assert check_contract(tmp_path / "log.jsonl", out, size=size) is None
        return
    assert check_contract(tmp_path / "log.jsonl", out, size=size) is not None
    _, pieces, _ = cut(tmp_path / "log.jsonl", (), None, Local(), ProgressReporter(), size=size)
    assert (len(pieces) > 3) == is_cut
    assert is_cut or len(pieces) == 1


@pytest.mark.parametrize(
    "text",
    [
        # Values over several lines, quotes around all, quotes that mean nothing.
        'user_id\titem_id\ttimestamp\nu\t"a\nb"\t0\nv\tb\t60\n',
        '"user_id","item_id","timestamp"\n"u","a, b","0"\n"v","b","60"\n',
        'user_id\titem_id\ttimestamp\nu\t5" disc\t0\nv\tb\t60\n',
        # Empty lines, names repeated, a column without a name, decimal commas, old and foreign ends of lines.
        "user_id,item_id,timestamp\nu,a,0\n\nv,b,60\n\n",
        "user_id,item_id,timestamp\nu,a,0\nuser_id,item_id,timestamp\nv,b,60\n",
        ",user_id,item_id,timestamp\n0,u,a,0\n1,v,b,60\n",
        ",user_id,item_id,timestamp\n,u,a,0\n,v,b,60\n",
        "user_id;item_id;timestamp;price\nu;a;0;1,5\nv;b;60;2\n",
        "user_id,item_id,timestamp\r\nu,a,0\r\nv,b,60",
        "user_id,item_id,timestamp\ru,a,0\rv,b,60\r",
        "sep=;\nuser_id;item_id;timestamp\nu;a;0\nv;b;60\n",
        # Refused: a line too short, one too long, no rows, one user.
        "user_id,item_id,timestamp\nu,a,0\nv,b\nw,b,60\n",
        "user_id,item_id,timestamp\nu,a,0\nv,b,60,7,8\n",
        "user_id,item_id,timestamp\n",
        "user_id,item_id,timestamp\nu,a,0\nu,b,60\n",
    ],
)
def test_text_is_cut_at_lines_that_are_rows(tmp_path, out, text):
    path = tmp_path / f"log.{'tsv' if chr(9) in text else 'csv'}"
    path.write_bytes(text.encode())
    check_contract(path, out, size=12)


def test_files_of_text_are_one_table(tmp_path, out):
    folder = tmp_path / "log"
    folder.mkdir()
    (folder / "1.csv").write_text(as_csv(ROWS[:10]))
    # Other order of the columns, a fraction where the first file has whole numbers.
    lines = [f"{note},{user},{item},{time},1.5" for user, item, time, _, note in ROWS[10:]]
    (folder / "2.csv").write_text("\n".join(["note,user_id,item_id,timestamp,rating", *lines]))
    data, _, _ = check_contract(folder, out, size=30)
    assert data.name == "log"


@pytest.mark.parametrize("missing_items", ["refuse", "add", "drop"])
def test_tables_beside_the_log(tmp_path, out, missing_items):
    (tmp_path / "log.csv").write_text(as_csv(ROWS))
    users = pl.DataFrame({"user_id": ["u3", "u9", "u0"], "age": ["20", None, "x"]})
    items = pl.DataFrame({"item_id": ["i4", "i0", "i1", "i7"], "genres": ["a|b", "a", "", None]})
    found = check_contract(
        tmp_path / "log.csv",
        out,
        filters={"min_user_interactions": 2},
        users=users,
        items=items,
        missing_items=missing_items,
        list_separators={"genres": "|"},
        ignore_columns=["users.age", "log.note"],
    )
    if missing_items == "refuse":
        assert found is None
    else:
        shards, memory, _ = found
        assert shards.notes == memory.notes


def test_a_column_that_is_missing_is_named_before_anything_is_read(tmp_path, out):
    (tmp_path / "log.csv").write_text(as_csv(ROWS))
    with pytest.raises(MissingColumnError, match='no column "who"'):
        prepare(tmp_path / "log.csv", out, user_id="who")


def test_a_fault_is_told_with_the_rows_of_its_piece(tmp_path, out):
    TYPED.with_columns(rating=pl.Series([1.0] * 20 + [float("nan")] * 4)).write_parquet(
        tmp_path / "a.parquet"
    )
    with pytest.raises(DataError, match=r"rating.*first is row 3.*within rows 19 to 24 of the log"):
        prepare(tmp_path / "a.parquet", out, piece_rows=6)
    assert not list(tmp_path.glob(".*"))
    assert not out.exists()
