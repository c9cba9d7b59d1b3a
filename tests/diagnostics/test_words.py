"""Lists, unknown rows, curves and baselines: each finding has a case that fires and one that must not."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tfrecall.diagnostics.quality import (
    below_popularity,
    best_epoch,
    list_length,
    never_learned,
    overlap,
    same_lists,
)
from tfrecall.diagnostics.unknown_rows import dead_unknown_row

RANDOM = np.random.default_rng(1)
TOP = "hit_rate@5"


# Lists


@given(st.integers(2, 7), st.integers(1, 4), st.integers(0, 99))
def test_overlap_is_that_of_all_pairs(n, k, seed):
    random = np.random.default_rng(seed)
    lists = np.stack([random.choice(8, k, replace=False) for _ in range(n)])
    pairs = [len({*lists[i]} & {*lists[j]}) / k for i in range(n) for j in range(n) if i != j]
    assert overlap(lists) == pytest.approx(np.mean(pairs))


def test_one_list_for_everybody_is_named_with_its_share_of_popular_items():
    lists = np.stack([RANDOM.permutation(10) for _ in range(50)])
    lists[0, 0] = 99
    found = same_lists(lists, np.arange(5, 15))
    assert (found.name, found.severity) == ("same_lists", "error")
    # The other 49 have items 5 to 9 of the ten popular ones: half.
    assert "100% are the same (popularity: 100%), and 50% are among the 10 most" in found.text


def test_lists_that_differ_by_two_of_ten_are_not_remarked_on():
    rows = [np.concatenate([np.arange(8), 8 + RANDOM.choice(50, 2, replace=False)]) for _ in range(50)]
    assert same_lists(np.stack(rows), np.arange(10)) is None


def test_few_users_and_short_catalogues_prove_nothing():
    assert same_lists(np.tile(np.arange(10), (9, 1)), np.arange(10)) is None
    assert [list_length(n) for n in (1, 8, 39, 40, 1000)] == [1, 2, 9, 10, 10]


# The row of unknown values


def unknown_row(row, start, rate=0.01, draws=1000.0):
    table = np.concatenate([[[0.0, 0.0], row], np.tile([3.0, 4.0], (7, 1))])  # lengths of 5
    return dead_unknown_row("user_id", table, np.asarray(start), unknown_rate=rate, draws=draws)


def test_a_row_that_never_moved_is_named():
    found = unknown_row([0.01, 0.02], [0.01, 0.02])
    assert (found.name, found.severity) == ("dead_unknown_row", "warning")
    assert "of user_id is still the random one" in found.text
    assert "1,000 values should have been replaced" in found.text
    assert "Set it to 0.01" in unknown_row([0.01, 0.02], [0.01, 0.02], rate=0, draws=0).text


def test_a_row_that_moved_or_had_no_chance_to_is_not():
    assert unknown_row([0.01, 0.02], [0.01, 0.03]) is None
    assert unknown_row([0.0, 0.0], [0.01, 0.03]) is None, "nothing known of it: a sensible vector"
    assert unknown_row([0.01, 0.02], [0.01, 0.02], draws=19) is None
    assert unknown_row([0.1, 0.2], [0.0, 0.2], rate=0) is None, "rare values were cut off, and train it"


def test_a_row_out_of_all_proportion_is_named():
    assert unknown_row([15.0, 20.0], [0.0, 0.0]) is None  # 5 times as long
    assert "is 6 times as long as that of a typical value (30 against 5)" in (
        unknown_row([18.0, 24.0], [0.0, 0.0]).text
    )


# Curves


@pytest.mark.parametrize("losses", [[], [3.0], [3.0, 2.9], [3.0, 3.5, 2.0, 4.0]])
def test_a_loss_that_fell_is_not_remarked_on(losses):
    assert never_learned(losses) is None


def test_a_loss_that_did_not_fall_is_named():
    found = never_learned([7.0, 7.0, 6.9999])
    assert (found.name, found.severity) == ("never_learned", "error")
    assert "did not fall: 7.0000 in the first epoch, 6.9999 in the last of 3" in found.text
    assert "The training loss rose" in never_learned([7.0, 8.0]).text


def judged(values, best, epochs=None, most=20):
    return best_epoch({f"val_{TOP}": values}, TOP, best, epochs or len(values), most)


def test_the_last_epoch_that_might_be_is_named_when_it_was_the_best():
    found = judged([0.1, 0.2, 0.3], best=3, most=3)
    assert found.name == "best_epoch_is_last"
    assert "3 of 3, was the best" in found.text
    assert "(0.2000, then 0.3000)" in found.text
    assert judged([0.1, 0.2, 0.3], best=3) is None, "stopped by somebody, not by the number"


def test_the_first_epoch_is_named_when_it_was_the_best():
    found = judged([0.3, 0.2, 0.1], best=1)
    assert found.name == "best_epoch_is_first"
    assert "first of 3 epochs was the best" in found.text
    assert "was 0.3000, then 0.2000" in found.text


@pytest.mark.parametrize(("values", "best"), [([0.1, 0.3, 0.2], 2), ([0.1], 1), ([], 5)])
def test_a_best_epoch_in_the_middle_or_a_single_look_is_not_remarked_on(values, best):
    assert judged(values, best, epochs=3, most=3) is None


# Popularity


def against_popularity(model, popularity, rows=10_000):
    return below_popularity(
        model, popularity, metric="hit_rate@100", rule="seen_kept", rows=rows, where="validation"
    )


def test_a_model_below_popularity_is_named():
    # Standard error sqrt((.2 * .8 + .3 * .7) / 10,000) = .006, and the difference is .1.
    found = against_popularity(0.2, 0.3)
    assert (found.name, found.severity) == ("validation_below_popularity", "error")
    assert "On 10,000 validation rows" in found.text
    assert "hit_rate@100 with seen items kept is 0.2000, popularity has 0.3000." in found.text


def test_a_difference_that_may_be_chance_is_a_warning():
    # With 20 rows the standard error is .136.
    found = against_popularity(0.2, 0.3, rows=20)
    assert found.severity == "warning"
    assert "may be chance" in found.text


def test_a_model_at_popularity_or_above_is_not_remarked_on():
    assert against_popularity(0.3, 0.3) is None
    assert against_popularity(0.4, 0.3) is None
