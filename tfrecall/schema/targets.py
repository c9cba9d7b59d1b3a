"""Which events a model of histories learns from."""

from typing import Annotated, Any, Literal

from pydantic import (
    Field,
    PositiveInt,
)
from pydantic.dataclasses import dataclass

from tfrecall.schema.specs import STRICT


@dataclass(frozen=True, kw_only=True, config=STRICT)
class HistoriesConfig:
    """What is learned from users' sequences, where the schema has a history; see `tfrecall.data.targets`.

    Attributes:
        target_min_rating: only events rated so or higher are targets; all are history.
        minimum_history: events that a user must have had before a target.
        targets: `all` events are targets (sliding windows), or each user's `last` of these only.
        max_targets_per_user: the most recent ones are kept; all when None.
        suppression_threshold: share of the events above which an item is the more often left out as a
            target, the more frequent it is (.001 is usual); None leaves none out.
        form: `sequences` trains on whole sequences, every position of which is a target: one pass where
            `windows`, one padded history a target, needs as many as there are targets. The numbers are
            the same.
        targets_per_row: events of a user whose targets stand in one sequence.
        context: events before those that a sequence sees; None for the longest `history_length`, with
            which each target sees as much as when recommendations are asked for. Encoders that cost much
            a cell (attention) do with 1: a sequence then begins with nothing.
    """

    target_min_rating: Annotated[float | None, Field(allow_inf_nan=False)] = None
    minimum_history: Annotated[int, Field(ge=0)] = 1
    targets: Literal["all", "last"] = "all"
    max_targets_per_user: PositiveInt | None = None
    suppression_threshold: Annotated[float, Field(gt=0, le=1)] | None = None
    form: Literal["sequences", "windows"] = "sequences"
    targets_per_row: PositiveInt = 128
    context: PositiveInt | None = None

    @property
    def rules(self) -> dict[str, Any]:
        """Which events are targets, as `choose_targets` takes it."""
        return {
            "min_rating": self.target_min_rating,
            "minimum_history": self.minimum_history,
            "which": self.targets,
            "max_per_user": self.max_targets_per_user,
            "suppression_threshold": self.suppression_threshold,
        }
