"""Configuration of a run: a TOML file, checked before any work starts.

A recipe is such a file that ships with the package (`tfrecall recipes list`). A run follows from its
configuration and its data alone; the release keeps the configuration.
"""

import re
from typing import Annotated, Any

import tomli_w
from pydantic import AfterValidator, Field, TypeAdapter
from pydantic.dataclasses import dataclass

from tfrecall.config.data import DataConfig, FilterConfig, SplitConfig
from tfrecall.config.models import (
    AnyModelConfig,
    BaselineConfig,
    BayesianRankerConfig,
    ModelConfig,
    RankerConfig,
)
from tfrecall.config.ranking import RankingTaskConfig
from tfrecall.config.sections import EvaluationConfig, ExportConfig, IndexConfig, TuneConfig
from tfrecall.config.tasks import InBatchConfig, TaskConfig
from tfrecall.schema.features import History, Schema
from tfrecall.schema.specs import STRICT
from tfrecall.schema.targets import HistoriesConfig
from tfrecall.schema.training import TrainingConfig

# Common file systems allow 255 bytes; temporary files of a release have longer names than its directory.
_LONGEST_NAME = 200


def _directory_name(recipe: str) -> str:
    """Refuse a name that cannot be that of a directory: the release is in `saved_models/<recipe>`."""
    dots_alone = not recipe.strip(". ")
    if dots_alone or not re.fullmatch(r"[^/\\\x00-\x1f]+", recipe):
        raise ValueError("a recipe is named like a directory, without / and \\, and not by dots alone")
    if len(recipe.encode()) > _LONGEST_NAME:
        raise ValueError(f"the name of a recipe has {_LONGEST_NAME} bytes at most")
    return recipe


# Splits that test on the last events, of each user or of all.
_IN_TIME = ("leave_last_out", "by_time")


@dataclass(frozen=True, kw_only=True, config=STRICT)
class RunConfig:
    """Configuration of a run.

    Attributes:
        recipe: name of the recipe and of the release directory.
        description: one or two sentences for people.
        tune: by path of a setting, the values that `tfrecall tune` tries:
            `"training.learning_rate" = { low = 0.001, high = 0.3, log = true }`.
    """

    recipe: Annotated[str, AfterValidator(_directory_name)]
    description: str = ""
    schema: Schema
    data: DataConfig = DataConfig()
    filters: FilterConfig = FilterConfig()
    split: SplitConfig = SplitConfig()
    model: AnyModelConfig = ModelConfig()
    task: TaskConfig = InBatchConfig()
    histories: HistoriesConfig = HistoriesConfig()
    training: TrainingConfig = TrainingConfig()
    evaluation: EvaluationConfig = EvaluationConfig()
    index: IndexConfig = IndexConfig()
    export: ExportConfig = ExportConfig()
    tune: dict[str, TuneConfig] = Field(default_factory=dict)

    def __post_init__(self) -> None:
        _check_task(self)
        if isinstance(self.model, BayesianRankerConfig):
            _check_draws(self)
        if isinstance(self.task, RankingTaskConfig):
            _check_ranking(self, self.task)
        if self.counts:
            _check_counting(self)
        _check_repeats(self)
        _check_warm_start(self)
        if self.training.refit and not (self.split.validation_fraction and self.training.patience):
            raise ValueError(
                "`training.refit` needs validation rows (`split.validation_fraction`) and "
                "`training.patience` to find the number of epochs"
            )

    @property
    def ranks(self) -> bool:
        """Whether the model is a ranker, which scores pairs, and not a retriever."""
        return isinstance(self.model, RankerConfig | BayesianRankerConfig)

    @property
    def counts(self) -> bool:
        """Whether the model is a baseline, which counts and is not trained."""
        return isinstance(self.model, BaselineConfig)

    def to_dict(self) -> dict[str, Any]:
        """The plain form, without settings that are None."""
        return _without_none(TypeAdapter(RunConfig).dump_python(self, mode="json"))

    def to_toml(self) -> str:
        """The configuration as a recipe."""
        return tomli_w.dumps(self.to_dict())


def _check_warm_start(config: RunConfig) -> None:
    """Refuse a warm start whose test rows may have been learned, and the state of a ranker."""
    method = config.split.method
    if config.training.warm_start and method not in _IN_TIME:
        raise ValueError(
            f'`training.warm_start` goes on with later events, and `split.method = "{method}"` tests on any: '
            f"the release may have learned from them. Set one of: {', '.join(_IN_TIME)}"
        )
    if config.ranks and (config.training.warm_start or config.export.training_state):
        raise ValueError(
            "`training.warm_start` and `export.training_state` are for retrievers; a ranker begins with the "
            "vectors of one by `model.start_from`"
        )


def _check_task(config: RunConfig) -> None:
    """Refuse a task that does not fit the model."""
    kind, is_ranking = config.task.type, isinstance(config.task, RankingTaskConfig)
    if config.ranks and not is_ranking:
        raise ValueError(
            '`model.type = "ranker"` predicts a label of each row: set `task.type` to "rating", "click" or '
            f'"list". Received: "{kind}"'
        )
    if is_ranking and not config.ranks:
        raise ValueError(
            f'`task.type = "{kind}"` needs a ranker: set `model.type = "ranker"`, or another task'
        )
    if kind == "triplet" and not config.model.is_normalized:
        raise ValueError(
            '`task.type = "triplet"` learns distances, which rank like the inner products of answers only '
            "between vectors of length one: set `model.normalize = true`"
        )


def _check_ranking(config: RunConfig, task: RankingTaskConfig) -> None:
    """Refuse settings that have no effect on a ranker."""
    if config.training.monitor not in task.metrics:
        raise ValueError(
            f"`training.monitor` of a ranker must be one of {', '.join(task.metrics)}. Received: "
            f'"{config.training.monitor}"'
        )
    for name, default in (
        ("histories", HistoriesConfig()),
        ("index", IndexConfig()),
        ("export", ExportConfig()),
        ("evaluation", EvaluationConfig()),
    ):
        # Only a changed section: recipes of before, and `to_dict`, write the defaults out.
        if getattr(config, name) != default:
            raise ValueError(
                f"`[{name}]` is for retrievers: a ranker trains on every row and scores given pairs. Omit it"
            )


def _check_counting(config: RunConfig) -> None:
    """Refuse settings that have no effect on a baseline."""
    for name, default in (
        ("task", InBatchConfig()),
        ("histories", HistoriesConfig()),
        ("training", TrainingConfig()),
        ("index", IndexConfig()),
        ("tune", {}),
    ):
        if getattr(config, name) != default:
            raise ValueError(
                f"`[{name}]` is for models that are trained: the baseline {config.model.type} counts. Omit it"
            )


def _check_draws(config: RunConfig) -> None:
    """Refuse a task and settings of gradients that have no effect on a ranker of draws."""
    if config.task.type != "rating":
        raise ValueError(
            '`model.type = "bayesian_ranker"` predicts numbers: set `task.type = "rating"`, or '
            f'`model.type = "ranker"`. Received: "{config.task.type}"'
        )
    names = ("optimizer", "learning_rate", "schedule", "warmup_steps", "clip_norm", "mixed_precision")
    default = TrainingConfig()
    # Only changed settings: `to_dict` writes the defaults out.
    given = [name for name in names if getattr(config.training, name) != getattr(default, name)]
    if given:
        raise ValueError(
            f"`training.{given[0]}` is for gradients, and a Bayesian ranker draws without. Omit it"
        )


def _check_repeats(config: RunConfig) -> None:
    """Refuse `model.repeats` without validation rows, or with part of the history in requests."""
    if not config.model.repeats:
        return
    if not config.split.validation_fraction:
        raise ValueError(
            "`model.repeats` is fitted on validation rows: set `split.validation_fraction`"
        )
    for feature in config.schema.query:
        if feature.column == "history" and (not isinstance(feature, History) or feature.is_rated):
            raise ValueError(
                'with `model.repeats` the column "history" of a request holds all items of the user. Give '
                f"the query feature {feature} another `column`"
            )


def _without_none(value: Any) -> Any:
    # TOML has no null: a setting that is None is left out, and None is its default again when read.
    if isinstance(value, dict):
        return {key: _without_none(inner) for key, inner in value.items() if inner is not None}
    if isinstance(value, list):
        return [_without_none(inner) for inner in value]
    return value
