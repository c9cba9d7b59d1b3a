"""Figures among new items alone, against loops; what the run makes of them."""

import numpy as np
import pytest

from tests.evaluation.helpers import TableModel, make_log, rank_by_loop
from tfrecall.evaluation import evaluate
from tfrecall.evaluation.new_items import Among

ITEMS = [*"abcdefgh"]
NEW = [*"fgh"]
SEEN = [
    (user, item, float(t))
    for t, (user, item) in enumerate([*zip("uuvvw", "abbcd", strict=True), ("w", "e")])
]
TEST = [("u", "f", 10.0), ("v", "a", 11.0), ("w", "h", 12.0), ("v", "g", 13.0), ("new", "h", 14.0)]
KS = (1, 2, 3)


@pytest.fixture
def logs():
    return make_log(SEEN, ITEMS), make_log(TEST, ITEMS)


def table(seed, levels=100):
    return np.random.default_rng(seed).integers(levels, size=[len(TEST), len(ITEMS)])


@pytest.mark.parametrize("levels", [100, 2])  # with two scores most candidates tie
def test_rows_of_new_items_are_ranked_among_the_new_items_alone(logs, levels):
    seen, test = logs
    model = TableModel(ITEMS, table(3, levels))
    found = evaluate(model, test, seen=seen, ks=KS, baselines=False, among_new=True)
    assert found.new_items == len(NEW)
    ranks = [
        rank_by_loop({i: model.table[row][ITEMS.index(i)] for i in NEW}, item, set())
        for row, (_, item, _) in enumerate(TEST)
        if item in NEW
    ]
    assert len(ranks) == 4
    for rule in ("seen_kept", "seen_removed"):  # nobody had what is new
        figures = found.among_new["table"][rule]
        assert figures["mrr"] == pytest.approx(np.mean([1 / (rank + 1) for rank in ranks]))
        for k in KS:
            assert figures[f"hit_rate@{k}"] == pytest.approx(np.mean([rank < k for rank in ranks]))
    assert found.among_new["table"]["seen_kept"]["hit_rate@3"] == 1.0  # three candidates


def test_the_other_figures_are_those_without(logs):
    seen, test = logs
    model = TableModel(ITEMS, table(4))
    with_new = evaluate(model, test, seen=seen, ks=KS, among_new=True)
    without = evaluate(model, test, seen=seen, ks=KS)
    assert with_new.test == without.test
    assert with_new.baselines == without.baselines
    assert without.among_new == {}
    assert list(with_new.among_new) == ["table", "popularity", "item_cf"]
    # Popularity ties on what nobody had, and ties count against the model.
    assert with_new.among_new["popularity"]["seen_kept"]["hit_rate@2"] == 0.0
    assert "among the 3 new items alone" in str(with_new)
    assert "new items" not in str(without)
    assert with_new.to_dict()["among_new"] == with_new.among_new


def test_a_test_without_new_items_has_no_such_figures(logs):
    seen, _ = logs
    test = make_log([("u", "c", 10.0)], ITEMS)
    model = TableModel(ITEMS, table(5))
    found = evaluate(model, test, seen=seen, ks=KS, baselines=False, among_new=True)
    assert (found.among_new, found.new_items) == ({}, 0)


def test_a_catalogue_of_another_order_is_ranked_by_its_own_ids(logs):
    seen, test = logs
    model = TableModel(ITEMS, table(6))
    turned = TableModel(ITEMS[::-1], model.table[:, ::-1])
    ones = evaluate(model, test, seen=seen, ks=KS, baselines=False, among_new=True)
    others = evaluate(turned, test, seen=seen, ks=KS, baselines=False, among_new=True)
    assert ones.among_new == others.among_new


def test_a_part_of_a_catalogue_scores_as_the_whole():
    model = TableModel(ITEMS, table(7))
    _, test = make_log(SEEN, ITEMS), make_log(TEST, ITEMS)
    part = Among(model, np.array([6, 0]))
    assert part.item_ids.tolist() == ["g", "a"]
    assert part.scores(test.queries).tolist() == model.table[:, [6, 0]].tolist()
