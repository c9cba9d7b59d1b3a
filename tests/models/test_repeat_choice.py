"""Lists of `Repeats` on held-out rows, and the mix of towers and counts that is chosen by them."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.models.test_fit_repeats import coming_back, flat_towers
from tfrecall.baselines.popularity import OwnItems
from tfrecall.core.retriever import VectorRetriever
from tfrecall.data import split_leave_last_out
from tfrecall.evaluation import evaluate
from tfrecall.evaluation.metrics import hit_rate, ndcg
from tfrecall.evaluation.ranks import rank
from tfrecall.index.repeats import Repeats
from tfrecall.models.repeat_choice import RepeatChoice
from tfrecall.models.repeats import RepeatingRetriever, fit_repeats, histories


def noisy_towers(data, scale: float, seed: int = 0):
    """Towers that have learned nothing but have much to say: random scores, of a large variance."""
    random = np.random.default_rng(seed)
    vectors = random.normal(size=(data.items.height, 8)).astype(np.float32)
    of_users = random.normal(size=(data.users.height + 1, 8)).astype(np.float32) * scale
    return VectorRetriever(
        "noise",
        data.item_vocabulary.ids,
        vectors,
        lambda queries: of_users[data.user_vocabulary.rows(queries["user_id"])],
    )


@pytest.fixture(scope="module")
def split():
    return split_leave_last_out(coming_back(0.6, "count", events=20, users=120, items=300))


@settings(deadline=None, max_examples=25)
@given(st.floats(-1, 3), st.floats(0, 1), st.floats(-3, 12), st.floats(-1, 1), st.sampled_from([1, 20]))
def test_ranks_and_gains_are_those_of_the_evaluation(split, recency, decay, bias, blend, length):
    train, validation, _ = split
    towers = noisy_towers(train, 1.0)
    repeats = Repeats(recency, decay, bias, blend, 1.0, length)
    own = repeats.own(histories(train, validation.log["user_id"]))
    choice = RepeatChoice.build(towers, validation, own, 1.0)
    expected = rank(
        RepeatingRetriever(towers, repeats, train), validation, seen=train, ks=(1,)
    ).kept.rows
    found = choice.ranks(repeats)
    # float64 here and float32 there: a tie of one may be none of the other.
    shown = expected < 100
    assert (np.abs(found[shown] - expected[shown]) <= 1).mean() > 0.99
    assert (found[~shown] >= 99).all()
    measured = [hit_rate(expected, 10), hit_rate(expected, 100), ndcg(expected, 10)]
    assert choice.gains(repeats).mean() == pytest.approx(
        float(np.mean([np.mean(one) for one in measured])), abs=0.01
    )


@pytest.mark.slow
@pytest.mark.parametrize("scale", [0.01, 1.0, 30.0])
def test_towers_of_noise_cost_next_to_nothing_against_counting(scale) -> None:
    data = coming_back(0.7, "count", events=25, users=600, items=400)
    train, validation, test = split_leave_last_out(data)
    known, _ = split_leave_last_out(data, validation=False)
    repeats = fit_repeats(noisy_towers(train, scale), validation, train)
    model = RepeatingRetriever(noisy_towers(known, scale), repeats, known)
    own = OwnItems("frequency").fit(known)
    judged = evaluate(model, test, seen=known, ks=(10,), baselines=[own])
    ours, theirs = judged.test["seen_kept"], judged.baselines[own.name]["seen_kept"]
    # A standard error of 600 rows is .02.
    assert ours["hit_rate@10"] >= theirs["hit_rate@10"] - 0.04
    assert ours["ndcg@10"] >= theirs["ndcg@10"] - 0.04


@pytest.mark.slow
def test_the_likeliest_numbers_stay_unless_a_mix_is_surely_better(monkeypatch) -> None:
    train, validation, _ = split_leave_last_out(coming_back(0.7, "recency"))
    monkeypatch.setattr(RepeatChoice, "gains", lambda choice, repeats: np.zeros(len(validation)))
    likeliest = fit_repeats(flat_towers(train), validation, train)

    def better_by(difference: float):
        """Mixes of a large bias gain so much more, give or take 1 a row."""
        wobble = difference + np.where(np.arange(len(validation)) % 2, 1.0, -1.0)
        return lambda choice, repeats: wobble * (repeats.bias > likeliest.bias + 1.5)

    # 1,500 rows, a deviation of 1: a standard error of .026.
    monkeypatch.setattr(RepeatChoice, "gains", better_by(0.04))
    assert fit_repeats(flat_towers(train), validation, train) == likeliest
    monkeypatch.setattr(RepeatChoice, "gains", better_by(0.06))
    assert fit_repeats(flat_towers(train), validation, train).bias > likeliest.bias + 1.5
