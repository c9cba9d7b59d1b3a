"""Delimited text is read as it was written, whatever its marks; broken lines are refused with their number."""

import gzip
import zipfile

import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.properties import examples
from tfrecall.data import describe, read
from tfrecall.data.files import read_table
from tfrecall.data.inspection.raw_tables import open_tables
from tfrecall.errors import ConfigError, DataError

SEPARATORS = [",", ";", "\t", "|"]
PACKED = ["", ".gz", ".zst", ".zip"]

# Texts as titles have them: separators, quotes, line ends, blanks, letters beyond ASCII.
TEXTS = st.text(st.sampled_from("ab ,;\t|\"'\nüß日"), min_size=1, max_size=8).filter(
    lambda text: text.strip() == text and text
)
ROWS = st.lists(
    st.tuples(TEXTS, st.integers(-(10**12), 10**12), st.floats(-1e6, 1e6), st.booleans()),
    min_size=2,
    max_size=20,
)


def pack(content: bytes, file):
    if file.suffix == ".zip":
        with zipfile.ZipFile(file, "w") as archive:
            archive.writestr(file.stem, content)
            archive.writestr(f"__MACOSX/._{file.stem}", b"")
        return file
    packed = {
        ".gz": gzip.compress,
        ".zst": lambda text: pa.compress(text, codec="zstd", asbytes=True),
    }.get(file.suffix, lambda text: text)
    file.write_bytes(packed(content))
    return file


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("delimited")


@examples(60)
@given(ROWS, st.sampled_from(SEPARATORS), st.sampled_from(PACKED), st.booleans())
def test_a_table_that_was_written_is_read_back(folder, rows, separator, packed, quoted):
    table = pl.DataFrame(rows, schema=["title", "count", "price", "sold"], orient="row")
    style = "always" if quoted else "necessary"
    text = table.write_csv(separator=separator, quote_style=style, line_terminator="\n")
    back = read_table(pack(text.encode(), folder / f"t.csv{packed}"), keys=["title"])
    assert back.equals(table)


@examples(60)
@given(
    st.lists(st.decimals(-9999, 9999, places=2, allow_nan=False), min_size=2, max_size=20),
    st.sampled_from([";", "\t", "|"]),
    st.booleans(),
)
def test_decimal_commas_are_numbers_where_the_separator_is_no_comma(
    folder, values, separator, thousands
):
    written = [f"{value:,.2f}" if thousands else f"{value:.2f}" for value in values]
    german = [text.translate(str.maketrans(",.", ".,")) for text in written]  # 1,234.50 -> 1.234,50
    lines = [f"x{separator}{text}" for text in german]
    (folder / "t.csv").write_text("\n".join([f"name{separator}price", *lines]))
    notes = []
    table = read_table(folder / "t.csv", "log", say=notes.append)
    assert table["price"].to_list() == pytest.approx([float(value) for value in values])
    assert notes == ["decimal commas in the log: price"]


def test_commas_of_titles_and_lists_are_no_decimals(folder):
    (folder / "t.csv").write_text("name;genres;size\na;1,2,3;1\nb;4,5;2\n")
    assert read_table(folder / "t.csv").rows() == [("a", "1,2,3", 1), ("b", "4,5", 2)]


def test_the_separator_that_is_named_is_used_where_the_first_line_has_it(folder):
    (folder / "log.csv").write_text("user_id^item_id^timestamp\na^x,1^1\nb^y^2\n")
    (folder / "items.csv").write_text('item_id,price\n"x,1",5\ny,6\n')
    data = read(folder / "log.csv", items=folder / "items.csv", separator="^")
    assert data.log.rows() == [("a", "x,1", 1.0), ("b", "y", 2.0)]
    assert data.items.rows() == [("x,1", 5), ("y", 6)]
    assert describe(folder / "log.csv", separator="^").columns[:3] == (
        "user_id",
        "item_id",
        "timestamp",
    )


@pytest.mark.parametrize("given", ["::", "", '"', "\n", "€"])
def test_a_separator_that_is_no_single_character_is_refused(folder, given):
    (folder / "log.csv").write_text("user_id,item_id,timestamp\na,x,1\nb,y,2\n")
    with pytest.raises(ConfigError, match="one character between the columns"):
        read(folder / "log.csv", separator=given)


def test_codes_stay_text_wherever_they_begin(folder):
    rows = [f"a{i},{i},{i}" for i in range(12_000)]
    (folder / "late.csv").write_text("\n".join(["name,zip,size", *rows, "b,007,-3", "c,12,+4"]))
    table = read_table(folder / "late.csv")
    assert table["zip"].dtype == pl.String  # "007" in line 12,002
    assert table["size"].dtype == pl.String  # "+4" is how phone numbers begin
    assert table["zip"].to_list()[-3:] == ["11999", "007", "12"]


def test_hours_of_a_file_stay_as_written_beside_codes_of_another(folder):
    (folder / "parts").mkdir(exist_ok=True)
    (folder / "parts" / "1.csv").write_text("name,shop\na,08\n")
    (folder / "parts" / "2.csv").write_text("name,shop\nb,0012\n")
    assert read_table(folder / "parts")["shop"].to_list() == ["08", "0012"]


@pytest.mark.parametrize(
    ("late", "expected"),
    [("1.5", pl.Float64), ("x", pl.String), (str(2**63), pl.Int128)],
)
def test_the_type_of_a_column_may_show_late(folder, late, expected):
    rows = [f"{i},,true,0.5" for i in range(11_000)]
    (folder / "late.csv").write_text("\n".join(["a,b,c,d", *rows, f"{late},7,false,1"]))
    table = read_table(folder / "late.csv")
    assert table.dtypes == [expected, pl.Int64, pl.Boolean, pl.Float64]
    assert table["b"].null_count() == 11_000


def test_quotes_that_nobody_meant_swallow_no_lines(folder):
    titles = ['"Heroes', "plain", '12" vinyl', 'yes"', '"', 'say "hi"']
    lines = [f"u{i}\t{title}\t{i}" for i, title in enumerate(titles)]
    (folder / "log.tsv").write_text("\n".join(["user_id\titem_id\ttimestamp", *lines]))
    data = read(folder / "log.tsv")
    assert data.log["item_id"].to_list() == titles
    assert "quotes in log.tsv are taken as they are" in data.notes[0]
    assert open_tables(folder / "log.tsv").log["item_id"].to_list() == titles


def test_values_over_several_lines_are_read(folder):
    text = 'item_id,text\nx,"one\ntwo, three"\ny,"she said ""no"""\n'
    (folder / "items.csv").write_text(text)
    assert read_table(folder / "items.csv").rows() == [("x", "one\ntwo, three"), ("y", 'she said "no"')]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('b,"open,3', "has a quote in line 4 that is not closed"),
        ("b,2", "line 4: 2 columns instead of the 3"),
        ("b,2,3,4", "line 4: 4 columns instead of the 3"),
        ('"b,2",3', "line 4: 2 columns instead of the 3"),
    ],
)
@pytest.mark.parametrize("packed", PACKED)
def test_broken_lines_are_refused_with_file_and_line(folder, line, said, packed):
    # With a value in quotes that holds a separator, quotes are meant.
    text = f'user_id,item_id,timestamp\na,"x,1",1\nb,"y,1",2\n{line}\nc,z,5\n'
    file = pack(text.encode(), folder / f"broken.csv{packed}")
    with pytest.raises(DataError, match=f"broken.csv{packed} .*{said}"):
        read(file)


def test_all_short_lines_are_counted(folder):
    (folder / "short.csv").write_text("a,b,c\n1,2,3\n1,2\n1,2,\n1\n")
    with pytest.raises(DataError, match=r"line 3: 2 columns instead of the 3 .*, and 1 more"):
        read_table(folder / "short.csv")


def test_empty_lines_are_left_out_and_counted(folder):
    (folder / "log.csv").write_text("user_id,item_id,timestamp\n1,x,1\n\n2,y,2\n,,\n\n")
    data = read(folder / "log.csv")
    assert data.log.rows() == [("1", "x", 1.0), ("2", "y", 2.0)]
    assert data.notes[0] == "3 empty lines of log.csv are left out"
    assert open_tables(folder / "log.csv").log["user_id"].to_list() == ["1", "2"]


def test_names_have_no_blanks_around_them_and_need_not_be_there(folder):
    (folder / "log.csv").write_text(" user_id,item_id\u00a0,\ufefftimestamp,,\na,x,1,,\nb,y,2,,\n")
    assert read(folder / "log.csv").log.columns == ["user_id", "item_id", "timestamp"]


def test_files_of_old_macs_are_read(folder):
    (folder / "log.csv").write_bytes(b"user_id,item_id,timestamp\ra,x,1\rb,y,2\r")
    assert read(folder / "log.csv").log.rows() == [("a", "x", 1.0), ("b", "y", 2.0)]


def test_a_name_with_brackets_is_no_pattern(folder):
    (folder / "log[1].csv").write_text("user_id,item_id,timestamp\na,x,1\nb,y,2\n")
    assert len(read(folder / "log[1].csv")) == 2


def test_an_archive_is_named_by_its_only_member(folder):
    with zipfile.ZipFile(folder / "archive.zip", "w") as archive:
        archive.writestr("deep/log.csv", "user_id,item_id,timestamp\na,x,1\nb,y,2\n")
    assert len(read(folder / "archive.zip")) == 2
    with zipfile.ZipFile(folder / "archive.zip", "a") as archive:
        archive.writestr("items.csv", "item_id\nx\n")
    with pytest.raises(DataError, match=r"must hold one file. It holds 2: deep/log.csv, items.csv"):
        read(folder / "archive.zip")


@pytest.mark.parametrize("packed", [".gz", ".zst", ".zip"])
def test_a_packed_file_that_was_cut_is_refused(folder, packed):
    text = "user_id,item_id,timestamp\n" + "".join(
        f"u{i},i{i * 7919 % 1000},{i}\n" for i in range(9_000)
    )
    file = pack(text.encode(), folder / f"cut.csv{packed}")
    file.write_bytes(file.read_bytes()[:-200])
    with pytest.raises(DataError, match=r"cut.csv.* cannot be decompressed"):
        read(file)


def test_quotes_that_may_not_be_closed_are_said(folder):
    # Read as people write it: one value over two lines; but each line has three columns without quotes, too.
    (folder / "log.csv").write_text('user_id,item_id,timestamp\na,"x,1\nb,y",2\nc,z,3\n')
    assert "values in quotes of log.csv go over several lines" in read(folder / "log.csv").notes[0]


def test_documents_are_read_whole(folder):
    text = "word, " * 100_000
    (folder / "items.csv").write_text(f'item_id,text,year\nx,"{text}",1999\ny,"{text}",\n')
    assert read_table(folder / "items.csv")["text"].to_list() == [text, text]


def test_ten_thousand_columns_take_a_few_queries(folder, monkeypatch):
    from tfrecall.data.formats import text_types

    queries, frame = [], text_types.pl.DataFrame
    select, schema = frame.select, frame.schema
    monkeypatch.setattr(frame, "select", lambda *a, **k: queries.append("select") or select(*a, **k))
    # Each look at the schema goes over all columns.
    looks = property(lambda table: queries.append("schema") or schema.fget(table))
    monkeypatch.setattr(frame, "schema", looks)
    names = [f"c{i}" for i in range(10_000)]
    (folder / "wide.csv").write_text(f"{','.join(names)}\n{'1,' * 9_999}1\n{'x,' * 9_999}02\n")
    table = read_table(folder / "wide.csv")
    assert (table.width, table["c0"][1], table["c9999"][1]) == (10_000, "x", 2)
    assert len(queries) < 40


def test_columns_of_several_files_may_stand_in_another_order(folder):
    (folder / "orders").mkdir(exist_ok=True)
    (folder / "orders" / "1.csv").write_text("user_id,item_id,timestamp\na,x,1\n")
    (folder / "orders" / "2.csv").write_text("item_id;timestamp;user_id\ny;2;b\n")
    assert read(folder / "orders").log.rows() == [("a", "x", 1.0), ("b", "y", 2.0)]
    (folder / "orders" / "3.csv").write_text("item_id,time,user_id\ny,2,b\n")
    with pytest.raises(
        DataError, match=r"3\.csv has other columns .* lacks timestamp, and has time more"
    ):
        read(folder / "orders")


@pytest.mark.parametrize(
    ("start", "kind"),
    [
        (gzip.compress(b"user_id"), "compressed"),
        (b"PK\x03\x04...", "a spreadsheet"),
        (b"PAR1....", "a Parquet file"),
    ],
    # The bytes of gzip hold the second they were made in: as ids they differ between two workers.
    ids=["gzip", "zip", "parquet"],
)
def test_files_of_other_kinds_by_the_name_of_a_text_are_refused(folder, start, kind):
    (folder / "renamed.csv").write_bytes(start)
    with pytest.raises(DataError, match=rf"renamed\.csv is .*{kind}.*and no text"):
        read(folder / "renamed.csv")


def test_a_first_line_that_holds_no_names_is_doubted(folder):
    (folder / "log.csv").write_text("exported,2024\nuser_id,item_id,timestamp\na,x,1\nb,y,2\n")
    with pytest.raises(
        DataError, match=r"in line 2: 3 columns instead .*Does the first line have the names"
    ):
        read(folder / "log.csv")
    (folder / "log.csv").write_text("user_id~item_id~timestamp\na~x~1\nb~y~2\n")
    with pytest.raises(DataError, match="If they are all in one: `separator` names the mark"):
        read(folder / "log.csv")
    assert len(read(folder / "log.csv", separator="~")) == 2
