"""Lists of `Repeats` on held-out rows, and the mix of towers and counts that is chosen by them."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.models.test_fit_repeats import coming_back
from tests.properties import examples
from tfrecall.baselines.popularity import OwnItems
from tfrecall.core.retriever import VectorRetriever
from tfrecall.data import split_leave_last_out
from tfrecall.evaluation import evaluate
from tfrecall.evaluation.metrics import hit_rate, ndcg
from tfrecall.evaluation.ranks import rank
from tfrecall.index.repeats import Repeats
from tfrecall.models.repeat_choice import RepeatChoice
from tfrecall.models.repeats import RepeatingRetriever, _best, fit_repeats, histories


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


@examples(25)
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
    np.testing.assert_allclose(
        choice.figures(repeats).mean(axis=1), [np.mean(one) for one in measured], atol=0.01
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


def test_some_choices_are_judged_as_among_all(split) -> None:
    train, validation, _ = split
    own = Repeats().own(histories(train, validation.log["user_id"]))
    choice = RepeatChoice.build(noisy_towers(train, 1.0), validation, own, 1.0)
    repeats = Repeats(0.5, 0.1, 2.0, 0.5)
    np.testing.assert_array_equal(choice.head(50).ranks(repeats), choice.ranks(repeats)[:50])
    few = RepeatChoice.build(
        noisy_towers(train, 1.0),
        validation.with_log(validation.log[:50]),
        Repeats().own(histories(train, validation.log["user_id"][:50])),
        1.0,
    )
    assert choice.head(50).loss(repeats) == pytest.approx(few.loss(repeats))
    assert choice.head(1_000).loss(repeats) == choice.loss(repeats)


class Judged:
    """Lists of 1,500 rows, in which mixes gain so much more than own items first, give or take 1 a row."""

    def __init__(self, gain: float, hundred: float) -> None:
        wobble = np.where(np.arange(1500) % 2, 1.0, -1.0)
        self.gains = np.stack([gain + wobble, gain + hundred + wobble, gain + wobble])

    def leading_bias(self, repeats: Repeats) -> float:
        return 50.0

    def figures(self, repeats: Repeats) -> np.ndarray:
        return self.gains * (repeats.bias < 50)


@pytest.mark.parametrize(
    ("gain", "hundred", "is_mixed"),
    [
        # A deviation of 1 a row: a standard error of .026.
        (0.02, 0.0, False),
        (0.03, 0.0, True),
        # Better by .2 on average, but worse than counting among the first hundred.
        (0.3, -0.31, False),
        (0.3, -0.29, True),
    ],
)
def test_own_items_come_first_unless_a_mix_is_surely_better(gain, hundred, is_mixed) -> None:
    fitted, counting = Repeats(recency=0.5, bias=1.0), Repeats(bias=2.0)
    best = _best(Judged(gain, hundred), [fitted, counting])
    assert (best.bias < 50) == is_mixed
    assert is_mixed or best.recency == 0.5, "by the likeliest weights"


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_no_figure_of_the_rows_is_below_that_of_counting(seed) -> None:
    data = coming_back(0.5, "count", events=40, users=200, items=1_500, seed=seed)
    train, validation, _ = split_leave_last_out(data)
    repeats = fit_repeats(noisy_towers(train, 3.0, seed), validation, train)
    model = RepeatingRetriever(noisy_towers(train, 3.0, seed), repeats, train)
    own = OwnItems("frequency").fit(train)
    judged = evaluate(model, validation, seen=train, ks=(10, 100), baselines=[own])
    ours, theirs = judged.test["seen_kept"], judged.baselines[own.name]["seen_kept"]
    # Beyond own items one list goes on by popularity and one by noise: a row or two of 200.
    for metric, margin in [("hit_rate@10", 0.0), ("ndcg@10", 0.0), ("hit_rate@100", 0.02)]:
        assert ours[metric] >= theirs[metric] - margin - 1e-9
