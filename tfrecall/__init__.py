"""The recall stage of recommenders for Keras: from an interaction log to a served top-K.

Public names are loaded when they are first used: importing tfrecall does not import TensorFlow.
"""

import importlib
from typing import Any

_MODULE_OF = {
    "ALS": "tfrecall.models.als",
    "BPR": "tfrecall.tasks.bpr",
    "Bucketized": "tfrecall.schema",
    "Boost": "tfrecall.release.rules",
    "CandidateTower": "tfrecall.models.towers",
    "Categorical": "tfrecall.schema",
    "DSSM": "tfrecall.models.dssm",
    "DSSMSoftmax": "tfrecall.tasks.dssm_softmax",
    "ExampleAge": "tfrecall.schema",
    "EASE": "tfrecall.models.ease",
    "Clicks": "tfrecall.tasks.ranking",
    "ExactTopK": "tfrecall.tasks.top_k",
    "FullSoftmax": "tfrecall.tasks.full_softmax",
    "History": "tfrecall.schema",
    "InBatchSoftmax": "tfrecall.tasks.in_batch",
    "ItemCF": "tfrecall.models.item_cf",
    "ItemTransitions": "tfrecall.models.item_transitions",
    "Label": "tfrecall.labels",
    "Lists": "tfrecall.tasks.ranking",
    "MultiCategorical": "tfrecall.schema",
    "MultiTask": "tfrecall.models.multitask",
    "Numeric": "tfrecall.schema",
    "PairAUC": "tfrecall.tasks.auc",
    "Pointwise": "tfrecall.tasks.pointwise",
    "Pipeline": "tfrecall.exporting.pipeline",
    "Popularity": "tfrecall.models.popularity",
    "QueryTower": "tfrecall.models.towers",
    "Ranker": "tfrecall.models.ranker",
    "Ratings": "tfrecall.tasks.ranking",
    "Rules": "tfrecall.release.rules",
    "SampledSoftmax": "tfrecall.tasks.sampled_softmax",
    "Schema": "tfrecall.schema",
    "StreamingFrequency": "tfrecall.layers.frequency",
    "Swing": "tfrecall.models.swing",
    "Text": "tfrecall.schema",
    "TfrecallError": "tfrecall.errors",
    "TrainingExamples": "tfrecall.models.examples",
    "Triplet": "tfrecall.tasks.triplet",
    "TwoTower": "tfrecall.models.two_tower",
    "UserCF": "tfrecall.models.user_cf",
    "YouTubeDNN": "tfrecall.models.youtube_dnn",
    "compare": "tfrecall.comparison",
    "cross_validate": "tfrecall.cross_validation",
    "evaluate": "tfrecall.evaluation",
    "export": "tfrecall.exporting.export",
    "export_pipeline": "tfrecall.exporting.pipeline",
    "export_ranker": "tfrecall.exporting.ranker",
    "fit": "tfrecall.training",
    "keras": "tfrecall._keras",
    "load": "tfrecall.release",
    "load_config": "tfrecall.recipes",
    "stage_losses": "tfrecall.evaluation",
    "validation_examples": "tfrecall.models.examples",
}
_MODULES = ("data", "encoders", "index", "negatives", "report")

__all__ = ["__version__", *_MODULE_OF, *_MODULES]


def __getattr__(name: str) -> Any:
    if name in _MODULE_OF:
        return getattr(importlib.import_module(_MODULE_OF[name]), name)
    if name in _MODULES:
        return importlib.import_module(f"tfrecall.{name}")
    if name == "__version__":
        from importlib.metadata import version

        return version("tfrecall")
    raise AttributeError(f"module 'tfrecall' has no attribute '{name}'")


def __dir__() -> list[str]:
    return sorted(__all__)
