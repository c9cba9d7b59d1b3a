"""Feature layers: what every one of them promises, then each alone."""

from functools import cache

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.properties import examples
from tfrecall._keras import keras, tf
from tfrecall.errors import DataError
from tfrecall.layers.features import LAYERS, string_lookup
from tfrecall.schema import features as schema

WORDS = np.array(["b", "a", "b", "c", "a", "b"])
LISTS = np.array([["x", "y"], ["y", ""], ["", ""], ["y", "z"]])
TEXTS = np.array(["Toy Story", "The Story, again", "toy!", ""])
NUMBERS = np.array([3.0, -1.0, 4.0, 1.5, 9.0, 2.6])

VECTORS = np.random.default_rng(0).normal(size=[6, 4]).astype(np.float32)

ZIPS = np.array(["94110", "94", "10019", "10019-22", "ÄÖÜ7", "ÄÖÜ8", "", "[UNK]", "10001"])

# One of each kind: specification, training values, values never seen.
KINDS = {
    "categorical": (schema.Categorical("c", 3), WORDS, np.array(["?", ""])),
    "prefix": (schema.Categorical("c", 3, prefix=3), ZIPS, np.array(["941", "[UNK]", "?"])),
    "shared_rows": (schema.Categorical("c", 3, min_count=2, hash_rows=4), WORDS, np.array(["?", ""])),
    "multi_categorical": (schema.MultiCategorical("c", 3), LISTS, np.array([["?", "x"]])),
    "text": (schema.Text("c", 10, 3), TEXTS, np.array(["Jumanji toy", "[UNK]"])),
    "numeric": (schema.Numeric("c"), NUMBERS, np.array([-1e6, 1e6])),
    "quantile": (schema.Bucketized("c", 3, 3), NUMBERS, np.array([-1e6, 1e6])),
    "equal_width": (
        schema.Bucketized("c", 3, 3, method="equal_width"),
        NUMBERS,
        np.array([-1e6, 1e6]),
    ),
    "day": (schema.Day("c", 3), np.array([0.0, 86399.5, 86400.0, -1.0, 2e5]), np.array([1e9])),
    "codes": (schema.Codes("c", 2, 2, 3, dimension=2), TEXTS, np.array(["Jumanji toy", "[UNK]", "?"])),
    "codes_of_lists": (schema.Codes("c", 2, 2, 3, form="strings"), LISTS, np.array([["?", "x"]])),
    "codes_of_vectors": (
        schema.Codes("c", 2, 3, 3, form="vector", length=4),
        VECTORS,
        np.float32([[1, 0, 0, 0], [0, 0, 0, 0]]),
    ),
}
every_kind = pytest.mark.parametrize("kind", KINDS)


def batches(values, size=2) -> tf.data.Dataset:
    return tf.data.Dataset.from_tensor_slices(values).batch(size)


def adapted(spec, values, **options):
    layer = LAYERS[type(spec)](spec, **options)
    layer.adapt(batches(values))
    return layer


@cache  # no test changes their weights
def of_kind(kind, **options):
    spec, seen, unseen = KINDS[kind]
    return adapted(spec, seen, **options), tf.constant(seen), tf.constant(unseen)


@every_kind
def test_encodes_and_embeds_rows(kind):
    layer, seen, _ = of_kind(kind)
    vectors = layer(layer.preprocess(seen))
    width = 1 if kind == "numeric" else 3
    assert vectors.shape == (len(seen), width)
    assert vectors.dtype == tf.float32


@every_kind
def test_the_size_of_batches_does_not_change_what_is_learned(kind):
    spec, seen, _ = KINDS[kind]
    whole = LAYERS[type(spec)](spec)
    whole.adapt(batches(seen, len(seen)))
    assert whole.state == adapted(spec, seen).state


@every_kind
def test_a_layer_from_the_configuration_encodes_and_embeds_alike(kind):
    layer, seen, unseen = of_kind(kind)
    vectors = layer(layer.preprocess(seen))
    copy = keras.layers.deserialize(keras.layers.serialize(layer))
    for values in (seen, unseen):
        np.testing.assert_array_equal(copy.preprocess(values), layer.preprocess(values))
    copy(copy.preprocess(seen))
    copy.set_weights(layer.get_weights())
    np.testing.assert_array_equal(copy(copy.preprocess(seen)), vectors)


@pytest.mark.slow
@every_kind
def test_a_graph_gives_what_eager_gives(kind):
    layer, seen, _ = of_kind(kind)
    eager = layer(layer.preprocess(seen))
    np.testing.assert_array_equal(tf.function(lambda v: layer(layer.preprocess(v)))(seen), eager)


@every_kind
def test_the_input_pipeline_gives_what_a_call_gives(kind):
    layer, seen, _ = of_kind(kind)
    (mapped,) = batches(seen, len(seen)).map(layer.preprocess)
    np.testing.assert_array_equal(mapped, layer.preprocess(seen))


@every_kind
def test_values_never_seen_get_finite_vectors(kind):
    layer, _, unseen = of_kind(kind)
    assert np.isfinite(layer(layer.preprocess(unseen))).all()


@every_kind
def test_the_unknown_value_can_be_encoded(kind):
    layer, _, _ = of_kind(kind)
    value = [[layer.unknown]] if layer.form == "strings" else [layer.unknown]
    assert np.isfinite(layer(layer.preprocess(tf.constant(value)))).all()


@pytest.mark.slow
@every_kind
def test_a_saved_layer_gives_what_the_live_one_gives(kind, tmp_path):
    layer, seen, unseen = of_kind(kind)
    shape = [None, *seen.shape[1:]]
    module = tf.Module()
    module.embed = tf.function(
        lambda values: layer(layer.preprocess(values)),
        input_signature=[tf.TensorSpec(shape, seen.dtype)],
    )
    module.embed.get_concrete_function()
    module.layer = layer
    tf.saved_model.save(module, str(tmp_path))
    loaded = tf.saved_model.load(str(tmp_path))
    for values in (seen, unseen):
        np.testing.assert_array_equal(loaded.embed(values), module.embed(values))


@pytest.mark.parametrize("kind", ["categorical", "prefix", "multi_categorical", "text"])
def test_a_column_without_a_single_value_is_refused(kind):
    spec, seen, _ = KINDS[kind]
    with pytest.raises(DataError, match=f'"c" holds no value at all, so {type(spec).__name__}'):
        adapted(spec, np.full_like(seen, ""))


@pytest.mark.parametrize("kind", ["numeric", "quantile"])
def test_numbers_that_are_none_are_refused_with_count_and_row(kind):
    spec, _, _ = KINDS[kind]
    with pytest.raises(DataError, match=r'"c" has 2 values .* first in row 1'):
        adapted(spec, np.array([1.0, np.nan, 2.0, np.inf]))


def test_categorical_counts_from_two_by_frequency():
    layer = adapted(schema.Categorical("c"), WORDS)
    # b three times, a twice, c once; what was never seen, null and the empty string are unknown.
    encoded = layer.preprocess(tf.constant(["b", "a", "c", "?", "[UNK]", ""]))
    assert encoded.numpy().tolist() == [2, 3, 4, 1, 1, 1]


def test_of_a_prefix_the_first_characters_count_not_bytes():
    layer = adapted(schema.Categorical("c", prefix=3), ZIPS)
    # Three times "100", twice "ÄÖÜ" (six bytes), once "941" and "94", which is shorter.
    assert layer.state[:2] == ("100", "ÄÖÜ")
    assert set(layer.state) == {"100", "ÄÖÜ", "941", "94"}
    encoded = layer.preprocess(tf.constant(["100", "ÄÖÜ", "ÄÖ", "10", "", "[UNK]", "[UNX"]))
    assert encoded.numpy().tolist() == [2, 3, 1, 1, 1, 1, 1]
    one, other = layer.preprocess(tf.constant(["94199", "94"])).numpy()
    assert one != other


def test_of_a_prefix_of_numbers_their_first_digits_count():
    layer = adapted(schema.Categorical("c", prefix=2), np.array([1234, 1299, 7]))
    assert layer.state == ("12", "7")


def test_categorical_keeps_the_most_frequent_values():
    layer = adapted(schema.Categorical("c", max_tokens=1), WORDS)
    assert layer.preprocess(tf.constant(["b", "a", "c"])).numpy().tolist() == [2, 1, 1]


def test_categorical_takes_whole_numbers_as_their_digits_and_refuses_fractions():
    layer = adapted(schema.Categorical("c"), np.array([7, 7, 12]))
    assert list(layer.state) == ["7", "12"]
    assert layer.preprocess(tf.constant([12, 7])).numpy().tolist() == [3, 2]
    assert layer.preprocess(tf.constant(["12", "7"])).numpy().tolist() == [3, 2]
    with pytest.raises(DataError, match='"c" comes as float'):
        layer.preprocess(tf.constant([7.0]))


def test_categorical_trains_the_unknown_row():
    layer = adapted(schema.Categorical("c", 1, unknown_rate=0.5), np.array(["a"]))
    encoded = layer.preprocess(tf.fill([1000], "a"))
    layer(encoded)
    layer._table.set_weights([np.array([[0.0], [1.0], [5.0]])])  # padding, unknown, a
    assert set(layer(encoded, training=False).numpy().ravel()) == {5.0}
    assert set(layer(encoded, training=True).numpy().ravel()) == {1.0, 5.0}


def test_multi_categorical_averages_what_is_there():
    layer = adapted(schema.MultiCategorical("c", 1), LISTS)
    encoded = layer.preprocess(tf.constant([["x", "y"], ["", "y"], ["", ""]]))
    layer(encoded)
    # y is the most frequent; Keras puts z before x where counts are equal: padding, unknown, y, z, x.
    layer.set_weights([np.array([[99.0], [50.0], [2.0], [8.0], [4.0]])])
    # (4 + 2) / 2; 2 alone; nothing at all.
    assert layer(encoded).numpy().tolist() == [[3.0], [2.0], [0.0]]


def test_multi_categorical_takes_ragged_batches():
    rows = tf.ragged.constant([["x", "y"], [], ["z"]])
    layer = LAYERS[schema.MultiCategorical](schema.MultiCategorical("c", 2))
    layer.adapt(tf.data.Dataset.from_tensors(rows))
    dense = layer.preprocess(rows.to_tensor(""))
    np.testing.assert_array_equal(layer.preprocess(rows), dense)


def test_text_ignores_case_punctuation_and_what_it_is_batched_with():
    layer = adapted(schema.Text("c", 10, 4), TEXTS)
    alone = layer(layer.preprocess(tf.constant(["Toy Story"])))
    shouted = layer(layer.preprocess(tf.constant(["TOY, STORY!"])))
    beside = layer(layer.preprocess(tf.constant(["toy story", "a story of many many words"])))
    np.testing.assert_array_equal(shouted, alone)
    np.testing.assert_allclose(beside[:1], alone, rtol=1e-6, atol=1e-7)


def test_a_null_text_is_empty_and_no_word():
    layer = adapted(schema.Text("c", 10, 4), np.array(["unk", "[UNK]", "[UNK]", "toy"]))
    # "unk" once and "toy" once; were null a word, "unk" would come first with three.
    assert sorted(layer.state) == ["toy", "unk"]
    vectors = layer(layer.preprocess(tf.constant(["[UNK]", "", "unk"]))).numpy()
    assert not vectors[:2].any()
    assert vectors[2].any()


@pytest.mark.slow
@examples(10)  # Keras traces a graph for each
@given(
    texts=st.lists(
        st.sampled_from(["a", "b", "é", "e", "[UNK]", "", "10", "2"]), min_size=1, max_size=12
    )
)
def test_vocabularies_have_the_order_of_keras(texts):
    expected = []
    if set(texts) - {"", "[UNK]"}:  # else Keras' `adapt` fails
        keras_layer = keras.layers.StringLookup(mask_token="", oov_token="[UNK]")
        keras_layer.adapt(tf.constant(texts))
        expected = keras_layer.get_vocabulary(include_special_tokens=False)
    for spec in (schema.Categorical("c"), schema.MultiCategorical("c")):
        values = np.array(texts)[:, np.newaxis] if spec.type == "multi_categorical" else np.array(texts)
        if expected:
            assert list(adapted(spec, values).state) == expected
        else:
            with pytest.raises(DataError, match="holds no value at all"):
                adapted(spec, values)


@pytest.mark.slow
@pytest.mark.parametrize("tokens", [1, 2, 4])
def test_every_feature_keeps_as_many_values_as_asked_for(tokens):
    # a five times, b four times and so on; padding and the unknown value have rows beside them.
    words = [word for count, word in enumerate("edcba", start=1) for word in [word] * count]
    lists = np.array([[word, ""] for word in words])
    kept = [
        adapted(schema.Text("c", tokens), np.array(words)),
        adapted(schema.Categorical("c", max_tokens=tokens), np.array(words)),
        adapted(schema.MultiCategorical("c", max_tokens=tokens), lists),
    ]
    assert [list(layer.state) for layer in kept] == [list("abcde")[:tokens]] * 3
    for layer in kept:
        layer(layer.preprocess(tf.constant([["a"]] if layer.form == "strings" else ["a"])))
        assert layer.table.shape[0] == 2 + tokens


@pytest.mark.slow
@pytest.mark.parametrize(
    ("loud", "plain"),
    [
        ("ЯБЛОКО, ГРУША!", "яблоко груша"),
        ("ÉTÉ À “Nice”…", "été à nice"),
        ("ΟΔΟΣ", "οδος"),  # the capital sigma is an inner one to letters alone
        ("hello\u00a0world\u3000again", "hello world again"),
        ("so\u00adft \ufeffmark", "soft mark"),
        ("¿Qué? «oui» – 5€", "qué oui  5"),
        ("don't", "dont"),
        ("नमस्ते।", "नमस्ते"),  # vowel signs belong to words
    ],
)
def test_text_is_lower_cased_and_stripped_in_every_script(loud, plain):
    layer = adapted(schema.Text("c", 10, 4), np.array([plain]))
    known, same = layer.preprocess(tf.constant([plain, loud])).numpy()
    assert (known > 1).sum() == len(plain.split())  # 0 pads, 1 is unknown
    assert same.tolist() == known.tolist()
    inside = tf.function(layer.preprocess)(tf.constant([loud]))
    assert inside.numpy()[0].tolist() == known.tolist()


def test_bytes_that_are_no_text_do_not_stop_a_batch():
    layer = adapted(schema.Text("c", 10, 4), np.array(["toy"]))
    assert layer.preprocess(tf.constant([b"\xff\xfe", b"TOY"])).numpy()[1].tolist() == [2]


def test_numeric_has_mean_0_and_variance_1_on_time_stamps():
    seconds = 9e8 + np.arange(1000.0) * 7
    layer = adapted(schema.Numeric("c"), seconds)
    encoded = layer.preprocess(tf.constant(seconds)).numpy()[:, 0]
    # In float32 seconds near 9e8 come in steps of 64, so neighbours would coincide.
    np.testing.assert_allclose(encoded, (seconds - seconds.mean()) / seconds.std(), atol=1e-6)
    assert len(np.unique(encoded)) == 1000
    assert abs(encoded.mean()) < 1e-6
    assert encoded.var() == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("value", [25.0, 0.1, 1 / 3, -0.1, 1e-9, 1e15 + 0.3, 0.0])
@pytest.mark.parametrize("rows", [2, 1000])
def test_a_constant_number_is_shifted_and_not_blown_up(value, rows):
    layer = adapted(schema.Numeric("c"), np.full(rows, value))
    found = layer.preprocess(tf.constant([value, value + 1.0], tf.float64)).numpy()[:, 0]
    assert found == pytest.approx([0.0, 1.0], abs=1e-6)


def test_numbers_that_differ_by_rounding_are_constant_and_small_ones_are_not():
    tenths = adapted(schema.Numeric("c"), np.array([0.1 + 0.2, 0.3]))
    assert tenths.preprocess(tf.constant([1.3], tf.float64)).numpy()[0, 0] == pytest.approx(1.0)
    small = np.array([1e-12, 3e-12])
    layer = adapted(schema.Numeric("c"), small)
    assert layer.preprocess(tf.constant(small)).numpy()[:, 0].tolist() == [-1.0, 1.0]


@pytest.mark.parametrize("method", ["quantile", "equal_width"])
@pytest.mark.parametrize("scale", [1.0, 1e-3, 9e8])
def test_buckets_are_those_of_searchsorted(method, scale):
    values = np.random.default_rng(0).exponential(scale, 500)
    spec = schema.Bucketized("c", 20, 3, method=method)
    layer = adapted(spec, values)
    shares = np.linspace(0, 1, 21)[1:-1]
    edges = (
        np.quantile(values, shares)
        if method == "quantile"
        else np.linspace(values.min(), values.max(), 20)
    )
    edges = edges.astype(np.float32).astype(np.float64)
    asked = np.concatenate([values, edges, [-1.0, scale * 100]])
    expected = np.searchsorted(edges, asked, side="right")
    np.testing.assert_array_equal(layer.preprocess(tf.constant(asked)), expected)


def test_quantiles_hold_about_equally_many_rows():
    values = np.random.default_rng(0).exponential(1.0, 1000)
    layer = adapted(schema.Bucketized("c", 10), values)
    filled = np.bincount(layer.preprocess(tf.constant(values)), minlength=10)
    assert filled.min() >= 99
    assert filled.max() <= 101


def test_quantiles_that_coincide_make_fewer_buckets():
    layer = adapted(schema.Bucketized("c", 10), np.array([1.0] * 99 + [2.0]))
    assert set(layer.preprocess(tf.constant([0.0, 1.0, 2.0])).numpy()) <= {0, 1}
    assert layer(tf.constant([0, 1])).shape == (2, 32)


@pytest.mark.parametrize("kind", ["categorical", "quantile"])
def test_regularization_is_the_squared_length_of_the_rows_used(kind):
    layer, seen, _ = of_kind(kind, embedding_regularization=0.5)
    inputs = layer.preprocess(seen[:2])
    with tf.GradientTape() as tape:
        vectors = layer(inputs)
        (loss,) = layer.losses
    assert loss.numpy() == pytest.approx(0.5 * np.square(vectors).sum(), rel=1e-6)
    gradient = tape.gradient(loss, layer.trainable_weights[0])
    # d(0.5 |v|^2)/dv = v, once for each use; rows that no input uses are not in the gradient.
    assert set(np.asarray(gradient.indices)) == set(np.asarray(inputs))
    np.testing.assert_allclose(gradient.values, vectors, rtol=1e-6, atol=1e-7)


def test_without_regularization_there_is_no_loss():
    layer, seen, _ = of_kind("categorical")
    layer(layer.preprocess(seen))
    assert layer.losses == []


@pytest.mark.parametrize("kind", ["multi_categorical", "text"])
def test_padding_is_not_regularized(kind):
    layer, _, _ = of_kind(kind, embedding_regularization=1.0)
    narrow = tf.constant([[2, 3]], tf.int64)
    layer(narrow)
    (expected,) = layer.losses
    layer(tf.pad(narrow, [[0, 0], [0, 5]]))
    (padded,) = layer.losses
    assert padded.numpy() == pytest.approx(expected.numpy(), rel=1e-6)


def test_one_long_text_does_not_widen_all_others(monkeypatch):
    """Of a list Keras makes an array of fixed width: 50,000 ids and one of 10 kB took 2 GB."""
    received = []
    set_vocabulary = keras.layers.StringLookup.set_vocabulary

    def record(self, vocabulary, *args, **kwargs):
        received.append(vocabulary)
        set_vocabulary(self, vocabulary, *args, **kwargs)

    monkeypatch.setattr(keras.layers.StringLookup, "set_vocabulary", record)
    texts = ["a", "é" * 10_000, "東京", "a\0b"]
    lookup = string_lookup(texts)
    assert received[0].dtype == object
    assert lookup(tf.constant(["", "other", *texts])).numpy().tolist() == [0, 1, 2, 3, 4, 5]


def test_days_end_at_midnight_in_utc_and_days_to_come_are_unknown():
    noon = 19_000 * 86_400 + 43_200.0
    layer = adapted(schema.Day("c", 3), np.array([noon, noon, noon + 86_400]))
    # Both ends of day 19,000, the first second of the next one, and one that training did not have.
    seconds = [noon - 43_200, noon + 43_199.9, noon + 43_200, noon - 43_200.1]
    assert layer.preprocess(tf.constant(seconds, tf.float64)).numpy().tolist() == [2, 2, 3, 1]
    assert layer.unknown == noon


def test_days_of_a_user_are_no_days_of_others():
    layer = LAYERS[schema.Day](schema.Day("c", 3, per="user"))
    columns = {"c": np.array([0.0, 0.0, 9e4]), "user": np.array(["a", "b", "a"])}
    layer.adapt_to(lambda column, form: batches(columns[column]))
    raw = {
        "c": tf.constant([0.0, 0.0, 9e4, 9e4], tf.float64),
        "user": tf.constant(["a", "b", "a", "b"]),
    }
    codes = layer.encode(raw).numpy()
    assert len(set(codes[:3])) == 3
    assert codes[3] == 1, "b has no rows on that day"


def test_a_time_that_is_no_number_has_no_day():
    with pytest.raises(DataError, match="NaN"):
        adapted(schema.Day("c"), np.array([0.0, np.nan]))
