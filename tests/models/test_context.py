"""Models that know more of events than their items."""

import numpy as np
import polars as pl
import pytest

from tests.models.test_youtube_dnn import vectors_of_targets
from tests.tiny_histories import CONTEXT_SCHEMA, LENGTH, LIKED, past
from tfrecall._keras import tf
from tfrecall.data import Interactions, split_leave_last_out
from tfrecall.errors import ConfigError, DataError, MissingColumnError
from tfrecall.models.two_tower import TwoTower
from tfrecall.models.youtube_dnn import YouTubeDNN
from tfrecall.schema.encoders import Windows
from tfrecall.schema.features import Categorical, History, Schema
from tfrecall.tasks.full_softmax import FullSoftmax
from tfrecall.training import fit
from tfrecall.training.inputs.examples import validation_examples

ITEM = Categorical("item_id", 8)


def with_lists(queries: pl.DataFrame, log: Interactions, context: bool = True) -> pl.DataFrame:
    """Queries with what their users had by a loop, as a request would say it."""
    users = queries["user_id"]
    history = [past(log, user, LENGTH) for user in users]
    liked = [past(log, user, LIKED, 4) for user in users]
    columns = {"history": [row["items"] for row in history], "liked": [row["items"] for row in liked]}
    if context:
        columns["history_rating"] = [row["rating"] for row in history]
        columns["history_gap"] = [row["gap"] for row in history]
        columns["liked_device"] = [row["device"] for row in liked]
    return queries.with_columns(
        pl.Series(name, values, dtype=pl.List(pl.String)) for name, values in columns.items()
    )


@pytest.mark.slow
def test_windows_and_whole_sequences_give_the_same_vectors(context_model, history_log):
    windows = vectors_of_targets(context_model, history_log, form="windows", minimum_history=0)
    whole = vectors_of_targets(context_model, history_log, minimum_history=0, targets_per_row=7)
    assert len(windows) == len(history_log)
    assert [row[:3] for row in windows] == [row[:3] for row in whole]
    np.testing.assert_allclose([r[3] for r in windows], [r[3] for r in whole], rtol=1e-5, atol=1e-6)


def test_training_and_asking_encode_alike(context_model, history_log):
    train, test = split_leave_last_out(history_log, validation=False)
    asked = [b["query"] for b in validation_examples(context_model, test, train)]
    encoded = np.concatenate([context_model.query_tower(query).numpy() for query in asked])
    vectors = context_model.embed_queries(with_lists(test.queries, train))
    np.testing.assert_allclose(vectors, encoded, rtol=1e-5, atol=1e-6)


def test_a_query_without_lists_has_what_its_user_had_and_all_that_is_known(context_model, history_log):
    queries = history_log.users.select("user_id").head(20)
    vectors = context_model.embed_queries(queries)
    listed = context_model.embed_queries(with_lists(queries, history_log))
    np.testing.assert_allclose(vectors, listed, rtol=1e-5, atol=1e-6)
    without = context_model.embed_queries(with_lists(queries, history_log, context=False))
    assert not np.allclose(without, listed, atol=1e-3)


def test_lists_without_context_are_lists_of_which_nothing_is_known(context_model, history_log):
    queries = with_lists(history_log.users.select("user_id").head(5), history_log, context=False)
    nothing = queries.with_columns(
        pl.col(ids).list.eval(pl.lit("")).alias(column)
        for ids, column in (
            ("history", "history_rating"),
            ("history", "history_gap"),
            ("liked", "liked_device"),
        )
    )
    np.testing.assert_array_equal(
        context_model.embed_queries(queries), context_model.embed_queries(nothing)
    )


def test_context_of_another_length_is_refused(context_model):
    queries = pl.DataFrame({"user_id": ["u1"], "history": [["i1", "i2"]], "history_rating": [["5"]]})
    with pytest.raises(DataError, match="1 values for 2 ids"):
        context_model.embed_queries(queries)


def test_raw_batches_name_the_context_beside_the_lists(context_model, history_log):
    rows = {
        "user_id": ["u1"],
        "history": [["i2", "never seen", "i3"]],
        "history_rating": [["5", "4", "no such rating"]],
        "history_gap": [["start", "days", "minutes"]],
        "liked": [["i3"]],
        "liked_device": [["web"]],
        "timestamp": [0.0],
        "item_id": ["i4"],
    }
    raw = {name: tf.constant(values) for name, values in rows.items()}
    history = context_model.encode(raw)["query"]["history_history"]
    codes = context_model.query_tower.histories[0].codes("rating", np.array(["5"], object))
    assert history["context"]["rating"].numpy().tolist() == [[0, 0, 0, codes[0], 1]]
    del raw["history_gap"]
    with pytest.raises(MissingColumnError, match='needs the feature "history_gap"'):
        context_model.encode(raw)


@pytest.mark.slow
def test_a_model_can_learn_context_from_raw_batches():
    schema = Schema(query=[History("history", ITEM, 3, context=("rating",))], candidate=[ITEM])
    rows = {
        "history": [["i1", "i2"], ["i2", ""]],
        "history_rating": [["5", ""], ["1", ""]],
        "item_id": ["i1", "i2"],
    }
    items = tf.data.Dataset.from_tensor_slices({"item_id": ["i1", "i2"]})
    model = YouTubeDNN(schema, [8], task=FullSoftmax())
    model.adapt(tf.data.Dataset.from_tensor_slices(rows).batch(2), items)
    assert set(model.query_tower.histories[0].contexts["rating"].state) == {"5", "1"}
    without = {name: values for name, values in rows.items() if name != "history_rating"}
    again = YouTubeDNN(schema, [8], task=FullSoftmax())
    with pytest.raises(MissingColumnError, match='"history_rating", but the dataset has only'):
        again.adapt(tf.data.Dataset.from_tensor_slices(without).batch(2), items)


def test_a_log_without_the_column_is_refused(history_log):
    log = history_log.with_log(history_log.log.drop("device"))
    with pytest.raises(MissingColumnError, match='"device", but the log or the user table has only'):
        TwoTower(CONTEXT_SCHEMA, [8], candidate_layer_sizes=[]).adapt(log)


def test_a_column_of_the_user_table_tells_nothing_of_events(history_log):
    schema = Schema(query=[History("history", ITEM, context=("segment",))], candidate=[ITEM])
    with pytest.raises(MissingColumnError, match='"segment", which is a column of the log'):
        TwoTower(schema, [8], candidate_layer_sizes=[]).adapt(history_log)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("column", "said"),
    [("history_gap", 'has a column "history_gap"'), ("gap", "a column of that name")],
)
def test_a_log_that_has_a_column_of_that_name_is_refused(history_log, column, said):
    log = history_log.with_log(history_log.log.with_columns(pl.lit("x").alias(column)))
    with pytest.raises(ConfigError, match=said):
        TwoTower(CONTEXT_SCHEMA, [8], candidate_layer_sizes=[]).adapt(log)


@pytest.mark.slow
def test_the_last_rating_says_what_comes_next_to_those_who_can_see_it():
    """A 5 is followed by one of the items 0-4, a 1 by one of the items 5-9, whatever the item was."""
    generator = np.random.default_rng(3)
    rating = np.where(generator.random(600) < 0.5, 5.0, 1.0)
    user = np.repeat(np.arange(30), 20)
    item = generator.integers(5, size=600) + np.where(np.roll(rating, 1) > 3, 0, 5)
    log = Interactions.from_frame(
        pl.DataFrame({"user_id": user, "item_id": item, "timestamp": np.arange(600), "rating": rating})
    )
    correct = {}
    for context in ((), ("rating",)):
        history = History("history", ITEM, 5, Windows([1]), context=context)
        model = YouTubeDNN(Schema(query=[history], candidate=[ITEM]), [16, 8], task=FullSoftmax())
        fit(model, log, epochs=10, batch_size=100, learning_rate=0.1, seed=1, verbose=0)
        rated = pl.DataFrame(
            {
                "history": [[str(i)] for i in range(10)] * 2,
                "history_rating": [["5"]] * 10 + [["1"]] * 10,
            }
        )
        best = model.retriever().scores(rated if context else rated.drop("history_rating")).argmax(1)
        after = np.array(log.item_vocabulary.ids, int)[best] < 5
        correct[context] = np.mean(after == (np.arange(20) < 10))
    assert correct[("rating",)] == 1
    assert correct[()] == 0.5  # the same answer to both ratings


@pytest.mark.slow
def test_each_list_has_its_own_codes_of_a_context(history_log):
    lists = [
        History(name, Categorical("item_id", 4), 3, context=("device",))
        for name in ("history", "other")
    ]
    model = TwoTower(Schema(query=lists, candidate=[ITEM]), [])
    model.adapt(history_log)
    first, second = (layer.contexts["device"] for layer in model.query_tower.histories)
    assert first.state == second.state == ("app", "web")
    second._set_state(("web", "app"))  # as of a list that was adapted to other events
    codes = model.history_codes(history_log)
    device = history_log.log["device"].to_numpy()
    assert codes["history_device"].tolist() == np.where(device == "app", 2, 3).tolist()
    assert codes["other_device"].tolist() == np.where(device == "app", 3, 2).tolist()
    raw = model.raw_queries(history_log.queries.head(1), history_log)
    newest = {name: raw[f"{name}_device"][0, -1] for name in ("history", "other")}
    assert newest["history"] + newest["other"] == 5 or set(newest.values()) == {0}
