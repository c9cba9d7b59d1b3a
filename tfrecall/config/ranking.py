"""Configuration of the tasks of rankers: ratings, clicks, lists."""

from typing import ClassVar, Literal

from pydantic import PositiveInt
from pydantic.dataclasses import dataclass

from tfrecall.schema.labels import Label
from tfrecall.schema.specs import STRICT, Finite


@dataclass(frozen=True, kw_only=True, config=STRICT)
class _LabelConfig:
    """Label that a ranker predicts.

    Attributes:
        label: column of the log.
        low, high: declared range of its values; None for no bound.
    """

    label: str = "rating"
    low: Finite = None
    high: Finite = None

    def __post_init__(self) -> None:
        self.target  # noqa: B018 - refuses an empty range

    @property
    def target(self) -> Label:
        """The specification of the label."""
        return Label(self.label, self.low, self.high, getattr(self, "threshold", None))


@dataclass(frozen=True, kw_only=True, config=STRICT)
class RatingConfig(_LabelConfig):
    """Predict a number, by squared error (`Ratings`).

    Attributes:
        label: column of the log to predict.
        low, high: range of its values, both ends included; None for no bound.
    """

    type: Literal["rating"] = "rating"
    metrics: ClassVar[tuple[str, ...]] = ("rmse", "mae", "loss")


@dataclass(frozen=True, kw_only=True, config=STRICT)
class ClickConfig(_LabelConfig):
    """Predict whether a label is reached, by binary cross entropy (`Clicks`).

    Attributes:
        label: column of the log to predict.
        low, high: range of its values, both ends included; None for no bound.
        threshold: values from here on are clicks; None for labels that are 0 and 1 already.
    """

    type: Literal["click"] = "click"
    threshold: Finite = None
    metrics: ClassVar[tuple[str, ...]] = ("auc", "loss")

    @property
    def target(self) -> Label:
        """The specification of the label."""
        # Without a threshold labels are 0 and 1 already: that range is checked.
        if self.threshold is None:
            return Label(self.label, 0 if self.low is None else self.low, self.high or 1)
        return Label(self.label, self.low, self.high, self.threshold)


@dataclass(frozen=True, kw_only=True, config=STRICT)
class ListConfig(_LabelConfig):
    """Order the rows of a list by their label, by a listwise softmax (`Lists`).

    Attributes:
        label: column of the log to predict.
        low, high: range of its values, both ends included; None for no bound.
        group: column whose values identify the lists.
        gain: gain of a label: `linear`, the label itself, or `exponential`, 2^label - 1.
        k: length of the lists for NDCG.
    """

    type: Literal["list"] = "list"
    group: str = "user_id"
    gain: Literal["linear", "exponential"] = "exponential"
    k: PositiveInt = 10
    metrics: ClassVar[tuple[str, ...]] = ("ndcg", "loss")


RankingTaskConfig = RatingConfig | ClickConfig | ListConfig
