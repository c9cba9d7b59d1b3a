"""ItemTransitions against hand-worked counts and loops over every pair of events."""

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.retriever_contract import check_learning, check_retriever
from tfrecall.baselines.item_transitions import ItemTransitions
from tfrecall.data import Interactions, synthetic
from tfrecall.errors import ConfigError

USERS, ITEMS = "uvw", "abcd"
EVENTS = st.tuples(st.sampled_from(USERS), st.sampled_from(ITEMS), st.integers(0, 6))


def make_train(events):
    """A log of (user, item, time)."""
    users, items, times = zip(*events, strict=True)
    return Interactions(
        log=pl.DataFrame(
            {"user_id": users, "item_id": items, "timestamp": [float(time) for time in times]}
        ),
        users=pl.DataFrame({"user_id": list(USERS)}),
        items=pl.DataFrame({"item_id": list(ITEMS)}),
    )


def log_of(**histories):
    """Each user's items in order, an event a second."""
    return make_train([(user, item, t) for user in histories for t, item in enumerate(histories[user])])


def asked(*users, times=None):
    queries = pl.DataFrame({"user_id": users})
    if times is None:
        return queries
    return queries.with_columns(timestamp=pl.Series(times, dtype=pl.Float64))


def plain(**options):
    """Without decay and damping: how often something followed, over how often its cause occurred."""
    return ItemTransitions(**{"decay": 0, "damping": 0, **options})


def test_it_keeps_the_contract():
    check_retriever(lambda train: ItemTransitions().fit(train))
    check_retriever(lambda train: ItemTransitions(window=1, decay=0.5, top_n=3).fit(train))


def test_it_learns_structure_and_nothing_else():
    # Measured .58-.60 against popularity's .29-.33 over four seeds.
    check_learning(lambda train: ItemTransitions().fit(train), margin=0.2)


def test_worked_case_of_a_window_of_one():
    # a occurs 3 times, followed by b twice and by c once; b, c and d are followed by d, -, -.
    train = log_of(u="abd", v="ab", w="ac")
    scores = plain(window=1).fit(train).scores(asked("u", "v", "w"))
    # u ends with d, after which nothing came; v with b, which occurs twice and led to d once.
    np.testing.assert_allclose(scores, [[0, 0, 0, 0], [0, 0, 0, 1 / 2], [0, 0, 0, 0]], rtol=1e-6)
    scores = plain(window=1).fit(train).scores(asked("u", times=[0]))
    np.testing.assert_allclose(scores, [[0, 2 / 3, 1 / 3, 0]], rtol=1e-6)


def test_worked_case_of_decay_and_damping():
    # u: a b c. Transitions a-b 1, b-c 1, a-c 1/2 (two apart); w: d a. Transition d-a 1.
    # Each is divided by the root of the two counts: a 2, b 1, c 1, d 1.
    train = log_of(u="abc", w="da")
    model = ItemTransitions(window=2, decay=1, damping=0.5).fit(train)
    # w had a last: a-b 1 / sqrt(2 * 1), a-c (1/2) / sqrt(2 * 1); before it d, which counts half:
    # d-a (1/2) * 1 / sqrt(1 * 2).
    root = 2**-0.5
    expected = [[root / 2, root, root / 2, 0]]
    np.testing.assert_allclose(model.scores(asked("w")), expected, rtol=1e-6)


def test_damping_divides_by_the_popularity_of_what_follows():
    # a is followed by b once and by c once; b occurs once, c 4 times.
    train = log_of(u="ab", v="ac", w="ccc")
    for damping, ratio in ((0, 1), (0.5, 4**0.5), (1, 4)):
        (scores,) = plain(window=1, damping=damping).fit(train).scores(asked("u", times=[0]))
        assert scores[1] / scores[2] == pytest.approx(ratio)


def test_events_of_other_users_do_not_follow():
    train = log_of(u="a", v="b", w="c")
    scores = plain().fit(train).scores(asked(*USERS))
    assert scores.tolist() == [[0] * 4] * 3


def test_an_item_may_follow_itself():
    (scores,) = plain(window=1).fit(log_of(u="aa")).scores(asked("u"))
    assert scores.tolist() == [0.5, 0, 0, 0]


def test_what_a_user_had_later_is_not_looked_at():
    # a led u to c and v to b, c led w to d. At second 4 u has a, at second 5 c as well.
    train = make_train(
        [("u", "a", 0), ("u", "c", 5), ("v", "a", 0), ("v", "b", 1), ("w", "c", 0), ("w", "d", 1)]
    )
    model = plain(window=1).fit(train)
    early, late = model.scores(asked("u", "u", times=[4, 5]))
    assert early.tolist() == [0, 0.5, 0.5, 0]
    assert late.tolist() == [0, 0, 0, 0.5]
    assert model.scores(asked("u")).tolist() == [late.tolist()]


def test_who_had_nothing_gets_zeros():
    train = log_of(u="ab", v="ab")
    assert not ItemTransitions().fit(train).scores(asked("stranger", "w")).any()
    assert not ItemTransitions().fit(train).scores(asked("u", times=[-1])).any()


def test_of_equal_transitions_the_lower_rows_are_kept():
    # a, there 4 times, is followed by d twice and by b and c once: d and b stay.
    train = log_of(u="ad", v="ac", w="abad")
    (scores,) = plain(window=1, top_n=2).fit(train).scores(asked("u", times=[0]))
    assert scores.tolist() == [0, 0.25, 0, 0.5]


@pytest.mark.slow
@given(
    st.lists(EVENTS, min_size=1, max_size=30),
    st.lists(st.tuples(st.sampled_from([*USERS, "stranger"]), st.integers(0, 6)), max_size=6),
    st.integers(1, 4),
    st.sampled_from([0, 0.5, 1, 2]),
    st.sampled_from([0, 0.25, 1]),
)
def test_it_agrees_with_loops(events, queries, window, decay, damping):
    model = ItemTransitions(window, decay, damping).fit(make_train(events))
    found = model.scores(asked(*(user for user, _ in queries), times=[time for _, time in queries]))
    expected = [by_loops(events, *query, window, decay, damping) for query in queries]
    np.testing.assert_allclose(found, np.reshape(expected, (-1, len(ITEMS))), rtol=1e-5)


def by_loops(events, user, time, window, decay, damping):
    """Scores of all items from the definition, a pair of events at a time."""
    count = {item: sum(event[1] == item for event in events) for item in ITEMS}
    transitions = dict.fromkeys([(a, b) for a in ITEMS for b in ITEMS], 0.0)
    for other in USERS:
        history = items_of(events, other, until=9)
        for i in range(len(history)):
            for j in range(i + 1, min(i + window, len(history) - 1) + 1):
                a, b = history[i], history[j]
                share = count[a] ** (1 - damping) * count[b] ** damping
                transitions[a, b] += 1 / (j - i) ** decay / share
    latest_first = items_of(events, user, until=time)[::-1][:window]
    return [
        sum(transitions[had, item] / back**decay for back, had in enumerate(latest_first, start=1))
        for item in ITEMS
    ]


def items_of(events, user, until):
    """Python's sort is stable, so equal times keep the order of the file."""
    own = [event for event in events if event[0] == user and event[2] <= until]
    return [item for _, item, _ in sorted(own, key=lambda event: event[2])]


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("window", 0),
        ("decay", -1),
        ("decay", float("nan")),
        ("damping", 1.5),
        ("damping", -0.5),
        ("top_n", 0),
    ],
)
def test_senseless_options_are_refused(option, value):
    with pytest.raises(ConfigError, match=rf"`{option}` is .* Received: {value}"):
        ItemTransitions(**{option: value})


def test_a_window_longer_than_the_log_is_the_whole_of_it():
    train = synthetic(n_users=5, n_rows=20)
    found = [ItemTransitions(window).fit(train).scores(train.queries) for window in (20, 500)]
    np.testing.assert_allclose(*found, rtol=1e-6)


def test_unfitted_it_says_what_to_do():
    with pytest.raises(ConfigError, match=r"Call `fit\(train\)` first"):
        ItemTransitions().scores(asked("u"))
