"""Histories as batches: both forms hold what stood before each target, and nothing else."""

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tfrecall.data import Interactions
from tfrecall.data.sequences import Batch, Events, Sequences, check_apart, past_windows, windows
from tfrecall.errors import DataError
from tfrecall.schema.encoders import Gated
from tfrecall.schema.features import History

# u: a b c b at 1 2 3 3; v: c at 5. The file is not sorted, and u's last two share a second.
LOG = Interactions.from_frame(
    pl.DataFrame(
        {
            "user_id": ["u", "v", "u", "u", "u"],
            "item_id": ["b", "c", "a", "c", "b"],
            "timestamp": [2, 5, 1, 3, 3],
            "rating": [4.0, 5.0, 2.0, 3.0, 1.0],
        }
    ),
    items=pl.DataFrame({"item_id": ["a", "b", "c"]}),
)
INDEX = np.array([2, 3, 4], np.int32)  # of a, b, c


def test_a_window_is_the_newest_part_of_a_slice_with_padding_in_front():
    items = np.array([5, 6, 7, 8], np.int32)
    starts, ends = np.array([0, 0, 1]), np.array([0, 2, 4])
    assert windows(items, starts, ends, 3).tolist() == [[0, 0, 0], [0, 5, 6], [6, 7, 8]]


def test_windows_of_no_events_are_padding():
    assert windows(np.empty(0, np.int32), np.array([0]), np.array([0]), 2).tolist() == [[0, 0]]


@given(
    items=st.lists(st.integers(1, 9), max_size=30),
    slices=st.lists(st.tuples(st.integers(0, 30), st.integers(0, 30)), max_size=6),
    length=st.integers(1, 12),
)
def test_windows_are_what_a_loop_cuts(items, slices, length):
    bounds = np.sort(np.minimum(np.array(slices, np.int64).reshape(-1, 2), len(items)), axis=1)
    found = windows(np.array(items, np.int32), bounds[:, 0], bounds[:, 1], length)
    cut = [items[max(start, end - length) : end] for start, end in bounds.tolist()]
    assert found.dtype == np.int32
    assert found.tolist() == [[0] * (length - len(row)) + row for row in cut]


def test_events_come_by_user_and_time_and_ties_in_file_order():
    events = Events.build(LOG, History(), INDEX)
    # u: a b c b, v: c
    assert events.items.tolist() == [2, 3, 4, 3, 4]
    assert events.counts.tolist() == [0, 1, 2, 3, 4, 5]


def test_ratings_decide_what_is_liked():
    liked = Events.build(LOG, History("liked", min_rating=3), INDEX)
    disliked = Events.build(LOG, History("disliked", below_rating=3), INDEX)
    # u rated a 2, b 4, c 3 and b again 1; v rated c 5.
    assert liked.items.tolist() == [3, 4, 4]
    assert liked.counts.tolist() == [0, 0, 1, 2, 2, 3]
    assert disliked.items.tolist() == [2, 3]


def test_an_item_that_is_not_known_leaves_no_gap():
    events = Events.build(LOG, History(), np.array([2, 0, 4], np.int32))
    assert events.items.tolist() == [2, 4, 4]
    assert events.counts.tolist() == [0, 1, 1, 2, 2, 3]


def test_a_query_sees_what_its_user_had_until_then():
    queries = pl.DataFrame({"user_id": ["u", "u", "nobody"], "timestamp": [2.0, 9.0, 9.0]})
    found = past_windows(queries, LOG, {"history": History("history", history_length=3)}, INDEX)
    assert found["history"].tolist() == [[0, 2, 3], [3, 4, 3], [0, 0, 0]]


def test_a_query_without_a_time_sees_all():
    found = past_windows(
        pl.DataFrame({"user_id": ["v"]}), LOG, {"h": History("h", history_length=2)}, INDEX
    )
    assert found["h"].tolist() == [[0, 4]]


def test_rows_in_their_own_history_are_refused_as_a_leak():
    with pytest.raises(DataError, match=r'1 of 1 rows are in the log .* user "v", item "c"'):
        check_apart(LOG.with_log(LOG.log[1:2]), LOG)


def test_a_repeated_purchase_is_no_leak():
    later = LOG.with_log(LOG.log[1:2].with_columns(timestamp=pl.lit(6.0)))
    check_apart(later, LOG)


def test_a_repeat_in_a_log_without_times_is_no_leak_but_the_log_itself_is():
    timeless = LOG.with_log(LOG.log.with_columns(timestamp=pl.lit(0.0)))
    check_apart(timeless.with_log(timeless.log[1:2]), timeless)
    with pytest.raises(DataError, match="are in the log that their histories come from"):
        check_apart(timeless, timeless)


# Of all orders of magnitude, so that their differences are.
TIMES = [0, 1, 2, 70, 4000, 10**5, 10**6, 10**7]


@st.composite
def logs(draw: st.DrawFn) -> Interactions:
    rows = draw(
        st.lists(
            st.tuples(st.integers(0, 3), st.integers(0, 4), st.sampled_from(TIMES), st.integers(1, 5)),
            max_size=40,
        )
    )
    rows += [(8, 0, 0, 3), (9, 1, 0, 3)]  # a log has two users and two items
    frame = pl.DataFrame(
        {
            "user_id": [f"u{row[0]}" for row in rows],
            "item_id": [f"i{row[1]}" for row in rows],
            "timestamp": [row[2] for row in rows],
            "rating": [float(row[3]) for row in rows],
        }
    )
    return Interactions.from_frame(frame, items=pl.DataFrame({"item_id": [f"i{i}" for i in range(5)]}))


def seen_of(batch: Batch, name: str, length: int) -> dict[int, list[tuple[int, ...]]]:
    """For each target row what it sees: the last `length` real cells up to its position."""
    cells_of = np.stack([batch.items[name], *batch.context.get(name, {}).values()], axis=-1)
    seen = {}
    for i, row in enumerate(batch.rows.tolist()):
        if name in batch.positions:
            sequence, cell = divmod(int(batch.positions[name][i]), cells_of.shape[1])
            cells = cells_of[sequence, : cell + 1]
        else:
            cells = cells_of[i]
        assert not cells[cells[:, 0] == 0].any()  # of padding nothing is told
        seen[row] = [tuple(event) for event in cells.tolist() if event[0]][-length:]
    return seen


def expected(
    log: Interactions, length: int, least: int, baskets: bool
) -> dict[int, list[tuple[int, ...]]]:
    """By a loop: for each row the well-rated items that its user had before it or its basket, with context.

    Its codes: twice the rating, and the row of the user's event before, whatever its rating.
    """
    rows = log.log.with_row_index("row").sort("timestamp", "row").rows(named=True)
    past: dict[str, list[tuple[int, ...]]] = {}
    opened: dict[tuple[str, float], list[tuple[int, ...]]] = {}
    last: dict[str, int] = {}
    answer = {}
    for event in rows:
        before = past.setdefault(event["user_id"], [])
        of_basket = opened.setdefault((event["user_id"], event["timestamp"]), before)
        answer[event["row"]] = (of_basket if baskets else before)[-length:]
        if event["rating"] >= least:
            told = (
                int(event["item_id"][1:]) + 2,
                int(2 * event["rating"]),
                last.get(event["user_id"], -1),
            )
            past[event["user_id"]] = [*before, told]
        last[event["user_id"]] = event["row"]
    return answer


def events_before(log: Interactions) -> np.ndarray:
    """For each row the row of its user's event before, -1 for the first."""
    order = log.histories.order
    found = np.full(len(log), -1)
    found[order[1:]] = order[:-1]
    found[order[log.histories.offsets[:-1]]] = -1
    return found


@pytest.mark.slow
@settings(deadline=None)
@given(
    log=logs(),
    length=st.integers(1, 5),
    least=st.integers(1, 4),
    per_row=st.integers(1, 6),
    batch_size=st.integers(1, 9),
    whole=st.booleans(),
    baskets=st.booleans(),
    by_length=st.booleans(),
    seed=st.integers(0, 3),
)
def test_every_target_comes_once_and_sees_what_stood_before_it(
    log, length, least, per_row, batch_size, whole, baskets, by_length, seed
):
    spec = History("h", history_length=length, min_rating=least, context=("rating", "gap"))
    codes = {
        f"{spec.column}_rating": (2 * log.log["rating"]).to_numpy().astype(int),
        f"{spec.column}_gap": events_before(log),
    }
    events = Events.build(log, spec, np.arange(2, 7, dtype=np.int32), codes)
    sequences = Sequences(
        log,
        np.arange(len(log)),
        {"h": (events, length)},
        length,
        min(per_row, batch_size),
        baskets,
        by_length,
    )
    batches = list(sequences.epoch(batch_size, np.random.default_rng(seed), whole))
    assert len(batches) == sequences.steps(batch_size)
    assert all(len(batch.rows) for batch in batches)
    found = {}
    for batch in batches:
        found.update(seen_of(batch, "h", length))
    assert sum(len(batch.rows) for batch in batches) == len(log)
    assert found == expected(log, length, least, baskets)


def test_sequences_of_one_length_share_a_batch():
    # Of 2 x 30 and 4 x 15 targets, batches of about 30 hold one of the former or two of the latter.
    log = Interactions.from_frame(
        pl.DataFrame(
            {"user_id": [*"ab"] * 30 + [*"cdef"] * 15, "item_id": [*"ij"] * 60, "timestamp": range(120)}
        )
    )
    events = Events.build(log, History(), np.array([2, 3], np.int32))
    sequences = Sequences(log, np.arange(120), {"history": (events, 99)}, 1, 1000, by_length=True)
    # A shift that cuts no user comes 997 times of 1,000 or so; this one is such a one.
    batches = list(sequences.epoch(30, np.random.default_rng(0)))
    shapes = sorted(batch.items["history"].shape for batch in batches)
    # 30 events in 31 cells: the event before the first target, of which there is none here.
    assert shapes == [(1, 30), (1, 30), (2, 15), (2, 15)]


def test_a_sequence_is_asked_for_the_time_of_its_last_target():
    spec = History("h", history_length=3, encoder=Gated(time=True))
    times = (10 * LOG.log["timestamp"].to_numpy()).astype(np.int32)
    events = Events.build(LOG, spec, INDEX, {"h_timestamp": times})
    sequences = Sequences(LOG, np.arange(5), {"h": (events, 3)}, 3, 9)
    (batch,) = sequences.epoch(9, Fixed())
    # u has events at 1 2 3 3, v at 5: each last one is the target, those before it are seen.
    assert batch.context["h"]["timestamp"].tolist() == [[0, 0, 0, 10, 20, 30], [0] * 6]
    assert batch.asked["h"].tolist() == [30, 50]
    window = sequences.windows_of(np.array([2, 4]))
    # The third event of u sees the two before it.
    assert window.context["h"]["timestamp"].tolist() == [[0, 10, 20], [0, 0, 0]]
    assert window.asked["h"].tolist() == [30, 50]


class Fixed:
    """Draws nothing: no shift, and sequences in their order."""

    def integers(self, most):
        return 0

    def permutation(self, n):
        return np.arange(n)


def test_sequences_are_cut_elsewhere_in_each_epoch():
    log = Interactions.from_frame(
        pl.DataFrame(
            {"user_id": ["u"] * 20 + ["v"], "item_id": [*"abcde"] * 4 + ["a"], "timestamp": range(21)}
        )
    )
    events = Events.build(log, History(), np.arange(2, 7, dtype=np.int32))
    sequences = Sequences(log, np.arange(20), {"history": (events, 3)}, 3, 8)
    widths = {
        tuple(len(b.rows) for b in sequences.epoch(8, np.random.default_rng(seed))) for seed in range(6)
    }
    assert len(widths) > 1


def test_context_stands_beside_the_items_it_belongs_to():
    spec = History("h", history_length=3, min_rating=2, context=("rating",))
    rating = LOG.log["rating"].to_numpy().astype(np.int32)
    queries = pl.DataFrame({"user_id": ["u", "u"], "timestamp": [2.0, 9.0]})
    found = past_windows(queries, LOG, {"h": spec}, INDEX, {"h_rating": rating})
    # u rated a 2, b 4, c 3, and b again 1, which is left out.
    assert found["h"].tolist() == [[0, 2, 3], [2, 3, 4]]
    assert found["h_rating"].tolist() == [[0, 2, 4], [2, 4, 3]]


def test_context_of_an_item_that_is_not_known_is_left_out_with_it():
    spec = History("h", context=("rating",))
    rating = LOG.log["rating"].to_numpy().astype(np.int32)
    events = Events.build(LOG, spec, np.array([2, 0, 4], np.int32), {"h_rating": rating})
    assert events.items.tolist() == [2, 4, 4]
    assert events.context["rating"].tolist() == [2, 3, 5]
