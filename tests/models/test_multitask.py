"""A ranker that learns to retrieve beside, and one that begins with what a retriever knows."""

import numpy as np
import pytest

from tests.built_once import fit_once
from tests.tiny_ratings import DIM, SCHEMA
from tfrecall._keras import keras, tfrs
from tfrecall.data import synthetic
from tfrecall.errors import ConfigError
from tfrecall.evaluation import evaluate
from tfrecall.models.multitask import MultiTask
from tfrecall.models.ranker import Ranker
from tfrecall.models.two_tower import TwoTower
from tfrecall.schema.features import Categorical, Numeric, Schema
from tfrecall.tasks.in_batch import InBatchSoftmax
from tfrecall.training import fit
from tfrecall.training.inputs.examples import TrainingExamples
from tfrecall.training.warm_start import warm_start

IDS = Schema(query=[Categorical("user_id", DIM)], candidate=[Categorical("item_id", DIM)])


@pytest.fixture(scope="module")
def chosen_log():
    """Users have the items of their group, and rate those of even groups 5, of odd ones 1."""
    data = synthetic(60, 40, 2000, structure=0.95, seed=5)
    return data.with_log(data.log.with_columns(rating=1.0 + 4 * (data.item_rows % 2 == 0)))


def fitted(data, **weights):
    model = MultiTask(IDS, [8], crosses=["concat", "dot"], **weights)
    fit(model, data, optimizer="adam", learning_rate=0.02, batch_size=256, epochs=6, verbose=0)
    return model


@pytest.mark.slow
def test_the_loss_is_the_weighted_sum_of_both(chosen_log):
    model = MultiTask(IDS, [4], crosses=["concat"], ranking_weight=2.0, retrieval_weight=0.5)
    model.adapt(chosen_log)
    (batch,) = TrainingExamples(model, chosen_log, 50).batches().take(1)
    loss = float(model.compute_loss(batch, training=False))
    scores, labels = model(batch).numpy(), batch["label"].numpy()
    left = model.query_tower.feature_vectors(batch["query"])[0]
    index = batch["candidate_index"]
    right = model.candidate_tower.feature_vectors(model.catalogue.features(index))[0]
    retrieval = InBatchSoftmax()(
        left,
        right,
        candidate_ids=index,
        candidate_sampling_probability=model.catalogue.probability.numpy()[index.numpy()],
    )
    expected = 2.0 * np.mean((scores - labels) ** 2) + 0.5 * retrieval.numpy().mean()
    assert loss == pytest.approx(expected, rel=1e-5)


@pytest.mark.slow
def test_both_losses_teach_their_own_thing(chosen_log):
    hits, errors = {}, {}
    for name, weights in (
        ("both", {}),
        ("ranking", {"retrieval_weight": 0.0}),
        ("retrieval", {"ranking_weight": 0.0}),
    ):
        model = fitted(chosen_log, **weights)
        judged = evaluate(model.retriever(), chosen_log, seen=chosen_log, ks=(10,), baselines=[])
        hits[name] = judged.test["seen_kept"]["hit_rate@10"]
        scores = model.scores(chosen_log.log["user_id"].to_list(), chosen_log.log["item_id"].to_list())
        errors[name] = float(np.square(scores - chosen_log.log["rating"].to_numpy()).mean())
    assert hits["both"] > hits["ranking"] + 0.1
    assert errors["both"] < errors["retrieval"] / 2


@pytest.mark.slow
def test_the_retrieval_task_of_tfrs_works_unchanged(chosen_log):
    task = tfrs.tasks.Retrieval()
    model = MultiTask(IDS, [4], retrieval_task=task, ranking_weight=0.0)
    settings = {"optimizer": "adam", "learning_rate": 0.02, "batch_size": 256, "verbose": 0}
    history = fit(model, chosen_log, epochs=5, **settings).history
    assert history["retrieval_loss"][-1] < history["retrieval_loss"][0] - 0.1


@pytest.mark.slow
@pytest.mark.usefixtures("eager_steps")
def test_a_bag_of_items_retrieves_too(rating_log):
    model = MultiTask(SCHEMA, [4])
    fit(model, rating_log, epochs=1, verbose=0)
    assert model.embed_queries(rating_log.queries[:3]).shape == (3, DIM)
    assert model.retriever().scores(rating_log.queries[:3]).shape == (3, 40)


def test_weights_and_lengths_have_to_make_sense():
    with pytest.raises(ConfigError, match="not both 0"):
        MultiTask(IDS, ranking_weight=0, retrieval_weight=0)
    with pytest.raises(ConfigError, match="equally long"):
        MultiTask(Schema([Categorical("user_id", DIM), Numeric("age")], [Categorical("item_id", DIM)]))


def test_it_survives_its_configuration():
    model = MultiTask(IDS, [4], retrieval_weight=0.3)
    copy = keras.layers.deserialize(keras.layers.serialize(model))
    assert copy.get_config() == model.get_config()


@pytest.fixture(scope="module")
def tower(chosen_log):
    model = TwoTower(IDS, [DIM], name="tower")
    fit_once(model, chosen_log, epochs=3, verbose=0)
    return model


def test_a_ranker_begins_with_the_vectors_of_a_retriever(chosen_log, tower):
    model = Ranker(IDS, crosses=["dot"], global_mean=False, embedding_stddev=0.1)
    model.adapt(chosen_log)
    warm_start(model, tower)
    items = tower.catalogue.ids.tolist()
    queries = chosen_log.queries.filter(chosen_log.queries["user_id"] == "u3")[-1:]
    found, expected = model.scores(["u3"], items), tower.retriever().scores(queries)[0]
    ratio = found / expected
    assert ratio == pytest.approx(np.full(len(items), ratio[0]), rel=1e-3)
    table = model.query_tower.features[0].table.numpy()[2:]
    assert np.sqrt(np.square(table).mean()) == pytest.approx(0.1, rel=0.05)


@pytest.mark.slow
def test_vectors_of_another_length_are_refused(chosen_log, tower):
    schema = Schema(query=[Categorical("user_id", 3)], candidate=[Categorical("item_id", 3)])
    model = Ranker(schema, [4])
    model.adapt(chosen_log)
    with pytest.raises(ConfigError, match=f"Set its `embedding_dim` to {DIM}"):
        warm_start(model, tower)
    other = Ranker(Schema([Categorical("segment", 3)], [Categorical("group", 3)]), [4])
    other.adapt(chosen_log)
    with pytest.raises(ConfigError, match="has neither"):
        warm_start(other, tower)
