"""Configuration of evaluation, index, export and tuning."""

import math
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, PositiveInt
from pydantic.dataclasses import dataclass

from tfrecall.schema.baselines import checked_baselines
from tfrecall.schema.specs import STRICT, Seed, one_or_more_distinct


def _number(value: Any) -> Any:
    """Check a number without a cast: a whole number stays one, as a range of whole numbers needs."""
    if type(value) not in (int, float) or not math.isfinite(value):
        raise ValueError("expected a finite number")
    return value


_Number = Annotated[Any, AfterValidator(_number)]


@dataclass(frozen=True, kw_only=True, config=STRICT)
class EvaluationConfig:
    """Evaluation on the test rows.

    Attributes:
        ks: lengths of the lists.
        seen: whether items that a user had before are `removed` from the lists or `kept`, in the primary
            metric and in answers of the release; `auto` keeps them if users of this log repeat items.
        baselines: names of the baselines to compare with; an empty list for none, but without
            `popularity` the run cannot say whether the model is better. None for `popularity` and
            `item_cf`, with histories also `item_transitions`, and if users repeat items
            `own_most_frequent` and `own_most_recent`; with `split.method = "new_items"` for `popularity` and
            `feature_popularity`.
    """

    seen: Literal["auto", "removed", "kept"] = "auto"
    ks: Annotated[tuple[PositiveInt, ...], AfterValidator(one_or_more_distinct)] = (
        1,
        5,
        10,
        20,
        50,
        100,
    )
    baselines: Annotated[tuple[str, ...], AfterValidator(checked_baselines)] | None = None


@dataclass(frozen=True, kw_only=True, config=STRICT)
class IndexConfig:
    """The Annoy index that an export builds in addition to exact search (`tfrecall.index.Annoy`).

    Attributes:
        n_trees: trees of the index; more trees find more with the same effort, and take more memory.
        target_recall: share of the true best `tune_k` items that the tuned effort must find.
        tune_k: length of the lists that the effort is tuned for; longer lists get proportionally more.
        seed: seed of the trees and of the sample of queries.
    """

    n_trees: PositiveInt = 50
    target_recall: Annotated[float, Field(gt=0, le=1)] = 0.95
    tune_k: PositiveInt = 100
    seed: Seed = 42


@dataclass(frozen=True, kw_only=True, config=STRICT)
class ExportConfig:
    """Defaults of the release.

    Attributes:
        k: length of the lists of the signature `serving_default`.
        training_state: whether the release keeps weights, optimizer and vocabularies for a warm start, about
            three times the size of the embeddings. A run with a warm start always keeps them.
    """

    k: PositiveInt = 10
    training_state: bool = False


@dataclass(frozen=True, kw_only=True, config=STRICT)
class TuneConfig:
    """Values that `tfrecall tune` tries for one setting: a range or a list.

    Attributes:
        low, high: ends of a range, both included. Two whole numbers make a range of whole numbers, for
            settings that take them.
        log: whether to draw on a logarithmic scale.
        choices: list of values, in place of a range.
    """

    low: _Number = None
    high: _Number = None
    log: bool = False
    choices: list[Any] | None = None

    def __post_init__(self) -> None:
        if self.choices is not None:
            if not self.choices or self.low is not None or self.high is not None or self.log:
                raise ValueError("give either `choices`, at least one, or both `low` and `high`")
        elif self.low is None or self.high is None or self.low >= self.high:
            raise ValueError("give both `low` and `high`, the lower first, or `choices`")
        elif self.log and self.low <= 0:
            raise ValueError("`low` must be above 0 with `log`")
