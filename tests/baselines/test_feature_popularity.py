"""Popularity of values: hand-worked, items without events and without values, columns that count."""

import polars as pl
import pytest

from tests.retriever_contract import check_retriever
from tfrecall.baselines.feature_popularity import FeaturePopularity, value_columns
from tfrecall.data import Interactions
from tfrecall.errors import DataError, MissingColumnError

LOG = pl.DataFrame({"user_id": [*"uvwuvu"], "item_id": [*"aaabbc"], "timestamp": range(6)})
ITEMS = pl.DataFrame(
    {
        "item_id": [*"abcdef"],
        "genres": [["x", "y"], ["y", "y"], ["x"], ["x"], ["y", "z"], None],
        "title": ["One", "Two", "Three", "Four", "Five", "Six"],
        "price": [1.5, 1.5, 1.5, 2.0, 2.0, 2.0],
    }
)


def log(items=ITEMS):
    return Interactions.from_frame(LOG, items=items)


def scores(model, train):
    return model.fit(train).scores(pl.DataFrame({"user_id": ["u"]}))[0]


def test_it_keeps_the_contract():
    def fitted(train):
        kinds = train.items.with_columns(kind=pl.int_range(pl.len()) % 3)
        return FeaturePopularity(["kind"]).fit(Interactions(train.log, train.users, kinds))

    check_retriever(fitted)


def test_an_item_has_the_mean_popularity_of_its_values():
    # Events: a 3, b 2, c 1; mean 6 / 3 = 2 an item with events. x: a and c, (4 + 2) / 3 = 2. y: a and b (once,
    # though named twice), (5 + 2) / 3. z: no item with events, the mean 2.
    x, y, mean = 2.0, 7 / 3, 2.0
    expected = [(x + y) / 2, y, x, x, (y + mean) / 2, mean]
    assert scores(FeaturePopularity(), log()) == pytest.approx(expected, rel=1e-6)


def test_titles_and_prices_are_no_values_and_named_columns_are():
    assert value_columns(ITEMS) == ["genres"]
    # Each title is of one item: (events + 2) / 2, and the mean for those without events.
    expected = [2.5, 2.0, 1.5, 2.0, 2.0, 2.0]
    assert scores(FeaturePopularity(["title"]), log()) == pytest.approx(expected)


def test_whole_numbers_and_texts_that_recur_count_as_values():
    items = ITEMS.with_columns(year=pl.Series([1, 1, 1, 2, 2, 2]), kind=pl.Series(["p", "q"] * 3))
    assert value_columns(items) == ["genres", "year", "kind"]
    # Two columns, of equal weight: year 1 has 6 events in 3 items, (6 + 2) / 4 = 2, year 2 none. kind p has a
    # and c, (4 + 2) / 3 = 2; q has b, (2 + 2) / 2 = 2.
    assert scores(FeaturePopularity(["year", "kind"]), log(items)) == pytest.approx([2.0] * 6)


def test_a_table_without_values_and_a_column_that_is_not_there_are_refused():
    bare = log(ITEMS.select("item_id", "title"))
    with pytest.raises(DataError, match=r"`feature_popularity` counts .* It has: item_id, title"):
        FeaturePopularity().fit(bare)
    with pytest.raises(MissingColumnError, match=r'no column "genre".*Did you mean "genres"'):
        FeaturePopularity(["genre"]).fit(log())
