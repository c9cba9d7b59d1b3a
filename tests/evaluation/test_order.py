"""The order test: the same rows asked with histories as they are and shuffled."""

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.data.inspection.test_order import walks
from tests.evaluation.helpers import TableModel, make_log
from tfrecall.baselines.item_cf import ItemCF
from tfrecall.baselines.item_transitions import ItemTransitions
from tfrecall.core.seen import Seen
from tfrecall.data import split_leave_last_out
from tfrecall.errors import DataError
from tfrecall.evaluation.bootstrap import ratio_intervals
from tfrecall.evaluation.order import order_test, shuffled_log
from tfrecall.exporting.export import export


def log_of(histories):
    return make_log(
        [
            (f"u{user}", f"i{item}", 100.0 * user + place)
            for user in range(len(histories))
            for place, item in enumerate(histories[user].tolist())
        ]
    )


@pytest.fixture(scope="module")
def parts():
    return split_leave_last_out(log_of(walks(0.9, users=120)), validation=False)


@given(
    st.lists(st.tuples(st.sampled_from("uv"), st.sampled_from("abc"), st.integers(0, 4)), min_size=1),
    st.none() | st.integers(1, 4),
    st.integers(0, 9),
)
def test_a_shuffle_moves_the_newest_events_of_each_user_and_no_time(rows, newest, seed):
    log = make_log([(user, item, float(time)) for user, item, time in rows])
    mixed = shuffled_log(log, newest, seed)
    for user in set(log.log["user_id"]):
        before, after = (
            one.log.filter(pl.col("user_id") == user).sort("timestamp", maintain_order=True)
            for one in (log, mixed)
        )
        assert before["timestamp"].equals(after["timestamp"])
        kept = 0 if newest is None else max(0, len(before) - newest)
        # `row` tells events apart: it moves with the item.
        assert before.select("item_id", "row")[:kept].equals(after.select("item_id", "row")[:kept])
        pairs = [set(one.select("item_id", "row")[kept:].rows()) for one in (before, after)]
        assert pairs[0] == pairs[1]


def test_order_is_worth_much_to_transitions_and_nothing_to_sets(parts):
    train, test = parts
    found = order_test(ItemTransitions().fit(train), test, seen=train, ks=(1, 10))
    loss = found.loss[Seen.KEPT]["ndcg@10"]
    assert loss["loss"] > 0.3
    assert loss["low"] < loss["loss"] < loss["high"]
    figures = found.ordered[Seen.KEPT]["ndcg@10"], found.shuffled[Seen.KEPT]["ndcg@10"]
    assert loss["loss"] == pytest.approx(1 - figures[1] / figures[0])
    nothing = order_test(ItemCF().fit(train), test, seen=train, ks=(1, 10))
    assert nothing.loss[Seen.KEPT]["ndcg@10"] == {"loss": 0.0, "low": 0.0, "high": 0.0}
    assert (found.rows, found.users) == (120, 120)


def test_a_release_loses_what_its_model_loses(parts, tmp_path):
    train, test = parts
    model = ItemTransitions().fit(train)
    live = order_test(model, test, seen=train, ks=(10,))
    released = order_test(export(model, tmp_path), test, seen=train, ks=(10,))
    assert released.ordered[Seen.KEPT] == pytest.approx(live.ordered[Seen.KEPT], abs=0.01)
    # Both draw the same numbers for the same events.
    assert released.shuffled[Seen.KEPT] == pytest.approx(live.shuffled[Seen.KEPT], abs=0.01)


def test_a_figure_of_zero_has_no_loss():
    log = make_log([("u", "a", 0), ("u", "b", 1)])
    test = log.with_log(log.log[1:].with_columns(row=pl.lit(0)))
    model = TableModel(["a", "b"], [[1.0, 0.0]])
    found = order_test(model, test, seen=log.with_log(log.log[:1]), ks=(1,))
    assert found.loss[Seen.KEPT]["hit_rate@1"] is None
    assert found.to_dict()["loss"]["seen_kept"]["mrr"] == {"loss": 0.0, "low": 0.0, "high": 0.0}


def test_rows_before_other_events_of_their_users_are_refused(parts):
    train, test = parts
    early = test.with_log(test.log.with_columns(timestamp=pl.col("timestamp") - 50.0))
    with pytest.raises(DataError, match="120 of 120 test rows lie before an event of their user"):
        order_test(ItemTransitions().fit(train), early, seen=train)


def test_ratio_intervals_are_those_of_resampled_users():
    random = np.random.default_rng(4)
    users = np.sort(random.integers(0, 40, 300))
    below, above = random.random(300), random.random(300) / 2
    ((low, high),) = ratio_intervals([above], [below], users, resamples=200)
    ratios, drawn = [], np.random.default_rng(0)
    for _ in range(200):
        counts = np.bincount(drawn.integers(0, 40, 40), minlength=40)[users]
        ratios.append((counts * above).sum() / (counts * below).sum())
    assert [low, high] == pytest.approx(np.quantile(ratios, [0.025, 0.975]).tolist())


@pytest.mark.slow
def test_towers_and_their_release_read_shuffled_histories(tmp_path):
    from tests.tiny_histories import history_interactions, history_two_tower

    train, test = split_leave_last_out(history_interactions(), validation=False)
    model = history_two_tower(train, epochs=3)
    live = order_test(model, test, seen=train, ks=(5, 10))
    assert live.ordered[Seen.KEPT] != live.shuffled[Seen.KEPT]
    released = order_test(export(model, tmp_path, index=None), test, seen=train, ks=(5, 10))
    assert released.ordered[Seen.KEPT] == pytest.approx(live.ordered[Seen.KEPT], abs=0.02)
    assert released.ordered[Seen.KEPT] != released.shuffled[Seen.KEPT]
