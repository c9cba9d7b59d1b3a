"""The sections of a configuration that only a ranker has: its model, and what it predicts."""

from typing import Annotated, ClassVar, Literal

from pydantic import AfterValidator, Field, PositiveInt
from pydantic.dataclasses import dataclass

from tfrecall.schema.labels import Label
from tfrecall.schema.specs import STRICT

_Rate = Annotated[float, Field(ge=0, lt=1)]
_Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
_Weight = Annotated[float, Field(ge=0, allow_inf_nan=False)]
_Finite = Annotated[float | None, Field(allow_inf_nan=False)]
_Activation = Literal["relu", "leaky_relu", "tanh", "linear"]
_Cross = Literal["concat", "elementwise", "dcn", "dot_interaction", "dot"]


def _each_once(values: tuple[str, ...]) -> tuple[str, ...]:
    if not values or len(set(values)) < len(values):
        raise ValueError("wanted are one or more crosses, each once")
    return values


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
        global_mean: whether scores begin at the one score that suits all training rows best.
        dropout: share of the values dropped before the first dense layer.
        hidden_dropout: share of the values dropped after each dense layer.
        batch_normalization: whether the values after each dense layer are normalised.
        activation: of the dense layers.
        embedding_regularization: weight of the squared length of the embeddings used in a step.
        bias_regularization: weight of the squares of `biases`.
        embedding_stddev: standard deviation of initial embeddings; None for Keras' default, uniform
            in +-.05.
        start_from: the path of a release of a retriever (`saved_models/...`), trained on the same rows,
            whose vectors of users and items the embeddings of their ids begin with.
    """

    type: Literal["ranker"] = "ranker"
    layer_sizes: tuple[PositiveInt, ...] = (256, 64)
    crosses: Annotated[tuple[_Cross, ...], AfterValidator(_each_once)] = ("concat",)
    cross_layers: PositiveInt = 1
    cross_projection: PositiveInt | None = None
    biases: tuple[str, ...] = ()
    global_mean: bool = True
    dropout: _Rate = 0.0
    hidden_dropout: _Rate = 0.0
    batch_normalization: bool = False
    activation: _Activation = "relu"
    embedding_regularization: _Weight = 0.0
    bias_regularization: _Weight = 0.0
    embedding_stddev: _Positive | None = None
    start_from: str | None = None
    # What only retrievers have.
    repeats: ClassVar[bool] = False
    is_normalized: ClassVar[bool] = False


@dataclass(frozen=True, kw_only=True, config=STRICT)
class _LabelConfig:
    """What a ranker predicts.

    Attributes:
        label: the column of the log.
        low, high: the range of its values, which others are refused by; None for no end.
    """

    label: str = "rating"
    low: _Finite = None
    high: _Finite = None

    def __post_init__(self) -> None:
        self.target  # noqa: B018 - which refuses a range that is none

    @property
    def target(self) -> Label:
        """The column, its range, and what is made of it."""
        return Label(self.label, self.low, self.high, getattr(self, "threshold", None))


@dataclass(frozen=True, kw_only=True, config=STRICT)
class RatingConfig(_LabelConfig):
    """Predict a number, by squared error (`Ratings`).

    Attributes:
        label: the column of the log that is predicted.
        low, high: the range of its values, both ends included; None for no end.
    """

    type: Literal["rating"] = "rating"
    metrics: ClassVar[tuple[str, ...]] = ("rmse", "mae", "loss")


@dataclass(frozen=True, kw_only=True, config=STRICT)
class ClickConfig(_LabelConfig):
    """Predict whether a label is reached, by binary cross entropy (`Clicks`).

    Attributes:
        label: the column of the log that is predicted.
        low, high: the range of its values, both ends included; None for no end.
        threshold: values of the label from here on are clicks; None where they are 0 and 1 already.
    """

    type: Literal["click"] = "click"
    threshold: _Finite = None
    metrics: ClassVar[tuple[str, ...]] = ("auc", "loss")

    @property
    def target(self) -> Label:
        """The column, its range, and what is made of it."""
        if self.threshold is None:
            return Label(self.label, 0 if self.low is None else self.low, self.high or 1)
        return Label(self.label, self.low, self.high, self.threshold)


@dataclass(frozen=True, kw_only=True, config=STRICT)
class ListConfig(_LabelConfig):
    """Order the rows of a list by their label, by a listwise softmax (`Lists`).

    Attributes:
        label: the column of the log that is predicted.
        low, high: the range of its values, both ends included; None for no end.
        group: the column that names the list of a row.
        gain: of a label: itself, or `exponential`, 2^label - 1.
        k: length of the lists that NDCG is measured over.
    """

    type: Literal["list"] = "list"
    group: str = "user_id"
    gain: Literal["linear", "exponential"] = "exponential"
    k: PositiveInt = 10
    metrics: ClassVar[tuple[str, ...]] = ("ndcg", "loss")


RankingTaskConfig = RatingConfig | ClickConfig | ListConfig
