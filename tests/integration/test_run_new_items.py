"""A run whose test asks for items that training never saw: their group alone finds them."""

import polars as pl
import pytest

from tfrecall.cli.tables import metric_table, metric_tables, new_item_tables
from tfrecall.config.recipes import config_from_dict
from tfrecall.data import synthetic
from tfrecall.runs.evaluate import evaluate_release
from tfrecall.runs.run import run

pytestmark = pytest.mark.slow


def config(folder):
    return config_from_dict(
        {
            "recipe": "new_items",
            "data": {"source": str(folder / "log.csv"), "items": str(folder / "items.csv")},
            "split": {"method": "new_items", "test_fraction": 0.2, "validation_fraction": 0.1},
            "schema": {
                "query": [{"type": "categorical", "column": "user_id", "embedding_dim": 8}],
                "candidate": [
                    {"type": "categorical", "column": "item_id", "embedding_dim": 8},
                    {"type": "codes", "column": "kind", "levels": 1, "size": 8, "embedding_dim": 8},
                ],
            },
            "model": {"layer_sizes": [], "combine": "sum"},
            "training": {"epochs": 8, "batch_size": 128, "monitor": "hit_rate@10"},
            "evaluation": {"ks": [1, 3, 10]},
            "index": {"n_trees": 5},
            "export": {"k": 5},
        },
        "new_items",
    )


@pytest.fixture(scope="module")
def outcome(tmp_path_factory):
    folder = tmp_path_factory.mktemp("new_items")
    data = synthetic(80, 60, 2400, structure=0.95, n_groups=4, seed=2)
    data.log.write_csv(folder / "log.csv")
    kinds = data.items.with_columns(kind=pl.format("kind {}", pl.col("group")))
    kinds.select("item_id", "kind", "group").write_csv(folder / "items.csv")
    return run(config(folder), folder / "release")


def test_the_features_tell_new_items_apart_and_popularity_does_not(outcome):
    found = {name: rules["seen_kept"] for name, rules in outcome.metrics["among_new"].items()}
    assert outcome.metrics["new_items"] == 12
    assert set(found) == {"two_tower", "popularity", "feature_popularity"}
    # By chance 3 of 12 rows hit within three.
    assert found["popularity"]["hit_rate@3"] == 0
    assert found["feature_popularity"]["hit_rate@3"] < 0.45
    assert found["two_tower"]["hit_rate@3"] > 0.6
    assert outcome.metrics["test"]["seen_kept"]["hit_rate@3"] <= found["two_tower"]["hit_rate@3"]


def test_the_release_is_judged_alike(outcome):
    answer, _ = evaluate_release(outcome.release, config(outcome.release.root.parent))
    for name, rules in outcome.metrics["among_new"].items():
        for rule, figures in rules.items():
            assert answer["among_new"][name][rule] == pytest.approx(figures, abs=0.01)
    assert answer["new_items"] == 12
    (table,) = new_item_tables(answer)
    assert table.row_count == metric_table(answer).row_count
    assert len(metric_tables(answer)) == len(metric_tables({**answer, "among_new": {}})) + 1
    assert new_item_tables({**answer, "among_new": {}}) == []


def test_new_items_are_counted_and_answered(outcome):
    assert outcome.release.manifest["model"]["cold_candidates"] == 12
    new = set(outcome.splits.test.log["item_id"])
    (answer,) = outcome.release.recommend(["u1"], k=60, exclude_seen=False, columns=["cold"])
    assert {i for i, one in zip(answer.item_ids, answer.items, strict=True) if one["cold"]} == new
