"""The baselines of people who come back to what they had."""

import polars as pl
import pytest

from tests.retriever_contract import check_retriever
from tfrecall.baselines.popularity import OwnItems
from tfrecall.data import from_frame
from tfrecall.errors import ConfigError


@pytest.fixture
def log():
    events = [("u", "a"), ("u", "b"), ("u", "a"), ("u", "c"), ("v", "b"), ("v", "d"), ("w", "d")]
    frame = pl.DataFrame(events, schema=["user_id", "item_id"], orient="row")
    return from_frame(frame.with_columns(timestamp=pl.int_range(len(events))))


def ranked(model, user):
    (scores,) = model.scores(pl.DataFrame({"user_id": [user]}))
    order = sorted(range(len(scores)), key=lambda row: (-scores[row], row))
    return [str(model.item_ids[row]) for row in order]


@pytest.mark.parametrize("by", ["frequency", "recency"])
def test_it_keeps_the_contract(by) -> None:
    check_retriever(lambda train: OwnItems(by).fit(train))


def test_by_frequency_the_item_had_most_leads_and_equal_ones_follow_by_recency(log) -> None:
    # u had a twice, c after b; of the rest d was had twice by others.
    assert ranked(OwnItems("frequency").fit(log), "u") == ["a", "c", "b", "d"]


def test_by_recency_the_item_had_last_leads(log) -> None:
    assert ranked(OwnItems("recency").fit(log), "u") == ["c", "a", "b", "d"]


def test_who_has_nothing_gets_what_is_popular(log) -> None:
    assert ranked(OwnItems().fit(log), "stranger") == ["a", "b", "d", "c"]


def test_nonsense_and_no_fit_are_refused() -> None:
    with pytest.raises(ConfigError, match="frequency or recency"):
        OwnItems("size")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="not been fitted"):
        OwnItems().scores(pl.DataFrame({"user_id": ["u"]}))
