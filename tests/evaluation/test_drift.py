"""Drift between releases: shares by hand, and limits."""

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tfrecall as tr
from tests import commands
from tfrecall.data import Interactions
from tfrecall.errors import ConfigError, UnsupportedError
from tfrecall.evaluation.drift import Change, _distance, drift
from tfrecall.release.ranker import RankerRelease


def release_of(root, rows, items):
    log = pl.DataFrame(rows, ["user_id", "item_id"], orient="row")
    log = log.with_columns(timestamp=pl.Series(range(len(rows)), dtype=pl.Float64))
    users = pl.DataFrame({"user_id": sorted({"idle", *(user for user, _ in rows)})})
    data = Interactions(log, users, pl.DataFrame({"item_id": items}))
    return tr.export(tr.Popularity().fit(data), root)


@pytest.fixture
def weeks(tmp_path):
    old = [("u1", "a"), ("u2", "a"), ("u2", "b"), ("u3", "c")]
    new = [("u1", "b"), ("u2", "d"), ("u4", "d"), ("u4", "b"), ("u5", "e")]
    return (
        release_of(tmp_path / "old", old, ["a", "b", "c", "x"]),
        release_of(tmp_path / "new", new, ["d", "b", "x", "e"]),
    )


def test_shares_are_those_of_events(weeks):
    found = drift(*weeks, k=2)
    assert found.items == Change(before=4, after=4, added=2, gone=2)  # d, e; a, c
    assert found.users == Change(before=3, after=4, added=2, gone=1)  # u4, u5; u3
    assert found.unknown_items == pytest.approx(3 / 5)  # d, d, e
    assert found.unknown_users == pytest.approx(3 / 5)  # u4 twice, u5
    # a 2/4 -> 0, b 1/4 -> 2/5, c 1/4 -> 0, d 0 -> 2/5, e 0 -> 1/5: (.5 + .15 + .25 + .4 + .2) / 2
    assert found.popularity_shift == pytest.approx(0.75)
    assert found.compared == 2  # u1 and u2
    # u1: [b, c] and [d, e], as each had the other best; u2: [c, x] and [b, e]
    assert (found.overlap, found.same_lists) == (0.0, 0.0)


def test_a_release_has_no_drift_from_itself(weeks):
    old, _ = weeks
    found = drift(old, old, k=3)
    assert found.items.added == found.items.gone == found.users.added == found.users.gone == 0
    assert found.unknown_items == found.unknown_users == found.popularity_shift == 0
    assert (found.overlap, found.same_lists, found.score_shift) == (1.0, 1.0, 0.0)
    assert found.k == 3
    assert drift(old, old, k=30).k == 4


def test_limits_that_are_crossed_are_named(weeks):
    found = drift(*weeks, k=2)
    limits = {"max_unknown_items": 0.6, "max_popularity_shift": 0.7, "min_overlap": 0.1}
    assert found.crossed(limits) == [
        "popularity_shift is 0.750, above the limit of 0.7",
        "overlap is 0.000, below the limit of 0.1",
    ]
    with pytest.raises(ConfigError, match=r'no limit "max_unknown_item"\. Did you mean'):
        found.crossed({"max_unknown_item": 0.1})
    with pytest.raises(ConfigError, match=r"a share from 0 to 1\. Received: 5"):
        found.crossed({"min_overlap": 5})


def test_without_common_users_lists_are_not_measured(weeks, tmp_path):
    other = release_of(tmp_path / "other", [("v", "a")], ["a", "b", "c", "d"])
    found = drift(other, weeks[1])
    assert found.compared == 0
    assert found.overlap is found.score_shift is None
    assert found.crossed({"min_overlap": 1.0, "max_score_shift": 0.0}) == []


def test_what_cannot_be_measured_is_refused(weeks):
    old = weeks[0]
    ranker = RankerRelease(old.root, old.manifest, old.users, old.catalogue, None)
    with pytest.raises(UnsupportedError, match="is a ranker"):
        drift(weeks[0], ranker)
    for wrong in ({"k": 0}, {"users": 0}):
        with pytest.raises(ConfigError, match="at least 1"):
            drift(*weeks, **wrong)


@given(st.lists(st.floats(-5, 5), min_size=1, max_size=9), st.lists(st.floats(-5, 5), min_size=1))
def test_the_distance_of_scores_is_the_largest_between_their_distributions(one, other):
    places = [*one, *other]
    by_hand = max(
        abs(np.mean([x <= place for x in one]) - np.mean([x <= place for x in other]))
        for place in places
    )
    assert _distance(np.sort(one), np.sort(other)) == pytest.approx(by_hand)


def test_the_command_ends_with_4_beyond_a_limit(weeks):
    old, new = (str(release.root) for release in weeks)
    assert "events with new items" in commands.ask("drift", old, new, "-k", 2).stdout
    told = commands.ask("drift", old, new, "--max-unknown-items", 0.5, "--json", status=4)
    assert '"crossed": ["unknown_items is 0.600, above the limit of 0.5"]' in told.stdout
    assert "Drift: unknown_items is 0.600" in told.stderr
