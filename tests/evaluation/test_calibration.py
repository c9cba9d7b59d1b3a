"""Calibration: labels where predictions are alike, and both distributions."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tfrecall.evaluation.ranking import (
    MOST_VALUES,
    calibration,
    click_histogram,
    histogram,
    label_values,
    rating_histogram,
)


def by_loops(predictions, labels, bins):
    """The same row by row: the middle place of a row's ties tells its bin."""
    order = sorted(predictions)
    places = {}
    for value in set(order):
        first = order.index(value)
        middle = first + (order.count(value) - 1) / 2
        places[value] = int(middle * bins / len(order))
    found = []
    for place in sorted(set(places.values())):
        rows = [(p, y) for p, y in zip(predictions, labels, strict=True) if places[p] == place]
        values = [p for p, _ in rows]
        found.append(
            {
                "low": min(values),
                "high": max(values),
                "rows": len(rows),
                "prediction": sum(values) / len(rows),
                "label": sum(y for _, y in rows) / len(rows),
            }
        )
    off = sum(one["rows"] * abs(one["prediction"] - one["label"]) for one in found)
    return {"error": off / len(order), "bins": found}


def test_means_are_those_of_the_rows_of_a_bin():
    # Sorted 1 2 | 3 5: means 1.5 and 4 of predictions; labels 2 and 4 of the one, 5 and 5 of the other.
    found = calibration(np.array([5.0, 1.0, 3.0, 2.0]), np.array([5.0, 2.0, 5.0, 4.0]), bins=2)
    assert found["bins"] == [
        {"low": 1.0, "high": 2.0, "rows": 2, "prediction": 1.5, "label": 3.0},
        {"low": 3.0, "high": 5.0, "rows": 2, "prediction": 4.0, "label": 5.0},
    ]
    assert found["error"] == (2 * 1.5 + 2 * 1.0) / 4


@given(
    st.lists(
        st.tuples(st.integers(0, 12).map(lambda n: n / 4), st.integers(1, 5)), min_size=1, max_size=60
    ),
    st.integers(1, 12),
)
def test_it_is_what_loops_find(rows, bins):
    predictions, labels = (np.array(column, float) for column in zip(*rows, strict=True))
    found = calibration(predictions, labels, bins)
    expected = by_loops(predictions.tolist(), labels.tolist(), bins)
    assert found["error"] == pytest.approx(expected["error"])
    assert len(found["bins"]) == len(expected["bins"]) <= bins
    for one, other in zip(found["bins"], expected["bins"], strict=True):
        assert one == pytest.approx(other)


def test_different_predictions_are_cut_evenly():
    random = np.random.default_rng(0)
    predictions = random.normal(size=1003)
    rows = [one["rows"] for one in calibration(predictions, predictions)["bins"]]
    assert sum(rows) == 1003
    assert set(rows) == {100, 101}


def test_probabilities_that_come_true_are_calibrated_and_their_halves_are_not():
    random = np.random.default_rng(1)
    chances = random.random(20_000)
    clicks = (random.random(20_000) < chances).astype(float)
    assert (
        calibration(chances, clicks)["error"] < 0.015
    )  # 2,000 rows a bin: 1.1 % off at most, on average
    # Half of a mean chance of .5 is off by .25.
    assert calibration(chances / 2, clicks)["error"] == pytest.approx(0.25, abs=0.01)


def test_one_number_for_all_is_one_bin():
    found = calibration(np.full(5, 3.5), np.array([3.0, 4.0, 3.0, 4.0, 5.0]))
    assert [one["rows"] for one in found["bins"]] == [5]
    assert found["error"] == pytest.approx(0.3)


def test_without_rows_nothing_is_known():
    nothing = np.array([])
    assert calibration(nothing, nothing) == {"error": None, "bins": []}


@given(
    st.lists(st.floats(-9, 9), min_size=1, max_size=8, unique=True).map(sorted),
    st.lists(st.floats(-99, 99), max_size=30),
)
def test_every_value_counts_at_the_nearest(at, values):
    counts = histogram(at, np.array(values, float))
    assert sum(counts) == len(values)
    middles = [(a + b) / 2 for a, b in itertools.pairwise(at)]
    expected = [0] * len(at)
    for value in values:
        expected[sum(value > middle for middle in middles)] += 1
    assert counts == expected


def test_predictions_are_counted_at_the_labels_there_are():
    found = rating_histogram(np.array([0.2, 2.4, 2.6, 7.0]), np.array([1.0, 4.0, 2.0, 4.0]))
    assert found == {"at": [1.0, 2.0, 4.0], "labels": [1, 1, 2], "predictions": [1, 2, 1]}


def test_many_labels_share_bins_of_equal_width():
    at = label_values(np.linspace(0, 10, 500))
    assert len(at) == MOST_VALUES
    assert at[0] == 0.25
    assert np.diff(at) == pytest.approx(0.5)


def test_clicked_rows_are_counted_apart():
    found = click_histogram(np.array([0.01, 0.12, 0.13, 1.0]), np.array([0.0, 1.0, 0.0, 1.0]))
    assert found["clicked"] == [0, 1, 0, 0, 0, 0, 0, 0, 0, 1]
    assert found["not_clicked"] == [1, 1, *[0] * 8]
    assert found["at"][:2] == [0.05, 0.15]
