"""The recall stage of recommenders for Keras: from an interaction log to a served top-K.

Public names are loaded when they are first used: importing tfrecall does not import TensorFlow.
"""

import importlib
from typing import Any

_MODULE_OF = {
    "ALS": "tfrecall.baselines.als",
    "BPR": "tfrecall.tasks.pairwise",
    "BayesianRanker": "tfrecall.models.bayesian_ranker",
    "Bucketized": "tfrecall.schema.features",
    "Boost": "tfrecall.release.rules",
    "CandidateTower": "tfrecall.models.towers",
    "Categorical": "tfrecall.schema.features",
    "Custom": "tfrecall.schema.features",
    "CustomFeature": "tfrecall.layers.custom",
    "DSSM": "tfrecall.models.dssm",
    "DSSMSoftmax": "tfrecall.tasks.pairwise",
    "ExampleAge": "tfrecall.schema.features",
    "Day": "tfrecall.schema.features",
    "EASE": "tfrecall.baselines.ease",
    "Clicks": "tfrecall.tasks.ranking",
    "Codes": "tfrecall.schema.features",
    "ExactTopK": "tfrecall.tasks.metrics",
    "FeaturePopularity": "tfrecall.baselines.feature_popularity",
    "FullSoftmax": "tfrecall.tasks.full_softmax",
    "History": "tfrecall.schema.features",
    "InBatchSoftmax": "tfrecall.tasks.in_batch",
    "ItemCF": "tfrecall.baselines.item_cf",
    "ItemTransitions": "tfrecall.baselines.item_transitions",
    "Label": "tfrecall.schema.labels",
    "Lists": "tfrecall.tasks.ranking",
    "MultiCategorical": "tfrecall.schema.features",
    "MultiTask": "tfrecall.models.multitask",
    "Numeric": "tfrecall.schema.features",
    "PairAUC": "tfrecall.tasks.metrics",
    "Pointwise": "tfrecall.tasks.pairwise",
    "Pipeline": "tfrecall.exporting.pipeline",
    "Popularity": "tfrecall.baselines.popularity",
    "ProgressReporter": "tfrecall.core.progress",
    "QueryTower": "tfrecall.models.towers",
    "Ranker": "tfrecall.models.ranker",
    "Ratings": "tfrecall.tasks.ranking",
    "Rules": "tfrecall.release.rules",
    "SampledSoftmax": "tfrecall.tasks.sampled_softmax",
    "ScalableCrossEntropy": "tfrecall.tasks.scalable_cross_entropy",
    "Schema": "tfrecall.schema.features",
    "StreamingFrequency": "tfrecall.layers.frequency",
    "Swing": "tfrecall.baselines.swing",
    "Text": "tfrecall.schema.features",
    "TfrecallError": "tfrecall.errors",
    "TrainingExamples": "tfrecall.training.inputs.examples",
    "Trending": "tfrecall.baselines.trending",
    "Triplet": "tfrecall.tasks.triplet",
    "TwoTower": "tfrecall.models.two_tower",
    "UserCF": "tfrecall.baselines.user_cf",
    "Vector": "tfrecall.schema.features",
    "YouTubeDNN": "tfrecall.models.youtube_dnn",
    "change_items": "tfrecall.exporting.items",
    "compare": "tfrecall.evaluation.comparison",
    "cross_validate": "tfrecall.runs.cross_validation",
    "evaluate": "tfrecall.evaluation",
    "export": "tfrecall.exporting.export",
    "export_pipeline": "tfrecall.exporting.pipeline",
    "export_ranker": "tfrecall.exporting.ranker",
    "fit": "tfrecall.training",
    "keras": "tfrecall._keras",
    "load": "tfrecall.release",
    "load_config": "tfrecall.config.recipes",
    "order_test": "tfrecall.evaluation",
    "stage_losses": "tfrecall.evaluation",
    "validation_examples": "tfrecall.training.inputs.examples",
    "warm_start": "tfrecall.training.warm_start",
}
# Rooms, and modules inside them, that are used as namespaces: `tfrecall.negatives.Uniform()`.
_MODULES = {
    "data": "tfrecall.data",
    "encoders": "tfrecall.schema.encoders",
    "index": "tfrecall.index",
    "negatives": "tfrecall.schema.negatives",
    "report": "tfrecall.report",
}

__all__ = ["__version__", *_MODULE_OF, *_MODULES]


def __getattr__(name: str) -> Any:
    if name in _MODULE_OF:
        return getattr(importlib.import_module(_MODULE_OF[name]), name)
    if name in _MODULES:
        return importlib.import_module(_MODULES[name])
    if name == "__version__":
        from importlib.metadata import version

        return version("tfrecall")
    raise AttributeError(f"module 'tfrecall' has no attribute '{name}'")


def __dir__() -> list[str]:
    return sorted(__all__)
