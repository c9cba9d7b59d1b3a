"""Negatives are drawn as often as they should be, and what is excluded never."""

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import chdtrc

from tfrecall.data import Interactions, negatives
from tfrecall.data.negatives import draw_negatives
from tfrecall.data.sampling import power_weights
from tfrecall.errors import ConfigError, DataError


def log_of(events, n_items):
    """A log of (user, item) over a catalogue of `n_items`, whose item "k" stands in row k."""
    users, items = zip(*events, strict=True)
    columns = {"user_id": list(users), "item_id": [str(item) for item in items]}
    catalogue = pl.DataFrame({"item_id": [str(item) for item in range(n_items)]})
    return Interactions.from_frame(pl.DataFrame(columns), items=catalogue, timestamp="")


# By hand: 6 items; u had 0, 1 and 0 again, v had 0 and 2, w had 1 and 3. Items 4, 5: nobody.
EVENTS = [("u", 0), ("u", 1), ("u", 0), ("v", 0), ("v", 2), ("w", 1), ("w", 3)]


def frequencies(log, row, **options):
    """How often each item is drawn against one target, of 40,000 draws."""
    drawn = draw_negatives(log, np.full(20_000, row), 2, **options)
    return np.bincount(drawn.ravel(), minlength=log.items.height)


def assert_drawn_by(weights, counts):
    """The counts are those of draws by these weights; wrongly refused once in 10,000 seeds."""
    weights = np.array(weights, dtype=float)
    assert not counts[weights == 0].any()
    drawn, expected = counts[weights > 0], weights[weights > 0] / weights.sum() * counts.sum()
    distance = ((drawn - expected) ** 2 / expected).sum()
    assert chdtrc(len(drawn) - 1, distance) > 1e-4


@st.composite
def logs(draw):
    """Up to 40 events of up to 5 users with up to 9 items; no user has had all 10."""
    events = draw(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 8)), max_size=38))
    return log_of([(0, 0), (1, 1), *events], n_items=10)


OPTIONS = {
    "source": st.sampled_from(["uniform", "popularity"]),
    "alpha": st.floats(0, 2),
    "exclude_known": st.booleans(),
    "seed": st.integers(0, 2**31 - 1),
}


@given(logs(), st.fixed_dictionaries(OPTIONS), st.data())
def test_what_is_excluded_is_never_drawn(log, options, data):
    rows = data.draw(st.lists(st.integers(0, len(log) - 1), max_size=20))
    drawable = set(range(10))
    if options["source"] == "uniform":
        del options["alpha"]
    elif options["alpha"] > 0:
        drawable = set(log.item_rows.tolist())
    left = []
    for row in rows:
        known = set(log.item_rows[log.user_rows == log.user_rows[row]].tolist())
        left.append(drawable - (known if options["exclude_known"] else {log.item_rows[row]}))
    if not all(left):
        with pytest.raises(DataError, match="There is no item to draw"):
            draw_negatives(log, np.array(rows), 3, **options)
        return
    drawn = draw_negatives(log, np.array(rows), 3, **options)
    assert drawn.shape == (len(rows), 3)
    assert drawn.dtype == np.int32
    for items, allowed in zip(drawn.tolist(), left, strict=True):
        assert set(items) <= allowed


@pytest.mark.parametrize(
    ("row", "weights"),
    [
        (0, [0, 0, 1, 1, 1, 1]),  # u had 0 and 1
        (4, [0, 1, 0, 1, 1, 1]),  # v had 0 and 2
        (6, [1, 0, 1, 0, 1, 1]),  # w had 1 and 3
    ],
)
def test_uniform_draws_are_alike_over_what_the_user_never_had(row, weights):
    assert_drawn_by(weights, frequencies(log_of(EVENTS, 6), row))


@pytest.mark.parametrize(
    ("row", "weights"),
    [
        # Events of each item: 3, 2, 1, 1, 0, 0; to the power of .75: 2.28, 1.68, 1, 1, 0, 0.
        (0, [0, 0, 1, 1, 0, 0]),
        (4, [0, 2**0.75, 0, 1, 0, 0]),
        (6, [3**0.75, 0, 1, 0, 0, 0]),
    ],
)
def test_popularity_draws_are_by_the_power_of_the_share(row, weights):
    assert_drawn_by(weights, frequencies(log_of(EVENTS, 6), row, source="popularity"))


@pytest.mark.parametrize(
    ("options", "weights"),
    [
        ({}, [1, 0, 1, 1, 1, 1]),
        ({"source": "popularity", "alpha": 1.0}, [3, 0, 1, 1, 0, 0]),
        ({"source": "popularity", "alpha": 2.0}, [9, 0, 1, 1, 0, 0]),
        ({"source": "popularity", "alpha": 0.0}, [1, 0, 1, 1, 1, 1]),
    ],
)
def test_with_known_items_only_the_target_is_left_out(options, weights):
    # Row 1 is u with item 1; item 0, which u had too, may come.
    assert_drawn_by(weights, frequencies(log_of(EVENTS, 6), 1, exclude_known=False, **options))


def test_many_targets_at_once_are_drawn_as_one_by_one():
    log = log_of(EVENTS, 6)
    rows = np.random.default_rng(0).permutation(np.repeat(np.arange(7), 10_000))
    drawn = draw_negatives(log, rows, 1, source="popularity", alpha=1.0)[:, 0]
    assert_drawn_by([0, 0, 1, 1, 0, 0], np.bincount(drawn[rows < 3], minlength=6))
    assert_drawn_by([0, 2, 0, 1, 0, 0], np.bincount(drawn[rows == 3], minlength=6))
    assert_drawn_by([3, 0, 1, 0, 0, 0], np.bincount(drawn[rows == 6], minlength=6))


def test_many_items_are_drawn_by_their_share():
    # 200 items, item k with k + 1 events of its own users; the user asked has had every third one.
    own = [(f"u{item}", item) for item in range(200) for _ in range(item + 1)]
    known = list(range(0, 200, 3))
    log = log_of([("u", item) for item in known] + own, 200)
    shares = np.bincount(log.item_rows)
    shares[known] = 0
    assert_drawn_by(shares**0.75, frequencies(log, 5, source="popularity"))


def test_a_user_who_had_all_but_one_item_gets_that_one():
    rest = [("u", item) for item in range(500) if item != 321]
    log = log_of([*rest, ("v", 321)], 500)
    assert (draw_negatives(log, np.arange(499), 4) == 321).all()
    assert (draw_negatives(log, np.arange(499), 4, source="popularity") == 321).all()


def test_a_user_who_had_every_item_is_refused_by_name():
    log = log_of([("u", 0), ("v", 0), ("v", 1), ("v", 2)], 3)
    with pytest.raises(DataError, match=r"1 of 3 targets: user \"v\" \(row 2 of the log\)"):
        draw_negatives(log, [0, 0, 2], 1)
    assert draw_negatives(log, [0], 2).shape == (1, 2)  # who is not asked does not matter
    assert (draw_negatives(log, [2], 2, exclude_known=False) != 1).all()


def test_a_user_who_had_every_item_with_events_is_refused_with_popularity():
    log = log_of([("u", 0), ("u", 1), ("v", 1)], 4)
    with pytest.raises(DataError, match=r"user \"u\" .* the catalogue has 4"):
        draw_negatives(log, [0], 1, source="popularity")
    assert set(draw_negatives(log, [0], 3, source="popularity", alpha=0).ravel()) <= {2, 3}


def test_rows_may_come_in_any_order_and_more_than_once():
    log = log_of(EVENTS, 6)
    drawn = draw_negatives(log, [6, 0, 6, 4], 3)
    assert {*drawn[0], *drawn[2]} <= {0, 2, 4, 5}
    assert set(drawn[1]) <= {2, 3, 4, 5}
    assert set(drawn[3]) <= {1, 3, 4, 5}


def test_draws_follow_from_the_seed():
    log, rows = log_of(EVENTS, 6), np.arange(7)
    first, again, other = (draw_negatives(log, rows, 5, seed=seed) for seed in (1, 1, 2))
    assert (first == again).all()
    assert (first != other).any()


def test_draws_do_not_depend_on_the_size_of_the_blocks(monkeypatch):
    log, rows = log_of(EVENTS, 6), np.arange(7)
    whole = draw_negatives(log, rows, 5)
    for size in (1, 15):
        monkeypatch.setattr(negatives, "BLOCK_DRAWS", size)
        assert (draw_negatives(log, rows, 5) == whole).all()


def test_no_targets_no_negatives():
    assert draw_negatives(log_of(EVENTS, 6), [], 5).shape == (0, 5)


@pytest.mark.slow
@pytest.mark.parametrize("n_owners", [1, 6_040, 10**9])
def test_weights_fit_into_whole_numbers_and_keep_rare_items(n_owners):
    events = [("u", 0)] * 50_000 + [("v", 1)]
    weights = power_weights(np.bincount(log_of(events, 2).item_rows), 2.0, n_owners)
    # 50,000 events against one, squared: 2.5e9 to 1. 10^9 owners leave 2.3e9 for both.
    assert weights[1] >= 1
    assert int(weights.sum()) * n_owners < 2**63
    if n_owners < 10**9:
        assert weights[0] / weights[1] == pytest.approx(2.5e9, rel=1e-5)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"source": "populrity"}, 'Received: "populrity". Did you mean "popularity"'),
        ({"source": "popularity", "alpha": -0.1}, "Received: -0.1"),
        ({"source": "popularity", "alpha": 2.1}, "to 2. Received: 2.1"),
        ({"source": "popularity", "alpha": float("nan")}, "Received: nan"),
        ({"per_target": 0}, "from 1 to 5 negatives a target .* Received: 0"),
        ({"per_target": 6}, "has 6 items, so there must be from 1 to 5 negatives .* Received: 6"),
        ({"rows": [0, 7]}, "from 0 to 6. Received: int64 of shape .2,., from 0 to 7"),
        ({"rows": [-1]}, "from -1 to -1"),
        ({"rows": [True, False]}, "Received: bool"),
        ({"rows": [[0, 1]]}, "of shape .1, 2."),
    ],
)
def test_arguments_that_make_no_sense_are_refused(arguments, message):
    with pytest.raises(ConfigError, match=message):
        draw_negatives(**{"log": log_of(EVENTS, 6), "rows": [0], "per_target": 2, **arguments})


# Head and tail. Events of each item: 0 three, 1 two, 2 and 3 one each, 4 and 5 none.


@pytest.mark.parametrize(
    ("row", "weights"),
    [
        # v had 0 and 2. Frequent is 1 with the chance .3; rare are 3, 4, 5 with .7 / 3.
        (4, [0, 0.3, 0, 0.7 / 3, 0.7 / 3, 0.7 / 3]),
        # w had 1 and 3. Frequent is 0; rare are 2, 4, 5.
        (6, [0.3, 0, 0.7 / 3, 0, 0.7 / 3, 0.7 / 3]),
        # u had all that is frequent, and gets rare ones.
        (0, [0, 0, 1, 1, 1, 1]),
    ],
)
def test_head_and_tail_are_drawn_with_their_chances(row, weights):
    options = {"source": "head_tail", "head_share": 0.3, "threshold": 2}
    assert_drawn_by(weights, frequencies(log_of(EVENTS, 6), row, **options))


def test_within_the_head_draws_are_by_the_power_of_the_share():
    options = {"source": "head_tail", "head_share": 0.6, "threshold": 2, "exclude_known": False}
    head = np.array([3**0.75, 2**0.75])
    weights = [*0.6 * head / head.sum(), 0, 0.4 / 3, 0.4 / 3, 0.4 / 3]
    # Row 4 is v with item 2, which is left out of the tail.
    assert_drawn_by(weights, frequencies(log_of(EVENTS, 6), 4, **options))


def test_who_has_the_whole_tail_gets_the_head():
    log = log_of([("u", 2), ("u", 3), *[("v", 0)] * 5, *[("w", 1)] * 5], 4)
    assert_drawn_by([1, 1, 0, 0], frequencies(log, 0, source="head_tail"))


@pytest.mark.parametrize(("threshold", "which"), [(1, "All"), (9, "None")])
def test_a_threshold_that_separates_nothing_is_refused(threshold, which):
    log = log_of([("u", 0), ("u", 1), ("v", 1), ("v", 2)], 3)
    with pytest.raises(ConfigError, match=f"{which} of 3 items have.* between 2 and 2"):
        draw_negatives(log, [0], 1, source="head_tail", threshold=threshold)


@pytest.mark.slow
@given(logs(), st.booleans(), st.integers(0, 999), st.data())
def test_head_and_tail_never_give_what_is_excluded(log, exclude_known, seed, data):
    rows = np.array(data.draw(st.lists(st.integers(0, len(log) - 1), min_size=1, max_size=20)))
    options = {"threshold": 1, "exclude_known": exclude_known, "seed": seed}
    drawn = draw_negatives(log, rows, 3, source="head_tail", **options)  # item 9 never has events
    for row, items in zip(rows, drawn.tolist(), strict=True):
        mine = log.user_rows == log.user_rows[row] if exclude_known else np.array([row])
        assert not set(items) & set(log.item_rows[mine].tolist())
