"""Labels are read and checked before anything is trained on them."""

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
