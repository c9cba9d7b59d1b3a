"""The main job: prepare, fit, evaluate, export, index, and write down how it went."""

import json
import math
import re
import resource
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from tfrecall._keras import keras, tfrs
from tfrecall.checkpoints import Checkpoints
from tfrecall.config import DataConfig, RunConfig
from tfrecall.data.filters import filter_log
from tfrecall.data.interactions import Interactions
from tfrecall.data.movielens import movielens
from tfrecall.data.repeated import leading_rule, repeated_share
from tfrecall.data.splits import split_by_time, split_leave_last_out, split_random
from tfrecall.data.tables import read
from tfrecall.diagnostics.examiner import Examiner
from tfrecall.errors import ConfigError
from tfrecall.evaluation import Evaluation, evaluate
from tfrecall.exporting.export import export
from tfrecall.index.annoy import Annoy
from tfrecall.index.repeats import Repeats
from tfrecall.memory import check_memory
from tfrecall.models.repeats import first_times, fit_repeats, new_to_users
from tfrecall.models.two_tower import TwoTower
from tfrecall.release.layout import unfinished
from tfrecall.release.release import Release
from tfrecall.report import Subject, drawn
from tfrecall.tasks.full_softmax import FullSoftmax
from tfrecall.tasks.in_batch import InBatchSoftmax
from tfrecall.tensorboard import Board, write_projector
from tfrecall.training import Fitted, fit, made_with, seed_everything
from tfrecall.training.precision import words_on_gain

# Settings of the model that the towers do not take.
_NOT_TOWERS = ("type", "repeats")
MOVIELENS = {"movielens-100k": "100k", "movielens-1m": "1m"}


class Listener(Protocol):
    """Hears what a run is doing."""

    def step(self, title: str) -> AbstractContextManager[None]:
        """Entered when a step begins and left when it ends."""

    def note(self, text: str) -> None:
        """Something worth knowing."""

    def progress(self, title: str, done: int, total: int, unit: str = "rows") -> None:
        """How far a long step has come; `total` is 0 where it is not known."""


class Silent:
    """A listener that says nothing."""

    @contextmanager
    def step(self, title: str) -> Iterator[None]:
        yield

    def note(self, text: str) -> None:
        pass

    def progress(self, title: str, done: int, total: int, unit: str = "rows") -> None:
        pass


@dataclass(frozen=True)
class Prepared:
    """A log, split.

    Attributes:
        train: rows to fit on while the number of epochs is sought.
        validation: rows to stop by; None if none were asked for.
        known: everything that may be learned from: training and validation rows.
        test: rows to judge by, once.
    """

    train: Interactions
    validation: Interactions | None
    known: Interactions
    test: Interactions


@dataclass(frozen=True)
class Outcome:
    """What a run leaves behind; `metrics` is what it writes to `metrics.json`."""

    metrics: dict[str, Any]
    evaluation: Evaluation
    release: Release
    prepared: Prepared


def run(
    config: RunConfig,
    out: str | Path | None = None,
    listener: Listener | None = None,
    *,
    fresh: bool = False,
    tensorboard: str | Path | None = None,
) -> Outcome:
    """Does everything that a configuration describes.

    What cannot work is found out before training: data, schema and the release directory are checked
    first. A run that fails or is interrupted publishes nothing; its checkpoints stay in the release
    directory, and the next run of the same configuration on the same data goes on from them.

    Args:
        config: see `tfrecall.config`.
        out: the release directory; `saved_models/<recipe>` by default.
        listener: hears of steps and progress.
        fresh: whether to discard checkpoints that an interrupted run left.
        tensorboard: a directory for TensorBoard: curves, and the candidate vectors with their titles.

    Raises:
        TfrecallError: if something cannot be done, saying what to do.
    """
    listener = listener or Silent()
    root = Path(out or Path("saved_models") / config.recipe)
    with unfinished(root):  # refuses a directory that cannot be written, before any work
        pass
    annoy = Annoy(**vars(config.index))
    clock = Stopwatch()
    with listener.step("Prepare the data"), clock.time("prepare"):
        prepared = prepare(config, listener.note)
        check_memory(config, prepared.known, listener.note)
        leading = leading_rule(config.evaluation.seen, prepared.known)
        listener.note(_words_on_seen(config, prepared.known, leading))
        examiner = Examiner(config, listener.note)
        examiner.examine_data(prepared.train, prepared.validation)
    checkpoints = _checkpoints(config, prepared, root, listener.note)
    if fresh:
        checkpoints.discard()
    with listener.step("Fit the model"), clock.time("fit"):
        model, fitted = train(
            config, prepared, listener, examiner, checkpoints=checkpoints, tensorboard=tensorboard
        )
        if tensorboard:
            write_projector(tensorboard, model.embed_candidates(), model.catalogue)
    with listener.step("Evaluate on the test rows"), clock.time("evaluate"):
        evaluation = evaluate(
            model,
            prepared.test,
            seen=prepared.known,
            ks=config.evaluation.ks,
            progress=listener.progress,
        )
        examiner.examine_model(model, prepared.known)
        examiner.examine_test(evaluation, prepared.known)
    metrics: dict[str, Any] = {}

    def documents(manifest: dict[str, Any]) -> dict[str, str]:
        metrics.update(_metrics(config, prepared, fitted, evaluation, manifest, clock))
        metrics["leading"] = leading
        metrics["diagnostics"] = [finding.to_dict() for finding in examiner.findings]
        page = drawn(
            lambda: Subject(
                metrics, manifest, model.retriever(), prepared.known, prepared.test, evaluation
            ),
            listener.note,
        )
        return {
            "metrics.json": json.dumps(metrics, indent=2),
            "config.toml": config.to_toml(),
            "report.html": page,
        }

    with listener.step("Export, index and compare in a fresh process"), clock.time("export"):
        facts = {"config": config.to_dict(), "data": _data(prepared), "test": evaluation.test}
        release = export(
            model,
            root,
            index=annoy,
            k=config.export.k,
            exclude_seen=leading == "seen_removed",
            facts=facts,
            documents=documents,
        )
    checkpoints.discard()
    return Outcome(metrics, evaluation, release, prepared)


def _words_on_seen(config: RunConfig, known: Interactions, leading: str) -> str:
    share = f"{100 * repeated_share(known):.1f} % of the events repeat an item that the user had before"
    why = (
        share if config.evaluation.seen == "auto" else f"`evaluation.seen` is {config.evaluation.seen}"
    )
    if leading == "seen_kept":
        return f"{why}: lists keep what a user had, here and in what the release answers by default."
    return f"{why}: lists leave out what a user had, here and in what the release answers by default."


def load_data(config: DataConfig, note: Callable[[str], None] = print) -> Interactions:
    """Reads or fetches the log of a configuration."""
    if config.source in MOVIELENS:
        return movielens(MOVIELENS[config.source], config.folder, report=note)
    return read(
        config.source,
        users=config.users,
        items=config.items,
        user_id=config.user_column,
        item_id=config.item_column,
        timestamp=config.timestamp_column,
        rating=config.rating_column,
        weight=config.weight_column,
        missing_items=config.missing_items,
        unit=config.timestamp_unit,
        ignore_columns=config.ignore_columns,
        list_separators=config.list_separators,
    )


def prepare(config: RunConfig, note: Callable[[str], None] = print) -> Prepared:
    """Reads the data, filters them, checks that they hold what the schema names, and splits them."""
    data = filter_log(load_data(config.data, note), **vars(config.filters))
    for text in data.notes:
        note(text)
    config.schema.check_query([*data.log.columns, *data.users.columns])
    config.schema.check_candidate(data.items.columns)
    if config.export.k > data.items.height:
        raise ConfigError(
            f"`export.k` is {config.export.k}, but the catalogue has only {data.items.height} items. "
            f"Set it to at most that: --set export.k={data.items.height}."
        )
    prepared = split(config, data)
    for text in prepared.test.notes[len(data.notes) :]:
        note(text)
    return prepared


def split(config: RunConfig, data: Interactions) -> Prepared:
    """Sets test and validation rows aside as the configuration says."""
    how, fraction = config.split, config.split.validation_fraction
    if how.method == "leave_last_out":
        if not fraction:
            known, test = split_leave_last_out(data, validation=False)
            return Prepared(known, None, known, test)
        train, validation, test = split_leave_last_out(data, validation=True)
        known, _ = split_leave_last_out(data, validation=False)
        return Prepared(train, validation, known, test)
    if how.method == "random":
        known, test = split_random(data, how.test_fraction, how.seed)
    else:
        known, test = split_by_time(data, str(how.at), how.known_users, how.known_items)
    if not fraction:
        return Prepared(known, None, known, test)
    if how.method == "random":
        train, validation = split_random(known, fraction, how.seed)
    else:
        times = known.log["timestamp"].to_numpy()
        at = float(np.quantile(times, 1 - fraction, method="higher"))
        train, validation = split_by_time(known, at, how.known_users, how.known_items)
    return Prepared(train, validation, known, test)


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


def _checkpoints(
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


class Stopwatch:
    """Seconds of named steps, of the one that is running until now."""

    def __init__(self) -> None:
        self._started: dict[str, float] = {}
        self._ended: dict[str, float] = {}

    @contextmanager
    def time(self, name: str) -> Iterator[None]:
        self._started[name] = time.perf_counter()
        yield
        self._ended[name] = time.perf_counter()

    @property
    def seconds(self) -> dict[str, float]:
        now = time.perf_counter()
        return {n: round(self._ended.get(n, now) - start, 3) for n, start in self._started.items()}


def _metrics(
    config: RunConfig,
    prepared: Prepared,
    fitted: Fitted,
    evaluation: Evaluation,
    manifest: dict[str, Any],
    clock: Stopwatch,
) -> dict[str, Any]:
    judged = evaluation.to_dict()
    return {
        "recipe": config.recipe,
        "model": config.model.type,
        "version": manifest["version"],
        "data": _data(prepared),
        "test": judged["test"],
        "baselines": judged["baselines"],
        "slices": judged["slices"],
        "unknown_targets": judged["unknown_targets"],
        "training": {"best_epoch": fitted.best_epoch, "history": _finite(fitted.history)},
        "timings": {
            **{f"{name}_seconds": seconds for name, seconds in clock.seconds.items()},
            "epochs": fitted.epochs,
            "examples_per_second": round(fitted.examples_per_second),
            "peak_rss_mb": round(_peak_rss_mb()),
        },
        "index": manifest["index"],
        "notes": [*prepared.known.notes, *prepared.test.notes[len(prepared.known.notes) :]],
    }


def _data(prepared: Prepared) -> dict[str, Any]:
    known = prepared.known
    return {
        "name": known.name,
        "users": known.users.height,
        "items": known.items.height,
        "train_rows": len(known),
        "test_rows": len(prepared.test),
        "fingerprint": known.fingerprint,
    }


def _finite(history: dict[str, list[float]]) -> dict[str, list[float | None]]:
    """None where an epoch diverged: JSON has no NaN."""
    return {
        name: [value if math.isfinite(value) else None for value in values]
        for name, values in history.items()
    }


def _peak_rss_mb() -> float:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**20 if sys.platform == "darwin" else 2**10)
