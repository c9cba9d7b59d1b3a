"""Verdicts on standings by hand: who is chosen among networks, counts and weights that are solved for."""

import pytest

from tfrecall.core.seen import Seen
from tfrecall.evaluation.standings import Standing
from tfrecall.runs.verdict import Verdict


def verdict(**leads):
    """A verdict on models of a lead and its noise each, relative to the best baseline."""
    counting = [name for name in leads if name != "network"]
    found = {name: Standing({}, 1 + lead, lead, noise) for name, (lead, noise) in leads.items()}
    return Verdict(found, {}, counting, ["ease"], 100, Seen.REMOVED, 60.0)


@pytest.mark.parametrize(
    ("leads", "chosen"),
    [
        ({"item_cf": (0, 0), "network": (0.03, 0.02)}, "network"),
        ({"item_cf": (0, 0), "network": (0.01, 0.02)}, "item_cf"),
        ({"popularity": (-0.5, 0.1), "item_cf": (-0.01, 0.02), "ease": (0, 0)}, "item_cf"),
        ({"popularity": (-0.01, 0.1), "item_cf": (-0.005, 0.02), "ease": (0, 0)}, "item_cf"),
        ({"item_cf": (-0.03, 0.02), "ease": (0, 0)}, "ease"),
        ({"item_cf": (-0.01, 0.02), "ease": (0, 0), "network": (0.03, 0.02)}, "network"),
        ({"item_cf": (0, 0), "ease": (-0.01, 0.02)}, "item_cf"),
        ({"network": (0, 0)}, "network"),
    ],
)
def test_counts_stand_unless_others_are_above_them_by_more_than_noise(leads, chosen):
    assert verdict(**leads).chosen == chosen


def test_the_baseline_is_none_where_none_was_judged():
    assert verdict(network=(0, 0)).baseline is None


def test_the_words_name_the_baseline_that_is_above_the_chosen_one_by_noise():
    near = verdict(item_cf=(-0.01, 0.02), ease=(0, 0), network=(-0.2, 0.02))
    assert near.words.startswith(
        "item_cf is chosen, which counts: network, the best network, has 0.800"
    )
    assert near.words.endswith("ease is above it by no more than noise.")
    assert "noise" not in verdict(item_cf=(0, 0), ease=(-0.01, 0.02)).words
