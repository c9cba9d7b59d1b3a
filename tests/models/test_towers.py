"""Towers: from raw features to one vector."""

import json

import numpy as np
import polars as pl
import pytest

from tfrecall._keras import keras, tf
from tfrecall.core.raw import raw_features
from tfrecall.data.batches import column_batches
from tfrecall.errors import ConfigError, DataError, MissingColumnError
from tfrecall.models.towers import CandidateTower, QueryTower
from tfrecall.schema import features as schema

FRAME = pl.DataFrame(
    {
        "user_id": ["a", "b", "a", None],
        "age": [31.0, 44.0, 31.0, 20.0],
        "tags": [["x"], ["x", "y"], [], None],
        "note": ["Old and new", "new", "", None],
    }
)
FEATURES = (
    schema.Categorical("user_id", 4),
    schema.Numeric("age"),
    schema.Bucketized("age", 2, 3),
    schema.Bucketized("age", 3, 5),
    schema.MultiCategorical("tags", 4),
    schema.Text("note", 10, 4),
)


def adapted(features=FEATURES, layer_sizes=(), cls=QueryTower, **options):
    tower = cls(features, layer_sizes, **options)
    tower.adapt(lambda column, form: column_batches(FRAME, column, form))
    return tower


def raw(tower, frame=FRAME):
    return raw_features(frame, tower.forms)


@pytest.mark.slow
def test_features_stand_side_by_side():
    tower = adapted()
    # 4 + 1 + 3 + 5 + 4 + 4 values.
    assert tower.embed(raw(tower)).shape == (4, 21)


@pytest.mark.slow
def test_one_column_may_be_bucketized_twice():
    assert [layer.name for layer in adapted().features] == [
        "user_id_categorical",
        "age_numeric",
        "age_bucketized",
        "age_bucketized__2",
        "tags_multi_categorical",
        "note_text",
    ]


def test_dense_layers_have_relu_on_all_but_the_last():
    tower = adapted(FEATURES[:1], [6, 5, 3])
    tower.embed(raw(tower))  # makes the weights
    tower.trainable_weights[-1].assign([-1.0, 0.0, 1.0])  # some negative numbers, whatever was drawn
    vectors = tower.embed(raw(tower))
    table, *dense = (weight.numpy() for weight in tower.trainable_weights)
    hidden = table[[2, 3, 2, 1]]  # a, b, a, unknown
    for position in (0, 2, 4):
        hidden = hidden @ dense[position] + dense[position + 1]
        if position < 4:
            hidden = np.maximum(hidden, 0)
    np.testing.assert_allclose(vectors, hidden, rtol=1e-5, atol=1e-7)
    assert (vectors < 0).any()


@pytest.mark.slow
def test_normalized_vectors_have_length_one():
    tower = adapted(layer_sizes=[8], normalize=True)
    np.testing.assert_allclose(np.linalg.norm(tower.embed(raw(tower)), axis=1), 1, rtol=1e-5)


def test_dropout_works_in_training_only():
    tower = adapted(FEATURES[:1], dropout=0.5)
    encoded = tower.preprocess({"user_id": tf.fill([500], "a")})
    still = tower(encoded, training=False).numpy()
    dropped = tower(encoded, training=True).numpy()
    assert (still != 0).all()
    # 2,000 draws of 0.5: mean 1000, standard deviation 22.
    assert 880 < (dropped == 0).sum() < 1120


@pytest.mark.slow
@pytest.mark.parametrize("cls", [QueryTower, CandidateTower])
def test_a_tower_from_the_configuration_gives_equal_vectors(cls):
    tower = adapted(layer_sizes=[8, 4], cls=cls, dropout=0.1, normalize=True)
    vectors = tower.embed(raw(tower))
    config = json.loads(json.dumps(tower.get_config()))
    copy = cls.from_config(config)
    copy.create_weights()
    copy.set_weights(tower.get_weights())
    np.testing.assert_array_equal(copy.embed(raw(copy)), vectors)
    assert copy.get_config() == tower.get_config()


@pytest.mark.slow
def test_the_batch_size_does_not_change_the_vectors():
    tower = adapted(layer_sizes=[8])
    whole = tower.embed(raw(tower))
    np.testing.assert_allclose(tower.embed(raw(tower), batch_size=3), whole, rtol=1e-5, atol=1e-7)


@pytest.mark.slow
def test_an_empty_table_gives_no_vectors():
    tower = adapted(layer_sizes=[8])
    assert tower.embed(raw(tower, FRAME.clear())).shape == (0, 8)


@pytest.mark.slow
def test_the_graph_follows_the_weights_and_is_not_traced_anew():
    tower = adapted(layer_sizes=[8])
    for rows in (1, 2, 4):
        tower.embed(raw(tower, FRAME[:rows]))
    traces = tower.embed_batch.experimental_get_tracing_count()
    tower.set_weights([np.zeros_like(weight) for weight in tower.get_weights()])
    for rows in (1, 2, 4):
        assert not tower.embed(raw(tower, FRAME[:rows])).any()
    assert tower.embed_batch.experimental_get_tracing_count() == traces


@pytest.mark.slow
def test_the_input_pipeline_encodes_like_a_call():
    tower = adapted()
    arrays = {column: tf.constant(values) for column, values in raw(tower).items()}
    (mapped,) = tf.data.Dataset.from_tensors(arrays).map(tower.preprocess)
    tf.nest.map_structure(np.testing.assert_array_equal, mapped, tower.preprocess(arrays))


@pytest.mark.slow
def test_a_saved_tower_gives_what_the_live_one_gives(tmp_path):
    tower = adapted(layer_sizes=[8])
    live = tower.embed(raw(tower))
    module = tf.Module()
    module.tower = tower
    embed = tf.function(lambda **raw: tower(tower.preprocess(raw), training=False))
    signature = embed.get_concrete_function(**tower.signature)
    tf.saved_model.save(module, str(tmp_path), signatures=signature)
    answer = tf.saved_model.load(str(tmp_path)).signatures["serving_default"]
    arrays = {c: tf.constant(v) for c, v in raw(tower).items()}
    (vectors,) = answer(**arrays).values()
    np.testing.assert_array_equal(vectors, live)


@pytest.mark.slow
def test_every_weight_is_tracked_once():
    tower = adapted(layer_sizes=[8, 4])
    tower.create_weights()
    # Tables of user id, two bucketizations, tags and words; kernel and bias of two layers.
    assert len(tower.trainable_weights) == 5 + 4
    # The state of the random unknowns of the user id.
    assert len(tower.weights) == 5 + 4 + 1


def test_a_tower_that_has_not_seen_data_is_refused():
    tower = QueryTower(FEATURES)
    for ask in (tower.preprocess, tower.embed):
        with pytest.raises(DataError, match=r"has not seen data yet.*user_id_categorical.*`adapt`"):
            ask(raw(tower))


def test_adapting_again_before_there_are_weights_learns_anew():
    tower = adapted(FEATURES[:1])
    tower.adapt(lambda *_: tf.data.Dataset.from_tensors(tf.constant(["z"])))
    assert tower.features[0].state == ("z",)


@pytest.mark.slow
def test_adapting_a_tower_with_weights_is_refused():
    tower = adapted()
    tower.create_weights()
    with pytest.raises(DataError, match=r"has weights already.*new model"):
        tower.adapt(lambda column, form: column_batches(FRAME, column, form))


@pytest.mark.slow
def test_a_missing_raw_column_is_named_with_the_nearest():
    tower = adapted()
    arrays = raw(tower)
    arrays["user"] = arrays.pop("user_id")
    for ask in (tower.preprocess, tower.embed):
        with pytest.raises(MissingColumnError, match=r'feature "user_id".*Did you mean "user"'):
            ask(arrays)


def test_one_column_in_two_forms_is_refused():
    with pytest.raises(ConfigError, match="holds it once"):
        QueryTower([schema.Numeric("age"), schema.Categorical("age")])


def test_regularization_reaches_the_losses_of_the_tower():
    tower = adapted(FEATURES[:1], embedding_regularization=0.1)
    encoded = tower.preprocess({"user_id": tf.constant(["a", "b"])})
    vectors = tower(encoded)
    (loss,) = tower.losses
    assert loss.numpy() == pytest.approx(0.1 * np.square(vectors).sum(), rel=1e-6)


@pytest.mark.slow
def test_keras_knows_the_towers_by_name():
    tower = adapted()
    copy = keras.utils.deserialize_keras_object(keras.utils.serialize_keras_object(tower))
    assert type(copy) is QueryTower
    assert copy.get_config() == tower.get_config()
