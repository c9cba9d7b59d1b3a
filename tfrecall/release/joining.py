"""Checks that a retriever and a ranker fit together, and the join of their users."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tfrecall.core.vocabulary import Vocabulary
from tfrecall.errors import ConfigError
from tfrecall.release.histories import UserHistories, same_width
from tfrecall.release.users import UserStore

# Query column of the repeated history, which holds all events of a user, whatever their rating.
_REPEATED = "history"
_WHOLE = {"min_rating": None, "below_rating": None}
# Item ids listed in an error message.
NAMED = 5


def check_joinable(
    retrieval_ids: np.ndarray,
    ranker_ids: np.ndarray,
    retrieval: UserStore,
    ranker: UserStore,
    retrieval_histories: dict[str, dict[str, Any]],
    ranker_histories: dict[str, dict[str, Any]],
    repeats: bool = False,
) -> None:
    """Refuse models of different catalogues, and query columns with different meanings.

    Args:
        retrieval_ids, ranker_ids: the catalogues, in any order.
        retrieval, ranker: users of both models, with the query columns of each.
        retrieval_histories, ranker_histories: `histories` of the manifests.
        repeats: whether the retriever takes the whole history of a user, as `history`.

    Raises:
        ConfigError: naming the difference.
    """
    known, candidates = set(ranker_ids), set(retrieval_ids)
    _refuse(
        [item for item in retrieval_ids if item not in known],
        "candidates without features: the retriever finds items that the ranker does not know",
    )
    _refuse(
        [item for item in ranker_ids if item not in candidates],
        "another catalogue: the ranker knows items that the retriever cannot find",
    )
    for column, form in retrieval.forms.items():
        other = ranker.forms.get(column, form)
        if other != form:
            raise ConfigError(
                f'Both models take a query column "{column}", the retriever as {_named(form)} and the '
                f"ranker as {_named(other)}. A query can say only one: rename the column of one model, or "
                "declare the same feature."
            )
    asked = dict(retrieval_histories)
    # The repeated history has no length of its own, so it takes that of the ranker's list, and only the
    # rating filters are compared.
    if repeats:
        asked.setdefault(_REPEATED, {**ranker_histories.get(_REPEATED, {}), **_WHOLE})
    for name, told in asked.items():
        if name in ranker_histories:
            _check_history(name, told, ranker_histories[name])
        elif name in ranker.forms:
            raise ConfigError(
                f'The retriever takes "{name}" as what a user had, the ranker as a feature of its own. A '
                "query can say only one: rename the column of one model."
            )


def _check_history(name: str, first: dict[str, Any], second: dict[str, Any]) -> None:
    same = ["min_rating", "below_rating"]
    if first.get("context") or second.get("context"):
        # One context value for each event: lists of different length would no longer line up.
        same.append("history_length")
    for key in same:
        if first.get(key) != second.get(key):
            raise ConfigError(
                f'The history "{name}" of the retriever has {key}={first.get(key)!r}, that of the ranker '
                f"{second.get(key)!r}. A query can give only one list of this name: use the same setting, "
                "or rename the history of one model."
            )


def _refuse(items: Sequence[str], what: str) -> None:
    if items:
        some = ", ".join(map(str, items[:NAMED])) + (", ..." if len(items) > NAMED else "")
        raise ConfigError(
            f"These models cannot be joined, for {what}. That is so of {len(items):,} items: {some}. Train "
            "both with the same item table."
        )


def _named(form: str) -> str:
    names = {
        "string": "a text",
        "strings": "a list of texts",
        "number": "a number",
        "vector": "a vector",
    }
    return names.get(form, form)


def join_users(first: UserStore, second: UserStore) -> UserStore:
    """Join two stores into one with the features of both models.

    A shared column has the value of the first model, for users missing there that of the second. The
    longer one of a shared history is kept. Seen items are those of the first model.
    """
    ids = list(dict.fromkeys([*first.ids, *second.ids]))
    here, there = (_places(people, ids) for people in (first, second))
    features, gaps = {}, {}
    for column in dict.fromkeys([*first.features, *second.features]):
        parts = [
            _Column(people.features[column], people.gaps[column], places)
            for people, places in ((first, here), (second, there))
            if column in people.features
        ]
        default = (first if column in first.features else second).defaults[column]
        features[column], gaps[column] = _merged(parts, default)
    histories = {name: _Placed.of(past, there) for name, past in second.histories.items()}
    for name, past in first.histories.items():
        if name not in histories or past.length >= histories[name].length:
            histories[name] = _Placed.of(past, here)
    # The second model's further users stand last and have seen nothing: repeating the last offset gives
    # each an empty slice.
    added = len(ids) - len(first.vocabulary)
    offsets = first.seen_offsets
    if added:
        offsets = np.concatenate([offsets, np.full(added, offsets[-1])])
    contexts = {
        name: tuple(dict.fromkeys([*first.contexts.get(name, ()), *second.contexts.get(name, ())]))
        for name in (*first.contexts, *second.contexts)
    }
    return UserStore(
        {**second.forms, **first.forms},
        {**second.defaults, **first.defaults},
        Vocabulary(ids),
        features,
        gaps,
        offsets,
        first.seen_items,
        histories,
        tuple(dict.fromkeys([*first.item_lists, *second.item_lists])),
        contexts,
        first.seen_times,
    )


@dataclass(frozen=True, eq=False)
class _Column:
    """Values of one model, and for each joined user the row in them: -1 for a user it lacks."""

    values: np.ndarray
    gaps: np.ndarray
    places: np.ndarray | None


@dataclass(frozen=True, eq=False)
class _Placed(UserHistories):
    """A history of one model, addressed by rows of the joined users.

    Attributes:
        places: for each joined user the row in `offsets`, -1 for a user the model lacks.
    """

    places: np.ndarray

    @classmethod
    def of(cls, past: UserHistories, places: np.ndarray | None) -> UserHistories:
        if places is None:
            return past
        return cls(past.offsets, past.items, past.length, past.item_ids, places)

    def ids(self, users: np.ndarray) -> np.ndarray:
        # -1 would index the last user; read row 0 instead and put -1 back below.
        known = self.places[np.maximum(users, 0)] if len(self.places) else users
        return super().ids(np.where(users < 0, -1, known))


def _places(users: UserStore, ids: list[str]) -> np.ndarray | None:
    """Row of each user in a store, -1 for a user it lacks; None if the rows are the same."""
    if users.ids == ids:
        return None
    return users.rows_of(ids)


def _merged(parts: list[_Column], default: Any) -> tuple[np.ndarray, np.ndarray]:
    """Merge one column of all users; the first model that has a user decides."""
    first = parts[0]
    if first.places is None:
        return first.values, first.gaps
    count = len(first.places)
    values = np.full((count, *first.values.shape[1:]), default, first.values.dtype)
    gaps = np.ones(count, dtype=bool)
    # Last model first, so that the first one overwrites it.
    for part in reversed(parts):
        places = np.arange(count) if part.places is None else part.places
        there = places >= 0
        values, own = same_width(values, part.values)
        values[there] = own[places[there]]
        gaps[there] = part.gaps[places[there]]
    return values, gaps
