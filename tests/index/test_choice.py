"""The next index of a release, by name, by settings, and by the number of items."""

from dataclasses import replace

import pytest

from tests.index.test_contract import names, random_vectors
from tfrecall.errors import ConfigError
from tfrecall.index import Annoy, Bundle, Exact, Faiss, Scann
from tfrecall.index.choice import settings_for, suited

EXACT = Exact().build(random_vectors(60, 4), names(60))
ANNOY = Annoy(n_trees=7, target_recall=0.9, search_k=60, shards=2)
WITH_ANNOY = Bundle(EXACT, ANNOY.build_over(EXACT), {})
PLAIN = Bundle(EXACT, None, {})


@pytest.mark.parametrize(
    ("bundle", "name", "storage", "changes", "expected"),
    [
        (PLAIN, None, "int8", {}, Exact("int8")),
        (PLAIN, None, None, {"n_trees": 3}, Annoy(n_trees=3)),
        (PLAIN, "annoy", None, {}, Annoy()),
        (PLAIN, "auto", None, {}, Exact()),
        (WITH_ANNOY, None, None, {"n_trees": 3}, replace(ANNOY, n_trees=3, search_k=None)),
        (WITH_ANNOY, None, "int8", {}, replace(ANNOY, search_k=None)),
        (WITH_ANNOY, "annoy", None, {"shards": 4}, replace(ANNOY, shards=4, search_k=None)),
        (WITH_ANNOY, "faiss", None, {"method": "ivf_pq"}, Faiss("ivf_pq")),
        (WITH_ANNOY, "exact", "bfloat16", {}, Exact("bfloat16")),
    ],
)
def test_settings_are_those_asked_for_and_else_the_present_ones(
    bundle, name, storage, changes, expected
):
    assert settings_for(bundle, name, storage, changes) == expected


@pytest.mark.parametrize(
    ("name", "storage", "changes", "said"),
    [
        ("fais", None, {}, 'There is no index "fais". Did you mean "faiss"'),
        ("exact", "int9", {}, "storage='int9'"),
        (
            "faiss",
            None,
            {"n_trees": 3},
            "`--n-trees` is a setting of annoy, and the index to build is faiss",
        ),
        ("annoy", None, {"method": "hnsw"}, "`--method` is a setting of faiss.* build is annoy"),
        (
            "exact",
            None,
            {"target_recall": 0.9},
            "`--target-recall` is a setting of annoy and faiss and scann.* is exact",
        ),
        ("annoy", None, {"n_trees": 0}, "`n_trees` must be"),
    ],
)
def test_impossible_choices_are_refused_before_anything_is_built(name, storage, changes, said):
    with pytest.raises(ConfigError, match=said):
        settings_for(PLAIN, name, storage, changes)


@pytest.mark.parametrize(
    ("installed", "count", "expected"),
    [
        (("faiss", "scann"), 49_999, Exact()),
        (("faiss", "scann"), 50_000, Scann()),
        (("faiss",), 50_000, Faiss("ivf_flat")),
        ((), 199_999, Exact()),
        ((), 200_000, Annoy()),
    ],
)
def test_the_number_of_items_and_the_packages_decide_by_the_table(
    installed, count, expected, monkeypatch
):
    found = {name: True for name in installed}
    monkeypatch.setattr("tfrecall.index.choice.find_spec", found.get)
    assert suited(count) == expected


def test_auto_takes_changes_and_refuses_those_of_another_index(monkeypatch):
    monkeypatch.setattr("tfrecall.index.choice.EXACT_BELOW", 60)
    monkeypatch.setattr("tfrecall.index.choice.find_spec", lambda name: name == "faiss" or None)
    assert settings_for(WITH_ANNOY, "auto", None, {"target_recall": 0.8}) == Faiss(
        "ivf_flat", target_recall=0.8
    )
    with pytest.raises(ConfigError, match="`--n-trees` is a setting of annoy"):
        settings_for(WITH_ANNOY, "auto", None, {"n_trees": 3})
