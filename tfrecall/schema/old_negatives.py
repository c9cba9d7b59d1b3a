"""Settings of negatives before version 0.5, read as `negatives`. The one place that knows them."""

import json
import logging
from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from tfrecall.errors import ConfigError
from tfrecall.schema.negatives import (
    CrossBatch,
    Hard,
    LogUniform,
    Mixed,
    Popularity,
    Source,
    Uniform,
)

OLD_SETTINGS = {
    "in_batch": ("num_uniform_negatives", "memory_size", "num_hard_negatives"),
    "sampled_softmax": ("num_sampled", "sampler", "alpha"),
}
_noted: set[str] = set()


def with_negatives(task: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Replaces the old settings of a task by `negatives`, with one note in the log.

    Args:
        task: a key of `OLD_SETTINGS`.
        settings: the task's settings, as a file or a caller gives them.

    Raises:
        ConfigError: if old settings and `negatives` are given, or an old one makes no sense.

    >>> with_negatives("in_batch", {"temperature": 0.5, "memory_size": 100})
    {'temperature': 0.5, 'negatives': (CrossBatch(memory_size=100, type='cross_batch'),)}
    """
    old = {name: settings[name] for name in OLD_SETTINGS[task] if name in settings}
    rest = {name: value for name, value in settings.items() if name not in old}
    if not old:
        return rest
    if rest.get("negatives") is not None:
        raise ConfigError(
            f"`negatives` and `{next(iter(old))}` say where the same negatives come from. Received both: "
            "leave one out"
        )
    negatives = _batch(old) if task == "in_batch" else _shared(old)
    if negatives:
        _note(task, old, negatives)
    return {**rest, "negatives": negatives}


def _batch(old: Mapping[str, Any]) -> tuple[Source, ...]:
    """Each setting is a source of its own; 0 and None stood for none."""
    uniform, memory = old.get("num_uniform_negatives"), old.get("memory_size")
    hardest = old.get("num_hard_negatives")
    return (
        *((Mixed(num_uniform=uniform),) if uniform else ()),
        *((CrossBatch(memory_size=memory),) if memory else ()),
        *((Hard(hardest=hardest),) if hardest is not None else ()),
    )


def _shared(old: Mapping[str, Any]) -> Source:
    count, sampler = old.get("num_sampled", 255), old.get("sampler", "unigram")
    if sampler == "unigram":
        # `exclude_known=False`, as before: draws shared by a batch never excluded items of single users.
        return Popularity(per_positive=count, alpha=old.get("alpha", 0.75), exclude_known=False)
    if sampler not in ("uniform", "log_uniform"):
        raise ConfigError(
            f"`sampler` is one of uniform, log_uniform, unigram. Received: {sampler!r}. Since 0.5 it is "
            'the type of `negatives`: "uniform", "log_uniform" or "popularity"'
        )
    if sampler == "uniform":
        return Uniform(per_positive=count, exclude_known=False)
    return LogUniform(per_positive=count)


def _note(task: str, old: Mapping[str, Any], negatives: Source | tuple[Source, ...]) -> None:
    sources = negatives if isinstance(negatives, tuple) else (negatives,)
    tables = ", ".join(map(_table, sources))
    text = (
        f"Since version 0.5 the settings {', '.join(old)} of the task {task} are one, `negatives`. They are "
        f"read as: negatives = {f'[{tables}]' if len(sources) > 1 else tables}"
    )
    # Once a process: a recipe is read several times in one run.
    if text not in _noted:
        _noted.add(text)
        logging.getLogger("tfrecall").warning(text)


def _table(spec: Source) -> str:
    """A source as an inline table of TOML, without what is its default."""
    given = {
        field.name: getattr(spec, field.name)
        for field in fields(spec)
        if field.name == "type" or getattr(spec, field.name) != field.default
    }
    return f"{{ {', '.join(f'{name} = {json.dumps(value)}' for name, value in given.items())} }}"
