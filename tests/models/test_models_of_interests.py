"""Models whose queries have several vectors: the best one scores, and the closest one learns."""

import numpy as np
import pytest

from tests.tiny_histories import LENGTH
from tests.tiny_interests import DIM, INTERESTS, ITEM, SCHEMA
from tfrecall._keras import tf, tfrs
from tfrecall.data import split_leave_last_out
from tfrecall.errors import ConfigError
from tfrecall.index.repeats import Repeats
from tfrecall.models.repeats import RepeatingRetriever, histories
from tfrecall.models.two_tower import TwoTower
from tfrecall.schema.encoders import Interests
from tfrecall.schema.features import Categorical, History, Schema
from tfrecall.schema.targets import HistoriesConfig
from tfrecall.tasks.in_batch import InBatchSoftmax
from tfrecall.tasks.sampled_softmax import SampledSoftmax
from tfrecall.training.inputs.examples import TrainingExamples, validation_examples


def by_brute_force(queries, candidates):
    """Scores `[n_queries, n]`: interest by interest, in float64."""
    return np.einsum("nkd,md->nkm", queries.astype(float), candidates.astype(float)).max(axis=1)


@pytest.mark.slow
def test_windows_and_whole_sequences_give_the_same_vectors(interest_model, history_log):
    found = []
    for options in ({"form": "windows"}, {"form": "sequences", "targets_per_row": 7}):
        settings = HistoriesConfig(minimum_history=0, **options)
        rows = []
        for batch in TrainingExamples(interest_model, history_log, 64, histories=settings).batches():
            vectors = interest_model.query_tower(batch["query"]).numpy()
            assert vectors.shape[1:] == (INTERESTS, DIM)
            age = batch["query"]["timestamp_example_age"].numpy()[:, 0]
            rows += zip(age, batch["candidate_index"].numpy(), vectors, strict=True)
        found.append(sorted(rows, key=lambda row: row[:2]))
    windows, whole = found
    assert [row[:2] for row in windows] == [row[:2] for row in whole]
    np.testing.assert_allclose([r[2] for r in windows], [r[2] for r in whole], rtol=1e-4, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("combine", ["concat", "sum"])
def test_other_features_stand_beside_each_interest(history_log, combine):
    interests = History("history", ITEM, LENGTH, Interests(2), table="candidate")
    schema = Schema(
        query=[Categorical("device", DIM), interests],
        candidate=[ITEM] if combine == "sum" else [ITEM, Categorical("group", DIM)],
    )
    model = TwoTower(schema, (), combine=combine)
    model.adapt(history_log)
    features = model.query_tower.preprocess(
        {"device": tf.constant(["app", "web"]), "history": tf.constant([["i1", "i2"], ["", ""]])}
    )
    device, history = (layer(features[layer.name]).numpy() for layer in model.query_tower.features)
    assert history.shape == (2, 2, DIM)
    for interest in range(2):
        parts = device, history[:, interest]
        expected = sum(parts) if combine == "sum" else np.concatenate(parts, axis=1)
        np.testing.assert_allclose(
            model.query_tower(features)[:, interest], expected, rtol=1e-6, atol=1e-7
        )


@pytest.mark.slow
def test_one_interest_is_one_vector(history_log):
    schema = Schema(query=[History("history", ITEM, LENGTH, Interests(1))], candidate=[ITEM])
    model = TwoTower(schema, [DIM], candidate_layer_sizes=[])
    model.adapt(history_log)
    assert model.query_tower.interests == 1
    assert model.embed_queries(history_log.queries[:5]).shape == (5, DIM)


# What it learns from


def trained_vectors(history_log, task):
    """Which vectors of some queries a loss changes, and which are closest to their targets."""
    model = TwoTower(SCHEMA, [DIM], candidate_layer_sizes=[], task=task)
    model.adapt(history_log)
    model.create_weights()
    index = tf.range(2, 22)
    queries = tf.Variable(np.random.default_rng(0).normal(size=(20, INTERESTS, DIM)).astype(np.float32))
    with tf.GradientTape() as tape:
        losses = model._task_loss(queries, index, tf.ones([20]), training=True)
    trained = np.abs(tf.convert_to_tensor(tape.gradient(losses, queries))).max(axis=2) > 0
    targets = model.candidate_tower(model.catalogue.features(index)).numpy()
    closest = np.einsum("nkd,nd->nk", queries.numpy(), targets).argmax(axis=1)
    return trained, np.arange(INTERESTS) == closest[:, np.newaxis]


@pytest.mark.slow
def test_a_task_of_one_vector_gets_the_one_that_is_closest_to_the_target(history_log):
    trained, closest = trained_vectors(history_log, tfrs.tasks.Retrieval())
    np.testing.assert_array_equal(trained, closest)


@pytest.mark.slow
@pytest.mark.parametrize("task", [InBatchSoftmax(), SampledSoftmax(num_sampled=9)])
def test_our_tasks_train_every_vector_that_is_best_for_some_candidate(history_log, task):
    trained, closest = trained_vectors(history_log, task)
    assert trained[closest].all()
    assert trained.mean() > 0.8


def test_the_full_softmax_learns_the_scores_that_are_served(interest_model):
    index = np.arange(2, 12)
    queries = np.random.default_rng(1).normal(size=(10, INTERESTS, DIM)).astype(np.float32)
    candidates = interest_model.embed_candidates().astype(float)
    losses = interest_model._task_loss(tf.constant(queries), tf.constant(index), tf.ones([10]), False)
    for logits, row, loss in zip(
        by_brute_force(queries, candidates), index - 2, losses.numpy(), strict=True
    ):
        assert loss == pytest.approx(np.log(np.exp(logits).sum()) - logits[row], rel=1e-4)


def test_every_interest_learns_something(interest_model, history_log):
    vectors = interest_model.embed_queries(history_log.queries[:200])
    best = (
        np.einsum("nkd,md->nkm", vectors, interest_model.embed_candidates()).max(axis=2).argmax(axis=1)
    )
    assert set(best) == set(range(INTERESTS))


# What it answers


def test_scores_are_the_largest_of_all_vectors(interest_model, history_log):
    queries = history_log.queries.tail(30)
    retriever = interest_model.retriever()
    vectors = interest_model.embed_queries(queries)
    assert vectors.shape == (30, INTERESTS, DIM)
    expected = by_brute_force(vectors, retriever.vectors)
    np.testing.assert_allclose(retriever.scores(queries), expected, rtol=1e-5, atol=1e-6)
    assert (expected > by_brute_force(vectors[:, :1], retriever.vectors)).any()


def test_the_keras_model_and_its_metric_score_alike(interest_model, history_log):
    train, test = split_leave_last_out(history_log, validation=False)
    (batch,) = validation_examples(interest_model, test, train)
    index = batch["candidate_index"].numpy()
    vectors = interest_model.query_tower(batch["query"]).numpy()
    expected = by_brute_force(vectors, interest_model.embed_candidates())
    np.testing.assert_allclose(interest_model(batch), expected, rtol=1e-5, atol=1e-6)
    ranks = (expected >= expected[np.arange(len(test)), index - 2][:, np.newaxis]).sum(axis=1) - 1
    measured = interest_model.evaluate(tf.data.Dataset.from_tensors(batch), return_dict=True, verbose=0)
    for k in (1, 5, 10):
        hits = measured[f"hit_rate@{k}"]
        assert hits == pytest.approx(np.mean(ranks < k), rel=1e-5)


def test_what_users_had_before_comes_in_its_place(interest_model, history_log):
    queries, repeats = history_log.queries.tail(10), Repeats(recency=0.5, bias=1.0, blend=0.5)
    towers = interest_model.towers_retriever()
    expected = by_brute_force(interest_model.embed_queries(queries), towers.vectors).astype(np.float32)
    repeats.apply(expected, histories(history_log, queries["user_id"]))
    found = RepeatingRetriever(towers, repeats, history_log).scores(queries)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_a_copy_from_its_configuration_answers_alike(interest_model, history_log):
    copy = TwoTower.from_config(interest_model.get_config())
    copy.adapt(history_log)
    copy.create_weights()
    copy.set_weights(interest_model.get_weights())
    queries = history_log.queries.tail(5)
    np.testing.assert_allclose(
        copy.embed_queries(queries), interest_model.embed_queries(queries), rtol=1e-6
    )


# What is refused


def test_two_histories_of_several_interests_are_refused():
    two = [History(name, ITEM, 5, Interests(2)) for name in ("history", "other")]
    with pytest.raises(
        ConfigError, match=r"Only one history may have several interests. Received: 2 of .*history"
    ):
        Schema(query=two, candidate=[ITEM])
    one = History("other", ITEM, 5, Interests(1))
    assert Schema(query=[two[0], one], candidate=[ITEM])


def test_a_metric_that_takes_one_vector_a_query_is_refused():
    candidates = tf.data.Dataset.from_tensors(tf.zeros([4, DIM]))
    task = tfrs.tasks.Retrieval(metrics=tfrs.metrics.FactorizedTopK(candidates))
    with pytest.raises(ConfigError, match=r"take one vector a query, but .* has 3 interests"):
        TwoTower(SCHEMA, [DIM], candidate_layer_sizes=[], task=task)
