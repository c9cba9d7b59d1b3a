"""Specifications of negatives: the sources that tasks may draw them from.

A *negative* is an item that is scored against a target in training. In a recipe it is one value:

    [task]
    type = "pointwise"
    negatives = { type = "popularity", per_positive = 4 }     # or just: negatives = "popularity"

There are two families. Negatives **of each target** come with the batches, `per_positive` a target, never an
item that the user has (`exclude_known`), drawn anew in each epoch (`resample`): `Uniform`, `Popularity`,
`HeadTail`, `Explicit`, and `Hard` with `ranks`. Negatives **of the batch** are shared by all its targets and
cost no draws: `InBatch`, `Mixed`, `CrossBatch`, and `Hard` with `hardest`. An item is excluded for targets
that equal it (accidental hits), but not for other targets of a user who has it.

`in_batch` and `sampled_softmax`, whose negatives all rows of a batch share, take the same value. Sources
of `in_batch` can be combined in a list: `negatives = ["mixed", { type = "hard", hardest = 10 }]`.

A specification is plain data without TensorFlow; `tfrecall.data.negatives` draws.

>>> import tfrecall as tr
>>> tr.negatives.Popularity(per_positive=8).alpha
0.75
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    PlainSerializer,
    PositiveInt,
    TypeAdapter,
    model_validator,
)
from pydantic.dataclasses import dataclass

from tfrecall.errors import ConfigError, nearest
from tfrecall.schema.specs import STRICT, Fraction, Seed, config_errors, from_plain


def _alpha(value: float) -> float:
    if not 0 <= value <= 2:
        raise ValueError(
            f"`alpha` must be from 0 (all items equally likely) to 2. Received: {value}. 1 draws by share."
        )
    return value


# A path is kept as text, for the recipe.
_Directory = Annotated[
    str,
    Field(min_length=1),
    BeforeValidator(lambda value: str(value) if isinstance(value, os.PathLike) else value),
]
_Alpha = Annotated[float, AfterValidator(_alpha)]


def _ranks(value: tuple[int, int] | None) -> tuple[int, int] | None:
    if value is not None and not 1 <= value[0] <= value[1]:
        raise ValueError(
            f"`ranks` must be the first and the last rank to draw from, at least 1, such as [20, 100]. "
            f"Received: {list(value)}."
        )
    return value


@config_errors
@dataclass(frozen=True, config=STRICT)
class InBatch:
    """The distinct candidates of the other targets of the batch.

    >>> InBatch().type
    'in_batch'
    """

    _: KW_ONLY
    type: Literal["in_batch"] = "in_batch"


@config_errors
@dataclass(frozen=True, config=STRICT)
class Mixed:
    """Candidates of the batch, and uniform draws from the catalogue (Yang et al., WWW 2020 companion).

    Attributes:
        num_uniform: draws a batch, with replacement.

    >>> Mixed(num_uniform=512).num_uniform
    512
    """

    num_uniform: PositiveInt = 256
    _: KW_ONLY
    type: Literal["mixed"] = "mixed"


@config_errors
@dataclass(frozen=True, config=STRICT)
class CrossBatch:
    """Candidates of the batch, and of past batches with the vectors they had then (Wang et al., CVPR 2020).

    Attributes:
        memory_size: rows of past batches that are kept.

    >>> CrossBatch().memory_size
    2048
    """

    memory_size: PositiveInt = 2048
    _: KW_ONLY
    type: Literal["cross_batch"] = "cross_batch"


@config_errors
@dataclass(frozen=True, config=STRICT)
class Uniform:
    """Uniform draws from the catalogue.

    Attributes:
        per_positive: independent draws a target: an item may be drawn twice.
        exclude_known: whether items that the user has in the training log, before or after the target,
            are never drawn; otherwise only the target is excluded.
        resample: whether each epoch draws anew.
        seed: seed of the draws; those of an epoch follow from it and the number of the epoch.

    >>> Uniform(per_positive=8).exclude_known
    True
    """

    per_positive: PositiveInt = 4
    _: KW_ONLY
    exclude_known: bool = True
    resample: bool = True
    seed: Seed = 42
    type: Literal["uniform"] = "uniform"


@config_errors
@dataclass(frozen=True, config=STRICT)
class Popularity:
    """Draws by popularity: the share of events to the power of `alpha`. Items without events are not drawn.

    Attributes:
        per_positive: independent draws a target: an item may be drawn twice.
        alpha: exponent, 0 (all items equally likely, also without events) to 2; .75 is that of word2vec.
        exclude_known: whether items that the user has in the training log, before or after the target,
            are never drawn; otherwise only the target is excluded.
        resample: whether each epoch draws anew.
        seed: seed of the draws; those of an epoch follow from it and the number of the epoch.

    >>> Popularity(4, alpha=0.5).alpha
    0.5
    """

    per_positive: PositiveInt = 4
    alpha: _Alpha = 0.75
    _: KW_ONLY
    exclude_known: bool = True
    resample: bool = True
    seed: Seed = 42
    type: Literal["popularity"] = "popularity"


@config_errors
@dataclass(frozen=True, config=STRICT)
class HeadTail:
    """Mixture of frequent items, by their share to the power of `alpha`, and rare items, uniformly.

    Falls back to the other group if a user has every item of one.

    Attributes:
        per_positive: independent draws a target: an item may be drawn twice.
        head_share: probability that a draw comes from the frequent items.
        threshold: events from which an item counts as frequent.
        alpha: exponent of the share of events, 0 (frequent items equally likely) to 2.
        exclude_known: whether items that the user has in the training log, before or after the target,
            are never drawn; otherwise only the target is excluded.
        resample: whether each epoch draws anew.
        seed: seed of the draws; those of an epoch follow from it and the number of the epoch.

    >>> HeadTail(head_share=0.3, threshold=20).threshold
    20
    """

    per_positive: PositiveInt = 4
    head_share: Fraction = 0.3
    threshold: PositiveInt = 5
    alpha: _Alpha = 0.75
    _: KW_ONLY
    exclude_known: bool = True
    resample: bool = True
    seed: Seed = 42
    type: Literal["head_tail"] = "head_tail"


@config_errors
@dataclass(frozen=True, config=STRICT)
class Explicit:
    """Impressions recorded in the log: items shown with an event, not chosen.

    A target with more than `per_positive` impressions gets consecutive ones from a random place on; a target
    with fewer gets all of them, and one with none has no negatives.

    Attributes:
        column: column of the log: lists of item ids, or one id an event; null for none.
        per_positive: most negatives a target.
        exclude_known: whether items that the user has in the training log, before or after the target,
            are never used; otherwise only the target is excluded.
        resample: whether each epoch draws anew.
        seed: seed of the draws; those of an epoch follow from it and the number of the epoch.

    >>> Explicit("impressions", per_positive=2).column
    'impressions'
    """

    column: Annotated[str, Field(min_length=1)]
    per_positive: PositiveInt = 4
    _: KW_ONLY
    exclude_known: bool = True
    resample: bool = True
    seed: Seed = 42
    type: Literal["explicit"] = "explicit"


@config_errors
@dataclass(frozen=True, config=STRICT)
class Hard:
    """Hard negatives: items that the model, or a release, scores high. Give either `hardest` or `ranks`.

    Attributes:
        hardest: number of candidates of the batch with the highest scores, for each target.
        ranks: ranks [first, last], from 1, to draw from in the list of an exact search with the vectors at
            the start of the epoch. A first rank above 1 spares items that the user may yet choose. With
            `exclude_known` the list has no item of the user.
        release: with `ranks`, directory of a release whose lists replace the model's own: one list a user,
            at the end of the release's training data, computed once before training. A release trained on
            this training's test rows leaks them.
        per_positive: with `ranks`, draws a target, with replacement.
        exclude_known: with `ranks`, whether items that the user has in the training log are excluded.
        seed: with `ranks`, seed of the draws.

    Raises:
        ConfigError: unless exactly one of `hardest` and `ranks` is given.

    >>> Hard(ranks=(20, 100)).per_positive
    4
    """

    hardest: PositiveInt | None = None
    _: KW_ONLY
    ranks: Annotated[tuple[int, int] | None, AfterValidator(_ranks)] = None
    release: _Directory | None = None
    per_positive: PositiveInt = 4
    exclude_known: bool = True
    seed: Seed = 42
    type: Literal["hard"] = "hard"

    @model_validator(mode="after")
    def _one_form(self) -> "Hard":
        # Two ways to find them: within the batch at each step, or in ranked lists at the start of an
        # epoch.
        if (self.hardest is None) == (self.ranks is None):
            raise ValueError(
                "Hard negatives need either `hardest`, such as 10, or `ranks`, such as [20, 100]. "
                f"Received: hardest={self.hardest}, ranks={self.ranks}."
            )
        if self.release is not None and self.ranks is None:
            raise ValueError(
                "`release` of hard negatives needs `ranks`, such as [20, 100], in place of `hardest`. "
                f"Received: hardest={self.hardest}, release={self.release!r}."
            )
        return self


@config_errors
@dataclass(frozen=True, config=STRICT)
class LogUniform:
    """Zipf's law over the ranks by training rows: the item of rank r by `log(r + 2) - log(r + 1)`.

    For `sampled_softmax`, whose draws stand for all rows of a batch.

    Attributes:
        per_positive: draws a batch, distinct.
    """

    per_positive: PositiveInt = 255
    _: KW_ONLY
    type: Literal["log_uniform"] = "log_uniform"


Source = InBatch | Mixed | CrossBatch | Uniform | Popularity | HeadTail | Explicit | Hard | LogUniform

SOURCES = ("in_batch", "uniform", "popularity", "head_tail", "mixed", "cross_batch", "hard", "explicit")
# Sources for `InBatchSoftmax`, and for `SampledSoftmax`.
BATCH_SOURCES = ("in_batch", "mixed", "cross_batch", "hard")
SHARED_SOURCES = ("uniform", "popularity", "log_uniform")
_TYPES = (*SOURCES, "log_uniform")


def _by_name(value: Any) -> Any:
    """Turns a bare name into a source with its defaults."""
    # Checked before pydantic, whose message speaks of tags and suggests no similar name.
    values = {"type": value} if isinstance(value, str) else value
    kind = values.get("type") if isinstance(values, Mapping) else getattr(value, "type", None)
    if kind is None:
        raise ValueError(
            f"Negatives need a source, their `type`: one of {', '.join(_TYPES)}. Received: {value!r}."
        )
    if kind not in _TYPES:
        raise ValueError(
            f'There is no source "{kind}" of negatives.{nearest(str(kind), _TYPES)} Choose from: '
            f"{', '.join(_TYPES)}. Received: {value!r}."
        )
    return values


# Two layers, because a discriminator reads the `type` of a dictionary: the name becomes one before.
Negatives = Annotated[Annotated[Source, Field(discriminator="type")], BeforeValidator(_by_name)]


def is_drawn(spec: Source) -> bool:
    """Whether each target has negatives of its own, joined to the batches."""
    return spec.type in ("uniform", "popularity", "head_tail", "explicit") or is_mined(spec)


def is_mined(spec: Source) -> bool:
    """Whether negatives are drawn from ranked lists, of the model itself or of a release."""
    return isinstance(spec, Hard) and spec.ranks is not None


def check_source(spec: Source, valid: tuple[str, ...], task: str) -> None:
    """Refuses a source that a task does not support.

    Raises:
        ConfigError: with the names of the supported ones.
    """
    if spec.type not in valid:
        raise ConfigError(
            f'`{task}` does not support negatives of the source "{spec.type}". Choose from: {", ".join(valid)}.'
        )


def batch_settings(specs: Source | Sequence[Source]) -> dict[str, Any]:
    """The settings of `InBatchSoftmax` for sources of negatives.

    Args:
        specs: one source or several, each type once.

    Raises:
        ConfigError: if it does not support a source, or one is named twice.
    """
    specs = tuple(specs) if isinstance(specs, Sequence) else (specs,)
    types = [spec.type for spec in specs]
    for spec in specs:
        check_source(spec, BATCH_SOURCES, "in_batch")
        if types.count(spec.type) > 1:
            raise ConfigError(f"`negatives` names each source once. Received: {', '.join(types)}.")
    settings: dict[str, Any] = {}
    for spec in specs:
        settings.update(_batch_setting(spec))
    return settings


def _batch_setting(spec: Source) -> dict[str, Any]:
    if isinstance(spec, Mixed):
        return {"num_uniform_negatives": spec.num_uniform}
    if isinstance(spec, CrossBatch):
        return {"memory_size": spec.memory_size}
    if isinstance(spec, Hard):
        if spec.hardest is None:
            raise ConfigError(
                "`in_batch` scores the candidates of the batch only, so its `hard` negatives take `hardest`, "
                f"such as 10, not `ranks`. Received: ranks={list(spec.ranks or ())}."
            )
        return {"num_hard_negatives": spec.hardest}
    return {}


def shared_settings(spec: Source) -> dict[str, Any]:
    """The settings of `SampledSoftmax` for a source of negatives.

    Raises:
        ConfigError: if it does not support the source, or cannot exclude items of single users.
    """
    check_source(spec, SHARED_SOURCES, "sampled_softmax")
    if isinstance(spec, LogUniform):
        return {"num_sampled": spec.per_positive, "sampler": "log_uniform"}
    if spec.exclude_known or not spec.resample:  # type: ignore[union-attr]
        raise ConfigError(
            "All rows of a batch share the draws of `sampled_softmax`, which are new in each batch: they "
            "cannot exclude the items of one user, nor be kept over epochs. Received: "
            f"exclude_known={spec.exclude_known}, resample={spec.resample}. "  # type: ignore[union-attr]
            "Set `exclude_known = false` and `resample = true`, or use `dssm_softmax`."
        )
    if isinstance(spec, Popularity):
        return {"num_sampled": spec.per_positive, "sampler": "unigram", "alpha": spec.alpha}
    return {"num_sampled": spec.per_positive, "sampler": "uniform"}  # type: ignore[union-attr]


def _checked_batch(specs: tuple[Source, ...]) -> tuple[Source, ...]:
    batch_settings(specs)
    return specs


def _checked_pairs(spec: Source) -> Source:
    check_source(spec, SOURCES, "a loss over pairs")
    return spec


def _checked_shared(spec: Source) -> Source:
    shared_settings(spec)
    return spec


def _as_list(value: Any) -> Any:
    if value is None:
        return ()
    return value if isinstance(value, list | tuple) else (value,)


def negatives_to_plain(specs: Source | tuple[Source, ...]) -> Any:
    """The plain form of one source, or of several: one as itself, none as None."""
    if not isinstance(specs, tuple):
        return negatives_to_dict(specs)
    plain = [negatives_to_dict(spec) for spec in specs]
    # A recipe with one source reads as its author wrote it, without a list.
    return plain if len(plain) > 1 else plain[0] if plain else None


# Negatives of the losses over pairs.
PairNegatives = Annotated[Negatives, AfterValidator(_checked_pairs)]
# Negatives of `in_batch`: a source, its name, or a list of some; none is the batch alone.
BatchNegatives = Annotated[
    tuple[Negatives, ...],
    BeforeValidator(_as_list),
    AfterValidator(_checked_batch),
    PlainSerializer(negatives_to_plain, when_used="json"),
]
# Negatives of `sampled_softmax`.
SharedNegatives = Annotated[Negatives, AfterValidator(_checked_shared)]


def negatives_from_dict(value: Any) -> Any:
    """Reads a specification from its name or its plain form, as `negatives_to_dict` writes it.

    Raises:
        ConfigError: if the settings are invalid.
    """
    return from_plain(Negatives, value, "negatives")


def batch_negatives_from(value: Any) -> tuple[Source, ...]:
    """Reads the sources of `InBatchSoftmax`: one, or a list, as specifications, plain forms or names.

    Raises:
        ConfigError: if one makes no sense, or is not a source of `in_batch`.
    """
    return from_plain(BatchNegatives, value, "negatives")


def negatives_to_dict(spec: Source) -> dict[str, Any]:
    """The plain form of a specification, for configurations."""
    return TypeAdapter(Negatives).dump_python(spec, mode="json")
