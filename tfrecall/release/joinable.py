"""Whether a retriever and a ranker can answer together, said before they are asked to."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from tfrecall.errors import ConfigError
from tfrecall.release.people import People

# What a query calls the list that a retriever with `repeats` takes: all that was had.
_REPEATED = "history"
_WHOLE = {"min_rating": None, "below_rating": None}
NAMED = 5


def check_joinable(
    retrieval_ids: np.ndarray,
    ranker_ids: np.ndarray,
    retrieval: People,
    ranker: People,
    retrieval_histories: dict[str, dict[str, Any]],
    ranker_histories: dict[str, dict[str, Any]],
    repeats: bool = False,
) -> None:
    """Refuses models of different catalogues, and columns of queries that mean different things.

    Args:
        retrieval_ids, ranker_ids: the catalogues, in any order.
        retrieval, ranker: what they take of queries.
        retrieval_histories, ranker_histories: `histories` of the manifests.
        repeats: whether the retriever takes all that a user had, as `history`.

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
        same.append("history_length")  # what stands beside a list is as long
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
    names = {"string": "a text", "strings": "a list of texts", "number": "a number"}
    return names.get(form, form)
