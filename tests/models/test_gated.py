"""Models that know when a request is made: one answer in training, evaluation, requests and releases."""

import numpy as np
import polars as pl
import pytest

from tests.models.test_youtube_dnn import vectors_of_targets
from tfrecall._keras import tf
from tfrecall.core.seen import Seen
from tfrecall.data import split_leave_last_out
from tfrecall.errors import ConfigError
from tfrecall.evaluation import evaluate
from tfrecall.exporting.export import export
from tfrecall.layers.event_times import NOT_TOLD
from tfrecall.models.two_tower import TwoTower
from tfrecall.schema.encoders import Gated
from tfrecall.schema.features import Bucketized, Categorical, ExampleAge, History, Numeric, Schema
from tfrecall.tasks.full_softmax import FullSoftmax
from tfrecall.training.inputs.examples import validation_examples

ITEM = Categorical("item_id", 8)
# As long as any history, so that windows and whole sequences hold the same events.
HISTORY = History("history", ITEM, 60, Gated(2, heads=2, dropout=0.0, time=True))
HOUR = 3600.0


def gated_model(log, *more):
    schema = Schema(query=[Categorical("user_id", 4), HISTORY, ExampleAge(), *more], candidate=[ITEM])
    tf.keras.utils.set_random_seed(2)
    model = TwoTower(
        schema, layer_sizes=[8], candidate_layer_sizes=[], task=FullSoftmax(), name="gated"
    )
    model.adapt(log)
    model.query_tower.create_weights()
    # Numbers by time start at zero, where no request would differ from another.
    for weight in model.query_tower.trainable_weights:
        if "times" in weight.name or "since_newest" in weight.name:
            weight.assign(tf.random.stateless_normal(weight.shape, [3, 4]))
    return model


@pytest.fixture(scope="module")
def model(history_log):
    return gated_model(history_log)


@pytest.mark.slow
@pytest.mark.parametrize("by_length", [False, True])
def test_windows_and_whole_sequences_give_the_same_vectors(model, history_log, by_length):
    windows = vectors_of_targets(model, history_log, form="windows")
    whole = vectors_of_targets(model, history_log, targets_per_row=64, context=1, by_length=by_length)
    assert len(windows) == len(history_log) - history_log.log["user_id"].n_unique()
    assert [row[:3] for row in windows] == [row[:3] for row in whole]
    # A sequence that a cut has shortened sees less; most are whole.
    same = np.isclose([r[3] for r in windows], [r[3] for r in whole], rtol=1e-4, atol=1e-5).all(axis=1)
    assert same.mean() > 0.5


@pytest.mark.slow
def test_training_and_asking_encode_alike(model, history_log):
    train, test = split_leave_last_out(history_log, validation=False)
    asked = [b["query"] for b in validation_examples(model, test, train)]
    encoded = np.concatenate([model.query_tower(query).numpy() for query in asked])
    vectors = model.embed_queries(test.queries, train)
    np.testing.assert_allclose(vectors, encoded, rtol=1e-5, atol=1e-5)
    later = test.queries.with_columns(request_time=pl.col("timestamp") + HOUR)
    assert not np.allclose(model.embed_queries(later, train), encoded, atol=1e-3)


@pytest.mark.slow
def test_a_request_without_a_time_is_made_at_present(model):
    asked = pl.DataFrame({"user_id": ["u1", "u2"]})
    now = pl.Series("request_time", [tf.timestamp().numpy()] * 2)
    vectors = model.embed_queries(asked)
    np.testing.assert_allclose(vectors, model.embed_queries(asked.with_columns(now)), atol=1e-5)
    not_told = asked.with_columns(request_time=pl.lit(NOT_TOLD))
    assert not np.allclose(vectors, model.embed_queries(not_told), atol=1e-3)


@pytest.mark.slow
def test_an_evaluation_has_a_row_for_each_question(model, history_log):
    train, test = split_leave_last_out(history_log, validation=False)
    model.use_log(train)
    found = evaluate(model, test, seen=train, baselines=False)
    model.use_log(history_log)
    assert list(found.baselines) == ["gated, as of the newest event"]
    (as_of_event,) = found.baselines.values()
    assert set(as_of_event) == set(Seen)
    assert as_of_event[Seen.REMOVED] != found.test[Seen.REMOVED]


@pytest.mark.slow
def test_a_release_answers_for_the_time_of_the_request(model, history_log, tmp_path):
    release = export(model, tmp_path, index=None)
    time = float(history_log.log["timestamp"].max()) + HOUR
    users = ["u1", "u2"]
    live = model.embed_queries(
        pl.DataFrame({"user_id": users, "request_time": [time] * 2}), history_log
    )
    batch = release.users.build_queries([{"user_id": u, "request_time": time} for u in users])
    signature = tf.saved_model.load(str(tmp_path / "query" / "1")).signatures["serving_default"]

    def exported(features):
        given = {name: tf.constant(values) for name, values in features.items()}
        return signature(**given)["query_embedding"].numpy()

    np.testing.assert_allclose(exported(batch.features), live, rtol=1e-4, atol=1e-5)
    now = exported(release.users.build_queries(users).features)
    present = model.embed_queries(pl.DataFrame({"user_id": users}), history_log)
    np.testing.assert_allclose(now, present, rtol=1e-4, atol=1e-5)
    assert not np.allclose(now, live, atol=1e-3)
    assert len(release.recommend([{"user_id": "u1", "request_time": time}], k=3)[0].item_ids) == 3
    assert len(release.recommend(["u1"], k=3)[0].item_ids) == 3
    # A stranger lacks a history, and not the present.
    assert "request_time" not in release.users.build_queries(["stranger"]).defaulted[0]


@pytest.mark.slow
def test_times_stand_beside_other_times_of_the_query(history_log):
    model = gated_model(history_log, Bucketized("timestamp", 4, 4))
    assert model.embed_queries(history_log.queries.head(3), history_log).shape == (3, 8)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: Schema(query=[HISTORY, Numeric("request_time")], candidate=[ITEM]),
            "both a query feature and the time of the request",
        ),
        (
            lambda: History("liked", ITEM, encoder=Gated(time=True), min_rating=4),
            "which ratings would leave out",
        ),
    ],
)
def test_what_contradicts_the_time_of_a_request_is_refused(make, message):
    with pytest.raises(ConfigError, match=message):
        make()


def test_the_times_of_events_are_a_context():
    assert HISTORY.context_columns == {"timestamp": "history_timestamp"}
    assert History(encoder=Gated()).context == ()
