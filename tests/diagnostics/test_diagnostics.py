"""The diagnostics in their places: a whole run that is well is quiet, one that is not speaks."""

import polars as pl
import pytest

from tests.progress import RecordedProgress
from tests.tiny import tiny_interactions
from tfrecall._keras import tf
from tfrecall.config.recipes import config_from_dict
from tfrecall.config.run import RunConfig
from tfrecall.data import split_random
from tfrecall.diagnostics.diagnostics import Diagnostics, _list_length
from tfrecall.diagnostics.divergence import StopOnNonFinite
from tfrecall.evaluation import evaluate
from tfrecall.index.repeats import Repeats
from tfrecall.runs.build import make_model
from tfrecall.training import fit

SCHEMA = {
    "query": [
        {"type": "categorical", "column": "user_id", "embedding_dim": 8, "unknown_rate": 0.1},
        {"type": "categorical", "column": "segment", "embedding_dim": 8, "unknown_rate": 0.1},
    ],
    "candidate": [
        {"type": "categorical", "column": "item_id", "embedding_dim": 8, "unknown_rate": 0.1},
    ],
}
HISTORY = {"loss": [3.0, 2.0, 2.0], "val_loss": [3.0, 2.0, 2.1]}


def configured(**training) -> RunConfig:
    return config_from_dict(
        {
            "recipe": "tiny",
            "schema": SCHEMA,
            "model": {"layer_sizes": [8]},
            "training": {
                "batch_size": 64,
                "monitor": "hit_rate@5",
                **training,
            },
        }
    )


@pytest.fixture(scope="module")
def parts():
    return split_random(tiny_interactions(), 0.2, seed=1)


@pytest.fixture(scope="module")
def learned(parts):
    """A model that has learned, and the diagnostics that stood by."""
    config = configured()
    model, diagnostics = make_model(config), Diagnostics(config)
    fit(model, parts[0], epochs=10, batch_size=64, callbacks=diagnostics.callbacks(), verbose=0)
    return model, diagnostics


def examined(model, parts, config=None, diagnostics=None):
    """All that is said of a model on a log, and what the listener heard."""
    progress = RecordedProgress()
    diagnostics = diagnostics or Diagnostics(config or configured(), progress)
    diagnostics.check_data(*parts)
    diagnostics.check_fit(model, *parts, HISTORY, 2)
    diagnostics.check_model(model, parts[0])
    diagnostics.check_test(evaluate(model, parts[1], seen=parts[0], ks=(1, 5, 10)), parts[0])
    return diagnostics.findings, progress.notes


@pytest.mark.slow
def test_nothing_is_said_of_a_run_that_is_well(learned, parts):
    model, diagnostics = learned
    findings, _ = examined(model, parts, diagnostics=diagnostics)
    assert findings == []


@pytest.mark.slow
def test_a_model_that_learned_nothing_is_named_for_all_that_is_wrong_with_it(parts):
    config = configured()
    model = make_model(config)
    model.adapt(parts[0])
    for tower in (model.query_tower, model.candidate_tower):
        tower.create_weights()
    dense = model.query_tower._last
    dense.kernel.assign(dense.kernel * 1e-6)
    dense.bias.assign(tf.ones_like(dense.bias))  # the same vector for everybody
    findings, heard = examined(model, parts, config)
    names = [finding.name for finding in findings]
    assert names == [
        "validation_below_popularity",
        "collapsed_vectors",
        "same_lists",
        "test_below_popularity",
    ]
    assert heard == [str(finding) for finding in findings]
    assert heard[1].startswith("Error: The 60 query vectors are nearly equal")
    # 40 items: the length watched is 5, of which the evaluation has measured 5.
    assert "hit_rate@5 with seen items " in findings[0].text
    assert "hit_rate@5 with seen items " in findings[3].text
    assert set(findings[0].to_dict()) == {"name", "severity", "text"}
    # With repeats each list begins with the items of its user.
    model.repeats = Repeats(bias=50.0)
    assert "same_lists" not in [one.name for one in examined(model, parts, config)[0]]


def test_rows_of_unknown_values_that_training_left_alone_are_named(learned, parts):
    model, diagnostics = learned
    table = model.query_tower.features[0]._table.embeddings
    trained, start = table.numpy(), diagnostics._unknown_rows._starts["query_tower.user_id_categorical"]
    table.assign(tf.tensor_scatter_nd_update(trained, [[1]], [start]))
    (found,) = [f for f in diagnostics._unknown_rows.findings() if f]
    assert found.name == "dead_unknown_row"
    assert "of query_tower.user_id_categorical is still the random one" in found.text
    # 720 rows in batches of 64 are 12 steps; all but the first of 120 times 64 rows times .1.
    assert "though 762 values should have been replaced" in found.text
    table.assign(trained)
    assert not any(diagnostics._unknown_rows.findings())


def test_a_leak_is_told_before_training(parts):
    train, validation = (
        part.with_log(part.log.with_columns(segment=pl.format("page of {}", "item_id")))
        for part in parts
    )
    del validation
    data = train.with_log(train.log.rename({"segment": "page"}))
    config = config_from_dict(
        {"recipe": "tiny", "schema": {**SCHEMA, "query": [{"type": "categorical", "column": "page"}]}}
    )
    progress = RecordedProgress()
    diagnostics = Diagnostics(config, progress)
    diagnostics.check_data(data, None)
    diagnostics.check_data(data, None)
    assert len(progress.notes) == 1, "each finding is told once"
    assert progress.notes[0].startswith('Warning: The value of "page" alone names the item in 100%')


def test_curves_are_read_with_the_settings_of_the_run(learned, parts):
    monitor = "hit_rate@5"
    history = {"loss": [3.0, 2.0], f"val_{monitor}": [0.1, 0.2]}
    for epochs, patience, said in ((2, 3, ["best_epoch_is_last"]), (9, 3, []), (2, None, [])):
        diagnostics = Diagnostics(configured(epochs=epochs, patience=patience))
        diagnostics.check_fit(learned[0], *parts, history, 2)
        assert [finding.name for finding in diagnostics.findings] == said
    diagnostics = Diagnostics(configured())
    diagnostics.check_fit(learned[0], parts[0], None, {"loss": [3.0, 3.0]}, 2)
    assert [finding.name for finding in diagnostics.findings] == ["never_learned"]


@pytest.mark.parametrize(
    ("monitor", "n_items", "ks", "length"),
    [
        ("hit_rate@100", 1682, (), 100),
        ("hit_rate@100", 40, (), 10),
        ("loss", 1682, (), 100),
        ("hit_rate@5", 1682, (1, 10, 50), 1),
        ("hit_rate@100", 1682, (1, 10, 50), 50),
        ("loss", 3, (20, 50), 20),
    ],
)
def test_popularity_is_met_on_lists_of_the_length_that_is_watched(monitor, n_items, ks, length):
    assert _list_length(configured(monitor=monitor), n_items, ks) == length


def test_diagnostics_that_are_off_only_stop_at_numbers_that_are_not_finite(parts):
    train, validation = parts
    progress = RecordedProgress()
    diagnostics = Diagnostics(configured(), progress, enabled=False)
    assert [type(callback) for callback in diagnostics.callbacks()] == [StopOnNonFinite]
    page = train.with_log(train.log.with_columns(segment=train.log["item_id"]))
    diagnostics.check_data(page, None)
    # A model of None would fail if it was looked at.
    diagnostics.check_fit(None, train, validation, {"loss": [1.0, 2.0]}, 1)
    diagnostics.check_curves({"loss": [1.0, 2.0]}, 1, is_validated=True)
    diagnostics.check_model(None, train)
    diagnostics.check_test(None, train)
    assert (diagnostics.findings, progress.notes) == ([], [])
