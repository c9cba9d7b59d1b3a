"""Mixed precision: training steps in bfloat16, everything else in float32."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tfrecall._keras import keras, tf, tfrs
from tfrecall.errors import ConfigError
from tfrecall.layers.crosses import Crosses
from tfrecall.layers.encoders.attention import AttentionBlock
from tfrecall.layers.encoders.causal import CausalEncoder
from tfrecall.layers.features import FeatureLayer
from tfrecall.layers.randomness import Dropout
from tfrecall.models.ranker import Ranker
from tfrecall.models.two_tower import TwoTower

# Layers of a training step that compute in bfloat16. Preprocessing and scaling to length one need more
# digits, and the output of a tower is float32, so scores and losses are, too.
_COMPUTING = (
    FeatureLayer,
    keras.layers.Embedding,
    CausalEncoder,
    AttentionBlock,
    keras.layers.GRU,
    keras.layers.GRUCell,
    keras.layers.LayerNormalization,
    Dropout,
    keras.layers.Dense,
    Crosses,
    tfrs.layers.dcn.Cross,
    tfrs.layers.feature_interaction.DotInteraction,
)
# NVIDIA's first generation that computes in bfloat16.
_FIRST_COMPUTE_CAPABILITY = (8, 0)


@contextmanager
def bfloat16_steps(model: TwoTower | Ranker) -> Iterator[None]:
    """Lets the model's training steps compute in bfloat16; its weights stay float32.

    Only the step: validation, vectors and exports compute in float32 all along, so the model that
    is evaluated is the one that is served. No policy of Keras is set for other models.

    Raises:
        ConfigError: if the model has weights already, which were not made for two types.
    """
    if model.query_tower.weights or model.candidate_tower.weights:
        raise ConfigError(
            "Mixed precision has to begin with a new model; this one has weights already. Make the model "
            "anew, or train on without `mixed_precision`."
        )
    original = model.train_step

    def train_step(inputs: dict[str, Any]) -> dict[str, tf.Tensor]:
        # The policy is read while the step is traced, so it holds for the graph of the step alone.
        with _computing_in(model, "mixed_bfloat16"):
            return original(inputs)

    # An attribute in front of the method: `del` below brings the method back.
    model.train_step = train_step  # type: ignore[method-assign]
    try:
        # Weights made under this policy are float32 and cast themselves; those made before would not.
        with _computing_in(model, "mixed_bfloat16"):
            if isinstance(model, Ranker):
                model.create_weights()
            else:
                model.query_tower.create_weights()
                model.candidate_tower.create_weights()
        yield
    finally:
        del model.train_step
        model.train_function = None  # else Keras would go on with the compiled step in bfloat16


def words_on_gain() -> str | None:
    """Warning for hardware that gains nothing from bfloat16; None where it does."""
    if tf.config.list_physical_devices("TPU"):
        return None
    for device in tf.config.list_physical_devices("GPU"):
        details = tf.config.experimental.get_device_details(device)
        if details.get("compute_capability", (0, 0)) >= _FIRST_COMPUTE_CAPABILITY:
            return None
    return (
        "`training.mixed_precision` is on, but there is no GPU here that computes in bfloat16 (NVIDIA's "
        "since Ampere), nor a TPU: training will not be faster, on a CPU rather slower, and less exact."
    )


@contextmanager
def _computing_in(model: TwoTower | Ranker, policy: str) -> Iterator[None]:
    """Sets the policy of the computing layers for a while; Keras 2 has no public way after construction."""
    # A ranker as a whole; of a retriever the towers only, as its task may have layers of its own.
    parts = (model,) if isinstance(model, Ranker) else (model.query_tower, model.candidate_tower)
    layers = [one for part in parts for one in part.submodules if isinstance(one, _COMPUTING)]
    before = [layer.dtype_policy for layer in layers]
    try:
        for layer in layers:
            layer._set_dtype_policy(policy)
        yield
    finally:
        for layer, old in zip(layers, before, strict=True):
            layer._set_dtype_policy(old)
