"""Lines above the names of the columns, and texts divided by several characters."""

import subprocess

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.data.formats.test_delimited import PACKED, SEPARATORS, pack
from tests.properties import examples
from tfrecall.core.arguments import command_line
from tfrecall.data import read
from tfrecall.data.files import read_table
from tfrecall.data.formats.dialect import checked_separator
from tfrecall.errors import ConfigError, DataError

TABLE = pl.DataFrame({"user": ["#a", "b"], "item": ["x", "#y"], "time": [60, 120]})


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("preamble")


# Comments of any text, also with marks, quotes that are not closed, and blanks.
COMMENTS = st.text(st.sampled_from("ab ,;\t|\"'ß#"), max_size=12).map("#{}".format)


@examples(80)
@given(
    st.lists(COMMENTS | st.just(""), max_size=4),
    st.booleans(),
    st.sampled_from(SEPARATORS),
    st.sampled_from(PACKED),
    st.sampled_from(["\n", "\r\n"]),
    st.booleans(),
)
def test_what_stands_above_the_names_changes_no_value(folder, above, named, mark, packed, end, marked):
    lines = [*([f"sep={mark}"] if named else []), *above]
    lines += [mark.join(map(str, row)) for row in (TABLE.columns, *TABLE.rows())]
    text = ("\ufeff" if marked else "") + "".join(line + end for line in lines)
    said: list[str] = []
    table = read_table(pack(text.encode(), folder / f"t.csv{packed}"), say=said.append)
    assert table.equals(TABLE)
    # Nothing is left out in silence.
    assert bool(said) == (named or any(above))


def test_the_line_of_spreadsheets_decides_where_several_marks_could_be(folder):
    path = folder / "sep.csv"
    path.write_text("sep=;\nuser_id;title,year\na;x,1\nb;y,2\n")
    assert read_table(path).columns == ["user_id", "title,year"]
    # Who names the mark knows better.
    assert read_table(path, separator=",").columns == ["user_id;title", "year"]


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("# users of 2024\n# user\titem\n7\t8\n9\t8\n", ["user", "item"]),  # graph archives
        ("#user,item\nalice,milk\nbob,tea\n", ["user", "item"]),
        ("# dump, 2024\nuser,item\n7,8\n", ["user", "item"]),  # a comment that divides alike
        ("#,item\n1,x\n2,y\n", ["#", "item"]),  # a column of row numbers
        ("# user,item\n", ["user", "item"]),
    ],
)
def test_names_may_stand_in_the_last_comment(folder, text, names):
    path = folder / "names.csv"
    path.write_text(text)
    assert read_table(path).columns == names


def test_lines_are_counted_from_the_first_of_the_file(folder):
    path = folder / "broken.csv"
    path.write_text('# a\n\n# b\nuser,item\na,x\nb,y,z\n"c",w\n')
    with pytest.raises(DataError, match="broken in line 6: 3 columns instead of the 2"):
        read_table(path)
    path.write_text('# a\nuser,item\na,"x\ny"\nb,y,z\n')
    with pytest.raises(DataError, match="broken in line 5: 3 columns instead of the 2"):
        read_table(path)


def test_ids_below_comments_stay_as_written(folder):
    path = folder / "log.csv"
    path.write_text("# dump\nuser,item,time\n007,1.0,60\n8,2.0,120\n")
    data = read(path, infer=True)
    assert data.log["user_id"].to_list() == ["007", "8"]
    assert data.log["item_id"].to_list() == ["1.0", "2.0"]
    assert data.notes[0] == "in log.csv the comments above the names are left out"


def test_a_title_above_the_names_is_refused_with_the_remedy(folder):
    path = folder / "title.csv"
    path.write_text("Report\n\nuser,item\na,x\nb,y\n")
    with pytest.raises(DataError, match=r"tail -n \+3 title\.csv > rows-title\.csv"):
        read_table(path)
    path.write_text("user,item\n1,a,x\n2,b,y\n")
    with pytest.raises(DataError, match="the names of all columns, of row numbers too"):
        read_table(path)


@pytest.mark.parametrize("mark", ["::", "||", "~~", "^^", "   "])
def test_several_characters_between_columns_are_refused_with_a_command_that_works(folder, mark):
    rows = [["user", "item", "time"], *(map(str, row) for row in TABLE.rows())]
    path = folder / "wide.txt"
    path.write_text("".join(mark.join(row) + "\n" for row in rows))
    if mark == "||":  # names between single bars, with empty columns between them
        assert read_table(path, separator="|").equals(TABLE)
        return
    with pytest.raises(DataError, match="has 3 columns with ") as error:
        read_table(path)
    command = str(error.value).split("Write tabs: ")[1].split(" > ")[0]
    done = subprocess.run(command, shell=True, cwd=folder, capture_output=True, text=True, check=True)
    (folder / "narrow.tsv").write_text(done.stdout)
    assert read_table(folder / "narrow.tsv").equals(TABLE)


def test_single_blanks_between_columns_are_read_where_they_are_named(folder):
    path = folder / "blanks.txt"
    path.write_text("user item time\n#a x 60\nb #y 120\n")
    assert read_table(path, separator=" ").equals(TABLE)
    with command_line(), pytest.raises(DataError, match='one blank: --separator " "'):
        read_table(path)


def test_a_column_of_texts_of_several_words_is_a_column(folder):
    path = folder / "titles.csv"
    path.write_text("film\nThe Third Man\nThe Big Sleep\n")
    assert read_table(path)["film"].to_list() == ["The Third Man", "The Big Sleep"]


def test_a_separator_of_several_characters_is_refused_by_its_name():
    with command_line(), pytest.raises(ConfigError, match=r"--separator is one character.*awk -F'::'"):
        checked_separator("::")
