"""Successive evaluation: each row is asked with all events before it, and what was seen grows."""

import numpy as np
import polars as pl
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from tests.evaluation.helpers import (
    TableModel,
    _list_metrics,
    evaluate_by_loops,
    make_log,
    rank_by_loop,
)
from tests.properties import examples
from tfrecall.baselines.item_cf import ItemCF
from tfrecall.baselines.item_transitions import ItemTransitions
from tfrecall.baselines.popularity import OwnItems, Popularity
from tfrecall.core.columns import EVENTS_BEFORE
from tfrecall.data import split_by_time
from tfrecall.data.histories import events_before
from tfrecall.evaluation import evaluate
from tfrecall.evaluation.bootstrap import mean_intervals
from tfrecall.evaluation.metrics import hit_rate, ndcg
from tfrecall.evaluation.ranks import rank
from tfrecall.evaluation.slices import slice_masks

KS = (1, 2, 4)
ITEMS = list("abcdef")
SPLIT = 3.0


@st.composite
def cases(draw):
    """A log, and a model with scores for each of its rows."""
    event = st.tuples(st.sampled_from("uvw"), st.sampled_from(ITEMS), st.integers(0, 6).map(float))
    events = draw(st.lists(event, min_size=3, max_size=20))
    catalogue = draw(st.permutations(ITEMS))[: draw(st.integers(2, len(ITEMS)))]
    scores = st.sampled_from([0.0, 1.0, 2.0, -np.inf])
    row = st.lists(scores, min_size=len(catalogue), max_size=len(catalogue))
    table = draw(st.lists(row, min_size=len(events), max_size=len(events)))
    log = make_log(events, items=ITEMS)
    rows = np.flatnonzero(successive_rows(log))
    assume(len(rows) and min(one[2] for one in events) < SPLIT)
    return log, rows, TableModel(catalogue, table)


def successive_rows(log):
    """Rows from the split on that are not the first of their users."""
    return (log.log["timestamp"].to_numpy() >= SPLIT) & (events_before(log, log) > 0)


def before_row(log, row):
    """Events of the row's user before it: by time, then by the order of the file."""
    users, times = log.log["user_id"].to_list(), log.log["timestamp"].to_list()
    own = sorted((r for r in range(len(log)) if users[r] == users[row]), key=lambda r: times[r])
    return own[: own.index(row)]


@examples(25)
@given(cases())
def test_ranks_and_lists_agree_with_a_loop_that_lets_the_seen_items_grow(case):
    log, rows, model = case
    train, test = split_by_time(log, SPLIT, test_events="successive")
    assert test.log["row"].to_list() == rows.tolist()
    ranking = rank(model, test, seen=train, history=log, ks=KS)
    items = log.log["item_id"].to_list()
    had = 0
    for place, row in enumerate(rows):
        seen = {items[r] for r in before_row(log, row)}
        had += items[row] in seen
        scores = dict(zip(model.item_ids, model.table[row], strict=True))
        for ranks, gone in ((ranking.kept, set()), (ranking.removed, seen)):
            found, expected = ranks.rows[place], rank_by_loop(scores, items[row], gone)
            assert (found == expected) if np.isfinite(expected) else found > len(ITEMS)
    result = evaluate(model, test, seen=train, history=log, ks=KS, baselines=False)
    assert result.targets_had == had
    # Lists of users: one each, from the earliest row, without what came before that row.
    users, times = log.log["user_id"].to_list(), log.log["timestamp"].to_list()
    firsts = {users[r]: r for r in sorted(rows, key=lambda r: (times[r], r), reverse=True)}
    known = sorted(r for first in firsts.values() for r in before_row(log, int(first)))
    numbered = TableModel(model.item_ids, model.table[rows])
    again = test.with_log(test.log.with_columns(row=pl.int_range(pl.len())))
    expected = _list_metrics(numbered, again, log.with_log(log.log[known]), KS, removing=True)
    for name, value in expected.items():
        if name.startswith(("user_", "coverage", "gini")):
            assert result.test["seen_removed"][name] == pytest.approx(value, abs=1e-12), name


@examples(12)
@given(cases())
def test_the_last_events_are_the_rows_that_no_other_of_their_users_follows(case):
    log, _, model = case
    train, test = split_by_time(log, SPLIT, test_events="successive")
    result = evaluate(model, test, seen=train, history=log, ks=KS, baselines=[Popularity().fit(train)])
    last = split_by_time(log, SPLIT, test_events="last").test
    if len(last) == len(test):
        assert result.last_events is None
        return
    alone = evaluate(model, last, seen=train, history=log, ks=KS, baselines=[Popularity().fit(train)])
    found = result.last_events
    assert found["rows"] == len(last)
    for rule in ("seen_kept", "seen_removed"):
        for name, value in found["test"][rule].items():
            assert alone.test[rule][name] == pytest.approx(value)
            assert alone.baselines["popularity"][rule][name] == pytest.approx(
                found["baselines"]["popularity"][rule][name]
            )
    assert found["intervals"] == alone.intervals


def order_of(scores):
    """Which item scores above which: the part of an event that breaks ties is no count."""
    return np.sign(np.subtract.outer(scores, scores))


def shop():
    """A log with repeats: 30 users, 12 items, 400 events over a hundred days, many at equal times."""
    random = np.random.default_rng(3)
    days = np.sort(random.integers(0, 100, 400))
    rows = [(f"u{u}", f"i{i:02}", 86_400.0 * d) for u, i, d in
            zip(random.integers(0, 30, 400), random.zipf(1.6, 400) % 12, days, strict=True)]  # fmt: skip
    return make_log(rows)


@pytest.mark.slow
@pytest.mark.parametrize(
    "made", [ItemCF(), ItemTransitions(), Popularity(), OwnItems("frequency"), OwnItems("recency")]
)
def test_a_baseline_scores_from_the_events_before_the_row_with_what_it_learned_before_the_split(made):
    log = shop()
    train, test = split_by_time(log, test_fraction=0.3, test_events="successive")
    fitted = made.fit(train)
    before = events_before(test, log)
    queries = test.queries.with_columns(pl.Series(EVENTS_BEFORE, before))
    found = fitted.reading(log).scores(queries)
    for place, row in enumerate(test.log["row"].to_list()):
        # The log of that moment holds no later event, so that the end of the log is the moment of the row.
        then = log.with_log(log.log[before_row(log, row)])
        expected = fitted.reading(then).scores(queries[place].select("user_id"))
        np.testing.assert_array_equal(order_of(found[place]), order_of(expected[0]))
    assert made.name == "popularity" or not np.array_equal(found, fitted.scores(test.queries))
    # The copy has its own histories; the model keeps those that it was fitted to.
    np.testing.assert_array_equal(
        fitted.scores(test.queries[:3]), made.fit(train).scores(test.queries[:3])
    )


def test_lengths_and_gaps_of_slices_are_those_of_the_moment():
    log = make_log(
        [("u", "a", 0), ("u", "b", 4e5), ("v", "a", 4e5), ("u", "a", 4e5), ("v", "c", 4.1e5)]
    )
    train, test = split_by_time(log, 3e5, test_events="successive")
    assert test.log["row"].to_list() == [1, 3, 4]
    masks = slice_masks(test, train, log)
    assert masks["new_users"].tolist() == [False, False, True]
    assert masks["history_1_9"].all()
    assert masks["new_items"].tolist() == [True, False, True]
    # From day 0 to 4.6; the same second; 10,000 seconds.
    gaps = [masks[f"gap_{name}"].tolist() for name in ("over_1_day", "same_second", "1_day")]
    assert gaps == [[True, False, False], [False, True, False], [False, False, True]]


def test_intervals_are_over_users_not_over_rows():
    log = shop()
    train, test = split_by_time(log, test_fraction=0.3, test_events="successive")
    result = evaluate(ItemCF().fit(train), test, seen=train, history=log, baselines=False)
    ranks = result.rankings["item_cf"].kept.rows
    people = np.unique(test.log["user_id"].to_numpy().astype(str), return_inverse=True)[1]
    order = {user: place for place, user in enumerate(dict.fromkeys(people.tolist()))}
    users = np.array([order[user] for user in people])
    (expected,) = mean_intervals([hit_rate(ranks, 10)], users)
    assert result.intervals["item_cf"]["seen_kept"]["hit_rate@10"] == expected
    assert result.test["seen_kept"]["ndcg@10"] == pytest.approx(ndcg(ranks, 10).mean())
    assert "each user's last event: " in str(result)


def test_without_a_history_nothing_changes():
    log = shop()
    train, test = split_by_time(log, test_fraction=0.3)
    table = np.random.default_rng(0).random((len(log), 12)).astype(np.float32)
    model = TableModel(log.items["item_id"], table)
    found = evaluate(model, test, seen=train, ks=KS, baselines=False)
    shifted = test.with_log(test.log.with_columns(row=pl.int_range(pl.len())))
    expected = evaluate_by_loops(
        TableModel(model.item_ids, table[test.log["row"].to_list()]), shifted, train, KS
    )
    assert found.test["seen_removed"] == pytest.approx(expected["seen_removed"])
    assert found.last_events is None
    assert EVENTS_BEFORE not in model.asked[0].columns


@pytest.mark.slow
def test_towers_read_the_events_before_the_row():
    from tests.models.test_gated import gated_model
    from tests.tiny_histories import history_interactions

    log = history_interactions()
    log = log.with_log(log.log.with_row_index("row"))
    train, test = split_by_time(log, test_fraction=0.1, test_events="successive")
    model = gated_model(train)
    result = evaluate(model, test, seen=train, history=log, ks=(5, 10), baselines=False)
    assert list(result.baselines) == ["gated, as of the newest event"]
    queries = test.queries.with_columns(pl.Series(EVENTS_BEFORE, events_before(test, log)))
    found = model.embed_queries(queries, log)
    for place, row in enumerate(test.log["row"].to_list()[:20]):
        then = log.with_log(log.log[before_row(log, row)])
        np.testing.assert_allclose(
            found[place], model.embed_queries(test.queries[place], then)[0], atol=1e-5
        )
    ranks = rank(model.retriever(train), test, seen=train, ks=(5,)).kept.rows
    assert not np.array_equal(ranks, result.rankings["gated"].kept.rows)
