"""Optuna study, in memory or in a file that a later search continues."""

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import optuna
from optuna.exceptions import ExperimentalWarning
from optuna.storages import BaseStorage, InMemoryStorage, JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial, TrialState

from tfrecall.errors import ConfigError

# Pruning compares a trial with the median of earlier ones after the same epoch. The median of fewer than
# five trials is chance, and the first epoch shows how fast a model starts, not how well it ends.
TRIALS_BEFORE_PRUNING, FIRST_EPOCH_TO_PRUNE = 5, 2
_NAME = "tfrecall"


class Study:
    """Trials, drawn one by one from the seed and the trials before.

    A continued study therefore has the same trials as an uninterrupted one.

    Args:
        file: file of the study, for one process at a time; None keeps it in memory.
        maximize: whether higher is better.
        facts: settings that must be equal for trials to be comparable; a file with others is refused.
        seed: seed of the drawn settings.

    Raises:
        ConfigError: if the file belongs to another search, or is no study.
    """

    def __init__(
        self, file: Path | None, *, maximize: bool, facts: Mapping[str, Any], seed: int
    ) -> None:
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        self.seed = seed
        storage = _storage(file)
        self._study = optuna.create_study(
            storage=storage,
            study_name=_NAME,
            direction="maximize" if maximize else "minimize",
            pruner=optuna.pruners.MedianPruner(TRIALS_BEFORE_PRUNING, FIRST_EPOCH_TO_PRUNE),
            load_if_exists=True,
        )
        self.is_new = not self._study.user_attrs
        if self.is_new:
            self._study.set_user_attr("facts", dict(facts))
            self._study.set_user_attr("interrupted", [])
        _check_same(self._study.user_attrs.get("facts", {}), facts, file)
        for trial in self._study.get_trials(states=[TrialState.RUNNING]):
            self.put_back(trial)  # of a process that was killed

    @property
    def finished(self) -> list[FrozenTrial]:
        """Trials that count: completed, pruned and failed."""
        interrupted = self._study.user_attrs["interrupted"]
        states = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL)
        return [
            trial for trial in self._study.get_trials(states=states) if trial.number not in interrupted
        ]

    @property
    def best(self) -> FrozenTrial | None:
        """The best completed trial, the first of several; None if none was completed."""
        done = self._study.get_trials(states=[TrialState.COMPLETE])
        return self._study.best_trial if done else None

    def enqueue(self, params: Mapping[str, Any]) -> None:
        """Queue these settings for the next trial."""
        self._study.enqueue_trial(dict(params))

    def ask(self, distributions: Mapping[str, Any]) -> optuna.Trial:
        """The next trial."""
        # A new sampler for each trial, seeded by the number of finished ones: the state of one sampler would
        # be lost with the process, and a continued study would draw other settings.
        self._study.sampler = optuna.samplers.TPESampler(seed=self.seed + len(self.finished))
        return self._study.ask(dict(distributions))

    def tell(self, trial: optuna.Trial, value: float | None, state: TrialState) -> None:
        self._study.tell(trial, value, state)

    def put_back(self, trial: optuna.Trial | FrozenTrial) -> None:
        """Discard an interrupted trial and queue its settings."""
        # Optuna cannot delete a trial: it is marked failed and listed as interrupted, which `finished` omits.
        attributes = self._study.user_attrs["interrupted"]
        self._study.set_user_attr("interrupted", [*attributes, trial.number])
        self._study.tell(trial.number, state=TrialState.FAIL)
        self.enqueue(trial.params)

    def importance(self) -> dict[str, float]:
        """Share of the difference between good and all trials that each setting explains, in [0, 1].

        Reference:
            Watanabe et al., "PED-ANOVA", IJCAI 2023.
        """
        done = self._study.get_trials(states=[TrialState.COMPLETE])
        if len(done) < 10 or len(done[0].params) < 2:  # its estimate of a quarter of them is noise
            return {}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ExperimentalWarning)
            evaluator = optuna.importance.PedAnovaImportanceEvaluator()
        return optuna.importance.get_param_importances(self._study, evaluator=evaluator)


def _storage(file: Path | None) -> BaseStorage:
    if file is None:
        return InMemoryStorage()
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        return JournalStorage(JournalFileBackend(str(file)))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigError(
            f"The study {file} cannot be read or written: {error}. Give a file that `tfrecall tune "
            "--study` wrote, or one that is not there yet."
        ) from error


def _check_same(stored: Mapping[str, Any], wanted: Mapping[str, Any], file: Path | None) -> None:
    differing = sorted(name for name in {*stored, *wanted} if stored.get(name) != wanted.get(name))
    if differing:
        differences = "; ".join(
            f"{name}: there {stored.get(name)!r}, here {wanted.get(name)!r}" for name in differing[:3]
        )
        raise ConfigError(
            f"The study {file} belongs to another search, so its trials cannot be compared with new "
            f"ones. {differences}. Give another --study file, or the recipe and data that it began with."
        )
