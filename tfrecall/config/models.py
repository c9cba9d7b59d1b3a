"""Configuration of the model: retrievers of two towers, rankers, Bayesian rankers, baselines."""

from typing import Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, Discriminator, Field, PositiveInt, Tag
from pydantic.dataclasses import dataclass

from tfrecall.schema.baselines import BASELINES, BaselineName
from tfrecall.schema.specs import STRICT, Activation, Positive, Rate, Weight, one_or_more_distinct

_Cross = Literal["concat", "elementwise", "dcn", "dot_interaction", "dot"]


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
        candidate_dropout: the same of the candidate tower, where it differs: 0 drops values of queries alone.
        hidden_dropout: share of the values dropped after each dense layer but the last.
        batch_normalization: whether the values after each dense layer but the last are normalised.
        combine: `concat` puts the vectors of a tower's features side by side, `sum` adds them up.
        activation: activation of all dense layers but the last; None for `relu`, with `dssm` for `tanh`.
        output_activation: activation of the last dense layer.
        normalize: whether vectors have length one; None for no, with `dssm` for yes.
        embedding_regularization: weight of the squared length of the embeddings used in a step.
        embedding_stddev: standard deviation of initial embeddings; None for Keras' default, uniform
            in +-.05.
        correct_sampling_bias: whether in-batch losses are corrected for the frequency of each candidate
            in the training rows (logQ correction).
        repeats: whether users repeat items: the towers then train on first events of each item only, and
            `Repeats`, fitted on the validation rows, scores a user's own items.
    """

    type: Literal["two_tower", "youtube_dnn", "dssm"] = "two_tower"
    layer_sizes: tuple[PositiveInt, ...] = (64, 32)
    candidate_layer_sizes: tuple[PositiveInt, ...] | None = None
    dropout: Rate = 0.0
    candidate_dropout: Rate | None = None
    hidden_dropout: Rate = 0.0
    batch_normalization: bool = False
    combine: Literal["concat", "sum"] = "concat"
    activation: Activation | None = None
    output_activation: Activation = "linear"
    normalize: bool | None = None
    embedding_regularization: Annotated[float, Field(ge=0)] = 0.0
    embedding_stddev: Positive | None = None
    correct_sampling_bias: bool = True
    repeats: bool = False

    @property
    def is_normalized(self) -> bool:
        """Whether vectors have length one."""
        return self.type == "dssm" if self.normalize is None else self.normalize


@dataclass(frozen=True, kw_only=True, config=STRICT)
class RankerConfig:
    """A model that scores pairs of a query and a candidate; its keys are the arguments of `Ranker`.

    Attributes:
        layer_sizes: units of the dense layers before the last, which has one; an empty list for none.
        crosses: the ways to combine both sides: `concat` (their vectors side by side), `elementwise`
            (products), `dcn` and `dot_interaction` (TFRS' layers), `dot` (their inner product, added to
            the score).
        cross_layers: layers of `dcn`.
        cross_projection: length of the low-rank projection in `dcn`; None for full matrices.
        biases: columns of categorical features that get a number for each value.
        global_mean: whether scores start from the best constant score of the training rows.
        dropout: share of the values dropped before the first dense layer.
        hidden_dropout: share of the values dropped after each dense layer.
        batch_normalization: whether the values after each dense layer are normalised.
        activation: activation of the dense layers.
        embedding_regularization: weight of the squared length of the embeddings used in a step.
        bias_regularization: weight of the squares of `biases`.
        embedding_stddev: standard deviation of initial embeddings; None for Keras' default, uniform
            in +-.05.
        start_from: path of a release of a retriever (`saved_models/...`), trained on the same rows, whose
            vectors of users and items initialise the embeddings of their ids (warm start).
    """

    type: Literal["ranker"] = "ranker"
    layer_sizes: tuple[PositiveInt, ...] = (256, 64)
    crosses: Annotated[tuple[_Cross, ...], AfterValidator(one_or_more_distinct)] = ("concat",)
    cross_layers: PositiveInt = 1
    cross_projection: PositiveInt | None = None
    biases: tuple[str, ...] = ()
    global_mean: bool = True
    dropout: Rate = 0.0
    hidden_dropout: Rate = 0.0
    batch_normalization: bool = False
    activation: Activation = "relu"
    embedding_regularization: Weight = 0.0
    bias_regularization: Weight = 0.0
    embedding_stddev: Positive | None = None
    start_from: str | None = None
    # Settings of retrievers only.
    repeats: ClassVar[bool] = False
    is_normalized: ClassVar[bool] = False


@dataclass(frozen=True, kw_only=True, config=STRICT)
class BayesianRankerConfig:
    """A ranker of ratings that averages draws; its keys are the arguments of `BayesianRanker`.

    Attributes:
        draws: number of draws from the posterior that are averaged, the newest of `training.epochs`.
        sweeps: sweeps of the sampler in an epoch, whose last one is a draw.
        raters: whether the users who rated an item in the training rows tell of its vector.
    """

    type: Literal["bayesian_ranker"] = "bayesian_ranker"
    draws: PositiveInt = 40
    sweeps: PositiveInt = 4
    raters: bool = True
    # Settings of models that are trained by gradients.
    layer_sizes: ClassVar[tuple[int, ...]] = ()
    dropout: ClassVar[float] = 0.0
    repeats: ClassVar[bool] = False
    is_normalized: ClassVar[bool] = False


@dataclass(frozen=True, kw_only=True, config=STRICT)
class BaselineConfig:
    """A retriever that counts: it is fitted to all known rows in one pass, without epochs.

    Attributes:
        type: name of the baseline.
        settings: arguments of its class that differ from the defaults, such as `{ l2 = 300.0 }` of `ease`.
    """

    type: BaselineName
    settings: dict[str, Any] = Field(default_factory=dict)
    # Settings of models that are trained.
    layer_sizes: ClassVar[tuple[int, ...]] = ()
    dropout: ClassVar[float] = 0.0
    repeats: ClassVar[bool] = False
    is_normalized: ClassVar[bool] = False


def _kind_of_model(value: Any) -> str:
    # Pydantic's own choice between the classes would report the errors of all. By prefix, so that a
    # misspelt `rankr` gets the errors of a ranker.
    kind = str(value.get("type", "") if isinstance(value, dict) else getattr(value, "type", ""))
    if kind in BASELINES:
        return "baseline"
    if kind.startswith("bayes"):
        return "bayesian"
    return "ranker" if kind.startswith("rank") else "retriever"


AnyModelConfig = Annotated[
    Annotated[ModelConfig, Tag("retriever")]
    | Annotated[RankerConfig, Tag("ranker")]
    | Annotated[BayesianRankerConfig, Tag("bayesian")]
    | Annotated[BaselineConfig, Tag("baseline")],
    Discriminator(_kind_of_model),
]
