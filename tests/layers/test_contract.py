"""The contract of every layer: registered, whole configuration, graph equals eager, saved equals live."""

import importlib
import inspect
import json
import pkgutil

import numpy as np
import pytest

import tfrecall
from tfrecall._keras import keras, tf
from tfrecall.layers.crosses import Biases, Crosses, MeanSquares
from tfrecall.layers.dense import HiddenLayer, L2Normalization
from tfrecall.layers.encoders.attention import AttentionBlock
from tfrecall.layers.encoders.causal import CausalEncoder
from tfrecall.layers.encoders.gated import GatedBlock
from tfrecall.layers.features import FeatureLayer
from tfrecall.layers.frequency import StreamingFrequency
from tfrecall.layers.randomness import Dropout, RandomStream, RandomUnknown
from tfrecall.schema.encoders import Attention, Gated

RANDOM = np.random.default_rng(0)


def floats(*shape):
    return tf.constant(RANDOM.normal(size=shape), tf.float32)


# A layer of each class with settings other than the defaults, and what it is called with.
CASES = {
    AttentionBlock: (
        AttentionBlock(Attention(heads=2, ages=True, dropout=0.1), 5),
        (floats(2, 3, 4), floats(2, 3, 4), tf.zeros([2, 3, 3]), tf.zeros([1, 3, 3], tf.int32)),
    ),
    Biases: (Biases({"b": 4, "a": 3}), ({"a": tf.constant([1, 2]), "b": tf.constant([3, 0])},)),
    Crosses: (
        Crosses(["dcn", "elementwise", "dot_interaction"], 2, 3),
        ([floats(2, 4)], [floats(2, 4), floats(2, 4)]),
    ),
    Dropout: (Dropout(0.3), (floats(2, 3),)),
    GatedBlock: (
        GatedBlock(Gated(heads=2, time=True, dropout=0.1), 5),
        (floats(2, 3, 4), floats(2, 3, 4), tf.ones([2, 3, 3], tf.int32), tf.zeros([1, 3, 3], tf.int32)),
    ),
    HiddenLayer: (HiddenLayer(3, "leaky_relu", 0.1, True), (floats(2, 4),)),
    L2Normalization: (L2Normalization(), (floats(2, 4),)),
    MeanSquares: (MeanSquares(0.3), ([floats(2, 4)],)),
    RandomStream: (RandomStream(), ([2],)),
    RandomUnknown: (RandomUnknown(0.3), (tf.constant([5, 1, 0]),)),
    StreamingFrequency: (StreamingFrequency(64, 2, 0.1), (tf.constant([5, 1, 0]),)),
}
every_layer = pytest.mark.parametrize(
    ("layer", "inputs"), CASES.values(), ids=lambda v: type(v).__name__
)


def classes_of(room):
    """The layers of a room that no other class of the package is made of."""
    for module in pkgutil.walk_packages(room.__path__, f"{room.__name__}."):
        importlib.import_module(module.name)
    found, left = set(), [keras.layers.Layer]
    while left:
        subclasses = left.pop().__subclasses__()
        left += subclasses
        found |= {one for one in subclasses if one.__module__.startswith(f"{room.__name__}.")}
    return {
        one
        for one in found
        if not any(o.__module__.startswith("tfrecall.") for o in one.__subclasses__())
    }


@pytest.mark.parametrize("room", ["layers", "tasks", "models"])
def test_every_layer_is_registered(room):
    classes = classes_of(importlib.import_module(f"tfrecall.{room}"))
    assert classes
    for one in classes:
        assert keras.utils.get_registered_name(one) == f"tfrecall>{one.__name__}"


def test_every_layer_has_a_case_here_or_a_contract_of_its_kind():
    own_contract = (FeatureLayer, CausalEncoder)  # test_features.py, encoders/test_contract.py
    classes = classes_of(tfrecall.layers)
    assert {one for one in classes if not issubclass(one, own_contract)} == set(CASES)


@every_layer
def test_the_configuration_is_plain_and_holds_every_argument(layer, inputs):
    config = layer.get_config()
    assert type(layer).from_config(json.loads(json.dumps(config))).get_config() == config
    own = vars(type(layer)).get("__init__")
    arguments = set(inspect.signature(own).parameters) - {"self", "kwargs"} if own else set()
    assert arguments <= set(config)
    assert all(hasattr(layer, name) for name in arguments)


def outputs(layer, inputs):
    """What a layer gives, and what it adds to the loss."""
    given = tf.nest.flatten(layer(*inputs))
    return [value for value in [*given, *layer.losses] if value is not None]


def check_equal(ones, others):
    for one, other in zip(ones, others, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-6, atol=1e-7)


@pytest.mark.slow
@every_layer
def test_copy_graph_and_saved_layer_give_what_eager_gives(layer, inputs, tmp_path):
    outputs(layer, inputs)
    weights = layer.get_weights()
    eager = outputs(layer, inputs)
    copy = keras.layers.deserialize(keras.layers.serialize(layer))
    outputs(copy, inputs)
    copy.set_weights(weights)
    check_equal(outputs(copy, inputs), eager)
    module = tf.Module()
    module.layer = layer
    module.run = tf.function(lambda: outputs(layer, inputs), autograph=False)
    module.run()
    layer.set_weights(weights)  # some layers count their calls
    tf.saved_model.save(module, str(tmp_path))
    check_equal(module.run(), eager)
    saved = tf.saved_model.load(str(tmp_path))
    check_equal(saved.run(), eager)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: HiddenLayer(3, "rely"), 'no activation .rely.*mean "relu"'),
        (lambda: HiddenLayer(3, dropout=1.0), "`rate` must be .* Received: 1.0"),
        (lambda: Crosses(["cat"]), "no cross 'cat'"),
        (
            lambda: AttentionBlock(Attention(heads=3), 5)(*[floats(1, 2, 4)] * 2, 0.0, 0),
            "3 heads cannot",
        ),
        (
            lambda: GatedBlock(Gated(heads=3), 5)(*[floats(1, 2, 4)] * 2, 0, 0),
            "3 heads cannot",
        ),
    ],
)
def test_arguments_that_make_no_sense_are_refused(make, message):
    with pytest.raises(tfrecall.TfrecallError, match=message):
        make()
