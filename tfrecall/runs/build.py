"""An untrained model of a configuration."""

from typing import Any

from tfrecall._keras import tfrs
from tfrecall.config.run import RunConfig
from tfrecall.models.dssm import DSSM
from tfrecall.models.ranker import Ranker
from tfrecall.models.two_tower import TwoTower
from tfrecall.models.youtube_dnn import YouTubeDNN
from tfrecall.schema.negatives import batch_settings, shared_settings
from tfrecall.tasks.full_softmax import FullSoftmax
from tfrecall.tasks.in_batch import InBatchSoftmax
from tfrecall.tasks.pairwise import BPR, DSSMSoftmax, Pointwise
from tfrecall.tasks.ranking import Clicks, Lists, Ratings
from tfrecall.tasks.sampled_softmax import SampledSoftmax
from tfrecall.tasks.triplet import Triplet

# Settings of the model that the towers do not take.
_NOT_TOWERS = ("type", "repeats")


# Tasks that have settings of their own for negatives.
_SHARED = {"in_batch": batch_settings, "sampled_softmax": shared_settings}


def make_ranker(config: RunConfig) -> Ranker:
    """An untrained ranker of a configuration."""
    settings = {**vars(config.model)}
    del settings["type"], settings["start_from"]
    task: Any = config.task
    tasks = {
        "rating": lambda: Ratings(),
        "click": lambda: Clicks(),
        "list": lambda: Lists(task.group, task.gain, task.k),
    }
    return Ranker(
        config.schema, task=tasks[task.type](), label=task.target, name=config.recipe, **settings
    )


def make_model(config: RunConfig) -> TwoTower:
    """An untrained model of a configuration."""
    task = vars(config.task).copy()
    kind = task.pop("type")
    if kind in _SHARED and (spec := task.pop("negatives")) is not None:
        task.update(_SHARED[kind](spec))
    makers = {
        "in_batch": InBatchSoftmax,
        "full_softmax": FullSoftmax,
        "sampled_softmax": SampledSoftmax,
        "tfrs_retrieval": tfrs.tasks.Retrieval,
        "pointwise": Pointwise,
        "triplet": Triplet,
        "dssm_softmax": DSSMSoftmax,
        "bpr": BPR,
    }
    task = makers[kind](**task)
    settings = {name: value for name, value in vars(config.model).items() if name not in _NOT_TOWERS}
    for name in ("activation", "normalize"):
        if settings[name] is None:  # the model's own
            del settings[name]
    model = {"two_tower": TwoTower, "youtube_dnn": YouTubeDNN, "dssm": DSSM}[config.model.type]
    return model(config.schema, task=task, name=config.recipe, **settings)
