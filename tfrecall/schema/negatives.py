"""Where negatives come from: one specification a source, for every task that needs them.

A *negative* is an item that stands against a target in training. In a file it is one value:

    [task]
    type = "pointwise"
    negatives = { type = "popularity", per_positive = 4 }     # or just: negatives = "popularity"

Two families. What is **drawn for each target** comes with the batches, `per_positive` of them a target, never
an item that the user has (`exclude_known`), anew in each epoch (`resample`): `Uniform`, `Popularity`,
`HeadTail`, `Explicit`, and `Hard` with `ranks`. What comes **from the batch** is shared by all its targets and
costs no draws: `InBatch`, `Mixed`, `CrossBatch`, and `Hard` with `hardest`. There an item is left out for the
targets that it is itself (accidental hits); what else their users have is not looked up.

`in_batch` and `sampled_softmax`, whose negatives all rows of a batch share, take the same words. Of `in_batch`
the sources can be combined in a list: `negatives = ["mixed", { type = "hard", hardest = 10 }]`.

A specification holds no TensorFlow; `tfrecall.data.negatives` draws, `tfrecall.tasks.pairwise` learns from it.
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
from tfrecall.schema.specs import STRICT, from_plain, readable

_Seed = Annotated[int, Field(ge=0, lt=2**31)]
_Share = Annotated[float, Field(gt=0, lt=1)]


def _alpha(value: float) -> float:
    if not 0 <= value <= 2:
        raise ValueError(
            f"`alpha` must be from 0, all items alike, to 2. Received: {value}. 1 draws by share."
        )
    return value


# A path stays text, as a file says it.
_Directory = Annotated[
    str,
    Field(min_length=1),
    BeforeValidator(lambda value: str(value) if isinstance(value, os.PathLike) else value),
]
_Alpha = Annotated[float, AfterValidator(_alpha)]


def _ranks(value: tuple[int, int] | None) -> tuple[int, int] | None:
    if value is not None and not 1 <= value[0] <= value[1]:
        raise ValueError(
            f"`ranks` are the first and the last place to draw from, from 1. Received: {list(value)}. Give "
            "such as [20, 100]."
        )
    return value


@readable
@dataclass(frozen=True, config=STRICT)
class InBatch:
    """The candidates of the other targets of the batch, each once."""

    _: KW_ONLY
    type: Literal["in_batch"] = "in_batch"


@readable
@dataclass(frozen=True, config=STRICT)
class Mixed:
    """Those of the batch, and some of the whole catalogue (Yang et al., WWW 2020 companion).

    Attributes:
        num_uniform: draws a batch, with replacement.
    """

    num_uniform: PositiveInt = 256
    _: KW_ONLY
    type: Literal["mixed"] = "mixed"


@readable
@dataclass(frozen=True, config=STRICT)
class CrossBatch:
    """Those of the batch, and of batches before it as their vectors were (Wang et al., CVPR 2020).

    Attributes:
        memory_size: rows of past batches that are kept.
    """

    memory_size: PositiveInt = 2048
    _: KW_ONLY
    type: Literal["cross_batch"] = "cross_batch"


@readable
@dataclass(frozen=True, config=STRICT)
class Uniform:
    """Each item of the catalogue alike.

    Attributes:
        per_positive: draws a target, independent of each other: an item may come twice.
        exclude_known: whether items that the user has in the training log, before the target or after
            it, are never drawn; else only the target is left out.
        resample: whether each epoch draws anew.
        seed: of the draws. Those of an epoch follow from it and the epoch's number.
    """

    per_positive: PositiveInt = 4
    _: KW_ONLY
    exclude_known: bool = True
    resample: bool = True
    seed: _Seed = 42
    type: Literal["uniform"] = "uniform"


@readable
@dataclass(frozen=True, config=STRICT)
class Popularity:
    """Each item by its share of the events to the power of `alpha`; one without events is not drawn.

    Attributes:
        per_positive: draws a target, independent of each other: an item may come twice.
        alpha: 0 (all items alike, with or without events) to 2; .75 is that of word2vec.
        exclude_known: whether items that the user has in the training log, before the target or after
            it, are never drawn; else only the target is left out.
        resample: whether each epoch draws anew.
        seed: of the draws. Those of an epoch follow from it and the epoch's number.
    """

    per_positive: PositiveInt = 4
    alpha: _Alpha = 0.75
    _: KW_ONLY
    exclude_known: bool = True
    resample: bool = True
    seed: _Seed = 42
    type: Literal["popularity"] = "popularity"


@readable
@dataclass(frozen=True, config=STRICT)
class HeadTail:
    """A mixture: frequent items, by their share to the power of `alpha`, or rare ones, uniformly.

    Falls back to the other group if a user has every item of one.

    Attributes:
        per_positive: draws a target, independent of each other: an item may come twice.
        head_share: probability that a draw comes from the frequent items.
        threshold: events from which an item counts as frequent.
        alpha: power of the share of events, 0 (frequent items alike) to 2.
        exclude_known: whether items that the user has in the training log, before the target or after
            it, are never drawn; else only the target is left out.
        resample: whether each epoch draws anew.
        seed: of the draws. Those of an epoch follow from it and the epoch's number.
    """

    per_positive: PositiveInt = 4
    head_share: _Share = 0.3
    threshold: PositiveInt = 5
    alpha: _Alpha = 0.75
    _: KW_ONLY
    exclude_known: bool = True
    resample: bool = True
    seed: _Seed = 42
    type: Literal["head_tail"] = "head_tail"


@readable
@dataclass(frozen=True, config=STRICT)
class Explicit:
    """Items that the log itself names for each event: shown and not chosen.

    A target with more of them than `per_positive` gets as many neighbours of its list, from a place that is
    drawn; one with fewer gets those there are, and one with none stands without negatives.

    Attributes:
        column: of the log: lists of item ids, or one id an event; null for none.
        per_positive: negatives a target gets at most.
        exclude_known: whether items that the user has in the training log, before the target or after
            it, are never used; else only the target is left out.
        resample: whether each epoch draws anew.
        seed: of the draws. Those of an epoch follow from it and the epoch's number.
    """

    column: Annotated[str, Field(min_length=1)]
    per_positive: PositiveInt = 4
    _: KW_ONLY
    exclude_known: bool = True
    resample: bool = True
    seed: _Seed = 42
    type: Literal["explicit"] = "explicit"


@readable
@dataclass(frozen=True, config=STRICT)
class Hard:
    """What the model itself scores high, or a release: one of two forms.

    Attributes:
        hardest: of the candidates of the batch so many with the highest scores, for each target.
        ranks: places [first, last], counted from 1, of the list that an exact search gives for the query
            with the vectors at the start of the epoch. The first places are left to what the user may
            yet choose. With `exclude_known` the list has no item that the user has.
        release: with `ranks`, the directory of a release whose lists they are places of, instead of the
            model's own: one list a user, as of the end of what the release learned from, found once before
            training. A release that learned from the rows that this training is judged by tells of them.
        per_positive: with `ranks`, draws a target, with replacement.
        exclude_known: with `ranks`, whether items that the user has in the training log are left out.
        seed: with `ranks`, of the draws.
    """

    hardest: PositiveInt | None = None
    _: KW_ONLY
    ranks: Annotated[tuple[int, int] | None, AfterValidator(_ranks)] = None
    release: _Directory | None = None
    per_positive: PositiveInt = 4
    exclude_known: bool = True
    seed: _Seed = 42
    type: Literal["hard"] = "hard"

    @model_validator(mode="after")
    def _one_form(self) -> "Hard":
        if (self.hardest is None) == (self.ranks is None):
            raise ValueError(
                "Hard negatives are either the `hardest` of the batch, such as 10, or drawn between two "
                f"`ranks`, such as [20, 100]. Received: hardest={self.hardest}, ranks={self.ranks}."
            )
        if self.release is not None and self.ranks is None:
            raise ValueError(
                "`release` gives the lists that `ranks` are places of; the `hardest` are of the batch. "
                f"Received: hardest={self.hardest}, release={self.release!r}. Give `ranks`, such as [20, 100]."
            )
        return self


@readable
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
    """A bare name is a source with its defaults."""
    values = {"type": value} if isinstance(value, str) else value
    kind = values.get("type") if isinstance(values, Mapping) else getattr(value, "type", None)
    if kind is None:
        raise ValueError(
            f"Negatives have a source, their `type`: one of {', '.join(_TYPES)}. Received: {value!r}."
        )
    if kind not in _TYPES:
        raise ValueError(
            f'There is no source "{kind}" of negatives.{nearest(str(kind), _TYPES)} Choose of: '
            f"{', '.join(_TYPES)}. Received: {value!r}."
        )
    return values


Negatives = Annotated[Annotated[Source, Field(discriminator="type")], BeforeValidator(_by_name)]


def is_drawn(spec: Source) -> bool:
    """Whether each target has negatives of its own, which come with the batches."""
    return spec.type in ("uniform", "popularity", "head_tail", "explicit") or is_mined(spec)


def is_mined(spec: Source) -> bool:
    """Whether they are places of lists, of the model itself or of a release."""
    return isinstance(spec, Hard) and spec.ranks is not None


def check_source(spec: Source, valid: tuple[str, ...], task: str) -> None:
    """Refuses a source that makes no sense for a task.

    Raises:
        ConfigError: naming the valid ones.
    """
    if spec.type not in valid:
        raise ConfigError(
            f'`{task}` has no use for negatives of the source "{spec.type}". Choose of: {", ".join(valid)}.'
        )


def batch_settings(specs: Source | Sequence[Source]) -> dict[str, Any]:
    """The numbers of `InBatchSoftmax` behind its sources of negatives.

    Args:
        specs: one source or several, each type once.

    Raises:
        ConfigError: if a source is not one of `in_batch`, or is named twice.
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
                "`in_batch` knows the candidates of the batch only, so its `hard` negatives are the `hardest` "
                f"of them. Received: ranks={list(spec.ranks or ())}."
            )
        return {"num_hard_negatives": spec.hardest}
    return {}


def shared_settings(spec: Source) -> dict[str, Any]:
    """The numbers of `SampledSoftmax` behind its source of negatives.

    Raises:
        ConfigError: if the source is not one of `sampled_softmax`, or is told of single users.
    """
    check_source(spec, SHARED_SOURCES, "sampled_softmax")
    if isinstance(spec, LogUniform):
        return {"num_sampled": spec.per_positive, "sampler": "log_uniform"}
    if spec.exclude_known or not spec.resample:  # type: ignore[union-attr]
        raise ConfigError(
            "The draws of `sampled_softmax` stand for all rows of a batch and are new in each, so they cannot "
            "leave out what one user has, or stay. Received: "
            f"exclude_known={spec.exclude_known}, resample={spec.resample}. "  # type: ignore[union-attr]
            "Set `exclude_known = false`, or take `dssm_softmax`, whose negatives are each target's own."
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
        ConfigError: if it makes no sense.
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
