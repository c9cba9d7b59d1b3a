"""Every figure agrees with a loop over the definitions."""

from random import Random
from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.evaluation.helpers import TableModel, evaluate_by_loops, make_log
from tests.properties import examples
from tfrecall.core import top_k as blocks
from tfrecall.data.interactions import Interactions
from tfrecall.evaluation import evaluate, ranks
from tfrecall.evaluation.metrics import MISS

KS = (1, 2, 4, 9)
ITEMS = [f"i{n}" for n in range(8)]
USERS = [f"u{n}" for n in range(4)]
# Few values, so that most scores tie; -inf as from a model that masks items itself.
SCORES = st.sampled_from([0.0, 1.0, 2.0, 2.5, -np.inf])

Case = tuple[TableModel, Interactions, Interactions]


@st.composite
def cases(draw: st.DrawFn) -> Case:
    """A model over a part of the items in any order, test rows and seen rows with repeats."""
    events = st.tuples(st.sampled_from(USERS), st.sampled_from(ITEMS), st.sampled_from([0.0, 1.0]))
    test = draw(st.lists(events, min_size=1, max_size=12))
    seen = draw(st.lists(events, max_size=20))
    catalogue = draw(st.permutations(ITEMS))[: draw(st.integers(1, len(ITEMS)))]
    width = len(catalogue)
    row = st.lists(SCORES, min_size=width, max_size=width)
    table = draw(st.lists(row, min_size=len(test), max_size=len(test)))
    return TableModel(catalogue, table), make_log(test), make_log(seen, items=ITEMS)


@pytest.mark.slow
@examples(60)
@given(cases(), st.integers(1, 5), st.sampled_from([1, 2, 256]))
def test_every_metric_agrees_with_loops(case: Case, block_size: int, chunk_rows: int) -> None:
    model, test, seen = case
    with (
        patch.object(blocks, "CHUNK_ROWS", chunk_rows),
        patch.object(ranks, "CHUNK_ROWS", chunk_rows),
    ):
        found = evaluate(model, test, seen=seen, ks=KS, baselines=False, block_size=block_size).test
    expected = evaluate_by_loops(model, test, seen, KS)
    for rule in ("seen_kept", "seen_removed"):
        assert found[rule] == pytest.approx(expected[rule], abs=1e-12)


@pytest.mark.slow
@examples(30)
@given(cases())
def test_metrics_stay_in_their_bounds_and_grow_with_k(case: Case) -> None:
    model, test, seen = case
    result = evaluate(model, test, seen=seen, ks=KS, baselines=False)
    for figures in result.test.values():
        for name, value in figures.items():
            assert value >= 0
            assert value <= 1 + 1e-12 or name.startswith("novelty")
        for metric in ("hit_rate", "ndcg", "user_recall", "coverage"):
            values = [figures[f"{metric}@{k}"] for k in KS]
            assert values == sorted(values)


@examples(30)
@given(cases())
def test_removing_makes_seen_targets_misses_and_no_other_rank_worse(case: Case) -> None:
    model, test, seen = case
    ranking = ranks.rank(model, test, seen=seen, ks=KS)
    pairs = set(seen.log.select("user_id", "item_id").rows())
    had = np.array([pair in pairs for pair in test.log.select("user_id", "item_id").rows()])
    assert (ranking.removed.rows[had] == MISS).all()
    assert (ranking.removed.rows <= ranking.kept.rows)[~had].all()
    missed = ranking.removed.targets.ranks == MISS
    assert (ranking.removed.targets.ranks <= ranking.kept.targets.ranks)[~missed].all()
    found = evaluate(model, test, seen=seen, ks=KS, baselines=False)
    assert found.targets_had == had.sum()


@examples(20)
@given(cases(), st.randoms(use_true_random=False))
def test_order_of_the_catalogue_changes_no_rank(case: Case, random: Random) -> None:
    model, test, seen = case
    order = list(range(len(model.item_ids)))
    random.shuffle(order)
    shuffled = TableModel(model.item_ids[order], model.table[:, order])
    first, second = (ranks.rank(each, test, seen=seen, ks=KS) for each in (model, shuffled))
    assert (first.kept.rows == second.kept.rows).all()
    assert (first.removed.rows == second.removed.rows).all()
