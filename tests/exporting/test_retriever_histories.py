"""Exported models take what users had as lists of ids, and answer like the live model."""

from functools import cache

import numpy as np
import polars as pl
import pytest

from tests.tiny_histories import LENGTH, LIKED, newest
from tests.tiny_repeats import REPEATS
from tfrecall._keras import tf
from tfrecall.errors import ConfigError
from tfrecall.exporting import retriever as exporting
from tfrecall.exporting.export import export
from tfrecall.exporting.retriever import STRANGE_ID, sample_queries
from tfrecall.exporting.signatures import FILE, TracedTower, save_retrieval
from tfrecall.models.two_tower import TwoTower
from tfrecall.release import load
from tfrecall.schema.features import Categorical, History, MultiCategorical, Schema


@cache
def signatures(root, name):
    return tf.saved_model.load(str(root / name / "1")).signatures


def array(lists):
    width = max(map(len, lists))
    return np.array([[*ids, *[""] * (width - len(ids))] for ids in lists], dtype=object)


@pytest.fixture(scope="module")
def query_model(history_root):
    """Asks the exported query model of one user with some history."""
    signature = signatures(history_root, "query")["serving_default"]

    def ask(history, liked=((),)):
        rows = len(history)
        history, liked = (
            ids if isinstance(ids, np.ndarray) else array(ids) for ids in (history, liked)
        )
        answer = signature(
            user_id=tf.constant(["u1"] * rows),
            device=tf.constant(["web"] * rows),
            history=tf.constant(history, tf.string),
            liked=tf.constant(liked, tf.string),
        )
        return answer["query_embedding"].numpy()

    return ask


@pytest.mark.slow
def test_signatures_take_lists_of_any_length_and_no_example_age(history_root):
    for name in ("query", "retrieval"):
        inputs = signatures(history_root, name)["serving_default"].structured_input_signature[1]
        assert set(inputs) == {"user_id", "device", "history", "liked"}
        assert inputs["history"].shape.as_list() == [None, None]
        assert inputs["history"].dtype == tf.string


@pytest.mark.parametrize(
    "padded",
    [
        ["i1", "i5", "", "", ""],
        ["", "", "i1", "i5"],
        ["", "i1", "", "", "i5", ""],
        ["no such item", "i1", "[UNK]", "i40", "i5"],
        [*["i3"] * 10_000, *["i1"] * 4, "i1", "i5"][-10_000:],
    ],
    ids=["behind", "in front", "between", "unknown", "ten thousand"],
)
def test_padding_at_any_place_and_unknown_ids_count_for_nothing(query_model, padded):
    """The window holds 5: of ten thousand these are i1 four times and i5."""
    expected = ["i1"] * 4 + ["i5"] if len(padded) > 100 else ["i1", "i5"]
    np.testing.assert_allclose(query_model([padded]), query_model([expected]), rtol=1e-6, atol=1e-7)
    assert not np.allclose(query_model([padded]), query_model([["i5", "i1"]]), atol=1e-3)


def test_no_columns_at_all_is_the_empty_list(query_model):
    none = np.empty((2, 0), dtype=object)
    empty = query_model([[""], [""]], [[""], [""]])
    np.testing.assert_array_equal(query_model(none, none), empty)
    np.testing.assert_array_equal(empty, query_model([["no such item"]] * 2, [[""], [""]]))


@pytest.mark.slow
def test_requests_of_other_types_and_shapes_are_refused(history_root):
    signature = signatures(history_root, "query")["serving_default"]
    others = {name: tf.constant(["x"]) for name in ("user_id", "device")}
    liked = tf.constant([["i1"]])
    for history, error in (
        ([[1, 2]], (TypeError, tf.errors.InvalidArgumentError)),
        (["i1"], tf.errors.InvalidArgumentError),
        ([[["i1"]]], tf.errors.InvalidArgumentError),
        ([["i1"], ["i2"]], tf.errors.InvalidArgumentError),  # two for one user
    ):
        with pytest.raises(error):
            signature(history=tf.constant(history), liked=liked, **others)


# What the comparison in a fresh process asks


def test_samples_are_users_as_the_log_ends_and_nobody_twice(history_model, history_log):
    queries = sample_queries(history_model, 6)
    users = queries["user_id"].tolist()
    assert [len(values) for values in queries.values()] == [8] * 4
    assert users[6:] == ["[UNK]", "[UNK]"]
    for name, length, least in (("history", LENGTH, 0), ("liked", LIKED, 4)):
        lists = [[item for item in ids if item] for ids in queries[name]]
        assert lists[:6] == [newest(history_log, user, length, least) for user in users[:6]]
        assert lists[6] == ["i0", "i1", STRANGE_ID, "i0"]
        assert lists[7] == []


def test_samples_are_what_the_live_model_makes_of_the_log(history_model, history_log):
    """Ids go another way than the indexes of the log, to the same vectors."""
    queries = sample_queries(history_model, 6)
    table = pl.DataFrame({"user_id": queries["user_id"][:6].tolist()})
    last = history_log.queries.sort("timestamp", maintain_order=True).group_by("user_id").last()
    live = history_model.embed_queries(table.join(last, on="user_id", maintain_order="left"))
    np.testing.assert_allclose(history_model.query_tower.embed(queries)[:6], live, rtol=1e-5, atol=1e-6)


def test_the_index_is_tuned_to_users_with_their_histories(history_model, tmp_path, monkeypatch):
    monkeypatch.setattr(exporting, "write_bundle", lambda *args, **kwargs: kwargs["tuning_queries"])
    vectors = history_model.embed_candidates()
    found = exporting._write_index(history_model, vectors, None, "fingerprint", tmp_path, True)
    expected = history_model.query_tower.embed(sample_queries(history_model, 500))
    np.testing.assert_array_equal(found, expected)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["query", "retrieval"])
def test_warm_up_asks_with_the_lists_of_a_known_user(history_root, name):
    from tensorflow_serving.apis import prediction_log_pb2

    served = signatures(history_root, name)
    for record in tf.data.TFRecordDataset(str(history_root / name / "1" / FILE)):
        request = prediction_log_pb2.PredictionLog.FromString(record.numpy()).predict_log.request
        inputs = {key: tf.constant(tf.make_ndarray(value)) for key, value in request.inputs.items()}
        assert inputs["history"].shape == [1, LENGTH]
        assert served[request.model_spec.signature_name](**inputs)


@pytest.mark.slow
def test_a_model_that_takes_unknown_ids_for_events_is_not_published(
    history_model, tmp_path, monkeypatch
):
    """As in `preprocess`, but the exported one counts the unknown id among the newest."""
    from tfrecall.errors import ExportError

    save = exporting.save_tower

    def spoiled(traced, output, path):
        layers = {layer: layer.preprocess for layer in traced.tower.histories}

        def counting(layer):
            def preprocess(values, context):
                return layers[layer](tf.where(values == STRANGE_ID, "i3", values), context)

            return preprocess

        for layer in layers:
            layer.preprocess = counting(layer)
        try:
            save(traced, output, path)
        finally:
            for layer in layers:
                del layer.preprocess

    monkeypatch.setattr(exporting, "save_tower", spoiled)
    with pytest.raises(ExportError, match=r"The exported model query.*Nothing was published"):
        export(history_model, tmp_path / "out", index=None, k=5)


# With repeats


@pytest.fixture(scope="module")
def repeating(repeating_root):
    """The same list of the schema and of `repeats`."""
    return load(repeating_root)


@pytest.fixture(scope="module")
def recommend(repeating):
    """The signature of the SavedModel."""
    return signatures(repeating.root, "retrieval")["recommend"]


@pytest.mark.parametrize("history", [["i2", "i7", "no such item", "i2", "i9"], [], ["no such item"]])
def test_one_list_serves_the_model_and_its_repeats(repeating, recommend, history):
    query = {"user_id": "u1", "device": "web", "history": history, "liked": ["i2"]}
    (answer,) = repeating.recommend([query], 8)
    served = recommend(
        user_id=tf.constant(["u1"]),
        device=tf.constant(["web"]),
        history=tf.constant(array([history or [""]]), tf.string),
        liked=tf.constant([["i2"]]),
        k=tf.constant(8),
        exclude=tf.constant([[""]]),
    )
    assert answer.item_ids == [item.decode() for item in served["candidate_ids"].numpy()[0]]
    np.testing.assert_allclose(answer.scores, served["scores"].numpy()[0], rtol=1e-5)


def test_the_list_moves_the_vector_and_lifts_what_it_holds(repeating, history_release):
    query = {"user_id": "u1", "history": ["i2", "i7"], "liked": []}
    (answer,) = repeating.recommend([query], 41)
    (towers,) = history_release.recommend([query], 41, exclude_seen=False)
    with_repeats, plain = (dict(zip(one.item_ids, one.scores, strict=True)) for one in (answer, towers))
    # i7 is the latest: w = 1. i2 is one event back: w = 2 ** -.7 * exp(-.01).
    assert with_repeats.pop("i7") == pytest.approx(3.0 + 0.4 * plain.pop("i7"), rel=1e-4)
    expected = -0.7 * np.log(2) - 0.01 + 3.0 + 0.4 * plain.pop("i2")
    assert with_repeats.pop("i2") == pytest.approx(expected, rel=1e-4)
    assert with_repeats == pytest.approx(plain, rel=1e-5)


def test_a_known_user_has_both_from_the_log(repeating, history_log):
    had = newest(history_log, "u1", 1000)
    (known,) = repeating.recommend(["u1"], 10)
    (given,) = repeating.recommend([{"user_id": "u1", "history": had}], 10)
    assert known.item_ids == given.item_ids
    table = history_log.queries.filter(pl.col("user_id") == "u1")
    last = table.sort("timestamp", maintain_order=True)[-1:]
    (row,) = repeating.scores(last)
    assert repeating.item_ids[np.argsort(-row, kind="stable")[:10]].tolist() == known.item_ids


def test_padding_inside_a_given_list_is_no_event(repeating):
    one, other = (
        repeating.recommend([{"user_id": "u1", "history": ids}], 8)[0]
        for ids in (["i2", "", "i7", ""], ["i2", "i7"])
    )
    assert one == other


@pytest.mark.slow
@pytest.mark.parametrize(
    "feature",
    [
        History("history", Categorical("item_id", 4), min_rating=4),
        MultiCategorical("history", 4),
    ],
    ids=["rated", "no history"],
)
def test_another_feature_called_history_is_refused_with_repeats(feature, tmp_path):
    from tfrecall.data import synthetic

    data = synthetic(6, 6, 40)
    log = data.log.with_columns(rating=pl.lit(5.0))
    model = TwoTower(
        Schema(query=[Categorical("user_id", 4), feature], candidate=[Categorical("item_id", 4)]),
        layer_sizes=[4],
    )
    if isinstance(feature, MultiCategorical):
        log = log.with_columns(history=pl.lit(["a"], dtype=pl.List(pl.String)))
    model.adapt(data.with_log(log))
    vectors = model.embed_candidates()
    with pytest.raises(ConfigError, match=r"all that a user had.*without `min_rating`"):
        save_retrieval(
            TracedTower(model.query_tower), model.catalogue, vectors, 2, str(tmp_path), REPEATS
        )


# Without a log


@pytest.mark.slow
def test_a_model_of_a_dataset_answers_from_lists_alone(tmp_path, monkeypatch):
    monkeypatch.setattr(exporting, "check_round_trip", lambda *args: 0.0)
    clicks = tf.data.Dataset.from_tensor_slices(
        {"item_id": ["a", "b", "c"], "history": [["b", "c"], ["a", ""], ["", ""]]}
    )
    items = tf.data.Dataset.from_tensor_slices({"item_id": ["a", "b", "c"]})
    model = TwoTower(
        Schema(
            query=[History("history", Categorical("item_id", 4))], candidate=[Categorical("item_id", 4)]
        ),
        layer_sizes=[4],
    )
    model.adapt(clicks.batch(2), items)
    release = export(model, tmp_path / "release", index=None, k=2)
    given, nobody = release.recommend([{"history": ["a", "b"]}, "anybody"], 3, exclude_seen=False)
    assert sorted(given.item_ids) == sorted(nobody.item_ids) == ["a", "b", "c"]
    assert given.scores != nobody.scores
    assert (given.defaulted, nobody.defaulted) == ((), ("history",))
