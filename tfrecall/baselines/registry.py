"""Baselines made by name."""

import importlib
from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np

from tfrecall.baselines.base import HistoryModel
from tfrecall.baselines.feature_popularity import value_columns
from tfrecall.core.columns import TIMESTAMP
from tfrecall.core.retriever import Retriever
from tfrecall.data.interactions import Interactions
from tfrecall.data.repeat_consumption import is_repeated
from tfrecall.errors import ConfigError, nearest
from tfrecall.schema.baselines import BASELINES, checked_baselines


def make_baselines(names: Sequence[str]) -> list[HistoryModel]:
    """Makes baselines that are not fitted, with their defaults.

    Raises:
        ConfigError: if a name is unknown, listing the valid ones.
    """
    try:
        places = [BASELINES[name] for name in checked_baselines(names)]
    except ValueError as error:
        raise ConfigError(str(error)) from error
    # Imported when named: most runs need two or three of them.
    modules = [importlib.import_module(f"tfrecall.baselines.{place.module}") for place in places]
    return [
        getattr(module, place.cls)(**place.settings)
        for module, place in zip(modules, places, strict=True)
    ]


def make_baseline(name: str, settings: Mapping[str, Any] = MappingProxyType({})) -> HistoryModel:
    """Makes one baseline that is not fitted.

    Args:
        name: its name.
        settings: arguments of its class that differ from the defaults.

    Raises:
        ConfigError: if the name is unknown, or a setting is unknown or out of range.
    """
    (plain,) = make_baselines([name])
    known = plain.settings
    if unknown := [setting for setting in settings if setting not in known]:
        raise ConfigError(
            f'The baseline "{name}" has no setting "{unknown[0]}".{nearest(unknown[0], known)} It has: '
            f"{', '.join(known) or 'none'}. Received: {dict(settings)}."
        )
    try:
        made = type(plain)(**{**known, **settings})
    except TypeError as error:
        raise ConfigError(
            f'The baseline "{name}" cannot be made of {dict(settings)}: {error}.'
        ) from error
    made.name = name
    return made


def usual_baselines(seen: Interactions, *, sequences: bool = False) -> tuple[str, ...]:
    """Names of the baselines that a model is compared with by default: `popularity`, `item_cf` and others.

    Args:
        seen: interactions before the test rows. If consumption repeats, `own_most_frequent` and
            `own_most_recent` are added.
        sequences: adds `item_transitions`, the baseline of models that use the order of a history, and, if the
            log has times, `trending`.
    """
    own = ("own_most_frequent", "own_most_recent") if is_repeated(seen) else ()
    ordered: tuple[str, ...] = ()
    if sequences:
        timed = len(seen) > 0 and np.ptp(seen.log[TIMESTAMP].to_numpy()) > 0
        ordered = (*(("trending",) if timed else ()), "item_transitions")
    return ("popularity", "item_cf", *ordered, *own)


def baselines_of_new(seen: Interactions) -> tuple[str, ...]:
    """Names of the baselines where all targets are new items, which counting of items cannot tell apart."""
    described = bool(value_columns(seen.items))
    return ("popularity", *(("feature_popularity",) if described else ()))


def check_baselines(names: Sequence[str], seen: Interactions) -> None:
    """Checks that baselines can be fitted, without fitting them.

    Raises:
        ConfigError: if one is unknown, or needs a library that is not installed.
        DataError: if the memory for one does not suffice.
    """
    for model in make_baselines(names):
        model.check(seen)


def fit_baselines(names: Sequence[str], seen: Interactions) -> Iterator[Retriever]:
    """Fits baselines one at a time, so that one can be freed before the next takes memory."""
    for model in make_baselines(names):
        yield model.fit(seen)
