"""State of a training in a release, from which a later training goes on with more events (warm start)."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from tfrecall._keras import tf
from tfrecall.core.vocabulary import UNKNOWN
from tfrecall.data.interactions import Interactions
from tfrecall.errors import CheckpointError, ConfigError, DataError, ReleaseError
from tfrecall.layers.features import CategoricalFeature
from tfrecall.models.two_tower import TwoTower
from tfrecall.release.loading import checked_manifest
from tfrecall.release.manifest import STATE, read_manifest
from tfrecall.training.checkpoints import (
    CheckpointFile,
    differences,
    read_checkpoint,
    write_checkpoint,
)
from tfrecall.training.progress import create_variables

FILE = "state.npz"
# Weights that no gradient changes and training moves: the statistics of batch normalization. Others, such as
# counts of the catalogue, belong to the data.
_MOVING = ("moving_mean", "moving_variance")


def learned_events(data: Interactions) -> dict[str, int]:
    """Number of events of each user of a log that was trained on.

    >>> import tfrecall as tr
    >>> learned_events(tr.data.synthetic(n_users=2, n_items=5, n_rows=7, seed=1))
    {'u0': 3, 'u1': 4}
    """
    return dict(zip(data.user_vocabulary.ids.tolist(), data.histories.lengths.tolist(), strict=True))


def write_state(model: TwoTower, directory: Path) -> None:
    """Write weights, optimizer, vocabularies, and what was learned of each user.

    Args:
        model: a trained model.
        directory: the part of a release in the making; it is made.

    Raises:
        ConfigError: if `tfrecall.fit` has not trained the model.
    """
    if model.trained_on is None:
        raise ConfigError(
            "There is no state of a training to keep: `tfrecall.fit` has not trained this model. Train it so, "
            "or export it without `training_state`."
        )
    directory.mkdir()
    optimizer = model.optimizer
    header = {
        "model": _settings(model),
        "states": [tower.get_config()["states"] for tower in _towers(model)],
        "optimizer": type(optimizer).__name__,
        "iterations": int(optimizer.iterations),
        "learned": learned_events(model.trained_on),
    }
    groups = {"weights": model.weights, "slots": _slots(model)}
    write_checkpoint(
        directory / FILE,
        header,
        ((f"{name}/{i}", v.numpy()) for name, group in groups.items() for i, v in enumerate(group)),
    )


@dataclass(frozen=True)
class WarmStart:
    """State of the training of a release.

    Attributes:
        root: the release directory.
        file: the state, read through and found whole.
    """

    root: Path
    file: CheckpointFile

    @classmethod
    def of(cls, root: str | Path) -> "WarmStart":
        """The state in the current version of a release, whose files are checked and read once in a process.

        Raises:
            ReleaseError: if there is no release, it is damaged, or it holds no such state.
        """
        root = Path(root)
        manifest = read_manifest(root)
        return _opened(root, manifest["version"], manifest["sha256"])

    @property
    def iterations(self) -> int:
        """Steps that the optimizer has made."""
        return self.file.header["iterations"]

    def prepare(self, model: TwoTower) -> None:
        """Let a new model keep the vocabularies, boundaries and moments of the release when it adapts.

        Raises:
            ConfigError: if it differs from the model of the release, naming each difference.
        """
        found = differences(self.file.header["model"], _settings(model))
        if found:
            lines = "\n".join(f"  {name}: {old} there, {new} now" for name, old, new in found)
            raise ConfigError(
                f"The model of {self.root} is another one, and its weights do not fit:\n{lines}\nTake the "
                "configuration of the release (its config.toml), or train without a warm start."
            )
        for tower, states in zip(_towers(model), self.file.header["states"], strict=True):
            for layer, state in zip(tower.features, states, strict=True):
                layer.continue_from(state)

    def give(self, model: TwoTower, batches: Callable[[], tf.data.Dataset]) -> None:
        """Give a compiled model the weights of the release, and its optimizer the slots.

        New rows of a table begin with the row of unknown values, and with the slots that an optimizer begins
        with.

        Args:
            model: adapted after `prepare`, and compiled.
            batches: gives the batches that it will be trained on.

        Raises:
            ConfigError: if the optimizer is another one, or weights do not fit.
        """
        optimizer, name = model.optimizer, self.file.header["optimizer"]
        if type(optimizer).__name__ != name:
            raise ConfigError(
                f"{self.root} was trained by {name}, and {type(optimizer).__name__} cannot go on with its "
                "state. Take the `optimizer` and `clip_norm` of the release, or train without a warm start."
            )
        create_variables(
            model,
            batches,
            lambda: (
                self.file.count("weights") == len(model.weights)
                and self.file.count("slots") == len(_slots(model))
            ),
        )
        trained = {id(variable) for variable in model.trainable_weights}
        for variable, array in self._pairs("weights", model.weights):
            if id(variable) in trained:
                variable.assign(_grown(array, variable, array[UNKNOWN] if array.ndim > 1 else None))
            elif variable.name.split(":")[0].endswith(_MOVING):
                variable.assign(array)
        renewed = {id(layer.table): layer.renew(layer.table) for layer in _selective(model)}
        slots, weights = _slots(model), model.trainable_weights
        for i, (variable, array) in enumerate(self._pairs("slots", slots)):
            start, grown = variable.numpy(), _grown(array, variable, None)
            # An optimizer has as many slots of each weight, those of one weight after another.
            weight = weights[i * len(weights) // len(slots)]
            rows = renewed.get(id(weight), ())
            if len(rows) and variable.shape == weight.shape:
                grown = np.array(grown)
                grown[rows] = start[rows]
            variable.assign(grown)
        optimizer.iterations.assign(self.iterations)

    def new_events(self, data: Interactions) -> np.ndarray:
        """Whether the release has not learned from each event of a log: bool `[n_rows]`.

        Of each user it has learned the first events, as many as its training had.

        Raises:
            DataError: if it has learned from all of them.
        """
        histories = data.histories
        new = np.empty(len(data), bool)
        new[histories.order] = np.arange(len(data)) >= np.repeat(
            histories.offsets[:-1] + self._learned(data), histories.lengths
        )
        if not new.any():
            raise DataError(
                f"{self.root} has learned from all {len(data):,} training events of this log. Give a log with "
                "newer events."
            )
        return new

    def unlearned(self, rows: Interactions, before: Interactions) -> np.ndarray:
        """Whether the release has not learned from each row that comes after a log: bool `[n_rows]`.

        Args:
            rows: rows to judge a model by.
            before: the events before them.
        """
        counts = learned_events(before)
        past = np.array([counts.get(user, 0) for user in rows.user_vocabulary.ids], np.int64)
        return (past >= self._learned(rows))[rows.user_rows]

    def _learned(self, data: Interactions) -> np.ndarray:
        """Events that the release has learned from, of each user of a log: int64 `[n_users]`."""
        learned = self.file.header["learned"]
        return np.array([learned.get(user, 0) for user in data.user_vocabulary.ids], np.int64)

    def _pairs(self, group: str, variables: list[tf.Variable]) -> Any:
        count = self.file.count(group)
        if count != len(variables):
            raise ConfigError(
                f"{self.root} holds {count} variables of the {group} where this model has {len(variables)}. "
                "Train without a warm start."
            )
        return zip(variables, self.file.arrays(group), strict=True)


@lru_cache(maxsize=1)
def _opened(root: Path, version: int, seal: str) -> WarmStart:
    """The state of a version, by the checksum of its manifest: a run asks for it before each of its fits."""
    manifest = checked_manifest(root, version)
    name = f"{STATE}/{manifest['version']}/{FILE}"
    if name not in manifest["files"]:
        raise ReleaseError(
            f"{root} holds no state of its training, so none can go on from it. Train it once with "
            "`--set export.training_state=true`; what a warm start makes of it keeps its own."
        )
    try:
        return WarmStart(root, read_checkpoint(root / name))
    except CheckpointError as error:
        raise ReleaseError(f"The state of the training in {root} is damaged: {error}") from error


def only_new(rows: Interactions, before: Interactions, start: WarmStart) -> Interactions:
    """Validation rows from which a release has not learned.

    Raises:
        DataError: if it has learned from all of them.
    """
    new = start.unlearned(rows, before)
    if not new.any():
        raise DataError(
            f"{start.root} has learned from all {len(rows):,} validation rows, so they cannot say when to "
            'stop. Give a log with newer events, or set `training.patience = "none"`.'
        )
    return rows if new.all() else rows.with_log(rows.log.filter(new))


def _settings(model: TwoTower) -> dict[str, Any]:
    """All that makes the weights of a model, but for what it learned; a task, which has none, may change."""
    return {name: v for name, v in model.get_config().items() if name not in ("name", "task")}


def _towers(model: TwoTower) -> tuple[Any, Any]:
    return model.candidate_tower, model.query_tower


def _selective(model: TwoTower) -> list[CategoricalFeature]:
    """Layers whose rows may go to other values, those of histories included, each once."""
    layers = (getattr(layer, "inner", layer) for tower in _towers(model) for layer in tower.features)
    selective = (one for one in layers if isinstance(one, CategoricalFeature) and one.spec.is_selective)
    return list({id(one): one for one in selective}.values())


def _slots(model: TwoTower) -> list[tf.Variable]:
    """Variables of the optimizer that belong to weights, in their order."""
    optimizer = model.optimizer
    other = {id(optimizer.iterations), id(optimizer.learning_rate)}
    return [variable for variable in optimizer.variables if id(variable) not in other]


def _grown(array: np.ndarray, variable: tf.Variable, row: np.ndarray | None) -> np.ndarray:
    """An array with the shape of a variable: further rows are `row`, or those of the variable if it is None."""
    shape = tuple(variable.shape)
    if array.shape == shape:
        return array
    if array.ndim != len(shape) or array.shape[1:] != shape[1:] or array.shape[0] > shape[0]:
        raise ConfigError(
            f"{variable.name} has the shape {shape}, and the release {array.shape}. Train without a warm start."
        )
    grown = variable.numpy()
    grown[: len(array)] = array
    if row is not None:
        grown[len(array) :] = row
    return grown
