"""Target events of models with histories: configuration `[histories]`."""

from typing import Annotated, Any, Literal

from pydantic import Field, PositiveInt
from pydantic.dataclasses import dataclass

from tfrecall.schema.specs import STRICT, Finite


@dataclass(frozen=True, kw_only=True, config=STRICT)
class HistoriesConfig:
    """Target events and the form of training, for schemas with a history.

    Attributes:
        target_min_rating: only events rated at least this are targets; all events are history.
        minimum_history: events that a user must have had before a target.
        targets: `all` events are targets (sliding windows), or only each user's `last` one.
        max_targets_per_user: targets kept of a user, the most recent; None for all.
        suppression_threshold: share of the events above which an item is thinned out as a target, the more
            the more frequent it is (.001 is usual); None thins out none.
        form: `sequences` trains on whole sequences whose every position is a target, in one pass;
            `windows` on one padded history a target, with the same numbers in many more steps. With
            negatives from the batch `windows` learns more where sequences are long or few: targets of
            one sequence are each other's negatives.
        baskets: whether the events of a user at one time are one basket, as with `split.baskets`: the history
            of a target then ends before its basket, as that of a query for the next basket does.
        targets_per_row: targets of a user in one sequence.
        context: events before the first target that a sequence sees; None for the longest
            `history_length`, with which each target sees as much as a query of the release. For encoders
            whose cost grows with the length (attention) 1 is enough.
        by_length: whether a batch holds sequences of about one length, which begin at their first target. So
            attention, whose cost grows with the longest sequence of a batch, spends little on padding.
    """

    target_min_rating: Finite = None
    minimum_history: Annotated[int, Field(ge=0)] = 1
    targets: Literal["all", "last"] = "all"
    max_targets_per_user: PositiveInt | None = None
    suppression_threshold: Annotated[float, Field(gt=0, le=1)] | None = None
    form: Literal["sequences", "windows"] = "sequences"
    baskets: bool = False
    targets_per_row: PositiveInt = 128
    context: PositiveInt | None = None
    by_length: bool = False

    @property
    def rules(self) -> dict[str, Any]:
        """Arguments of `choose_targets`."""
        # The names of settings in files differ from those of the function: both are public, neither may
        # change.
        return {
            "min_rating": self.target_min_rating,
            "minimum_history": self.minimum_history,
            "which": self.targets,
            "max_per_user": self.max_targets_per_user,
            "suppression_threshold": self.suppression_threshold,
            "baskets": self.baskets,
        }
