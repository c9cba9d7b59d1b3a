"""Popularity counts rows."""

import polars as pl
import pytest

from tests.retriever_contract import check_retriever
from tfrecall.baselines.popularity import Popularity
from tfrecall.data import synthetic
from tfrecall.data.interactions import Interactions
from tfrecall.errors import ConfigError


def test_it_keeps_the_contract() -> None:
    check_retriever(lambda train: Popularity().fit(train))


def test_an_item_scores_the_number_of_its_rows_repeats_included() -> None:
    train = Interactions(
        log=pl.DataFrame(
            {
                "user_id": ["u", "u", "v", "u"],
                "item_id": ["b", "b", "b", "a"],
                "timestamp": [0.0, 1.0, 2.0, 3.0],
            }
        ),
        users=pl.DataFrame({"user_id": ["u", "v"]}),
        items=pl.DataFrame({"item_id": ["a", "b", "c"]}),
    )
    scores = Popularity().fit(train).scores(pl.DataFrame({"user_id": ["v", "stranger"]}))
    assert scores.tolist() == [[1, 3, 0], [1, 3, 0]]


def test_changing_the_answer_does_not_change_the_model() -> None:
    queries = pl.DataFrame({"user_id": ["u0"]})
    model = Popularity().fit(synthetic())
    first = model.scores(queries)
    first[:] = -1
    assert (model.scores(queries) >= 0).all()


def test_unfitted_it_says_what_to_do() -> None:
    with pytest.raises(ConfigError, match=r"Call `fit\(train\)` first"):
        Popularity().scores(pl.DataFrame({"user_id": ["u"]}))


def test_a_window_counts_the_days_before_the_latest_row() -> None:
    # The log ends on day 10: a window of 3 days holds days 8 to 10, and not the moment of day 7.
    days = {"a": [0, 1, 2], "b": [7, 8], "c": [9, 10]}
    rows = [("u", item, 86_400.0 * day) for item, when in days.items() for day in when]
    train = Interactions(
        log=pl.DataFrame(rows, schema=["user_id", "item_id", "timestamp"], orient="row"),
        users=pl.DataFrame({"user_id": ["u"]}),
        items=pl.DataFrame({"item_id": ["a", "b", "c"]}),
    )
    model = Popularity(window_days=3).fit(train)
    assert model.name == "recent_popularity"
    assert model.scores(pl.DataFrame({"user_id": ["u"]})).tolist() == [[0, 1, 2]]


@pytest.mark.parametrize("days", [0, -1, float("nan"), float("inf")])
def test_a_senseless_window_is_refused(days: float) -> None:
    with pytest.raises(ConfigError, match=rf"`window_days` is .* Received: {days}"):
        Popularity(window_days=days)
