"""Models whose queries are histories: one answer whatever form the history comes in."""

import numpy as np
import polars as pl
import pytest

from tests.tiny_histories import LENGTH, SCHEMA, newest
from tfrecall._keras import tf
from tfrecall.data import split_leave_last_out
from tfrecall.errors import ConfigError, DataError, MissingColumnError
from tfrecall.models.two_tower import TwoTower
from tfrecall.models.youtube_dnn import YouTubeDNN
from tfrecall.schema.encoders import Mean, Windows
from tfrecall.schema.features import Categorical, ExampleAge, History, Schema
from tfrecall.schema.targets import HistoriesConfig
from tfrecall.tasks.full_softmax import FullSoftmax
from tfrecall.training.inputs.examples import TrainingExamples, validation_examples

ITEM = Categorical("item_id", 8)


def vectors_of_targets(model, data, **histories) -> list[tuple]:
    """For each target who, what and when (as its age says), and the vector of its query."""
    examples = TrainingExamples(model, data, 64, histories=HistoriesConfig(**histories))
    found = []
    for batch in examples.batches():
        query = batch["query"]
        who, age = query["user_id_categorical"].numpy(), query["timestamp_example_age"].numpy()[:, 0]
        vectors = model.query_tower(query).numpy()
        found += zip(who, age, batch["candidate_index"].numpy(), map(tuple, vectors), strict=True)
    return sorted(found)


@pytest.mark.slow
def test_windows_and_whole_sequences_give_the_same_vectors(history_model, history_log):
    windows = vectors_of_targets(history_model, history_log, form="windows", minimum_history=0)
    whole = vectors_of_targets(history_model, history_log, minimum_history=0, targets_per_row=7)
    assert len(windows) == len(history_log)
    assert [row[:3] for row in windows] == [row[:3] for row in whole]
    np.testing.assert_allclose([r[3] for r in windows], [r[3] for r in whole], rtol=1e-5, atol=1e-6)


@pytest.mark.slow
def test_training_and_asking_encode_alike(history_model, history_log):
    train, test = split_leave_last_out(history_log, validation=False)
    asked = [b["query"] for b in validation_examples(history_model, test, train)]
    encoded = np.concatenate([history_model.query_tower(query).numpy() for query in asked])
    history = [newest(train, user, LENGTH) for user in test.log["user_id"]]
    liked = [newest(train, user, 3, 4) for user in test.log["user_id"]]
    queries = test.queries.with_columns(pl.Series("history", history), pl.Series("liked", liked))
    np.testing.assert_allclose(history_model.embed_queries(queries), encoded, rtol=1e-5, atol=1e-6)


def test_a_query_without_a_list_has_what_its_user_had_until_then(history_model, history_log):
    queries = history_log.queries.tail(20)
    past = [
        history_log.with_log(history_log.log.filter(pl.col("timestamp") <= time))
        for time in queries["timestamp"]
    ]
    lists = queries.with_columns(
        pl.Series(
            "history", [newest(p, u, LENGTH) for p, u in zip(past, queries["user_id"], strict=True)]
        ),
        pl.Series("liked", [newest(p, u, 3, 4) for p, u in zip(past, queries["user_id"], strict=True)]),
    )
    np.testing.assert_allclose(
        history_model.embed_queries(queries), history_model.embed_queries(lists), rtol=1e-5, atol=1e-6
    )


def test_raw_batches_with_lists_train_like_the_log(history_model, history_log):
    rows = {
        "user_id": ["u1"],
        "device": ["web"],
        "history": [["i2", "never seen", "i3"]],
        "liked": [["i3"]],
        "timestamp": [history_log.log["timestamp"].max()],
        "item_id": ["i4"],
    }
    raw = {name: tf.constant(values) for name, values in rows.items()}
    encoded = history_model.encode(raw, training=True)["query"]
    assert encoded["timestamp_example_age"].numpy().tolist() == [[0.0]]
    known = history_model.history_index(history_log)
    assert encoded["history_history"]["items"].numpy().tolist() == [[0, 0, 0, *known[[2, 3]]]]


def test_a_raw_batch_without_its_list_is_refused(history_model):
    raw = {name: tf.constant(["x"]) for name in ("user_id", "device", "item_id")}
    with pytest.raises(MissingColumnError, match='needs the feature "history"'):
        history_model.encode(raw)


def test_age_counts_in_training_only(history_model, history_log):
    rows = {"user_id": ["u1"], "device": ["web"], "item_id": ["i4"], "timestamp": [0.0]}
    raw = {name: tf.constant(values) for name, values in rows.items()}
    name = "timestamp_example_age"
    assert history_model.encode_training_rows(raw)["query"][name].numpy().tolist() == [[1.0]]
    assert history_model.encode_rows(raw)["query"][name].numpy().tolist() == [[0.0]]


@pytest.mark.slow
def test_histories_and_candidates_can_share_one_table(history_log):
    shared = Schema(
        query=[
            History("history", ITEM, 5, Mean(), table="candidate"),
            History("liked", ITEM, 5, Mean(), table="candidate", min_rating=4),
        ],
        candidate=[ITEM],
    )
    model = YouTubeDNN(shared, [8], task=FullSoftmax())
    model.adapt(history_log)
    model.create_weights()
    tables = [w for w in model.trainable_weights if "embeddings" in w.name]
    assert len(tables) == 1
    copy = YouTubeDNN.from_config(model.get_config())
    copy.adapt(history_log)
    copy.create_weights()
    assert [w.shape for w in copy.weights] == [w.shape for w in model.weights]


def test_histories_of_one_table_share_it_among_themselves(history_log):
    schema = Schema(
        query=[
            History("history", ITEM, 5, table="label"),
            History("liked", ITEM, 5, table="label", min_rating=4),
            History("disliked", Categorical("group", 4), 5, table="label", below_rating=4),
        ],
        candidate=[ITEM],
    )
    model = YouTubeDNN(schema, [8], task=FullSoftmax())
    first, second, third = model.query_tower.histories
    assert first.inner is second.inner
    assert third.inner is not first.inner  # of another feature


def test_a_table_that_the_candidates_lack_is_refused():
    schema = Schema(
        query=[History("history", Categorical("item_id", 4), table="candidate")], candidate=[ITEM]
    )
    with pytest.raises(ConfigError, match="with the candidates, which have"):
        YouTubeDNN(schema, [8])


def test_youtube_dnn_needs_a_history():
    with pytest.raises(ConfigError, match="no query feature is a history"):
        YouTubeDNN(Schema(query=[Categorical("user_id")], candidate=[ITEM]), [32])


def test_its_candidates_are_rows_of_a_table():
    schema = Schema(query=[History("history", ITEM, 5, Windows([5, 1]))], candidate=[ITEM])
    model = YouTubeDNN(schema, [16, 8])
    assert model.candidate_tower.layer_sizes == ()
    assert model.get_config()["candidate_layer_sizes"] == []


def test_a_log_that_has_a_column_of_that_name_is_refused(history_log):
    log = history_log.with_log(history_log.log.with_columns(history=pl.lit("x")))
    with pytest.raises(ConfigError, match='has a column "history"'):
        TwoTower(SCHEMA, [8], candidate_layer_sizes=[]).adapt(log)


def test_a_model_of_a_dataset_asks_for_lists(history_model, history_log):
    model = TwoTower.from_config(history_model.get_config())
    with pytest.raises(DataError, match="Give the queries the columns history, liked"):
        model.embed_queries(history_log.queries)


def test_validation_rows_inside_the_log_are_refused(history_model, history_log):
    with pytest.raises(DataError, match="would see its own target"):
        validation_examples(history_model, history_log, history_log)


def test_age_alone_is_no_query():
    with pytest.raises(ConfigError, match="cannot be the only query feature"):
        Schema(query=[ExampleAge()], candidate=[ITEM])


def test_two_readers_of_one_list_agree_on_its_events():
    with pytest.raises(ConfigError, match="different `history_length`: 5 and 6"):
        Schema(query=[History(history_length=5), History(history_length=6, of=ITEM)], candidate=[ITEM])
