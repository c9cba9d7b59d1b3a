"""Retrievers whose users are all that they have, without order."""

import numpy as np
import polars as pl
import pytest

from tests.built_once import fit_once
from tfrecall._keras import tf
from tfrecall.core.vocabulary import FIRST
from tfrecall.data import filter_log, from_frame, synthetic
from tfrecall.evaluation import evaluate
from tfrecall.exporting.export import export
from tfrecall.index.annoy import Annoy
from tfrecall.models.two_tower import TwoTower
from tfrecall.schema.encoders import RootSum
from tfrecall.schema.features import Categorical, History, Schema
from tfrecall.schema.negatives import Hard
from tfrecall.tasks.full_softmax import FullSoftmax
from tfrecall.tasks.pairwise import Pointwise
from tfrecall.training import fit
from tfrecall.training.inputs.examples import TrainingExamples

ITEM = Categorical("item_id", 8, unknown_rate=0.0)
SCHEMA = Schema(query=[History("had", ITEM, 30, RootSum(), anytime=True)], candidate=[ITEM])


@pytest.fixture(scope="module")
def log():
    """Each item once a user: another row of an item would stand in its bag."""
    return filter_log(synthetic(40, 30, 900, seed=3), duplicates="first")


@pytest.fixture(scope="module")
def model(log):
    model = TwoTower(SCHEMA, layer_sizes=[], task=FullSoftmax())
    fit_once(model, log, epochs=3, optimizer="adam", learning_rate=0.02, batch_size=64, verbose=0)
    return model


def vectors_of_items(model):
    """The table of the history, by row of the item table."""
    (layer,) = model.query_tower.histories
    return layer.inner(layer.inner.preprocess(tf.constant(model.catalogue.ids.tolist()))).numpy()


def bag(log, user):
    return [int(item[1:]) for item in log.log.filter(pl.col("user_id") == user)["item_id"]]


@pytest.mark.slow
def test_in_training_a_row_is_left_out_of_its_own_bag(log, model):
    table = vectors_of_items(model)
    seen = 0
    for batch in TrainingExamples(model, log, 64).batches():
        asked = model.query_tower(batch["query"], training=False).numpy()
        targets = batch["candidate_index"].numpy() - FIRST
        (lists,) = [q for q in batch["query"].values() if isinstance(q, dict)]
        items, places = lists["items"].to_list(), lists["rows"].numpy()
        for vector, target, place in zip(asked, targets, places, strict=True):
            others = [i - FIRST for i in items[place] if i - FIRST != target]
            assert len(others) == len(items[place]) - 1
            expected = table[others].sum(axis=0) / np.sqrt(max(1, len(others)))
            np.testing.assert_allclose(vector, expected, atol=1e-5)
            seen += 1
    assert seen == len(log)


def test_in_training_no_copy_of_a_target_stands_in_its_bag():
    # u has a three times, of which a bag of the latest three events holds two, and not the first.
    items = ["i1", "i2", "i1", "i1", "i3", "i3"]
    users = ["u", "u", "u", "u", "v", "w"]
    log = from_frame(
        pl.DataFrame({"user_id": users, "item_id": items, "timestamp": [1, 2, 3, 4, 5, 6]})
    )
    short = TwoTower(
        Schema(query=[History("had", ITEM, 3, RootSum(), anytime=True)], candidate=[ITEM]),
        layer_sizes=[],
    )
    short.adapt(log)
    table = vectors_of_items(short)
    row = {name: table[place] for place, name in enumerate(short.catalogue.ids.tolist())}
    found = {}
    for batch in TrainingExamples(short, log, 64).batches():
        vectors = short.query_tower(batch["query"], training=False).numpy()
        targets = short.catalogue.ids[batch["candidate_index"].numpy() - FIRST].tolist()
        for target, vector in zip(targets, vectors, strict=True):
            found.setdefault(target, []).append(vector)
    # The bag of u is i2, i1, i1: without i1 it is i2, without i2 twice i1 over the root of 2.
    assert len(found["i1"]) == 3
    for vector in found["i1"]:
        np.testing.assert_allclose(vector, row["i2"], atol=1e-6)
    np.testing.assert_allclose(found["i2"], [2 * row["i1"] / np.sqrt(2)], atol=1e-6)
    np.testing.assert_array_equal(found["i3"], np.zeros((2, 8)))


def test_asked_it_is_all_that_the_user_has_whenever_that_was(log, model):
    table = vectors_of_items(model)
    queries = log.log.select("user_id", pl.lit(0.0).alias("timestamp")).unique(maintain_order=True)
    found = model.embed_queries(queries)
    for user, vector in zip(queries["user_id"].to_list(), found, strict=True):
        items = bag(log, user)
        np.testing.assert_allclose(vector, table[items].sum(axis=0) / np.sqrt(len(items)), atol=1e-5)


@pytest.mark.slow
def test_a_release_answers_as_the_model(log, model, tmp_path):
    release = export(model, tmp_path / "bags", index=Annoy(n_trees=5))
    users = ["u3", "u7"]
    scores = model.retriever().scores(pl.DataFrame({"user_id": users}))
    for user, row in zip(users, scores, strict=True):
        row = row.copy()
        row[bag(log, user)] = -np.inf
        best = [model.catalogue.ids[i] for i in np.argsort(-row)[:5]]
        assert release.recommend([user], k=5, index="exact")[0].item_ids == best


@pytest.mark.slow
def test_it_learns_structure(log):
    once = filter_log(synthetic(200, 60, 8000, seed=1), duplicates="first")
    held = once.log.sample(800, seed=0)
    rest = once.with_log(once.log.join(held, on=["user_id", "item_id"], how="anti"))
    model = TwoTower(SCHEMA, layer_sizes=[], task=FullSoftmax())
    fit(model, rest, epochs=8, optimizer="adam", learning_rate=0.02, batch_size=256, verbose=0)
    judged = evaluate(model, once.with_log(held), seen=rest, ks=(10,))
    hits = judged.test["seen_removed"]["hit_rate@10"]
    assert hits > 1.3 * judged.baselines["popularity"]["seen_removed"]["hit_rate@10"]


@pytest.mark.slow
@pytest.mark.usefixtures("eager_steps")
def test_negatives_mined_from_its_own_lists_are_asked_for_with_bags(log):
    model = TwoTower(
        SCHEMA, layer_sizes=[], normalize=True, task=Pointwise(Hard(ranks=(1, 5), per_positive=2))
    )
    fitted = fit(model, log, epochs=2, batch_size=300, optimizer="adam", verbose=0)
    assert np.isfinite(fitted.history["loss"]).all()
