"""Divergence: training stops at the first number that is not finite, with its origin."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from tfrecall._keras import keras, tf
from tfrecall.core.vocabulary import FIRST, UNKNOWN
from tfrecall.errors import DivergedError
from tfrecall.models.two_tower import TwoTower

# Standard deviations beyond which a number is suspicious: a normal column never gets there, and most
# skewed ones do not either.
MAX_DEVIATIONS = 50.0
# Rows named in the message.
ROWS_TOLD = 3


def worst_rows(
    model: TwoTower, inputs: dict[str, Any], queries: np.ndarray, candidates: np.ndarray
) -> str:
    """Describe the rows with the longest vectors by their raw values, not finite ones first.

    Args:
        model: the model that encoded the batch.
        inputs: the encoded batch, as arrays.
        queries, candidates: the vectors of its rows, float `[batch_size, embedding_dim]`; of queries
            with several interests `[batch_size, interests, embedding_dim]`.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        lengths = sum(
            np.linalg.norm(vectors.reshape(len(vectors), -1), axis=1)
            for vectors in (queries, candidates)
        )
    # NaN would sort last, whatever the sign; as infinity it is the longest.
    order = np.argsort(-np.nan_to_num(lengths, nan=np.inf), kind="stable")[:ROWS_TOLD]
    return "; ".join(_row(model, inputs, row) for row in order)


def suspicious_numbers(model: TwoTower, inputs: dict[str, Any]) -> str:
    """Numeric features of the batch far outside the range of the training data."""
    index = inputs["candidate_index"]
    encoded = {**inputs["query"], **{n: v.numpy() for n, v in model.catalogue.features(index).items()}}
    layers = (*model.query_tower.features, *model.candidate_tower.features)
    texts = []
    for layer in layers:
        if layer.spec.type != "numeric":
            continue
        reach = float(np.max(np.abs(encoded[layer.name]), initial=0.0))
        # `not <=` rather than `>`: NaN compares false with everything and must be reported.
        if not reach <= MAX_DEVIATIONS:
            texts.append(
                f'The number "{layer.spec.column}" reaches {reach:.3g} standard deviations from its mean: '
                "make it a `bucketized` feature, or cut off its outliers."
            )
    return " ".join(texts)


def _row(model: TwoTower, inputs: dict[str, Any], row: int) -> str:
    # Index of the embedding table -> row of the catalogue: 0 pads and 1 is unknown.
    place = int(inputs["candidate_index"][row]) - FIRST
    candidate = str(model.catalogue.ids[place]) if place >= 0 else "unknown"
    values = {
        layer.spec.column: value
        for layer in model.query_tower.features
        if (value := _value(layer, inputs["query"][layer.name], row))
    }
    query = ", ".join(f"{name}={value}" for name, value in values.items())
    return f"{model.schema.candidate_id}={candidate} asked by {query}"


def _value(layer: Any, encoded: Any, row: int) -> str:
    """Raw value of a categorical feature, deviations of a number; "" for other types."""
    if layer.spec.type == "numeric":
        return f"{float(np.ravel(encoded[row])[0]):.3g} deviations"
    if layer.spec.type != "categorical":
        return ""
    # The first of several rows: a value with a row of its own has no other.
    place = int(np.ravel(encoded[row])[0])
    names = {place: value for value, place in layer.table_rows.items()}
    return names.get(place, "unknown" if place == UNKNOWN else "of shared rows")


Pairs = list[tuple[Any, tf.Variable]]


@dataclass(frozen=True)
class _Caught:
    """A step before its update is applied.

    Attributes:
        loss: loss of the step.
        inputs: the encoded batch.
        weights, gradients: names of the weights and gradients that hold a number that is not finite.
        largest: the largest finite weight and its name.
        queries, candidates: vectors of the rows of the batch, float `[batch_size, embedding_dim]`; of
            queries with several interests `[batch_size, interests, embedding_dim]`.
    """

    loss: float
    inputs: dict[str, Any]
    weights: list[str]
    gradients: list[str]
    largest: tuple[float, str]
    queries: np.ndarray
    candidates: np.ndarray


class StopOnNonFinite(keras.callbacks.Callback):
    """Stops the fit of a `TwoTower` with a `DivergedError` at the step that diverged.

    The loss and the sum of each gradient are checked within the step, before the update, while the batch
    and the weights that caused it can still be described. Healthy steps keep nothing, and compute the
    same numbers. With several replicas only the loss is checked, after each step.

    A step takes some tens of microseconds more.
    """

    _supports_tf_logs = True

    def __init__(self) -> None:
        super().__init__()
        self._caught: _Caught | None = None
        self._epoch = 0
        self._undo: Callable[[], None] | None = None

    def set_model(self, model: keras.Model) -> None:
        super().set_model(model)
        if self._undo is None and model.distribute_strategy.num_replicas_in_sync == 1:
            self._watch(model)

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        self._epoch = epoch + 1

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        loss = float((logs or {}).get("loss", 0.0))
        if self._caught is None and np.isfinite(loss):
            return
        self._restore()
        where = f"epoch {self._epoch}, step {batch + 1}"
        raise DivergedError(self._story(where, self._caught, loss))

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Check the metrics of the epoch: only validation meets the weights of the last update."""
        bad = [name for name, value in (logs or {}).items() if not np.all(np.isfinite(value))]
        if not bad:
            return
        self._restore()
        weights = _not_finite((w.name, w.numpy()) for w in self.model.trainable_variables)
        cause = (
            f"The last update made these weights not finite: {_some(weights)}."
            if weights
            else "All weights are finite, so the validation rows hold a value that training never met."
        )
        raise DivergedError(
            f"Training diverged in epoch {self._epoch}: {bad[0]} is {logs[bad[0]]}. {cause} {self._advice()}"  # type: ignore[index]
        )

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        self._restore()

    def _watch(self, model: keras.Model) -> None:
        """Add the checks to the training step before it is traced."""
        compute_loss, optimizer = model.compute_loss, model.optimizer
        apply_gradients = optimizer.apply_gradients
        step: dict[str, Any] = {}

        def watched_loss(inputs: Any, training: bool = False) -> tf.Tensor:
            loss = compute_loss(inputs, training=training)
            if training:
                step.update(inputs=inputs, loss=loss)
            return loss

        def watched_gradients(pairs: Iterable[tuple[Any, tf.Variable]], *args: Any, **kw: Any) -> Any:
            pairs = list(pairs)
            self._look(step["inputs"], step["loss"], pairs)
            return apply_gradients(pairs, *args, **kw)

        def undo() -> None:
            del model.compute_loss, optimizer.apply_gradients
            model.train_function = None

        # Instance attributes shadow the methods; deleting them restores the methods. `train_function` is the
        # traced step, which Keras builds anew when it is None.
        model.compute_loss, optimizer.apply_gradients = watched_loss, watched_gradients
        model.train_function = None
        self._undo = undo

    def _restore(self) -> None:
        if self._undo is not None:
            self._undo()
            self._undo = None

    def _look(self, inputs: Any, loss: tf.Tensor, pairs: Pairs) -> None:
        trained = [(gradient, weight) for gradient, weight in pairs if gradient is not None]
        # A sum is finite only if all its terms are: one pass and no tensor of flags. Terms whose sum
        # overflows have diverged as well.
        sums = [tf.reduce_sum(_values(gradient)) for gradient, _ in trained]
        well = [tf.math.is_finite(tf.cast(value, tf.float32)) for value in [loss, *sums]]
        names = [weight.name for _, weight in trained]

        def caught() -> tf.Tensor:
            # Read here, as inputs of the condition: so the update waits until all has been noted.
            weights = [weight.read_value() for _, weight in trained]
            flat = tf.nest.flatten(inputs)
            arguments = [loss, tf.stack(well[1:]), *weights, *flat]

            def note(loss: tf.Tensor, well: tf.Tensor, *rest: tf.Tensor) -> bool:
                batch = tf.nest.pack_sequence_as(inputs, list(rest[len(names) :]))
                self._note(loss, well, names, rest[: len(names)], batch)
                return True

            return tf.py_function(note, arguments, tf.bool)

        tf.cond(tf.reduce_all(tf.stack(well)), lambda: tf.constant(False), caught)

    def _note(
        self, loss: tf.Tensor, well: tf.Tensor, names: list[str], weights: Any, inputs: dict[str, Any]
    ) -> None:
        model, index = self.model, inputs["candidate_index"]
        largest = [float(np.max(np.abs(w), initial=0.0)) for w in weights]
        place = int(np.argmax(np.nan_to_num(largest, nan=np.inf)))
        self._caught = _Caught(
            float(loss),
            tf.nest.map_structure(lambda tensor: tensor.numpy(), inputs),
            _not_finite(zip(names, (w.numpy() for w in weights), strict=True)),
            [name for name, fine in zip(names, well.numpy(), strict=True) if not fine],
            (largest[place], names[place]),
            model.query_tower(inputs["query"], training=False).numpy(),
            model.candidate_tower(model.catalogue.features(index), training=False).numpy(),
        )

    def _story(self, where: str, caught: _Caught | None, loss: float) -> str:
        if caught is None:
            return f"Training diverged in {where}: the loss is {loss}. {self._advice()}"
        rows, suspects = (
            worst_rows(self.model, caught.inputs, caught.queries, caught.candidates),
            suspicious_numbers(self.model, caught.inputs),
        )
        hint = f" {suspects}" if suspects else ""
        return (
            f"Training diverged in {where}: the loss is {caught.loss:.6g}. {_first(caught)} The batch has "
            f"{len(caught.queries):,} rows, the worst of them: {rows}.{hint} {self._advice()}"
        )

    def _advice(self) -> str:
        rate = float(keras.backend.get_value(self.model.optimizer.learning_rate))
        clipped = getattr(self.model.optimizer, "global_clipnorm", None)
        return f"Lower `training.learning_rate` (it is {rate:g})" + (
            "." if clipped else ", or set `training.clip_norm` = 1."
        )


def _first(caught: _Caught) -> str:
    """The first value that was not finite, in the order of computation."""
    largest = f"the largest weight is {caught.largest[0]:.3g}, in {caught.largest[1]}"
    if caught.weights:
        return (
            f"Not finite before this step: the weights {_some(caught.weights)}; the update of the step "
            "before was too large."
        )
    bad = [
        f"{int(count)} {side} vectors"
        for side, vectors in (("query", caught.queries), ("candidate", caught.candidates))
        if (count := np.sum(~np.isfinite(vectors).all(axis=-1)))
    ]
    if bad:
        return f"First not finite: {' and '.join(bad)} of the batch; all weights are finite, {largest}."
    if not np.isfinite(caught.loss):
        return f"First not finite: the loss; weights and vectors are finite, {largest}."
    gradients = f"the gradients of {_some(caught.gradients)}"
    return f"First not finite: {gradients}; the loss, weights and vectors are finite, {largest}."


def _values(gradient: Any) -> tf.Tensor:
    return gradient.values if isinstance(gradient, tf.IndexedSlices) else gradient


def _not_finite(named: Iterable[tuple[str, np.ndarray]]) -> list[str]:
    return [name for name, values in named if not np.isfinite(values).all()]


def _some(names: list[str]) -> str:
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return f"{', '.join(names[:3])}{more}"
