"""Hyperparameter search: trials of a recipe with other settings, compared by a validation metric."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from optuna.trial import FrozenTrial, TrialState

from tfrecall._keras import keras
from tfrecall.config.recipes import with_settings
from tfrecall.config.run import RunConfig
from tfrecall.core.progress import LogProgress, ProgressReporter
from tfrecall.diagnostics.diagnostics import Diagnostics
from tfrecall.errors import ConfigError
from tfrecall.evaluation.metrics import is_lower_better
from tfrecall.runs.preparation import DataSplits, prepare
from tfrecall.runs.train import train
from tfrecall.runs.tuning.space import Space, default_space
from tfrecall.runs.tuning.study import Study


@dataclass(frozen=True)
class Trial:
    """One trial of a search.

    Attributes:
        number: from 1.
        state: `complete`, `pruned` (worse than the median of others after as many epochs) or `failed`.
        value: best validation metric; the last one of a pruned trial; None for a failed trial.
        settings: path -> value.
        seconds: wall time.
        reason: cause of a failure.
    """

    number: int
    state: str
    value: float | None
    settings: dict[str, Any]
    seconds: float
    reason: str | None = None


@dataclass(frozen=True)
class Tuned:
    """Result of a search.

    Attributes:
        config: the recipe with the best values.
        metric: validation metric by which trials are compared.
        best: the best trial.
        trials: all trials, in order.
        importance: setting -> its share of the differences between trials; empty with fewer than 10
            completed trials.
        interrupted: whether Ctrl-C ended the search.
    """

    config: RunConfig
    metric: str
    best: Trial
    trials: tuple[Trial, ...]
    importance: dict[str, float]
    interrupted: bool

    def to_dict(self) -> dict[str, Any]:
        """Plain Python types."""
        return {**asdict(replace(self, config=None)), "config": self.config.to_dict()}  # type: ignore[arg-type]


def tune(
    config: RunConfig,
    *,
    trials: int = 20,
    minutes: float | None = None,
    study: str | Path | None = None,
    progress: ProgressReporter | None = None,
) -> Tuned:
    """Search the settings in `[tune]` for the best value of the validation metric.

    The first trial has the recipe's own values, if `[tune]` allows them. The data are split once, before
    the first trial, and test rows are never used. A failed trial counts, with its reason, and the search
    goes on; Ctrl-C ends it with the finished trials.

    Args:
        config: the recipe; without `[tune]` the search is over `default_space`.
        trials: number of trials, those already in the study included.
        minutes: time after which no further trial begins; None for no limit.
        study: file of the trials, from which a later search continues; None keeps them in memory.
        progress: receives one line a trial; without it the logger "tfrecall" does.

    Raises:
        ConfigError: if a setting cannot be searched, there are no validation rows, the study is of
            another search, or no trial came to an end.
    """
    progress = progress or LogProgress()
    if config.counts:
        raise ConfigError(
            f"A search trains the model again and again, and the baseline {config.model.type} is not trained. "
            "Give the recipe of a network."
        )
    space = Space(config, config.tune or default_space(config))
    parts = _parts(config, progress)
    maximize = not is_lower_better(config.training.monitor)
    facts = _facts(config, space, parts)
    kept = Study(
        Path(study) if study else None, maximize=maximize, facts=facts, seed=config.training.seed
    )
    if kept.is_new and (own := space.own_values()):
        kept.enqueue(own)
    deadline = time.perf_counter() + 60 * minutes if minutes is not None else np.inf
    interrupted = False
    try:
        while len(kept.finished) < trials and time.perf_counter() < deadline:
            _try_one(kept, space, parts, trials, progress)
    except KeyboardInterrupt:
        interrupted = True
    return _tuned(kept, space, interrupted)


def _parts(config: RunConfig, progress: ProgressReporter) -> DataSplits:
    """Splits without test rows: training and validation rows only."""
    splits = prepare(config, progress)
    if splits.validation is None or not len(splits.validation):
        raise ConfigError(
            "A search needs validation rows, and there are none: `split.validation_fraction` is "
            f"{config.split.validation_fraction}. Set it to 0.1, for example; test rows are not for "
            "choosing."
        )
    nothing = splits.validation.with_log(splits.validation.log.clear())
    # An empty test, and nothing known beyond the training rows: no trial can see what it must not.
    return replace(splits, trainable=splits.train, known=splits.before_validation, test=nothing)


def _facts(config: RunConfig, space: Space, parts: DataSplits) -> dict[str, Any]:
    """Settings that must be equal for trials to be comparable, by path."""
    facts: dict[str, Any] = {
        f"{section}.{name}": value
        for section, values in config.to_dict().items()
        if section in ("model", "task", "training", "schema")
        for name, value in values.items()
    }
    facts["data"] = parts.train.fingerprint
    return facts | {f"tune.{path}": repr(kind) for path, kind in space.distributions.items()}


def _try_one(
    kept: Study, space: Space, parts: DataSplits, trials: int, progress: ProgressReporter
) -> None:
    trial = kept.ask(space.distributions)
    started = time.perf_counter()
    value: float | None = None
    state = TrialState.COMPLETE
    # Categorical spaces are small, and the sampler proposes a good point again and again.
    if equal := _equal(kept, trial.params):
        value, state = equal.value, equal.state
        trial.set_user_attr("reason", equal.user_attrs.get("reason"))
    else:
        try:
            value = _fitted_value(space.configured(trial.params), parts, trial)
        except KeyboardInterrupt:
            kept.put_back(trial)
            raise
        except optuna.TrialPruned:
            state = TrialState.PRUNED
        except Exception as error:  # e.g. out of memory or diverged; the other trials go on
            state = TrialState.FAIL
            trial.set_user_attr("reason", f"{type(error).__name__}: {error}")
    trial.set_user_attr("seconds", round(time.perf_counter() - started, 3))
    kept.tell(trial, value, state)
    finished = kept.finished
    progress.note(_line(_trial(finished[-1], len(finished), space), trials, kept.best))


def _equal(kept: Study, params: Mapping[str, Any]) -> FrozenTrial | None:
    """A finished trial of the same settings: training is deterministic, so it need not be repeated."""
    for done in kept.finished:
        if done.state != TrialState.PRUNED and done.params == params:
            return done
    return None


def _fitted_value(config: RunConfig, parts: DataSplits, trial: optuna.Trial) -> float:
    keras.backend.clear_session()
    # A second fit would measure nothing: its rows include the validation rows.
    config = replace(config, training=replace(config.training, refit=False))
    monitor, silent = config.training.monitor, ProgressReporter()
    # Diagnostics are for the run that follows the search.
    _, fitted = train(
        config,
        parts,
        silent,
        Diagnostics(config, silent, enabled=False),
        callbacks=[_Report(trial, f"val_{monitor}")],
    )
    values = fitted.history.get(f"val_{monitor}", [])
    if not values:
        raise ConfigError(
            f"`training.monitor` names {monitor}, which was not measured in {fitted.epochs} epochs."
        )
    if config.training.patience is None:
        return values[-1]  # without early stopping the last weights are kept, not the best
    return min(values) if is_lower_better(monitor) else max(values)


class _Report(keras.callbacks.Callback):
    """Report each validated epoch to the study; end a trial that is worse than most."""

    def __init__(self, trial: optuna.Trial, monitor: str) -> None:
        super().__init__()
        self.trial = trial
        self.monitor = monitor

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        value = (logs or {}).get(self.monitor)
        if value is not None:
            self.trial.report(float(value), epoch + 1)
            if self.trial.should_prune():
                raise optuna.TrialPruned


def _trial(frozen: FrozenTrial, number: int, space: Space) -> Trial:
    state = {TrialState.COMPLETE: "complete", TrialState.PRUNED: "pruned"}.get(frozen.state, "failed")
    attributes = frozen.user_attrs
    seconds, reason = attributes.get("seconds", 0.0), attributes.get("reason")
    return Trial(number, state, frozen.value, space.decode(frozen.params), seconds, reason)


def _line(trial: Trial, trials: int, best: FrozenTrial | None) -> str:
    came = {
        "complete": f"{trial.value:.4f}" if trial.value is not None else "",
        "pruned": f"pruned at {trial.value:.4f}" if trial.value is not None else "pruned",
        "failed": f"failed: {trial.reason}",
    }[trial.state]
    so_far = "" if best is None else f" (best {best.value:.4f})"
    settings = ", ".join(f"{path}={_short(value)}" for path, value in trial.settings.items())
    return f"trial {trial.number} of {trials}: {came}{so_far}, {trial.seconds:.1f} s: {settings}"


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _tuned(kept: Study, space: Space, interrupted: bool) -> Tuned:
    finished, best = kept.finished, kept.best
    trials = [_trial(frozen, n, space) for n, frozen in enumerate(finished, 1)]
    if best is None:
        reasons = "\n".join(f"  {trial.reason}" for trial in trials if trial.reason)
        raise ConfigError(
            f"None of {len(trials)} trials came to an end, so there is nothing to choose from. "
            f"{f'They failed:{chr(10)}{reasons}' if reasons else 'Give it more time or trials.'}"
        )
    # Optuna's numbers count interrupted trials, ours do not: look the place up.
    place = next(n for n, frozen in enumerate(finished) if frozen.number == best.number)
    chosen, metric = trials[place], space.config.training.monitor
    config = with_settings(
        space.configured(best.params), {"description": _description(space.config, trials, chosen)}
    )
    return Tuned(config, metric, chosen, tuple(trials), kept.importance(), interrupted)


def _description(config: RunConfig, trials: Sequence[Trial], best: Trial) -> str:
    settings = ", ".join(f"{path} = {_short(value)}" for path, value in best.settings.items())
    first = trials[0]
    own = first.value if first is not best and first.state == "complete" else None
    before = f" (trial 1: {own:.4f})" if own is not None else ""
    return (
        f"{' '.join(config.description.split())} Tuned: the best of {len(trials)} trials by "
        f"{config.training.monitor} on the validation rows, {best.value:.4f}{before}: {settings}."
    ).strip()
