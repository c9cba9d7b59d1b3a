"""Interaction logs: reading, checking, describing, filtering, splitting, batching (`tr.data`).

Only `examples` imports TensorFlow, when it is first used.
"""

from typing import Any

from tfrecall.data.datasets.expansion import Expansion, expand
from tfrecall.data.datasets.movielens import movielens
from tfrecall.data.datasets.synthetic import synthetic
from tfrecall.data.filters import filter_log

# Imported here and not lazily: the function `describe` must replace the module of the same name.
from tfrecall.data.inspection.describe import describe
from tfrecall.data.inspection.description import Description
from tfrecall.data.interactions import Interactions
from tfrecall.data.shards.prepare import prepare
from tfrecall.data.splits import (
    Split,
    UserSplit,
    ValidatedSplit,
    split_by_user,
    split_folds,
    split_leave_last_out,
    split_new_items,
    split_random,
)
from tfrecall.data.tables import read
from tfrecall.data.time_splits import split_by_time

from_frame = Interactions.from_frame

__all__ = [
    "Description",
    "Expansion",
    "Interactions",
    "Split",
    "UserSplit",
    "ValidatedSplit",
    "describe",
    "examples",
    "expand",
    "filter_log",
    "from_frame",
    "movielens",
    "prepare",
    "read",
    "split_by_time",
    "split_by_user",
    "split_folds",
    "split_leave_last_out",
    "split_new_items",
    "split_random",
    "synthetic",
]


def __getattr__(name: str) -> Any:
    if name == "examples":
        from tfrecall.data.batches import examples

        return examples
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
