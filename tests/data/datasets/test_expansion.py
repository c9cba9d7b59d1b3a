"""Expanded logs: exact sizes, the laws of the log, and the same pieces for the same seed."""

import json

import numpy as np
import polars as pl
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tfrecall as tr
from tfrecall.data import Interactions
from tfrecall.errors import ConfigError, DataError

FACTOR, ITEM_FACTOR = 25, 5


@pytest.fixture(scope="module")
def log():
    made = tr.data.synthetic(n_users=60, n_items=80, n_rows=4000, seed=3)
    return made.with_log(made.log.head(3900))  # a repeated row is left out of 4000


@pytest.fixture(scope="module")
def large(log):
    return pl.concat(tr.data.expand(log, FACTOR, seed=1, item_factor=ITEM_FACTOR).pieces())


def counts(column, n=0):
    """Events of each id, in descending order, with zeros up to `n` ids."""
    found = np.sort(column.value_counts()["count"].to_numpy())[::-1].astype(np.int64)
    return np.concatenate([found, np.zeros(max(0, n - len(found)), np.int64)])


def lorenz(events):
    """Share of events of the 1 %, 2 %, ... most popular ids."""
    shares = np.cumsum(events) / events.sum()
    return np.interp(np.arange(1, 101) / 100, np.arange(1, len(shares) + 1) / len(shares), shares)


def test_sizes_are_products(log, large):
    expansion = tr.data.expand(log, FACTOR, seed=1, item_factor=ITEM_FACTOR)
    assert (len(expansion), large.height) == (97_500, 97_500)  # 25 x 3900
    assert expansion.items.height == expansion.items["item_id"].n_unique() == 400  # 5 x 80
    assert set(large["item_id"]) <= set(expansion.items["item_id"])
    users = pl.concat([expansion.users(copy) for copy in range(FACTOR)])
    assert users["user_id"].n_unique() == 1500  # 25 x 60
    assert set(large["user_id"]) <= set(users["user_id"])


def test_users_keep_the_number_of_their_events(log, large):
    assert counts(large["user_id"]).tolist() == np.repeat(counts(log.log["user_id"]), FACTOR).tolist()


def test_items_keep_the_law_of_their_popularity(log, large):
    before, after = counts(log.log["item_id"], 80), counts(large["item_id"], 400)
    # Each copy has 25 / 5 times the events on average. The curves of shares part by no more than .01: chance
    # alone parts them by some .004, and even popularity by .3.
    assert after.sum() / 400 == 5 * before.sum() / 80
    assert np.abs(lorenz(before) - lorenz(after)).max() < 0.01
    assert np.abs(lorenz(before) - lorenz(np.ones(80))).max() > 0.2


def test_times_of_a_user_move_together_by_half_an_hour_at_most(log, large):
    shift = large["timestamp"].to_numpy() - np.tile(log.log["timestamp"].to_numpy(), FACTOR)
    assert np.abs(shift).max() <= 1800
    of_user = large.select("user_id", pl.Series("shift", shift)).unique()
    assert of_user.height == large["user_id"].n_unique()


def test_pairs_stay_apart_and_blocks_differ(log):
    """A user who never repeats an item does not repeat its copies either."""
    once = log.with_log(log.log.unique(["user_id", "item_id"], keep="first", maintain_order=True))
    pieces = list(tr.data.expand(once, 4, item_factor=1).pieces())
    assert not any(piece.select("user_id", "item_id").is_duplicated().any() for piece in pieces)
    columns = [piece["item_id"].to_list() for piece in pieces]
    assert columns[0] != columns[1]
    # In the place of an item stands one that is as popular within 10 %, counting one event more for both.
    popularity = dict(once.log["item_id"].value_counts().rows())
    for before, after in zip(once.log["item_id"], columns[0], strict=True):
        ratio = (popularity[before] + 1) / (popularity[after.removesuffix(".0")] + 1)
        assert 1 / 1.1 <= ratio <= 1.1


def test_weights_are_even_in_rows_and_columns_and_not_within(log):
    weights = tr.data.expand(log, FACTOR, item_factor=ITEM_FACTOR).weights
    np.testing.assert_allclose(weights.sum(axis=1), 1)
    np.testing.assert_allclose(weights.sum(axis=0), 5, rtol=1e-4)  # 25 rows / 5 columns
    assert weights.std() > 0.01  # tastes of users for groups of items


def test_equal_seeds_give_equal_pieces_in_any_order(log):
    one, other, third = (tr.data.expand(log, 3, seed) for seed in (7, 7, 8))
    later = one.piece(2)
    assert one.piece(0).equals(other.piece(0))
    assert later.equals(list(other.pieces())[2])
    assert not later.equals(third.piece(2))


@settings(max_examples=10, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), max_size=8),
    st.integers(1, 6),
    st.integers(0, 3),
)
def test_any_log_expands_to_its_sizes(events, factor, seed):
    events = [*events, (0, 0), (1, 1)]  # a log has two users and two items
    frame = pl.DataFrame(
        {
            "user_id": [f"u{user}" for user, _ in events],
            "item_id": [f"i{item}" for _, item in events],
            "timestamp": [60 * place for place in range(len(events))],
        }
    )
    log = Interactions.from_frame(frame, repeated_rows="keep")
    large = pl.concat(tr.data.expand(log, factor, seed).pieces())
    assert large.height == factor * len(events)
    assert counts(large["user_id"]).tolist() == np.repeat(counts(frame["user_id"]), factor).tolist()


@pytest.mark.parametrize("arguments", [{"factor": 0}, {"factor": 2, "item_factor": 3}])
def test_factors_that_make_no_sense_are_refused(log, arguments):
    with pytest.raises(ConfigError, match=f"Received: factor={arguments['factor']}"):
        tr.data.expand(log, **arguments)


def test_a_log_without_events_is_refused(log):
    with pytest.raises(DataError, match="no events to expand"):
        tr.data.expand(log.with_log(log.log.head(0)), 2)


def test_files_hold_the_pieces_and_read_as_a_log(log, tmp_path):
    expansion = tr.data.expand(log, 4, seed=2)
    expansion.write(tmp_path / "large")
    written = pl.read_parquet(tmp_path / "large" / "log.parquet")
    assert written.equals(pl.concat(expansion.pieces()))
    again = tr.data.read(
        tmp_path / "large" / "log.parquet",
        users=tmp_path / "large" / "users.parquet",
        items=tmp_path / "large" / "items.parquet",
    )
    assert (len(again), again.users.height, again.items.height) == (15_600, 240, 160)
    with pytest.raises(DataError, match="exists already"):
        expansion.write(tmp_path / "large")


def test_each_piece_is_written_before_the_next_is_made(log, tmp_path, monkeypatch):
    """Memory holds one piece, whatever the factor: each is a row group of its own."""
    happened = []
    piece, write = tr.data.Expansion.piece, pq.ParquetWriter.write_table
    monkeypatch.setattr(
        tr.data.Expansion, "piece", lambda self, copy: happened.append("made") or piece(self, copy)
    )
    monkeypatch.setattr(
        pq.ParquetWriter, "write_table", lambda *given: happened.append("written") or write(*given)
    )
    tr.data.expand(log, 3).write(tmp_path / "large")
    assert happened == ["made", "written", "written"] * 3  # events and users
    assert pq.ParquetFile(tmp_path / "large" / "log.parquet").num_row_groups == 3


def test_the_command_says_what_it_made(log, tmp_path):
    from tests.cli.test_cli import ask

    log.log.write_csv(tmp_path / "log.csv")
    arguments = ["data", "expand", tmp_path / "log.csv", "--factor", 9, "--out", tmp_path / "large"]
    answer = json.loads(ask(*arguments, "--json").stdout)
    assert (answer["events"], answer["users"], answer["items"]) == (35_100, 540, 240)
    assert "exists already" in ask(*arguments, status=1).stderr
