"""From a configuration and prepared data to a fitted model."""

import re
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from tfrecall._keras import keras, tfrs
from tfrecall.checkpoints import Checkpoints
from tfrecall.config import RunConfig
from tfrecall.data.interactions import Interactions
from tfrecall.diagnostics.examiner import Examiner
from tfrecall.index.repeats import Repeats
from tfrecall.listening import Listener, Silent
from tfrecall.models.repeats import first_times, fit_repeats, new_to_users
from tfrecall.models.two_tower import TwoTower
from tfrecall.preparation import Prepared
from tfrecall.tasks.full_softmax import FullSoftmax
from tfrecall.tasks.in_batch import InBatchSoftmax
from tfrecall.tensorboard import Board
from tfrecall.training import Fitted, fit, made_with, seed_everything
from tfrecall.training.precision import words_on_gain

# Settings of the model that the towers do not take.
_NOT_TOWERS = ("type", "repeats")


def make_model(config: RunConfig) -> TwoTower:
    """An untrained model of a configuration."""
    task = vars(config.task).copy()
    makers = {
        "in_batch": InBatchSoftmax,
        "full_softmax": FullSoftmax,
        "tfrs_retrieval": tfrs.tasks.Retrieval,
    }
    task = makers[task.pop("type")](**task)
    settings = {name: value for name, value in vars(config.model).items() if name not in _NOT_TOWERS}
    return TwoTower(config.schema, task=task, name=config.recipe, **settings)


def train(
    config: RunConfig,
    prepared: Prepared,
    listener: Listener | None = None,
    examiner: Examiner | None = None,
    *,
    checkpoints: Checkpoints | None = None,
    tensorboard: str | Path | None = None,
) -> tuple[TwoTower, Fitted]:
    """Fits a model, and once more on all that is known if the configuration asks for it.

    The fit returned is the one that judged by validation rows, except for its time, which is that of
    both. With checkpoints it goes on where the last one was written. What users had, as the model
    answers and is exported, is what is known in the end.
    """
    listener = listener or Silent()
    material = _first_times(prepared) if config.model.repeats else prepared
    examiner = examiner or Examiner(config, listener.note)
    _warn_of_monitor(config, prepared, listener.note)
    words = words_on_gain() if config.training.mixed_precision else None
    if words:
        listener.note(words)

    def fit_anew(
        phase: str, rows: Interactions, validation: Interactions | None, **changes: Any
    ) -> tuple[TwoTower, Fitted]:
        callbacks = [*examiner.callbacks(), _Epochs(config.training.monitor, listener)]
        if tensorboard:
            callbacks.append(Board(Path(tensorboard) / phase))
        settings = {**vars(config.training), "checkpoints": checkpoints, **changes}
        del settings["refit"], settings["checkpoint_seconds"]
        keras.backend.clear_session()
        seed_everything(config.training.seed)
        model = make_model(config)
        return model, fit(model, rows, validation, callbacks=callbacks, verbose=0, **settings)

    def finished(model: TwoTower, repeats: Repeats | None) -> TwoTower:
        model.interactions, model.repeats = prepared.known, repeats
        return model

    repeats = None
    with checkpoints or nullcontext():
        found = checkpoints.last() if checkpoints else None
        if found and found.header["phase"] == "refit":
            fitted = Fitted(**found.header["facts"]["fitted"])
            examiner.take_up(found.header["facts"]["findings"])
            told = found.header["facts"]["repeats"]
            repeats = Repeats(**told) if told else None
        else:
            model, fitted = fit_anew("fit", material.train, material.validation)
            model.interactions = prepared.train
            repeats = model.repeats = _fit_repeats(config, model, prepared, listener.note)
            examiner.examine_fit(
                model, prepared.train, prepared.validation, fitted.history, fitted.best_epoch
            )
        if prepared.validation is not None and config.training.patience:
            listener.note(
                f"Best on the validation rows after epoch {fitted.best_epoch} of {fitted.epochs}."
            )
        if not config.training.refit:
            return finished(model, repeats), fitted
        if checkpoints:
            findings = [finding.to_dict() for finding in examiner.findings]
            checkpoints.phase = "refit"
            checkpoints.facts = {
                "fitted": asdict(fitted),
                "findings": findings,
                "repeats": repeats.to_dict() if repeats else None,
            }
        epochs, known = fitted.best_epoch, material.known
        listener.note(f"Fitting again on all {len(known):,} known rows for {epochs} epochs.")
        # So few epochs may be over before the warm-up of the first fit would be.
        steps = -(-len(known) // config.training.batch_size) * epochs
        warmup = min(config.training.warmup_steps, steps - 1)
        model, again = fit_anew("refit", known, None, epochs=epochs, warmup_steps=warmup)
        return finished(model, repeats), replace(fitted, seconds=fitted.seconds + again.seconds)


def _first_times(prepared: Prepared) -> Prepared:
    """What towers learn from where `Repeats` explain the rest."""
    validation = prepared.validation
    if validation is not None:
        new = new_to_users(validation, prepared.train)
        validation = new if len(new) else validation
    return replace(
        prepared,
        train=first_times(prepared.train),
        validation=validation,
        known=first_times(prepared.known),
    )


def _fit_repeats(
    config: RunConfig, model: TwoTower, prepared: Prepared, note: Callable[[str], None]
) -> Repeats | None:
    """How users come back to what they had, from the validation rows; None if that is not asked for."""
    if not config.model.repeats or prepared.validation is None:
        return None
    repeats = fit_repeats(
        model.towers_retriever(),
        prepared.validation,
        prepared.train,
        getattr(config.task, "temperature", None) or 1.0,
        config.training.seed,
    )
    halved = repeats.weights(11)[10]
    note(
        "What users had is scored by how often and how lately: an event ten events back weighs "
        f"{halved:.2f} of the latest."
    )
    return repeats


def checkpoints_of(
    config: RunConfig, prepared: Prepared, root: Path, note: Callable[[str], None]
) -> Checkpoints:
    """Those of a run: they belong to what decides about its weights."""
    settings = config.to_dict()
    training = {**settings["training"]}
    del training["checkpoint_seconds"]
    log = {
        "fingerprint": prepared.known.fingerprint,
        "rows": len(prepared.train),
        "validation_rows": len(prepared.validation) if prepared.validation else 0,
    }
    return Checkpoints(
        root / "checkpoints",
        seconds=config.training.checkpoint_seconds,
        belongs_to={
            **{name: settings[name] for name in ("schema", "split", "model", "task")},
            "training": training,
            "log": log,
            "version": made_with(),
        },
        # Where the log comes from does not matter while it is the same, but explains another one.
        context={name: settings[name] for name in ("recipe", "data", "filters")},
        note=note,
    )


def _warn_of_monitor(config: RunConfig, prepared: Prepared, note: Callable[[str], None]) -> None:
    """Tells when the metric to stop by is 1 whatever the model does."""
    length = re.search(r"top_(\d+)_", config.training.monitor)
    stops = prepared.validation is not None and config.training.patience
    if stops and length and int(length[1]) >= prepared.known.items.height:
        note(
            f"`training.monitor` is {config.training.monitor}, but there are only "
            f"{prepared.known.items.height} items: it is 1 after every epoch, and the first counts as the "
            "best. Choose a shorter list, such as factorized_top_k/top_5_categorical_accuracy, or loss."
        )


class _Epochs(keras.callbacks.Callback):
    """Tells a listener of each epoch in one line, and of a long one while it runs."""

    def __init__(self, monitor: str, listener: Listener) -> None:
        super().__init__()
        self.monitor = monitor
        self.listener = listener
        self._epoch = 0
        self._started = 0.0

    def on_epoch_begin(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        self._epoch, self._started = epoch + 1, time.perf_counter()

    def on_train_batch_end(self, batch: int, logs: dict[str, float] | None = None) -> None:
        self.listener.progress(f"epoch {self._epoch}", batch + 1, self.params["steps"] or 0, "steps")

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        logs = logs or {}
        judged = logs.get(f"val_{self.monitor}")
        validation = "" if judged is None else f", validation {self.monitor} {judged:.4f}"
        seconds = time.perf_counter() - self._started
        self.listener.note(
            f"epoch {self._epoch} of {self.params['epochs']}: loss {logs['loss']:.4f}{validation}, "
            f"{seconds:.1f} s"
        )
