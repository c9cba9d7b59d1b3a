"""How users come back is recovered from logs that were made so."""

import numpy as np
import polars as pl
import pytest

from tfrecall.baselines.popularity import OwnItems
from tfrecall.core.retriever import VectorRetriever
from tfrecall.data import from_frame, split_leave_last_out
from tfrecall.data.repeat_consumption import is_repeated, leading_rule, repeated_share
from tfrecall.errors import DataError
from tfrecall.evaluation import evaluate
from tfrecall.models.repeats import (
    RepeatingRetriever,
    first_times,
    fit_repeats,
    histories,
    new_to_users,
)

N_USERS, N_ITEMS = 1500, 60


def coming_back(
    share: float, by: str, seed: int = 0, events: int = 12, users: int = N_USERS, items: int = N_ITEMS
):
    """A log in which an event repeats an earlier one of its user with the probability `share`.

    By `count` all earlier events are as likely; by `recency` the latest three, the last one most.
    """
    random, rows = np.random.default_rng(seed), []
    for user in range(users):
        had: list[int] = []
        for step in range(events):
            if had and random.random() < share:
                back = random.integers(len(had)) if by == "count" else random.geometric(0.6) - 1
                had.append(had[-1 - min(back, len(had) - 1)])
            else:
                had.append(int(random.integers(items)))
            rows.append((f"u{user}", f"i{had[-1]}", step))
    return from_frame(pl.DataFrame(rows, schema=["user_id", "item_id", "timestamp"], orient="row"))


def flat_towers(data):
    """Towers that know nothing: every item scores 0."""
    width = data.items.height
    return VectorRetriever(
        "flat",
        data.item_vocabulary.ids,
        np.zeros((width, 2), np.float32),
        lambda queries: np.zeros((queries.height, 2), np.float32),
    )


@pytest.mark.slow
@pytest.mark.parametrize("by", ["count", "recency"])
def test_the_fitted_numbers_are_those_that_made_the_log(by) -> None:
    train, validation, _ = split_leave_last_out(coming_back(0.7, by))
    repeats = fit_repeats(flat_towers(train), validation, train)
    weights = repeats.weights(3)
    if by == "count":
        assert weights[2] == pytest.approx(1.0, abs=0.35), "no event counts more than another"
    else:
        # Geometric: each event back is .4 times as likely.
        assert weights[1] == pytest.approx(0.4, abs=0.15)
        assert weights[2] == pytest.approx(0.16, abs=0.1)


def test_the_bias_weighs_own_items_against_all_others() -> None:
    train, validation, _ = split_leave_last_out(coming_back(0.7, "count"))
    repeats = fit_repeats(flat_towers(train), validation, train)
    scores = repeats.apply(
        np.zeros((len(validation), train.items.height), np.float32),
        histories(train, validation.log["user_id"]),
    )
    chosen = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
    own = (scores != 0) @ np.ones(scores.shape[1]) > 0
    mass = np.where(scores != 0, chosen, 0).sum(axis=1)[own].mean()
    # An event repeats with .7, and a new draw of 60 items falls on one of some 4 own ones: .72.
    assert mass == pytest.approx(0.72, abs=0.05)


@pytest.mark.slow
@pytest.mark.parametrize(("by", "name"), [("count", "frequency"), ("recency", "recency")])
def test_with_towers_that_know_nothing_it_is_level_with_the_right_baseline(by, name) -> None:
    data = coming_back(0.7, by)
    train, validation, test = split_leave_last_out(data)
    known, _ = split_leave_last_out(data, validation=False)
    repeats = fit_repeats(flat_towers(train), validation, train)
    model = RepeatingRetriever(flat_towers(known), repeats, known)
    own = OwnItems(name).fit(known)
    judged = evaluate(model, test, seen=known, ks=(3,), baselines=[own])
    ours, theirs = judged.test["seen_kept"], judged.baselines[own.name]["seen_kept"]
    # Three standard errors of 1,500 rows are .039.
    assert ours["hit_rate@3"] >= theirs["hit_rate@3"] - 0.039


@pytest.mark.slow
def test_of_a_long_history_all_events_count() -> None:
    # 150 events, half of them new of 5,000 items: some 75 own items, of which the latest 50 events hold a
    # half. An event back to any earlier one of them all is a hit among the first 75.
    data = coming_back(0.5, "count", events=150, users=150, items=5000)
    train, validation, test = split_leave_last_out(data)
    repeats = fit_repeats(flat_towers(train), validation, train)
    assert repeats.length == 148
    model = RepeatingRetriever(flat_towers(train), repeats, train)
    own = OwnItems("frequency").fit(train)
    judged = evaluate(model, test, seen=train, ks=(75,), baselines=[own])
    ours, theirs = judged.test["seen_kept"], judged.baselines[own.name]["seen_kept"]
    # Of 150 rows about 75 are hits of either; the latest 50 events alone reach some 45.
    assert ours["hit_rate@75"] >= theirs["hit_rate@75"] - 0.05


def test_nobody_with_a_history_is_refused() -> None:
    data = coming_back(0.5, "count")
    train, validation, _ = split_leave_last_out(data)
    empty = train.with_log(train.log.head(0))
    with pytest.raises(DataError, match="No user of the validation rows"):
        fit_repeats(flat_towers(train), validation, empty)


def test_towers_learn_each_pair_once_and_from_its_first_time() -> None:
    events = [("u", "a", 5), ("u", "a", 1), ("u", "b", 2), ("v", "a", 9)]
    log = from_frame(pl.DataFrame(events, schema=["user_id", "item_id", "timestamp"], orient="row"))
    once = first_times(log)
    assert once.log.rows() == [("u", "a", 1.0), ("u", "b", 2.0), ("v", "a", 9.0)]
    assert "1 repeated events" in once.notes[-1]
    rows = log.with_log(log.log.filter(pl.col("user_id") == "v"))
    assert len(new_to_users(rows, log)) == 0
    assert len(new_to_users(log, rows)) == 3, "only v has had a in those rows"


def test_the_rule_that_leads_follows_the_log_unless_it_is_told() -> None:
    events = [("u", "a"), ("u", "a"), ("u", "b"), ("v", "a")]
    frame = pl.DataFrame(events, schema=["user_id", "item_id"], orient="row")
    log = from_frame(frame.with_columns(timestamp=pl.int_range(4)))
    assert repeated_share(log) == 1 / 4
    assert is_repeated(log)
    assert leading_rule("auto", log) == "seen_kept"
    assert leading_rule("removed", log) == "seen_removed"
    once = log.with_log(log.log.unique(["user_id", "item_id"]))
    assert leading_rule("auto", once) == "seen_removed"
    assert leading_rule("kept", once) == "seen_kept"


@pytest.mark.slow
def test_a_large_catalogue_is_scored_in_blocks_with_the_same_result(monkeypatch) -> None:
    train, validation, _ = split_leave_last_out(coming_back(0.7, "recency"))
    whole = fit_repeats(flat_towers(train), validation, train)
    monkeypatch.setattr("tfrecall.models.repeat_choice.BLOCK_SCORES", 7 * N_ITEMS)
    assert fit_repeats(flat_towers(train), validation, train) == whole
