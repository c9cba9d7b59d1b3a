"""Labels are read and checked before anything is trained on them."""

import numpy as np
import polars as pl
import pytest

from tfrecall.errors import ConfigError, DataError, MissingColumnError
from tfrecall.schema.labels import Label


def log(*ratings):
    return pl.DataFrame({"rating": pl.Series(ratings, strict=False)})


def test_labels_in_their_range_are_taken():
    Label("rating", 1, 5).check(log(1, 5.0, 3))


@pytest.mark.parametrize(
    ("ratings", "words"),
    [
        ([4.0, None, 3.0, None], "2 of 4 training rows have no label"),
        ([4.0, float("nan"), 3.0], "1 of 3 training rows have no label"),
        ([4.0, float("inf")], "1 of 2 training rows have no label"),
        ([4.0, 6.0, 0.0], "2 of 3 training rows .* outside 1 to 5, the first in row 1: 6"),
        ([4.0, 4.0], 'All 2 training rows have the same label "rating" = 4'),
        ([], "There are no training rows"),
    ],
)
def test_labels_that_nothing_can_be_learned_from_are_refused_with_counts(ratings, words):
    with pytest.raises(DataError, match=words):
        Label("rating", 1, 5).check(log(*ratings))


def test_rows_to_judge_by_may_all_have_the_same_label():
    Label("rating", 1, 5).check(log(4.0, 4.0), "test rows", learned=False)


def test_a_threshold_that_all_reach_leaves_nothing_to_learn():
    with pytest.raises(DataError, match="with the threshold 2"):
        Label("rating", threshold=2).check(log(3.0, 4.0))


def test_a_missing_column_names_the_nearest():
    with pytest.raises(MissingColumnError, match='Did you mean "rating"'):
        Label("ratings").check(log(1.0, 2.0))


def test_text_is_no_label():
    with pytest.raises(DataError, match="holds String"):
        Label("rating").check(log("good", "bad"))


def test_a_range_begins_below_its_end():
    with pytest.raises(ConfigError, match=r"5\.0 to 1\.0"):
        Label("rating", 5, 1)


@pytest.mark.parametrize("ratings", [(1.0, 5.0, 3.0), (-1.0, 1.0), (0.0, 1.0, 2.0), (0.0, 0.5)])
def test_clicks_that_are_none_ask_for_a_threshold(ratings):
    with pytest.raises(DataError, match=r"neither 0 \(no click\) nor 1.*`threshold`"):
        Label("rating").check(log(*ratings), kind="click")
    with pytest.raises(DataError, match="`threshold`"):  # also where the range says the same
        Label("rating", 0, 1).check(log(*ratings), kind="click")
    Label("rating", threshold=0.5).check(log(*ratings), kind="click", learned=False)


def test_clicks_are_0_and_1_or_true_and_false():
    Label("rating").check(log(0, 1), kind="click")
    Label("rating").check(log(False, True, True), kind="click")


def test_negative_gains_are_refused():
    with pytest.raises(
        DataError, match=r"1 of 3 training rows have a negative label.*row 1: -1.*`gain`"
    ):
        Label("rating").check(log(0, -1, 1), kind="list")


@pytest.mark.parametrize(
    ("gain", "fits", "beyond"), [("exponential", 127, 127.5), ("linear", 1e38, 2e38)]
)
def test_gains_beyond_float32_are_refused(gain, fits, beyond):
    Label("rating").check(log(0, fits), kind="list", gain=gain)
    # 2^127.5 twice, or 2e38 twice, add up to more than 3.4e38.
    with pytest.raises(DataError, match=r"`gain`.*beyond the numbers"):
        Label("rating").check(log(beyond, beyond, 0), kind="list", gain=gain)


@pytest.mark.parametrize("missing", [None, float("nan")])
def test_a_threshold_has_no_side_for_a_missing_label(missing):
    with pytest.raises(DataError, match=r"1 of 3 values.*null or NaN.*row 1.*threshold 4"):
        Label("rating", threshold=4).values(log(5.0, missing, 3.0)["rating"])
    values = Label("rating").values(log(5.0, missing, 3.0)["rating"])
    assert np.isnan(values).tolist() == [False, True, False]
