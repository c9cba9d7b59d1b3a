"""Configuration of the task: one dataclass a loss of retrievers, and the union with the tasks of rankers."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, PositiveInt, model_validator
from pydantic.dataclasses import dataclass
from pydantic_core import ArgsKwargs

from tfrecall.config.ranking import ClickConfig, ListConfig, RatingConfig
from tfrecall.schema.negatives import (
    BatchNegatives,
    PairNegatives,
    Popularity,
    SharedNegatives,
    Uniform,
)
from tfrecall.schema.old_negatives import with_negatives
from tfrecall.schema.specs import STRICT, Positive, Weight


def _read_old_negatives(task: str, values: Any) -> Any:
    """Translate settings of negatives from before 0.5, in files and in calls."""
    # Pydantic passes a dictionary for a file, and `ArgsKwargs` for a constructor call from Python.
    if isinstance(values, ArgsKwargs):
        return ArgsKwargs(values.args, with_negatives(task, values.kwargs or {}))
    return with_negatives(task, values) if isinstance(values, Mapping) else values


@dataclass(frozen=True, kw_only=True, config=STRICT)
class InBatchConfig:
    """In-batch softmax over the distinct candidates of a batch (`InBatchSoftmax`).

    Attributes:
        temperature: scores are divided by it, before the correction.
        correction: logQ correction: `standard`, or `without_positive`, which leaves the positive out of
            the sampled part of the sum.
        frequency: sampling frequency of a candidate: `counted` in the training rows, or `streaming`,
            estimated while training.
        negatives: further sources in addition to the candidates of the batch: `mixed`, `cross_batch`,
            `hard` with `hardest`, or a list of them; by default none.
    """

    type: Literal["in_batch"] = "in_batch"
    temperature: Positive = 1.0
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
    temperature: Positive = 1.0
    block_size: PositiveInt = 16_384


@dataclass(frozen=True, kw_only=True, config=STRICT)
class SampledSoftmaxConfig:
    """Softmax over the positive and a sample of the catalogue (`SampledSoftmax`).

    Attributes:
        temperature: scores are divided by it, before the correction.
        correction: logQ correction: `standard`, or `without_positive`, which estimates the full softmax.
        negatives: source of the negatives of a batch, `per_positive` of them: `popularity` or `uniform`,
            with `exclude_known = false` because all rows of a batch share them, or `log_uniform`.
    """

    type: Literal["sampled_softmax"] = "sampled_softmax"
    temperature: Positive = 1.0
    correction: Literal["standard", "without_positive"] = "standard"
    negatives: SharedNegatives = Popularity(255, exclude_known=False)

    @model_validator(mode="before")
    @classmethod
    def _read_old(cls, values: Any) -> Any:
        return _read_old_negatives("sampled_softmax", values)


@dataclass(frozen=True, kw_only=True, config=STRICT)
class ScalableCrossEntropyConfig:
    """Softmax over hard candidates, found in random buckets, for large catalogues (`ScalableCrossEntropy`).

    Attributes:
        num_buckets: number of random directions in a step.
        bucket_queries: queries of each bucket; times `num_buckets` some two to five times the batch size.
        bucket_candidates: candidates of each bucket.
        temperature: scores are divided by it.
        mix: whether directions are random mixtures of the queries of the batch.
    """

    type: Literal["scalable_cross_entropy"] = "scalable_cross_entropy"
    num_buckets: PositiveInt = 128
    bucket_queries: PositiveInt = 128
    bucket_candidates: PositiveInt = 256
    temperature: Positive = 1.0
    mix: bool = True


@dataclass(frozen=True, kw_only=True, config=STRICT)
class TfrsRetrievalConfig:
    """The retrieval task of TensorFlow Recommenders, unchanged (`tfrs.tasks.Retrieval`).

    Attributes:
        temperature: scores are divided by it; None for 1.
        num_hard_negatives: number of highest-scored negatives of each query that count; None for all.
        remove_accidental_hits: whether the positive of a row is removed from its negatives.
    """

    type: Literal["tfrs_retrieval"] = "tfrs_retrieval"
    temperature: Positive | None = None
    num_hard_negatives: PositiveInt | None = None
    remove_accidental_hits: bool = False


@dataclass(frozen=True, kw_only=True, config=STRICT)
class _LogisticConfig:
    """Settings of the losses that multiply scores by gamma."""

    negatives: PairNegatives = Uniform()
    gamma: Positive = 10.0

    @property
    def temperature(self) -> float:
        """Divisor of the scores."""
        return 1 / self.gamma


@dataclass(frozen=True, kw_only=True, config=STRICT)
class PointwiseConfig(_LogisticConfig):
    """Binary cross entropy over pairs of a query and an item (`Pointwise`).

    Attributes:
        negatives: source of the negatives, by name or as a table.
        gamma: scores are multiplied by it: 10 suits vectors of length one, 1 free ones.
    """

    type: Literal["pointwise"] = "pointwise"


@dataclass(frozen=True, kw_only=True, config=STRICT)
class DSSMSoftmaxConfig(_LogisticConfig):
    """Softmax over the positive and its own negatives (`DSSMSoftmax`).

    Attributes:
        negatives: source of the negatives, by name or as a table.
        gamma: scores are multiplied by it: 10 suits vectors of length one, 1 free ones.
    """

    type: Literal["dssm_softmax"] = "dssm_softmax"


@dataclass(frozen=True, kw_only=True, config=STRICT)
class BPRConfig(_LogisticConfig):
    """Bayesian personalised ranking: the positive against each of its negatives (`BPR`).

    Attributes:
        negatives: source of the negatives, by name or as a table.
        gamma: differences of scores are multiplied by it: 10 suits vectors of length one, 1 free ones.
    """

    type: Literal["bpr"] = "bpr"


@dataclass(frozen=True, kw_only=True, config=STRICT)
class TripletConfig:
    """Triplet loss: each negative farther from the query than the positive (`Triplet`).

    It needs vectors of length one: `model.normalize = true`, or `model.type = "dssm"`.

    Attributes:
        negatives: source of the negatives, by name or as a table.
        margin: least difference between the distances of a negative and of the positive.
        distance: distance of two vectors: `euclidean`, or `cosine` (1 minus the cosine).
        semi_hard: whether only the nearest negative beyond the positive counts.
    """

    type: Literal["triplet"] = "triplet"
    negatives: PairNegatives = Uniform()
    margin: Weight = 1.0
    distance: Literal["euclidean", "cosine"] = "euclidean"
    semi_hard: bool = False


TaskConfig = Annotated[
    InBatchConfig
    | FullSoftmaxConfig
    | SampledSoftmaxConfig
    | ScalableCrossEntropyConfig
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
