"""Rules of a pipeline on its ranked candidates: diversity, caps, boosts, an allow-list."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import polars as pl

from tfrecall.core.ragged import Ragged, offsets_of
from tfrecall.errors import ConfigError


@dataclass(frozen=True)
class Boost:
    """A number added to the scores of some items, chosen by id or by a value of a column.

    Added, not multiplied: scores may be negative.

    Attributes:
        by: the number, in the unit of the ranker's scores; below 0 it pushes items down.
        items: ids of the items; ids outside the catalogue are ignored.
        column: a column of the item table, in place of `items`.
        values: values of that column, as text; an item with one of them is boosted.

    Raises:
        ConfigError: if it names neither items nor a column with values, or both, or `by` is not finite.

    Example:

    >>> Boost(0.2, column="genres", values=["Drama"]).by
    0.2
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
    """Rules on ranked candidates, in this order: allow-list, boosts, diversity with caps.

    Attributes:
        diversity: from 0 to 1, weight of dissimilarity against the score, 1 - lambda of maximal marginal
            relevance: the next item is the one with the largest
            `(1 - diversity) * score - diversity * similarity`. Scores are scaled to [0, 1] among the
            candidates of a query; similarity is the largest cosine, by the retrieval's item vectors, with
            an item already in the list. 0 keeps the order of the scores.
        caps: column of the item table -> how many items of the list may have the same value there. Of a
            column of lists (genres) each value of an item counts; an item without any always fits.
        boosts: added to the scores, all that match.
        allow: ids to which all lists are restricted; None for no restriction.

    Raises:
        ConfigError: if a number is out of its range.

    Reference:
        Carbonell and Goldstein, "The use of MMR, diversity-based reranking for reordering documents and
        producing summaries", SIGIR 1998.

    Example:

    >>> rules = Rules(diversity=0.3, caps={"genres": 2}, boosts=[Boost(0.2, items=["50"])])
    >>> rules.reorder, rules.columns
    (True, ['genres'])
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
        """Columns of the item table that the rules read."""
        named = [boost.column for boost in self.boosts if boost.column is not None]
        return list(dict.fromkeys([*self.caps, *named]))

    def allowed(self, allow: Sequence[str] | None) -> Sequence[str] | None:
        """Ids that both these rules and a request allow; None for no restriction.

        >>> Rules(allow=["a", "b"]).allowed(["b", "c"]), Rules().allowed(None)
        (['b'], None)
        """
        if self.allow is None or allow is None:
            return self.allow if allow is None else allow
        own = set(self.allow)
        return [item for item in allow if item in own]

    def to_dict(self) -> dict[str, Any]:
        """Settings as JSON can hold them, the inverse of `from_dict`."""
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


@dataclass(frozen=True, eq=False)
class ItemValues:
    """One column of the item table, with each distinct value as a number.

    Attributes:
        names: value as text -> its number.
        offsets, codes: those of item i: `codes[offsets[i]:offsets[i + 1]]`, each once. Null and the empty
            list are no value.
    """

    names: dict[str, int]
    offsets: np.ndarray
    codes: np.ndarray

    @classmethod
    def of(cls, column: pl.Series) -> "ItemValues":
        """Read a column of the item table, of single values or of lists.

        Raises:
            ConfigError: if its values cannot be texts.

        >>> values = ItemValues.of(pl.Series("genres", [["a", "b"], None, ["b", "b"]]))
        >>> values.names, values.offsets.tolist(), values.codes.tolist()
        ({'a': 0, 'b': 1}, [0, 2, 2, 3], [0, 1, 1])
        """
        if isinstance(column.dtype, pl.Array):
            column = column.arr.to_list()
        inner = column.dtype.inner if isinstance(column.dtype, pl.List) else column.dtype
        if not _is_text(inner):
            raise ConfigError(
                f'The column "{column.name}" holds {column.dtype}, whose values are no texts. Caps and '
                "boosts take columns of texts, numbers, or lists of them."
            )
        if not isinstance(column.dtype, pl.List):
            # Single values as lists of one. `implode` would make one list of the whole column.
            column = column.reshape((-1, 1)).arr.to_list()
        texts = column.cast(pl.List(pl.String))
        texts = texts.fill_null([]).list.drop_nulls().list.unique(maintain_order=True)
        lengths = texts.list.len().to_numpy()
        # `explode` makes a null of an empty list; its length is 0 in `lengths`, so it is dropped.
        flat = texts.explode().drop_nulls()
        names: dict[str, int] = {}
        codes = [names.setdefault(text, len(names)) for text in flat.to_list()]
        return cls(names, offsets_of(lengths), np.array(codes, dtype=np.int64))

    def table(self, rows: np.ndarray) -> np.ndarray:
        """Matrix of some items and the distinct values among them: bool `[n_rows, n_values]`."""
        owners, codes = self._lists.flat(rows)
        values, columns = np.unique(codes, return_inverse=True)
        has = np.zeros((len(rows), len(values)), dtype=bool)
        has[owners, columns] = True
        return has

    def having(self, values: Sequence[str]) -> np.ndarray:
        """Mask of the items that have one of some values: bool `[n_items]`."""
        wanted = [self.names[value] for value in values if value in self.names]
        has = np.zeros(len(self._lists), dtype=bool)
        has[self._lists.owners()[np.isin(self.codes, wanted)]] = True
        return has

    @property
    def _lists(self) -> Ragged:
        return Ragged(self.codes, self.offsets)


def _is_text(dtype: Any) -> bool:
    """Whether each value of a column has one way to be written."""
    plain = (pl.String, pl.Boolean, pl.Categorical, pl.Enum, pl.Null)
    return dtype.is_numeric() or dtype.is_temporal() or isinstance(dtype, plain)


def in_order(
    scores: np.ndarray,
    k: int,
    *,
    diversity: float = 0.0,
    vectors: np.ndarray | None = None,
    caps: Sequence[tuple[int, np.ndarray]] = (),
) -> np.ndarray:
    """Choose up to `k` candidates greedily by maximal marginal relevance and caps, as positions in `scores`.

    The first item has the largest score, whatever the diversity. Ties go to the earlier candidate. A list
    is short where no candidate fits under the caps any more.

    Args:
        scores: finite `[n]`.
        k: length of the list.
        diversity: from 0 to 1.
        vectors: number `[n, d]`, with diversity. A vector of length 0 has similarity 0 to all.
        caps: for each capped column the cap, and the mask of values of each candidate: bool `[n, n_values]`.

    >>> genres = np.array([[True, False], [True, False], [False, True]])
    >>> in_order(np.array([3.0, 2.0, 1.0]), 3, caps=[(1, genres)]).tolist()
    [0, 2]
    """
    relevance = _scaled(scores)
    unit = _unit(vectors) if diversity and vectors is not None else None
    free = np.ones(len(scores), dtype=bool)
    left = [np.full(has.shape[1], cap) for cap, has in caps]
    nearest = np.full(len(scores), -np.inf)
    # The first choice is by relevance alone: `nearest` is still -inf, which would make all values equal.
    value = relevance
    chosen: list[int] = []
    while len(chosen) < k and free.any():
        place = int(np.argmax(np.where(free, value, -np.inf)))
        chosen.append(place)
        free[place] = False
        for (_, has), room in zip(caps, left, strict=True):
            room -= has[place]
            free &= ~has[:, room == 0].any(axis=1)
        if unit is not None:
            # A running maximum: O(k * n * d) in all, without the n x n matrix of similarities.
            nearest = np.maximum(nearest, unit @ unit[place])
            value = (1 - diversity) * relevance - diversity * nearest
    return np.array(chosen, dtype=np.int64)


def _scaled(scores: np.ndarray) -> np.ndarray:
    """Scale to [0, 1], in float64, so that different float32 scores stay different."""
    wide = scores.astype(np.float64)
    lowest, spread = wide.min(initial=np.inf), np.ptp(wide) if len(wide) else 0.0
    return (wide - lowest) / spread if spread > 0 else np.zeros(len(wide))


def _unit(vectors: np.ndarray) -> np.ndarray:
    wide = vectors.astype(np.float64)
    lengths = np.linalg.norm(wide, axis=1, keepdims=True)
    return np.divide(wide, lengths, out=np.zeros_like(wide), where=lengths > 0)
