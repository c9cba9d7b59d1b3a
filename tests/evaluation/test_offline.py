"""Which baselines stand beside a model."""

from tests.evaluation.helpers import make_log
from tfrecall.core.retriever import Retriever
from tfrecall.evaluation import baselines_of, evaluate

SEEN = make_log([("ann", "a", 0), ("ann", "b", 1), ("bob", "b", 0), ("bob", "c", 1)])
REPEATED = make_log([("ann", "a", 0), ("ann", "a", 1), ("bob", "b", 0)])
TEST = make_log([("ann", "c", 2)])


def names(models: list[Retriever]) -> list[str]:
    return [model.name for model in models]


def test_popularity_and_item_cf_are_always_there() -> None:
    assert names(baselines_of(SEEN)) == ["popularity", "item_cf"]


def test_models_of_sequences_stand_beside_transitions_and_what_is_in_fashion() -> None:
    expected = ["popularity", "item_cf", "trending", "item_transitions"]
    assert names(baselines_of(SEEN, sequences=True)) == expected


def test_own_items_are_there_where_people_come_back_to_them() -> None:
    own = ["own_most_frequent", "own_most_recent"]
    assert names(baselines_of(REPEATED)) == ["popularity", "item_cf", *own]
    sequential = ["trending", "item_transitions"]
    assert names(baselines_of(REPEATED, sequences=True))[2:] == [*sequential, *own]


def test_they_are_fitted_and_can_be_given_to_evaluate() -> None:
    models = baselines_of(SEEN, sequences=True)
    result = evaluate(models[0], TEST, seen=SEEN, ks=(1,), baselines=models[1:])
    # ann had a and then b, which led bob to c.
    assert result.baselines["item_transitions"]["seen_kept"]["hit_rate@1"] == 1


def test_others_can_be_named() -> None:
    assert names(baselines_of(REPEATED, names=["swing", "popularity"])) == ["swing", "popularity"]
    assert baselines_of(REPEATED, names=()) == []


def test_true_stands_for_them() -> None:
    result = evaluate(baselines_of(SEEN)[0], TEST, seen=SEEN, ks=(1,), baselines=True)
    assert list(result.baselines) == names(baselines_of(SEEN))
