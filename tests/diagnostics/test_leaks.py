"""Columns that give the item away are named; what is known beforehand is not."""

import numpy as np
import polars as pl
import pytest

from tfrecall.data import split_leave_last_out, split_random, synthetic
from tfrecall.data.interactions import Interactions
from tfrecall.diagnostics.leaks import guess_accuracy, leaking_features
from tfrecall.schema.features import Bucketized, Categorical, MultiCategorical, Numeric, Schema, Text

DATA = synthetic(60, 40, 4000, seed=2)
RANDOM = np.random.default_rng(0)


def with_columns(*unnamed, **named) -> Interactions:
    """The log with further columns of the event."""
    return DATA.with_log(DATA.log.with_columns(*unnamed, **named))


def schema_of(*query) -> Schema:
    return Schema(
        query=[Categorical("user_id"), *query], candidate=[Categorical("item_id"), Categorical("group")]
    )


def found_in(data, *query, held=True):
    train, validation = split_random(data, 0.1, seed=1)
    return leaking_features(schema_of(*query), train, validation if held else None)


MADE = DATA.items.with_columns(made=pl.int_range(pl.len()) * 1.25 + 3)
PRICES = dict(MADE.select("item_id", "made").rows())


@pytest.mark.parametrize("held", [True, False])
def test_a_price_that_was_paid_names_the_item(held):
    data = with_columns(paid=pl.col("item_id").replace_strict(PRICES))
    (found,) = found_in(data, Numeric("paid"), held=held)
    assert (found.name, found.severity) == ("leaking_feature", "warning")
    assert 'The value of "paid" alone names the item in 100% of' in found.text
    assert "take the feature out of `schema.query`" in found.text


def test_a_list_that_stands_in_the_event_names_the_item():
    tags = pl.concat_list(pl.col("item_id") + "x", pl.col("item_id") + "y")
    (found,) = found_in(with_columns(tags=tags), MultiCategorical("tags"))
    assert '"tags" alone names the item in 100%' in found.text


def test_a_half_filled_leak_is_a_leak():
    """Where it is null it says nothing; where it stands it says all."""
    clicked = pl.when(pl.col("timestamp") % 2 == 0).then(pl.format("page {}", "item_id"))
    assert found_in(with_columns(clicked=clicked), Categorical("clicked"))


def test_what_is_known_beforehand_is_not_remarked_on():
    data = with_columns(
        pl.Series("noise", RANDOM.normal(size=len(DATA))),
        pl.Series("shop", RANDOM.integers(5, size=len(DATA))),
        pl.int_range(pl.len()).alias("order"),
        empty=pl.lit(None, pl.String),
        mail=pl.format("{}@example.org", "user_id"),
    )
    query = [
        Categorical("segment"),
        Categorical("mail"),
        Text("mail"),
        Bucketized("timestamp", 9),
        Numeric("timestamp"),
        Numeric("noise"),
        Categorical("shop"),
        Categorical("order"),
        Categorical("empty"),
    ]
    assert found_in(data, *query) == []
    assert found_in(data, *query, held=False) == []


def test_a_habit_is_no_leak():
    """Users who buy one thing again and again are told apart by all that tells users apart."""
    log = DATA.log.with_columns(
        item_id=pl.format("i{}", pl.col("user_id").str.slice(1).cast(pl.Int64) % 40)
    )
    data = Interactions.from_frame(log, users=DATA.users, items=DATA.items)
    data = data.with_log(data.log.with_columns(mail=pl.format("{}@example.org", "user_id")))
    assert found_in(data, Categorical("mail")) == []


def test_the_last_item_of_each_user_in_the_user_table_is_a_leak():
    last = DATA.log.sort("timestamp", maintain_order=True).group_by("user_id").agg(pl.last("item_id"))
    latest = pl.col("user_id").replace_strict(dict(last.rows()), default=None)
    data = with_columns(latest=latest)
    train, validation, _ = split_leave_last_out(with_columns(latest=latest), validation=True)
    assert leaking_features(schema_of(Categorical("latest")), train, validation) == []
    # Judged by the very event that the column was written from:
    known, held = split_leave_last_out(data, validation=False)
    big = pl.concat([held.log] * 2)
    (found,) = leaking_features(schema_of(Categorical("latest")), known, held.with_log(big))
    assert 'The value of "latest" is the item\'s id in 100% of the rows' in found.text


def test_a_column_of_the_event_that_repeats_one_of_the_item_is_named():
    groups = dict(DATA.items.select("item_id", "group").rows())
    clicked = pl.col("item_id").replace_strict(groups)
    (found,) = found_in(with_columns(clicked=clicked), Categorical("clicked"))
    assert 'The event\'s "clicked" is the item\'s "group" in 100.0% of' in found.text
    assert "chance would make it 2" in found.text  # five groups, about alike

    mostly = pl.when(pl.col("timestamp") % 20 == 0).then(pl.lit("g0")).otherwise(clicked)
    assert found_in(with_columns(clicked=mostly), Categorical("clicked")) == []


def test_a_segment_that_users_are_known_by_may_be_the_group_of_all_they_choose():
    data = synthetic(60, 40, 4000, structure=1.0)
    assert found_in(data, Categorical("segment")) == []


def test_few_rows_and_missing_columns_are_left_to_others():
    data = with_columns(paid=pl.col("item_id").replace_strict(PRICES))
    few = data.with_log(data.log[:40])
    assert leaking_features(schema_of(Numeric("paid")), data, few) == []
    assert found_in(data, Numeric("payed")) == []


def test_large_logs_are_sampled(monkeypatch):
    from tfrecall.diagnostics import leaks

    monkeypatch.setattr(leaks, "TRAIN_ROWS", 500)
    monkeypatch.setattr(leaks, "HELD_ROWS", 100)
    seen = []
    original = guess_accuracy
    monkeypatch.setattr(
        leaks, "guess_accuracy", lambda *a: seen.append((a[0].height, a[1].height)) or original(*a)
    )
    data = with_columns(paid=pl.col("item_id").replace_strict(PRICES))
    for held in (True, False):
        assert found_in(data, Numeric("paid"), held=held)
    assert {(500, 100)} <= set(seen)
    assert max(seen) == (500, 120) or max(seen) == (500, 100)
