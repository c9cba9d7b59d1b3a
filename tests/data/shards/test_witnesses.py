"""Few values of a piece decide as all of them."""

import polars as pl
import pytest

from tfrecall.data.checks import plain
from tfrecall.data.dates import read_dates
from tfrecall.data.formats.text_types import narrowed
from tfrecall.data.shards.witnesses import behind, of_columns, of_times, together
from tfrecall.data.timestamps import to_seconds


@pytest.mark.parametrize(
    "texts",
    [
        ["1", "2", "3", "x"],
        ["1", "02139", "3", "4"],
        ["1", "2", "3", "4.5"],
        ["1.0", "2.0", "3.0", "4.5"],
        ["9" * 25, "1", "2", "3"],
        ["true", "False", "true", "no"],
        ["+4", "5", "6", "7"],
    ],
)
def test_each_piece_gets_the_type_of_the_whole_column(texts):
    whole = pl.DataFrame({"c": texts})
    expected = plain(narrowed(whole, ["c"]))
    pieces = [whole[:2], whole[2:]]
    hints = together([of_columns(piece) for piece in pieces])
    parts = [plain(narrowed(behind(piece, hints), ["c"])).head(piece.height) for piece in pieces]
    assert pl.concat(parts).equals(expected)
    # Without witnesses at least one of these columns differs: the first half alone are whole numbers.
    assert hints.height <= 6


@pytest.mark.parametrize(
    "times",
    [
        ["01/02/2024", "02/03/2024", "13/02/2024", "01/01/2024"],
        ["2024-01-31", "2024-02-01", "31 January 2024", "1 February 2024"],
        [0, 0, 1_700_000_000_000, 1_700_000_060_000],
        ["0", "0", "1700000000000", "1700000060000"],
    ],
)
def test_each_piece_reads_its_times_as_the_whole_log(times):
    whole = pl.Series(times)
    seconds, kind = to_seconds(whole)
    pieces = [whole[:2], whole[2:]]
    hints = pl.concat([of_times(piece) for piece in pieces])
    parts = [to_seconds(pl.concat([piece, hints])) for piece in pieces]
    assert pl.concat([part.head(2) for part, _ in parts]).to_list() == seconds.to_list()
    assert {found for _, found in parts} == {kind}


def test_times_of_one_form_need_few_witnesses():
    texts = pl.Series([f"{day:02}/{month:02}/2024" for month in range(1, 13) for day in range(1, 29)])
    assert len(of_times(texts)) <= 3
    assert read_dates(texts, "log")[1] == read_dates(of_times(texts), "log")[1]
