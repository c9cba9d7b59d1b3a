"""A run judged after one moment: every event one after another, and each user's last."""

import json

import pytest

from tests.tiny_histories import history_interactions
from tfrecall.cli.tables import order_table
from tfrecall.config.recipes import config_from_dict, load_config
from tfrecall.errors import ConfigError
from tfrecall.runs.evaluate import evaluate_release
from tfrecall.runs.run import run

pytestmark = pytest.mark.slow

RECIPE = """
description = "Transitions of the tiny log"

[split]
method = "by_time"
test_fraction = 0.2
test_events = "successive"

[schema]
candidate = [{ type = "categorical", column = "item_id", embedding_dim = 8 }]

[[schema.query]]
type = "history"
of = { type = "categorical", column = "item_id", embedding_dim = 8 }
history_length = 20
encoder = { type = "gated", blocks = 1, time = true }

[model]
type = "youtube_dnn"
layer_sizes = []

[task]
type = "full_softmax"

[training]
optimizer = "adam"
learning_rate = 0.01
batch_size = 256
epochs = 2
monitor = "hit_rate@5"

[evaluation]
ks = [5, 10]
baselines = ["popularity", "item_transitions"]

[index]
n_trees = 5

[export]
k = 5
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("by_time")
    data = history_interactions()
    data.log.select("user_id", "item_id", "timestamp").write_csv(folder / "log.csv")
    (folder / "daily.toml").write_text(RECIPE, "utf-8")
    return folder


def configured(folder, *settings):
    return load_config(str(folder / "daily.toml"), [f"data.source='{folder / 'log.csv'}'", *settings])


@pytest.fixture(scope="module")
def ran(folder):
    return run(configured(folder), folder / "out")


def test_the_tables_have_every_event_and_each_users_last(ran):
    metrics = json.loads((ran.release.root / "metrics.json").read_text("utf-8"))
    last = metrics["last_events"]
    assert metrics["data"]["test_rows"] == len(ran.splits.test)
    assert last["rows"] == ran.splits.test.log["user_id"].n_unique()
    untimed = "daily, as of the newest event"
    assert metrics["own_rows"] == [untimed]
    for part in (metrics, last):
        assert list(part["baselines"]) == ["popularity", "item_transitions", untimed]
    assert untimed not in (metrics["beaten_by"] or {"baselines": {}})["baselines"]
    report = (ran.release.root / "report.html").read_text("utf-8")
    assert "Each user's last event alone" in report


def test_the_last_events_of_a_run_are_those_that_a_run_by_last_events_would_have(ran, folder):
    config = configured(folder, "split.test_events=last")
    out = run(config, folder / "last")
    assert out.metrics["data"]["test_rows"] == ran.metrics["last_events"]["rows"]
    found, expected = out.metrics["baselines"], ran.metrics["last_events"]["baselines"]
    for name in ("popularity", "item_transitions"):
        for rule, figures in expected[name].items():
            for metric, value in figures.items():
                assert found[name][rule][metric] == pytest.approx(value), (name, metric)
    # Its release has the histories of these rows, and answers as the model did.
    answer, _ = evaluate_release(out.release, config, shuffled_histories=True)
    assert answer["test"]["seen_removed"]["hit_rate@10"] == pytest.approx(
        out.metrics["test"]["seen_removed"]["hit_rate@10"], abs=1.5 / answer["rows"]
    )
    # Asked again with shuffled histories, the figures in order are those of the table.
    order = answer["order"]
    assert order["ordered"]["seen_removed"]["mrr"] == pytest.approx(
        answer["test"]["seen_removed"]["mrr"]
    )
    assert order["shuffled"]["seen_removed"] != order["ordered"]["seen_removed"]
    table = order_table(order, "seen_removed")
    assert [column.header for column in table.columns][1:] == [
        "ordered",
        "shuffled",
        "loss",
        "95 % interval",
    ]


def test_a_release_of_growing_histories_is_not_judged_by_those_at_the_split(ran):
    config = config_from_dict(ran.release.manifest["config"], "daily")
    with pytest.raises(ConfigError, match="has the histories at the split"):
        evaluate_release(ran.release, config)
