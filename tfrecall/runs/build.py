"""Untrained models from configurations: networks, and baselines that are not fitted."""

import functools
from typing import Any, cast

from tfrecall._keras import keras, tfrs
from tfrecall.baselines.base import HistoryModel
from tfrecall.baselines.registry import make_baseline
from tfrecall.config.models import (
    BaselineConfig,
    BayesianRankerConfig,
    ModelConfig,
    RankerConfig,
)
from tfrecall.config.ranking import ClickConfig, ListConfig, RankingTaskConfig, RatingConfig
from tfrecall.config.run import RunConfig
from tfrecall.config.tasks import (
    BPRConfig,
    DSSMSoftmaxConfig,
    FullSoftmaxConfig,
    InBatchConfig,
    PointwiseConfig,
    SampledSoftmaxConfig,
    ScalableCrossEntropyConfig,
    TfrsRetrievalConfig,
    TripletConfig,
)
from tfrecall.models.bayesian_ranker import BayesianRanker
from tfrecall.models.dssm import DSSM
from tfrecall.models.ranker import Ranker
from tfrecall.models.two_tower import TwoTower
from tfrecall.models.youtube_dnn import YouTubeDNN
from tfrecall.tasks.full_softmax import FullSoftmax
from tfrecall.tasks.in_batch import InBatchSoftmax
from tfrecall.tasks.pairwise import BPR, DSSMSoftmax, Pointwise
from tfrecall.tasks.ranking import Clicks, Lists, Ratings
from tfrecall.tasks.sampled_softmax import SampledSoftmax
from tfrecall.tasks.scalable_cross_entropy import ScalableCrossEntropy
from tfrecall.tasks.triplet import Triplet


def baseline_of(config: RunConfig) -> HistoryModel:
    """Make the baseline of a configuration, which is not fitted.

    Raises:
        ConfigError: if it has no such setting, or one is out of range.
    """
    model = cast(BaselineConfig, config.model)
    return make_baseline(model.type, model.settings)


def make_model(config: RunConfig) -> TwoTower | Ranker:
    """Make the untrained model of a configuration.

    Returns:
        A `Ranker` or a `BayesianRanker` for a configuration whose model is one, else a `TwoTower`, a
        `YouTubeDNN` or a `DSSM`.
    """
    task = make_task(config.task)
    if isinstance(config.model, RankerConfig):
        return _ranker(config, config.model, task)
    if isinstance(config.model, BayesianRankerConfig):
        return _bayesian(config, config.model, task)
    return _retriever(config, cast(ModelConfig, config.model), task)


def _ranker(config: RunConfig, model: RankerConfig, task: keras.layers.Layer) -> Ranker:
    return Ranker(
        config.schema,
        model.layer_sizes,
        task=task,
        label=cast(RankingTaskConfig, config.task).target,
        crosses=model.crosses,
        cross_layers=model.cross_layers,
        cross_projection=model.cross_projection,
        biases=model.biases,
        global_mean=model.global_mean,
        dropout=model.dropout,
        hidden_dropout=model.hidden_dropout,
        batch_normalization=model.batch_normalization,
        activation=model.activation,
        embedding_regularization=model.embedding_regularization,
        bias_regularization=model.bias_regularization,
        embedding_stddev=model.embedding_stddev,
        name=config.recipe,
    )


def _bayesian(
    config: RunConfig, model: BayesianRankerConfig, task: keras.layers.Layer
) -> BayesianRanker:
    return BayesianRanker(
        config.schema,
        model.draws,
        sweeps=model.sweeps,
        raters=model.raters,
        task=task,
        label=cast(RankingTaskConfig, config.task).target,
        name=config.recipe,
    )


def _retriever(config: RunConfig, model: ModelConfig, task: keras.layers.Layer) -> TwoTower:
    classes = {"two_tower": TwoTower, "youtube_dnn": YouTubeDNN, "dssm": DSSM}
    # None means "not set": the classes have different defaults, so the argument is left out.
    own: dict[str, Any] = {"activation": model.activation, "normalize": model.normalize}
    return classes[model.type](
        config.schema,
        model.layer_sizes,
        candidate_layer_sizes=model.candidate_layer_sizes,
        task=task,
        dropout=model.dropout,
        candidate_dropout=model.candidate_dropout,
        hidden_dropout=model.hidden_dropout,
        batch_normalization=model.batch_normalization,
        combine=model.combine,
        output_activation=model.output_activation,
        embedding_regularization=model.embedding_regularization,
        embedding_stddev=model.embedding_stddev,
        correct_sampling_bias=model.correct_sampling_bias,
        name=config.recipe,
        **{name: value for name, value in own.items() if value is not None},
    )


@functools.singledispatch
def make_task(config: Any) -> keras.layers.Layer:
    """Make the task of its configuration, such as `InBatchSoftmax` of an `InBatchConfig`."""
    raise TypeError(f"{type(config).__name__} configures no task.")


@make_task.register
def _(config: InBatchConfig) -> keras.layers.Layer:
    return InBatchSoftmax(
        config.temperature,
        negatives=config.negatives,
        correction=config.correction,
        frequency=config.frequency,
    )


@make_task.register
def _(config: FullSoftmaxConfig) -> keras.layers.Layer:
    return FullSoftmax(config.temperature, block_size=config.block_size)


@make_task.register
def _(config: SampledSoftmaxConfig) -> keras.layers.Layer:
    return SampledSoftmax(
        negatives=config.negatives,
        temperature=config.temperature,
        correction=config.correction,
    )


@make_task.register
def _(config: ScalableCrossEntropyConfig) -> keras.layers.Layer:
    return ScalableCrossEntropy(
        config.num_buckets,
        config.bucket_queries,
        config.bucket_candidates,
        temperature=config.temperature,
        mix=config.mix,
    )


@make_task.register
def _(config: TfrsRetrievalConfig) -> keras.layers.Layer:
    return tfrs.tasks.Retrieval(
        temperature=config.temperature,
        num_hard_negatives=config.num_hard_negatives,
        remove_accidental_hits=config.remove_accidental_hits,
    )


@make_task.register
def _(config: PointwiseConfig) -> keras.layers.Layer:
    return Pointwise(config.negatives, gamma=config.gamma)


@make_task.register
def _(config: DSSMSoftmaxConfig) -> keras.layers.Layer:
    return DSSMSoftmax(config.negatives, gamma=config.gamma)


@make_task.register
def _(config: BPRConfig) -> keras.layers.Layer:
    return BPR(config.negatives, gamma=config.gamma)


@make_task.register
def _(config: TripletConfig) -> keras.layers.Layer:
    return Triplet(
        config.negatives,
        margin=config.margin,
        distance=config.distance,
        semi_hard=config.semi_hard,
    )


@make_task.register
def _(config: RatingConfig) -> keras.layers.Layer:
    return Ratings()


@make_task.register
def _(config: ClickConfig) -> keras.layers.Layer:
    return Clicks()


@make_task.register
def _(config: ListConfig) -> keras.layers.Layer:
    return Lists(config.group, config.gain, config.k)
