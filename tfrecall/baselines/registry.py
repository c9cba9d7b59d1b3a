"""Baselines made by name."""

import importlib
from collections.abc import Iterator, Sequence
from typing import Any, Protocol

from tfrecall.baselines.base import HistoryModel
from tfrecall.core.retriever import Retriever
from tfrecall.data.interactions import Interactions
from tfrecall.data.repeat_consumption import is_repeated
from tfrecall.errors import ConfigError
from tfrecall.schema.baselines import BASELINES, checked_baselines


class Baseline(Retriever, Protocol):
    """A retriever that is fitted to a log."""

    def fit(self, train: Interactions) -> Any:
        """Learns from `train`; returns itself."""
        ...


def make_baselines(names: Sequence[str]) -> list[Baseline]:
    """Untrained baselines with their defaults.

    Raises:
        ConfigError: if there is no such baseline, listing those there are.
    """
    try:
        places = [BASELINES[name] for name in checked_baselines(names)]
    except ValueError as error:
        raise ConfigError(str(error)) from error
    modules = [importlib.import_module(f"tfrecall.baselines.{place.module}") for place in places]
    return [
        getattr(module, place.cls)(**place.settings)
        for module, place in zip(modules, places, strict=True)
    ]


def usual_baselines(seen: Interactions, *, sequences: bool = False) -> tuple[str, ...]:
    """The names of those that a model is shown beside: `popularity` and `item_cf`, always.

    Args:
        seen: what users have seen before. If people come back to it, their own items are added.
        sequences: adds `item_transitions`, the line for models that know the order of a history.
    """
    own = ("own_most_frequent", "own_most_recent") if is_repeated(seen) else ()
    return ("popularity", "item_cf", *(("item_transitions",) if sequences else ()), *own)


def check_baselines(names: Sequence[str], seen: Interactions) -> None:
    """Refuses baselines that cannot be fitted, without fitting them.

    Raises:
        ConfigError: if one is unknown, or needs what is not installed.
        DataError: if the memory for one is not there.
    """
    for model in make_baselines(names):
        if isinstance(model, HistoryModel):
            model.check(seen)


def fit_baselines(names: Sequence[str], seen: Interactions) -> Iterator[Retriever]:
    """Fits one after the other, so that the last can be forgotten before the next takes memory."""
    for model in make_baselines(names):
        yield model.fit(seen)
