"""Optimizers by name, with a learning rate that changes and gradients that are clipped."""

import math
from collections.abc import Sequence
from typing import Any

from tfrecall._keras import keras, tf
from tfrecall.errors import ConfigError, nearest


@keras.utils.register_keras_serializable(package="tfrecall")
class FusedAdagrad(keras.optimizers.Adagrad):
    """`keras.optimizers.Adagrad` on TensorFlow's fused kernels: the same numbers in less time.

    Only the rows of an embedding table that a step uses are read and written, as in Keras, but by one
    kernel where Keras needs three. The kernels divide by the root of the accumulator alone; so
    `epsilon`, which Keras adds to it in each step, is put there once, in the beginning.

    Reference:
        Duchi, Hazan and Singer, "Adaptive Subgradient Methods for Online Learning and Stochastic
        Optimization", JMLR 2011.
    """

    initial_accumulator_value: float

    def build(self, var_list: Sequence[tf.Variable]) -> None:
        # Raised only while Keras makes the accumulators, so that the configuration keeps the given
        # value.
        initial = self.initial_accumulator_value
        self.initial_accumulator_value = initial + self.epsilon
        super().build(var_list)
        self.initial_accumulator_value = initial

    def update_step(self, gradient: tf.Tensor | tf.IndexedSlices, variable: tf.Variable) -> None:
        place = self._index_dict[self._var_key(variable)]
        weights = {
            "var": variable.handle,
            "accum": self._accumulators[place].handle,
            "lr": tf.cast(self.learning_rate, variable.dtype),
        }
        if isinstance(gradient, tf.IndexedSlices):
            tf.raw_ops.ResourceSparseApplyAdagrad(
                **weights, grad=gradient.values, indices=gradient.indices
            )
        else:
            tf.raw_ops.ResourceApplyAdagrad(**weights, grad=gradient)


@keras.utils.register_keras_serializable(package="tfrecall")
class FusedAdam(keras.optimizers.Adam):
    """`keras.optimizers.Adam` on TensorFlow's fused kernel: the same numbers for half the time.

    Adam moves all rows of an embedding table in every step, also those that the batch does not use, as
    their momentum goes on. Keras does so in ten passes over the table; the kernel needs one. `amsgrad`
    is not supported.

    Reference:
        Kingma and Ba, "Adam: A Method for Stochastic Optimization", ICLR 2015, end of section 2.
    """

    def _deduplicate_sparse_grad(self, grads: list[Any]) -> list[Any]:
        # Keras adds up the slices of each row here. Adam moves all rows, so the dense gradient serves.
        return [_dense(gradient) for gradient in grads]

    def update_step(self, gradient: tf.Tensor, variable: tf.Variable) -> None:
        place = self._index_dict[self._var_key(variable)]
        # Keras counts a step after its updates; the correction of the first step needs the power 1.
        step = tf.cast(self.iterations + 1, variable.dtype)
        tf.raw_ops.ResourceApplyAdam(
            var=variable.handle,
            m=self._momentums[place].handle,
            v=self._velocities[place].handle,
            beta1_power=tf.pow(tf.cast(self.beta_1, variable.dtype), step),
            beta2_power=tf.pow(tf.cast(self.beta_2, variable.dtype), step),
            lr=tf.cast(self.learning_rate, variable.dtype),
            beta1=self.beta_1,
            beta2=self.beta_2,
            epsilon=self.epsilon,
            grad=gradient,
        )


def _dense(gradient: Any) -> Any:
    if not isinstance(gradient, tf.IndexedSlices):
        return gradient
    return tf.math.unsorted_segment_sum(gradient.values, gradient.indices, gradient.dense_shape[0])


OPTIMIZERS = {
    "adagrad": FusedAdagrad,
    "adam": FusedAdam,
    "sgd": keras.optimizers.SGD,
}
SCHEDULES = ("constant", "cosine", "linear")


@keras.utils.register_keras_serializable(package="tfrecall")
class WarmUpDecay(keras.optimizers.schedules.LearningRateSchedule):
    """A learning rate that rises in a line and then stays or goes down to 0.

    Step t of the warm-up, from 1, has the share `t / warmup_steps` of the rate, so no step is lost to a
    rate of 0. The first step after it has the whole rate; the rate would reach 0 one step after the last.

    Args:
        learning_rate: the highest rate.
        schedule: course after the warm-up: `constant`, `linear`, or `cosine`, half a wave.
        warmup_steps: number of steps of the rise.
        steps: number of steps of the whole training.
        first: number of the first step, for an optimizer that goes on from an earlier training.

    Raises:
        ConfigError: if there is no such schedule, or the warm-up is longer than the training.

    Reference:
        Loshchilov and Hutter, "SGDR: Stochastic Gradient Descent with Warm Restarts", ICLR 2017,
        equation 5, without restarts.
    """

    def __init__(
        self, learning_rate: float, schedule: str, warmup_steps: int, steps: int, first: int = 0
    ) -> None:
        super().__init__()
        if schedule not in SCHEDULES:
            raise ConfigError(
                f'There is no schedule "{schedule}".{nearest(schedule, SCHEDULES)} Choose one of: '
                f"{', '.join(SCHEDULES)}."
            )
        if not 0 <= warmup_steps < steps:
            raise ConfigError(
                f"`warmup_steps` must lie between 0 and the steps of the training, of which there are "
                f"{steps:,}. Received: {warmup_steps:,}. Lower it, or train more epochs."
            )
        self.learning_rate = learning_rate
        self.schedule = schedule
        self.warmup_steps = warmup_steps
        self.steps = steps
        self.first = first

    def __call__(self, step: tf.Tensor | int) -> tf.Tensor:
        step = tf.cast(step, tf.float32) - self.first
        # At least 1: both branches of `where` are computed, also without a warm-up.
        rising = (step + 1) / max(self.warmup_steps, 1)
        done = (step - self.warmup_steps) / (self.steps - self.warmup_steps)
        done = tf.clip_by_value(done, 0.0, 1.0)
        shares = {
            "constant": tf.ones_like(done),
            "linear": 1 - done,
            "cosine": (1 + tf.cos(math.pi * done)) / 2,
        }
        share = tf.where(step < self.warmup_steps, rising, shares[self.schedule])
        return self.learning_rate * share

    def get_config(self) -> dict[str, Any]:
        names = ("learning_rate", "schedule", "warmup_steps", "steps", "first")
        return {name: getattr(self, name) for name in names}


class _ClipsTheWholeGradient:
    """Clips what each row of a table gets in all.

    The gradient of an embedding comes as one slice an occurrence. Keras measures the slices and adds
    them up afterwards, so its norm is not that of the gradient.
    """

    def _clip_gradients(self, gradients: list[Any]) -> list[Any]:
        return super()._clip_gradients(self._deduplicate_sparse_grad(gradients))  # type: ignore[misc,attr-defined]


# Clipping goes before the class of Keras in the order of inheritance, so its method is found first.
_CLIPPING = {
    name: keras.utils.register_keras_serializable(package="tfrecall")(
        type(f"Clipping{cls.__name__}", (_ClipsTheWholeGradient, cls), {})
    )
    for name, cls in OPTIMIZERS.items()
}


def make_optimizer(
    name: str,
    learning_rate: float | keras.optimizers.schedules.LearningRateSchedule,
    clip_norm: float | None = None,
) -> keras.optimizers.Optimizer:
    """An optimizer of Keras 2 by name.

    Args:
        name: one of `OPTIMIZERS`.
        learning_rate: a number, or a schedule such as `WarmUpDecay`.
        clip_norm: the gradient of a step, over all weights, is scaled down to this length if it is
            longer.

    Raises:
        ConfigError: if there is none of that name.
    """
    if name not in OPTIMIZERS:
        raise ConfigError(
            f'There is no optimizer "{name}".{nearest(name, OPTIMIZERS)} Choose one of: '
            f"{', '.join(OPTIMIZERS)}; or pass an optimizer of Keras 2."
        )
    if clip_norm is None:
        return OPTIMIZERS[name](learning_rate)
    return _CLIPPING[name](learning_rate, global_clipnorm=clip_norm)
