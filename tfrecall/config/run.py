"""One run, described: a TOML file, checked before any work starts.

A recipe is such a file that ships with the package (`tfrecall recipes list`). Everything that a run
does follows from its configuration and its data; the configuration is kept in the release.
"""

import datetime
import math
from collections.abc import Mapping
from typing import Annotated, Any, Literal

import tomli_w
from pydantic import (
    AfterValidator,
    BeforeValidator,
    Discriminator,
    Field,
    PositiveInt,
    Tag,
    TypeAdapter,
    model_validator,
)
from pydantic.dataclasses import dataclass
from pydantic_core import ArgsKwargs

from tfrecall.config.ranking import (
    ClickConfig,
    ListConfig,
    RankerConfig,
    RankingTaskConfig,
    RatingConfig,
)
from tfrecall.schema import features as schema
from tfrecall.schema.baselines import checked_baselines
from tfrecall.schema.negatives import (
    BatchNegatives,
    PairNegatives,
    Popularity,
    SharedNegatives,
    Uniform,
)
from tfrecall.schema.old_negatives import with_negatives
from tfrecall.schema.specs import STRICT
from tfrecall.schema.targets import HistoriesConfig
from tfrecall.schema.training import TrainingConfig

_Fraction = Annotated[float, Field(gt=0, lt=1)]
_Rate = Annotated[float, Field(ge=0, lt=1)]
_Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
# What NumPy's and TensorFlow's generators both take.
_Seed = Annotated[int, Field(ge=0, lt=2**31)]


def _moment(value: Any) -> Any:
    """TOML has dates and numbers of its own; the configuration keeps their text."""
    if isinstance(value, datetime.date):
        return value.isoformat()
    return str(value) if type(value) in (int, float) else value


def _distinct(values: tuple[int, ...]) -> tuple[int, ...]:
    if not values or len(set(values)) < len(values):
        raise ValueError("wanted are one or more lengths of lists, each once")
    return values


def _number(value: Any) -> Any:
    """A whole number stays one, which a range of them needs."""
    if type(value) not in (int, float) or not math.isfinite(value):
        raise ValueError("wanted is a finite number")
    return value


_Number = Annotated[Any, AfterValidator(_number)]


_Activation = Literal["relu", "leaky_relu", "tanh", "linear"]
_TableColumn = Annotated[str, Field(pattern=r"^(log|users|items)\..")]


@dataclass(frozen=True, kw_only=True, config=STRICT)
class DataConfig:
    """Where the log comes from.

    Attributes:
        source: `movielens-100k` or `movielens-1m` (fetched if they are not there), or the path of a
            log: CSV, Parquet, JSON lines.
        folder: with MovieLens, a folder in GroupLens' format to read instead of fetching.
        users: path of the user table.
        items: path of the item table.
        user_column, item_column, timestamp_column, rating_column, weight_column: their names in the
            files. `timestamp_column = ""` says that the log has no times, and that its order is that
            of the file.
        timestamp_unit: of whole-number timestamps; told apart by their size when None.
        missing_items: what to do with rows whose item the item table lacks.
        ignore_columns: columns that are not read, each with its table: `log.price`, `items.photo`.
        list_separators: columns of text that hold lists, and what stands between the values:
            `{ genres = "|" }`.
    """

    source: str = "movielens-100k"
    folder: str | None = None
    users: str | None = None
    items: str | None = None
    user_column: str = "user_id"
    item_column: str = "item_id"
    timestamp_column: str = "timestamp"
    rating_column: str | None = None
    weight_column: str | None = None
    timestamp_unit: Literal["s", "ms", "us", "ns"] | None = None
    missing_items: Literal["refuse", "add", "drop"] = "refuse"
    ignore_columns: tuple[_TableColumn, ...] = ()
    list_separators: dict[str, Annotated[str, Field(min_length=1)]] = Field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, config=STRICT)
class FilterConfig:
    """Which events are learned from and judged by; see `tfrecall.data.filters`.

    Attributes:
        min_rating: events rated lower, or not rated, are left out.
        duplicates: of several events of one user with one item keep `all`, the `first` or the `last`.
        min_user_interactions, min_item_interactions: users, items with fewer events are left out,
            again and again until none is left.
    """

    min_rating: Annotated[float | None, Field(allow_inf_nan=False)] = None
    duplicates: Literal["all", "first", "last"] = "all"
    min_user_interactions: PositiveInt = 1
    min_item_interactions: PositiveInt = 1


@dataclass(frozen=True, kw_only=True, config=STRICT)
class SplitConfig:
    """What is trained on and what is tested on.

    Attributes:
        method: `random`, `leave_last_out` (each user's last event), `by_time`, or `by_user`: train on some
            users, test on one event of each of the others.
        test_fraction: share of the rows, with `random`.
        seed: with `random`.
        at: with `by_time`, the moment that the test rows begin: an ISO date or date-time, or seconds
            since 1970.
        known_users, known_items: with `by_time`, keep only test rows of users, items seen before.
        train_users: with `by_user`, the first so many users of the user table are trained on. Of each
            other user the last event is a test row, and those before it are known when it is asked.
        target_min_rating: with `by_user`, the test row is the last event rated so or higher; what came
            after it is left out.
        validation_fraction: share of the training rows held out to stop by: with `random` drawn at
            random, with `by_time` the latest, with `leave_last_out` each user's second-last event
            whatever the share, with `by_user` one row of each of the last training users, of whom the
            first fit then learns nothing. 0 holds out nothing.
    """

    method: Literal["random", "leave_last_out", "by_time", "by_user"] = "random"
    test_fraction: _Fraction = 0.2
    seed: _Seed = 42
    at: Annotated[str | None, BeforeValidator(_moment)] = None
    known_users: bool = False
    known_items: bool = False
    train_users: PositiveInt | None = None
    target_min_rating: Annotated[float | None, Field(allow_inf_nan=False)] = None
    validation_fraction: _Rate = 0.1


@dataclass(frozen=True, kw_only=True, config=STRICT)
class ModelConfig:
    """A retriever of two towers; its keys are the arguments of `TwoTower`.

    Attributes:
        type: `youtube_dnn` is a two-tower model whose queries are histories and whose candidates are
            rows of an item table; `dssm` one whose scores are cosines.
        layer_sizes: units of the dense layers of both towers; an empty list for none.
        candidate_layer_sizes: units of the candidate tower; None for those of the query tower, with
            `youtube_dnn` for none.
        dropout: share of the values dropped before the first dense layer.
        hidden_dropout: share of the values dropped after each dense layer but the last.
        batch_normalization: whether the values after each dense layer but the last are normalised.
        combine: `concat` puts the vectors of a tower's features side by side, `sum` adds them up.
        activation: of all dense layers but the last; None for `relu`, with `dssm` for `tanh`.
        output_activation: activation of the last dense layer.
        normalize: whether vectors have length one; None for no, with `dssm` for yes.
        embedding_regularization: weight of the squared length of the embeddings used in a step.
        embedding_stddev: standard deviation of initial embeddings; None for Keras' default, uniform
            in +-.05.
        correct_sampling_bias: whether in-batch losses are corrected for the frequency of each candidate
            in the training rows (logQ correction).
        repeats: whether users come back to what they had: the towers then learn from first times only,
            and `Repeats`, fitted on the validation rows, scores a user's own items.
    """

    type: Literal["two_tower", "youtube_dnn", "dssm"] = "two_tower"
    layer_sizes: tuple[PositiveInt, ...] = (64, 32)
    candidate_layer_sizes: tuple[PositiveInt, ...] | None = None
    dropout: _Rate = 0.0
    hidden_dropout: _Rate = 0.0
    batch_normalization: bool = False
    combine: Literal["concat", "sum"] = "concat"
    activation: _Activation | None = None
    output_activation: _Activation = "linear"
    normalize: bool | None = None
    embedding_regularization: Annotated[float, Field(ge=0)] = 0.0
    embedding_stddev: _Positive | None = None
    correct_sampling_bias: bool = True
    repeats: bool = False

    @property
    def is_normalized(self) -> bool:
        """Whether vectors have length one."""
        return self.type == "dssm" if self.normalize is None else self.normalize


def _kind_of_model(value: Any) -> str:
    kind = value.get("type", "") if isinstance(value, dict) else getattr(value, "type", "")
    return "ranker" if str(kind).startswith("rank") else "retriever"


def _read_old_negatives(task: str, values: Any) -> Any:
    """Lets files and callers give the settings of negatives before 0.5."""
    if isinstance(values, ArgsKwargs):
        return ArgsKwargs(values.args, with_negatives(task, values.kwargs or {}))
    return with_negatives(task, values) if isinstance(values, Mapping) else values


@dataclass(frozen=True, kw_only=True, config=STRICT)
class InBatchConfig:
    """In-batch softmax over the distinct candidates of a batch (`InBatchSoftmax`).

    Attributes:
        temperature: scores are divided by it, before the correction.
        correction: what the logQ correction takes for the positive: `standard`, or `without_positive`,
            which leaves it out of the sampled part of the sum.
        frequency: how often a candidate is sampled: `counted` in the training rows, or `streaming`,
            estimated while training.
        negatives: sources beside the candidates of the batch: `mixed`, `cross_batch`, `hard` with
            `hardest`, or a list of some. Without, the batch alone.
    """

    type: Literal["in_batch"] = "in_batch"
    temperature: _Positive = 1.0
    correction: Literal["standard", "without_positive"] = "standard"
    frequency: Literal["counted", "streaming"] = "counted"
    negatives: BatchNegatives = ()

    @model_validator(mode="before")
    @classmethod
    def _read_old(cls, values: Any) -> Any:
        return _read_old_negatives("in_batch", values)


@dataclass(frozen=True, kw_only=True, config=STRICT)
class FullSoftmaxConfig:
    """Softmax over the whole catalogue (`FullSoftmax`).

    Attributes:
        temperature: scores are divided by it.
        block_size: candidates scored at a time, which bounds the memory of a step.
    """

    type: Literal["full_softmax"] = "full_softmax"
    temperature: _Positive = 1.0
    block_size: PositiveInt = 16_384


@dataclass(frozen=True, kw_only=True, config=STRICT)
class SampledSoftmaxConfig:
    """Softmax over the positive and a sample of the catalogue (`SampledSoftmax`).

    Attributes:
        temperature: scores are divided by it, before the correction.
        correction: what the logQ correction makes of the positive: `standard`, or `without_positive`,
            which estimates the full softmax.
        negatives: items drawn from the catalogue for each batch: `popularity`, `uniform` (both with
            `exclude_known = false`, as all rows of a batch share them) or `log_uniform`;
            `per_positive` of them a batch.
    """

    type: Literal["sampled_softmax"] = "sampled_softmax"
    temperature: _Positive = 1.0
    correction: Literal["standard", "without_positive"] = "standard"
    negatives: SharedNegatives = Popularity(255, exclude_known=False)

    @model_validator(mode="before")
    @classmethod
    def _read_old(cls, values: Any) -> Any:
        return _read_old_negatives("sampled_softmax", values)


@dataclass(frozen=True, kw_only=True, config=STRICT)
class TfrsRetrievalConfig:
    """The retrieval task of TensorFlow Recommenders, unchanged (`tfrs.tasks.Retrieval`).

    Attributes:
        temperature: scores are divided by it; None for 1.
        num_hard_negatives: keep the highest-scored negatives of each query, this many; all when None.
        remove_accidental_hits: whether the positive of a row is removed from its negatives.
    """

    type: Literal["tfrs_retrieval"] = "tfrs_retrieval"
    temperature: _Positive | None = None
    num_hard_negatives: PositiveInt | None = None
    remove_accidental_hits: bool = False


@dataclass(frozen=True, kw_only=True, config=STRICT)
class _LogisticConfig:
    negatives: PairNegatives = Uniform()
    gamma: _Positive = 10.0

    @property
    def temperature(self) -> float:
        """What scores are divided by."""
        return 1 / self.gamma


@dataclass(frozen=True, kw_only=True, config=STRICT)
class PointwiseConfig(_LogisticConfig):
    """Binary cross entropy over pairs of a query and an item (`Pointwise`).

    Attributes:
        negatives: the source of negative items, by name or as a table.
        gamma: scores are multiplied by it: 10 suits vectors of length one, 1 free ones.
    """

    type: Literal["pointwise"] = "pointwise"


@dataclass(frozen=True, kw_only=True, config=STRICT)
class DSSMSoftmaxConfig(_LogisticConfig):
    """Softmax over the positive and its own negatives (`DSSMSoftmax`).

    Attributes:
        negatives: the source of negative items, by name or as a table.
        gamma: scores are multiplied by it: 10 suits vectors of length one, 1 free ones.
    """

    type: Literal["dssm_softmax"] = "dssm_softmax"


@dataclass(frozen=True, kw_only=True, config=STRICT)
class BPRConfig(_LogisticConfig):
    """Bayesian personalised ranking: the positive against each of its negatives (`BPR`).

    Attributes:
        negatives: the source of negative items, by name or as a table.
        gamma: differences of scores are multiplied by it: 10 suits vectors of length one, 1 free ones.
    """

    type: Literal["bpr"] = "bpr"


@dataclass(frozen=True, kw_only=True, config=STRICT)
class TripletConfig:
    """Triplet loss: each negative farther from the query than the positive (`Triplet`).

    It needs vectors of length one: `model.normalize = true`, or `model.type = "dssm"`.

    Attributes:
        negatives: the source of negative items, by name or as a table.
        margin: how much farther away a negative has to be than the positive.
        distance: of two vectors: `euclidean`, or `cosine` (1 minus the cosine).
        semi_hard: whether the one nearest negative that is farther away than the positive counts.
    """

    type: Literal["triplet"] = "triplet"
    negatives: PairNegatives = Uniform()
    margin: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 1.0
    distance: Literal["euclidean", "cosine"] = "euclidean"
    semi_hard: bool = False


TaskConfig = Annotated[
    InBatchConfig
    | FullSoftmaxConfig
    | SampledSoftmaxConfig
    | TfrsRetrievalConfig
    | PointwiseConfig
    | DSSMSoftmaxConfig
    | BPRConfig
    | TripletConfig
    | RatingConfig
    | ClickConfig
    | ListConfig,
    Field(discriminator="type"),
]


AnyModelConfig = Annotated[
    Annotated[ModelConfig, Tag("retriever")] | Annotated[RankerConfig, Tag("ranker")],
    Discriminator(_kind_of_model),
]


@dataclass(frozen=True, kw_only=True, config=STRICT)
class EvaluationConfig:
    """How the test rows are judged.

    Attributes:
        ks: lengths of the lists.
        seen: whether what a user had before is `removed` from the user's list, in the column that
            leads tables and in what the release answers by default, or `kept`. `auto` keeps it where
            users of this log come back to the same items.
        baselines: what stands beside the model: names of `tfrecall.schema.baselines`; none for an empty list,
            and without `popularity` the run cannot say whether the model is better. None for
            `popularity` and `item_cf`, with histories also `item_transitions`, and where users come back
            to items their own ones.
    """

    seen: Literal["auto", "removed", "kept"] = "auto"
    ks: Annotated[tuple[PositiveInt, ...], AfterValidator(_distinct)] = (1, 5, 10, 20, 50, 100)
    baselines: Annotated[tuple[str, ...], AfterValidator(checked_baselines)] | None = None


@dataclass(frozen=True, kw_only=True, config=STRICT)
class IndexConfig:
    """The Annoy index that an export builds beside exact search (`tfrecall.index.Annoy`).

    Attributes:
        n_trees: trees of the index; more find more with the same effort, and take more disk and memory.
        target_recall: share of the true best `tune_k` items that the tuned effort has to find.
        tune_k: length of the lists that the effort is tuned for; longer ones get proportionally more.
        seed: of the trees and of the sample of queries.
    """

    n_trees: PositiveInt = 50
    target_recall: Annotated[float, Field(gt=0, le=1)] = 0.95
    tune_k: PositiveInt = 100
    seed: _Seed = 42


@dataclass(frozen=True, kw_only=True, config=STRICT)
class ExportConfig:
    """What the release answers by default.

    Attributes:
        k: length of the lists that the `serving_default` signature gives.
    """

    k: PositiveInt = 10


@dataclass(frozen=True, kw_only=True, config=STRICT)
class TuneConfig:
    """What `tfrecall tune` may choose for one setting: a range or a list.

    Attributes:
        low, high: the ends of a range, both included. Of whole numbers only where both are, and where
            the setting is one.
        log: whether orders of magnitude are equally likely, not equal differences.
        choices: values, each as the setting takes it.
    """

    low: _Number = None
    high: _Number = None
    log: bool = False
    choices: list[Any] | None = None

    def __post_init__(self) -> None:
        if self.choices is not None:
            if not self.choices or self.low is not None or self.high is not None or self.log:
                raise ValueError("wanted are either `choices`, one or more, or `low` and `high`")
        elif self.low is None or self.high is None or self.low >= self.high:
            raise ValueError("wanted are `low` and `high`, the lower first, or `choices`")
        elif self.log and self.low <= 0:
            raise ValueError("with `log` the range begins above 0")


@dataclass(frozen=True, kw_only=True, config=STRICT)
class RunConfig:
    """All of a run.

    Attributes:
        recipe: its name, and the name of the release directory.
        description: one or two sentences for people.
        tune: for the path of a setting what `tfrecall tune` may choose:
            `"training.learning_rate" = { low = 0.001, high = 0.3, log = true }`.
    """

    recipe: Annotated[str, Field(min_length=1, pattern=r"^[^/\\]+$")]
    description: str = ""
    schema: schema.Schema
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
        if self.split.method == "by_time" and self.split.at is None:
            raise ValueError('`split.method = "by_time"` needs `split.at`, the date the test begins')
        _check_ranks(self)
        if self.split.method == "by_user" and self.split.train_users is None:
            raise ValueError(
                '`split.method = "by_user"` needs `split.train_users`, how many to train on'
            )
        if self.task.type == "triplet" and not self.model.is_normalized:
            raise ValueError(
                '`task.type = "triplet"` learns distances, which order as the inner products of answers do '
                "only between vectors of length one: set `model.normalize = true`"
            )
        if self.model.repeats and not self.split.validation_fraction:
            raise ValueError(
                "`model.repeats` is fitted on validation rows: set `split.validation_fraction`"
            )
        history = [feature for feature in self.schema.query if feature.column == "history"]
        if self.model.repeats and any(
            not isinstance(feature, schema.History) or feature.is_rated for feature in history
        ):
            raise ValueError(
                'with `model.repeats` a request says in "history" what a user had, all of it. Give the '
                f"query feature {history[0]} another `column`"
            )
        if self.training.refit and not (self.split.validation_fraction and self.training.patience):
            raise ValueError(
                "`training.refit` needs validation rows (`split.validation_fraction`) and "
                "`training.patience` to find the number of epochs"
            )

    @property
    def ranks(self) -> bool:
        """Whether it is a run of a ranker, which scores pairs, not of a retriever."""
        return isinstance(self.model, RankerConfig)

    def to_dict(self) -> dict[str, Any]:
        """The plain form, without what is None."""
        return _without_none(TypeAdapter(RunConfig).dump_python(self, mode="json"))

    def to_toml(self) -> str:
        return tomli_w.dumps(self.to_dict())


def _check_ranks(config: RunConfig) -> None:
    """Refuses a task that does not go with the model, and settings that say nothing to it."""
    task = config.task
    if not isinstance(task, RankingTaskConfig):
        if config.ranks:
            raise ValueError(
                '`model.type = "ranker"` predicts a label of each row: set `task.type` to "rating", "click" or '
                f'"list". Received: "{task.type}"'
            )
        return
    if not config.ranks:
        raise ValueError(
            f'`task.type = "{task.type}"` is of a ranker: set `model.type = "ranker"`, or another task'
        )
    if config.training.monitor not in task.metrics:
        raise ValueError(
            f"`training.monitor` of a ranker is one of {', '.join(task.metrics)}. Received: "
            f'"{config.training.monitor}"'
        )
    for name, default in (
        ("histories", HistoriesConfig()),
        ("index", IndexConfig()),
        ("export", ExportConfig()),
        ("evaluation", EvaluationConfig()),
    ):
        if getattr(config, name) != default:
            raise ValueError(
                f"`[{name}]` is of retrievers: a ranker learns from every row, and scores what it is given. "
                "Leave it out"
            )


def _without_none(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_none(inner) for key, inner in value.items() if inner is not None}
    if isinstance(value, list):
        return [_without_none(inner) for inner in value]
    return value
