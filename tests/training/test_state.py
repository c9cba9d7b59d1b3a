"""Warm start: vocabularies that grow, weights and slots by value, and only events that are new."""

from types import SimpleNamespace
from unittest import mock

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tfrecall as tr
from tests.eager import eager_steps
from tfrecall._keras import tf
from tfrecall.core import manifests
from tfrecall.core.vocabulary import FIRST, UNKNOWN, Vocabulary
from tfrecall.data import Interactions, synthetic
from tfrecall.errors import ConfigError, DataError, ReleaseError
from tfrecall.release import manifest
from tfrecall.release.layout import stage
from tfrecall.release.manifest import STATE, read_manifest
from tfrecall.schema.targets import HistoriesConfig
from tfrecall.training import state
from tfrecall.training.state import WarmStart, learned_events, write_state


def log_of(rows, items=None):
    """A log of rows (user, item), each a second later than the one before."""
    log = pl.DataFrame(rows, ["user_id", "item_id"], orient="row")
    log = log.with_columns(timestamp=pl.Series(range(len(rows)), dtype=pl.Float64))
    users = pl.DataFrame({"user_id": sorted({user for user, _ in rows})})
    names = sorted({item for _, item in rows} if items is None else items)
    table = pl.DataFrame({"item_id": names, "kind": [name[:1] for name in names]})
    return Interactions(log, users, table)


FEATURES = {
    "ids": dict(
        query=[tr.Categorical("user_id", 4), tr.Bucketized("timestamp", 4, 4)],
        candidate=[tr.Categorical("item_id", 4), tr.Categorical("kind", 4)],
    ),
    "history": dict(
        query=[tr.History(of=tr.Categorical("item_id", 4), history_length=5)],
        candidate=[tr.Categorical("item_id", 4)],
    ),
    "bag": dict(
        query=[tr.History(of=tr.Categorical("item_id", 4), anytime=True, history_length=5)],
        candidate=[tr.Categorical("item_id", 4)],
    ),
}
OLD = [("u1", "a1"), ("u2", "b1"), ("u1", "b1"), ("u2", "a2"), ("u1", "a2"), ("u2", "a1"), ("u1", "b2")]
NEW = [*OLD, ("u1", "a3"), ("u3", "b1"), ("u3", "c1"), ("u2", "b2"), ("u3", "a1")]


def make(kind):
    return tr.TwoTower(tr.Schema(**FEATURES[kind]), layer_sizes=[4] if kind == "ids" else [])


def trained(root, kind, rows=OLD, **settings):
    """A model that was trained on rows, and its release with the state of the training."""
    model = make(kind)
    with eager_steps():
        tr.fit(model, log_of(rows), verbose=0, **{"epochs": 2, "batch_size": 4, **settings})
    return model, kept(model, root)


def kept(model, root):
    from tfrecall.exporting.retriever import stage_retriever

    with stage(root) as staged:
        stage_retriever(model, staged, index=None, k=1)
        write_state(model, staged.directory / STATE)
    return root


@pytest.fixture(scope="module", params=FEATURES)
def released(request, tmp_path_factory):
    model, root = trained(tmp_path_factory.mktemp("release"), request.param, optimizer="adam")
    return SimpleNamespace(model=model, root=root, kind=request.param)


def tables(model):
    """Embedding tables of a model by the name of their feature."""
    found = {}
    for tower in (model.query_tower, model.candidate_tower):
        for layer in tower.features:
            layer = getattr(layer, "inner", layer)
            if layer.learns_values:
                found[layer.name] = layer
    return found


@pytest.mark.slow
@pytest.mark.usefixtures("eager_steps")
def test_values_keep_their_rows_and_new_ones_begin_as_unknown(released):
    model = make(released.kind)
    # A rate of almost nothing: what is compared is what the training began with.
    tr.fit(
        model,
        log_of(NEW),
        warm_start=str(released.root),
        optimizer="adam",
        learning_rate=1e-30,
        epochs=1,
        batch_size=4,
        verbose=0,
    )
    old, new = tables(released.model), tables(model)
    assert old.keys() == new.keys() != set()
    for name, layer in old.items():
        assert new[name].state[: len(layer.state)] == layer.state
        rows, grown = layer.table.numpy(), new[name].table.numpy()
        np.testing.assert_allclose(grown[: len(rows)], rows, atol=1e-6)
        assert len(grown) == FIRST + len(new[name].state)
        np.testing.assert_allclose(
            grown[len(rows) :], rows[[UNKNOWN]].repeat(len(grown) - len(rows), 0), atol=1e-6
        )
    items = new["item_id_categorical"]
    assert set(items.state) == {"a1", "a2", "a3", "b1", "b2", "c1"}
    # Queries and items that both know have the vectors that they had.
    known = ["a1", "a2", "b1", "b2"]
    before, after = (
        m.embed_candidates()[Vocabulary(m.catalogue.ids).rows(known)] for m in (released.model, model)
    )
    np.testing.assert_allclose(after, before, atol=1e-5)


@pytest.mark.slow
def test_slots_and_steps_of_the_optimizer_go_on(released):
    from tfrecall.training.state import _slots

    model, data = make(released.kind), log_of(NEW)
    start = WarmStart.of(released.root)
    start.prepare(model)
    model.adapt(data)
    model.compile(optimizer=tr.training.optimizers.make_optimizer("adam", 0.1))
    examples = tr.TrainingExamples(model, data, 4, new=start.new_events(data))
    start.give(model, examples.batches)
    assert int(model.optimizer.iterations) == int(released.model.optimizer.iterations) > 0
    old, new = _slots(released.model), _slots(model)
    assert len(old) == len(new) == 2 * len(model.trainable_weights)
    assert any(np.abs(slot.numpy()).sum() > 0 for slot in old)
    for before, after in zip(old, new, strict=True):
        known, array = before.numpy(), after.numpy()
        np.testing.assert_array_equal(array[: len(known)], known)
        assert not array[len(known) :].any()  # as Adam begins


@pytest.mark.slow
def test_the_files_of_a_release_are_checked_and_read_through_once(released, monkeypatch):
    """A run asks for its state when it splits, and before each of its two fits."""
    read, checksum = [], manifests.file_sha256
    monkeypatch.setattr(manifests, "file_sha256", lambda file: read.append(file) or checksum(file))
    checked, check = [], manifest.check_file
    monkeypatch.setattr(
        manifest,
        "check_file",
        lambda file, *args, **kw: checked.append(file) or check(file, *args, **kw),
    )
    state._opened.cache_clear()
    starts = [WarmStart.of(one) for one in (released.root, str(released.root), released.root)]
    assert starts[0] is starts[1] is starts[2]
    listed = read_manifest(released.root)["files"]
    assert sorted(read) == sorted(checked) == sorted(released.root / name for name in listed)


@given(
    st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from("xyz")), min_size=1, max_size=12),
    st.lists(st.tuples(st.sampled_from("abcd"), st.sampled_from("xyzw")), max_size=12),
)
def test_new_events_are_those_after_as_many_as_were_learned(old, later):
    start = WarmStart("release", SimpleNamespace(header={"learned": learned_events(log_of(old))}))
    rows = [*old, *later]
    data = log_of(rows)
    # By hand: count down what was learned of each user, in the order of time.
    left = {user: sum(u == user for u, _ in old) for user in "abcd"}
    expected = []
    for user, _ in rows:
        left[user] -= 1
        expected.append(left[user] < 0)
    if not later:
        with pytest.raises(DataError, match="learned from all"):
            start.new_events(data)
        return
    assert start.new_events(data).tolist() == expected
    # A row that follows a log is learned if the release knows more events of its user than there are before.
    assert start.unlearned(data, log_of(old)).all()
    first = log_of(rows[:1])
    assert not start.unlearned(first, log_of([("q", "x")])).any()


@pytest.mark.slow
@pytest.mark.usefixtures("eager_steps")
def test_candidates_are_corrected_by_their_share_of_the_targets(released):
    model = make(released.kind)
    settings = {"optimizer": "adam", "epochs": 1, "verbose": 0}
    windows = HistoriesConfig(form="windows", minimum_history=0)
    tr.fit(model, log_of(NEW), warm_start=str(released.root), histories=windows, **settings)
    catalogue = model.catalogue
    shares = dict(zip(catalogue.ids, catalogue.sampling.numpy()[FIRST:], strict=True))
    # Of the five new events one is of c1 and none of a2, which counts as one; of all twelve, c1 is one, too.
    assert shares["c1"] == shares["a2"] == pytest.approx(1 / 5)
    assert catalogue.probability.numpy()[FIRST + catalogue.ids.tolist().index("c1")] == pytest.approx(
        1 / 12
    )
    index = tf.constant([FIRST, FIRST + 1])
    vectors = tf.zeros([2, 4])
    # Equal scores: what tells the two candidates apart is the correction alone.
    with mock.patch.object(model.task, "call", wraps=model.task.call) as call:
        model._batch_loss(vectors, index, tf.ones(2), training=False)
    given = call.call_args.kwargs["candidate_sampling_probability"]
    np.testing.assert_array_equal(given, catalogue.sampling.numpy()[FIRST : FIRST + 2])


@pytest.mark.slow
def test_only_new_events_are_targets_whatever_the_form(released):
    data = log_of(NEW)
    start = WarmStart.of(released.root)
    model = make(released.kind)
    start.prepare(model)
    model.adapt(data)
    new = start.new_events(data)
    examples = tr.TrainingExamples(model, data, 2, new=new)
    items = np.concatenate([batch["candidate_index"].numpy() for batch in examples.batches()])
    targets = [row for row in range(len(OLD), len(NEW))]
    if released.kind == "history":  # the first event of u3 has no history
        targets.remove(NEW.index(("u3", "b1")))
    ids = model.catalogue.ids[items - FIRST]
    assert sorted(ids) == sorted(NEW[row][1] for row in targets)
    assert len(examples) == len(targets)


@pytest.mark.slow
@pytest.mark.usefixtures("eager_steps")
def test_items_that_are_gone_leave_the_catalogue_and_keep_their_rows(released):
    rows = [(user, item) for user, item in NEW if item != "b2"]
    model = make(released.kind)
    tr.fit(model, log_of(rows), warm_start=str(released.root), optimizer="adam", epochs=1, verbose=0)
    assert "b2" not in model.catalogue.ids
    assert "b2" in tables(model)["item_id_categorical"].state


@pytest.mark.slow
def test_what_does_not_fit_is_refused_by_name(released, tmp_path):
    root = str(released.root)
    other = tr.TwoTower(tr.Schema(**FEATURES[released.kind]), layer_sizes=[2, 4])
    with pytest.raises(ConfigError, match=r"weights do not fit:\n.*layer_sizes"):
        tr.fit(other, log_of(NEW), warm_start=root, optimizer="adam", verbose=0)
    with pytest.raises(ConfigError, match="was trained by FusedAdam, and FusedAdagrad cannot"):
        tr.fit(make(released.kind), log_of(NEW), warm_start=root, optimizer="adagrad", verbose=0)
    with pytest.raises(DataError, match="all 7 training events"):
        tr.fit(make(released.kind), log_of(OLD), warm_start=root, optimizer="adam", verbose=0)
    adapted = make(released.kind)
    adapted.adapt(log_of(NEW))
    with pytest.raises(DataError, match="not adapted"):
        tr.fit(adapted, log_of(NEW), warm_start=root, optimizer="adam", verbose=0)
    plain = tr.export(released.model, tmp_path / "plain", index=None, k=1)
    with pytest.raises(ReleaseError, match=r"export\.training_state=true"):
        tr.fit(make(released.kind), log_of(NEW), warm_start=str(plain.root), verbose=0)
    with pytest.raises(ConfigError, match="has not trained this model"):
        write_state(make(released.kind), tmp_path / "state")


def test_learned_events_count_the_log():
    data = synthetic(n_users=3, n_items=5, n_rows=20)
    assert sum(learned_events(data).values()) == 20
