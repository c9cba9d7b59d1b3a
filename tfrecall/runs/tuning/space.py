"""Search space, checked before the first trial."""

import json
from collections.abc import Mapping
from typing import Any

from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

from tfrecall.config.models import BayesianRankerConfig
from tfrecall.config.recipes import keys_of, with_settings
from tfrecall.config.run import RunConfig
from tfrecall.config.sections import TuneConfig
from tfrecall.errors import ConfigError

# Settings that must be equal in all trials, with the reason: trials compare training on the same rows by
# the same metric.
_ALIKE = {
    "recipe": "is a name",
    "description": "is for people",
    "data": "changes the rows that trials are compared on",
    "filters": "changes the rows that trials are compared on",
    "split": "changes the rows that trials are compared on",
    "evaluation": "comes after training",
    "index": "comes after training",
    "export": "comes after training",
    "tune": "is this list itself",
    "training.monitor": "is what trials are compared by",
    "training.seed": "is chance, and the best of several seeds is luck",
    "training.refit": "comes after the validation rows were asked",
    "training.checkpoint_seconds": "does not change what is trained",
}


class Space:
    """Settings of a search with their possible values.

    Args:
        config: the recipe.
        settings: path of a setting -> its range or choices.

    Attributes:
        distributions: path -> distribution of Optuna; choices are JSON texts, which a study can store.

    Raises:
        ConfigError: if `--set` would refuse a path or a value, or the setting must be equal in all
            trials.
    """

    def __init__(self, config: RunConfig, settings: Mapping[str, TuneConfig]) -> None:
        if not settings:
            raise ConfigError("There is nothing to choose. Name settings in [tune] of the recipe.")
        self.config = config
        self.distributions: dict[str, BaseDistribution] = {}
        for path, choice in settings.items():
            _check_path(path)
            # Each choice, or both ends of a range, must be valid: better refused now than in trial 17.
            for value in choice.choices or (choice.low, choice.high):
                with_settings(config, {path: value})
            self.distributions[path] = _distribution(choice, _value_at(config, path))

    def decode(self, params: Mapping[str, Any]) -> dict[str, Any]:
        """Optuna's parameters as the values of settings."""
        return {
            path: json.loads(value)
            if isinstance(self.distributions[path], CategoricalDistribution)
            else value
            for path, value in params.items()
        }

    def configured(self, params: Mapping[str, Any]) -> RunConfig:
        """The recipe with the settings of a trial."""
        return with_settings(self.config, self.decode(params))

    def own_values(self) -> dict[str, Any] | None:
        """The recipe's values as Optuna's parameters; None if one lies outside the space."""
        params: dict[str, Any] = {}
        for path, distribution in self.distributions.items():
            value = _value_at(self.config, path)
            if isinstance(distribution, CategoricalDistribution):
                value = _json(value)
                inside = value in distribution.choices
            else:
                inside = value is not None and distribution.low <= value <= distribution.high  # type: ignore[attr-defined]
            if not inside:
                return None
            params[path] = value
        return params


def default_space(config: RunConfig) -> dict[str, TuneConfig]:
    """Default search space of any recipe: learning rate, dropout, layer sizes, and the temperature
    (or its inverse, `gamma`) for vectors of length one; of a Bayesian ranker whether it has `raters`."""
    if isinstance(config.model, BayesianRankerConfig):
        return {"model.raters": TuneConfig(choices=[True, False])}
    # Without normalization the length of the vectors does the work of the temperature.
    rate, sizes = config.training.learning_rate, list(config.model.layer_sizes)
    space = {
        "training.learning_rate": TuneConfig(low=rate / 10, high=rate * 10, log=True),
        "model.dropout": TuneConfig(low=0.0, high=max(0.6, config.model.dropout)),
    }
    if sizes:
        last = sizes[-1]
        others = [other for other in ([last], [2 * last, last], [4 * last, last]) if other != sizes]
        space["model.layer_sizes"] = TuneConfig(choices=[sizes, *others])
    if config.model.is_normalized and hasattr(config.task, "gamma"):
        space["task.gamma"] = TuneConfig(low=1.0, high=50.0, log=True)
    elif config.model.is_normalized and hasattr(config.task, "temperature"):
        space["task.temperature"] = TuneConfig(low=0.02, high=1.0, log=True)
    return space


def _check_path(path: str) -> None:
    keys = keys_of(path)
    for fixed, reason in _ALIKE.items():
        if keys[: fixed.count(".") + 1] == fixed.split("."):
            raise ConfigError(
                f'[tune] names "{path}", but `{fixed}` {reason}. Search over settings of model, task, '
                "training or schema."
            )


def _distribution(choice: TuneConfig, now: Any) -> BaseDistribution:
    if choice.choices is not None:
        return CategoricalDistribution(list(dict.fromkeys(map(_json, choice.choices))))
    # `low = 0` of a setting that is a float now, such as a dropout of 0.1, means the real numbers.
    # `type() is int`, as a bool is an int for `isinstance`.
    if type(choice.low) is int and type(choice.high) is int and not isinstance(now, float):
        return IntDistribution(choice.low, choice.high, log=choice.log)
    return FloatDistribution(float(choice.low), float(choice.high), log=choice.log)


def _value_at(config: RunConfig, path: str) -> Any:
    value: Any = config.to_dict()
    for key in keys_of(path):
        if isinstance(value, dict):
            value = value.get(key)
        elif isinstance(value, list) and key.isdecimal() and int(key) < len(value):
            value = value[int(key)]
        else:
            return None
    return value


def _json(value: Any) -> str:
    return json.dumps(value, sort_keys=True)
