"""What a pipeline does to its candidates besides ranking them: diversity, caps, boosts, an allow-list."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from tfrecall.errors import ConfigError


@dataclass(frozen=True)
class Boost:
    """Adds to the score of some items.

    Added, not multiplied: scores may be negative.

    Attributes:
        by: what is added, in the unit of the ranker's scores; below 0 it pushes items down.
        items: ids of items; those outside the catalogue are ignored.
        column: of the item table, of which an item has one of the `values` as text.
        values: see `column`.

    Raises:
        ConfigError: if it names neither items nor a column with values, or both, or `by` is not finite.
    """

    by: float
    items: Sequence[str] = ()
    column: str | None = None
    values: Sequence[str] = ()

    def __post_init__(self) -> None:
        _check_texts("Boost.items", self.items)
        _check_texts("Boost.values", self.values)
        by_column = self.column is not None and len(self.values) > 0
        if (
            not _is_number(self.by)
            or by_column == (len(self.items) > 0)
            or (by_column != (self.column is not None or len(self.values) > 0))
        ):
            raise ConfigError(
                "A `Boost` takes a finite number `by`, and either `items`, or a `column` with `values`. "
                f"Received: {self}."
            )


@dataclass(frozen=True)
class Rules:
    """What applies to the ranked candidates, in this order: allow-list, boosts, diversity with caps.

    Attributes:
        diversity: from 0 to 1, how much unlikeness counts beside the score, 1 - lambda of maximal marginal
            relevance: the next item is the one with the largest
            `(1 - diversity) * score - diversity * likeness`. Scores are scaled to [0, 1] among the
            candidates of a query; likeness is the largest cosine of the retrieval's item vectors with an
            item that is in the list already. 0 is the plain order.
        caps: column of the item table -> how many items of the list may have the same value there. Of a
            column of lists (genres) each value of an item counts; an item without any always fits.
        boosts: added to the scores, all that match.
        allow: the only items that anybody may get; None for all.

    Raises:
        ConfigError: if a number is out of its range.

    Reference:
        Carbonell and Goldstein, "The use of MMR, diversity-based reranking for reordering documents and
        producing summaries", SIGIR 1998.
    """

    diversity: float = 0.0
    caps: Mapping[str, int] = field(default_factory=dict)
    boosts: Sequence[Boost] = ()
    allow: Sequence[str] | None = None

    def __post_init__(self) -> None:
        if not _is_number(self.diversity) or not 0 <= self.diversity <= 1:
            raise ConfigError(f"`diversity` lies between 0 and 1. Received: {self.diversity!r}.")
        for column, cap in self.caps.items():
            if isinstance(cap, bool) or not isinstance(cap, (int, np.integer)) or cap < 1:
                raise ConfigError(
                    f'A cap is a whole number from 1. Received: {cap!r} for "{column}". To keep items out '
                    "altogether, use `allow` or `exclude`."
                )
        if self.allow is not None:
            _check_texts("Rules.allow", self.allow)

    @property
    def reorder(self) -> bool:
        """Whether the place of an item depends on the items before it."""
        return self.diversity > 0 or len(self.caps) > 0

    @property
    def columns(self) -> list[str]:
        """Of the item table, those that are looked at."""
        named = [boost.column for boost in self.boosts if boost.column is not None]
        return list(dict.fromkeys([*self.caps, *named]))

    def to_dict(self) -> dict[str, Any]:
        """As JSON can hold it; `from_dict` takes it."""
        return {
            "diversity": float(self.diversity),
            "caps": {column: int(cap) for column, cap in self.caps.items()},
            "boosts": [
                {**asdict(b), "items": list(b.items), "values": list(b.values)} for b in self.boosts
            ],
            "allow": None if self.allow is None else list(self.allow),
        }

    @classmethod
    def from_dict(cls, told: Mapping[str, Any]) -> "Rules":
        boosts = tuple(Boost(**boost) for boost in told.get("boosts", ()))
        return cls(**{**told, "boosts": boosts})


def _is_number(value: Any) -> bool:
    whole = isinstance(value, (int, float, np.number)) and not isinstance(value, bool)
    return whole and bool(np.isfinite(value))


def _check_texts(name: str, values: Any) -> None:
    if isinstance(values, str) or not all(isinstance(value, str) for value in values):
        raise ConfigError(f"`{name}` is a list of texts. Received: {values!r}.")
