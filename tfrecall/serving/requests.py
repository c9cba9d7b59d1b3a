"""Requests and answers of the service: decoding checks their form, encoding writes them as they are.

Forms are msgspec structs: JSON becomes a checked object in one step of compiled code, and the OpenAPI
document takes its schemas from them. Values are checked where they are used, by the release.
"""

from typing import Any

import msgspec

from tfrecall.errors import DataError, nearest
from tfrecall.index.search import ItemScore


class RecommendRequest(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """The best items for one query.

    Attributes:
        user_id: user of the query; None for somebody new.
        features: columns of the query model, as `Release.recommend` takes a query.
        history: ids or titles of the items that the user had, oldest first; None for the stored history.
        k: length of the list.
        exclude: ids to leave out.
        allow: ids to which the list is restricted; None for no restriction.
        exclude_seen: whether to leave out what the user had; None for the release's default.
        explain: whether to add reasons to each item.
        columns: columns of the item table to add to each item, and `cold`: whether it had no event in training.
        rules: of a pipeline, rules in place of its own.
        stages: of a pipeline, whether to add candidates and timings.
        n_candidates: of a pipeline, number of candidates to rank; None for its own.
        index: exact, annoy, faiss or scann; None for the service's default.
        release: name of the release; None for the routed one.
    """

    user_id: str | int | None = None
    features: dict[str, Any] | None = None
    history: list[str] | None = None
    k: int = 10
    exclude: list[str] = []
    allow: list[str] | None = None
    exclude_seen: bool | None = None
    explain: bool = False
    columns: list[str] = []
    rules: dict[str, Any] | None = None
    stages: bool = False
    n_candidates: int | None = None
    index: str | None = None
    release: str | None = None


class BatchRequest(msgspec.Struct, forbid_unknown_fields=True):
    """Several requests, answered independently."""

    requests: list[RecommendRequest]


class SimilarRequest(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """The items most similar to one, which is given by its id or its title."""

    item_id: str | None = None
    title: str | None = None
    k: int = 10
    score: ItemScore | None = None
    index: str | None = None
    columns: list[str] = []
    release: str | None = None


class RankRequest(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """Given items, in the order of a ranker's scores for one query."""

    items: list[str]
    user_id: str | int | None = None
    features: dict[str, Any] | None = None
    columns: list[str] = []
    release: str | None = None


class Because(msgspec.Struct):
    """A reason for an item, in words; `item_id` or `feature` names its source."""

    reason: str
    contribution: float
    item_id: str | None = None
    feature: str | None = None


class Item(msgspec.Struct, omit_defaults=True):
    """An item of a list."""

    item_id: str
    score: float
    columns: dict[str, Any] | None = None
    because: list[Because] | None = None


class RecommendAnswer(msgspec.Struct, kw_only=True):
    """A list of items, best first.

    Attributes:
        release, version: the release that answered.
        user_id: user of the query.
        known: whether the user has events in the training log.
        fallback: why popular items stand in for the model's: `unknown_user`, `timeout` or `failed`; None
            for an answer of the model.
        items: best first; fewer than `k` if no more are left.
        not_in_catalogue: items of the request's history that the release does not have.
        defaulted: features of an unknown user that nothing gave.
        stages: of a pipeline, candidates and timings.
    """

    release: str
    version: int
    user_id: str | None
    known: bool
    items: list[Item]
    fallback: str | None = None
    not_in_catalogue: list[str] | msgspec.UnsetType = msgspec.UNSET
    defaulted: list[str] | msgspec.UnsetType = msgspec.UNSET
    stages: dict[str, Any] | msgspec.UnsetType = msgspec.UNSET


class ItemsAnswer(msgspec.Struct, kw_only=True, omit_defaults=True):
    """Similar or ranked items, best first."""

    release: str
    version: int
    items: list[Item]
    item_id: str | None = None
    user_id: str | None = None


def decode(body: bytes, form: Any) -> Any:
    """Read JSON as one of the forms above.

    Raises:
        DataError: if it is no JSON, or not of that form, with the place.

    >>> decode(b'{"user_id": "42", "k": 3}', RecommendRequest).k
    3
    """
    try:
        return msgspec.json.decode(body, type=form)
    except msgspec.ValidationError as error:
        raise DataError(
            f"The request does not have the right form: {_helped(str(error), form)}"
        ) from None
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise DataError(f"The body of the request is no JSON that can be read: {error}.") from None


def _helped(message: str, form: Any) -> str:
    """The message of msgspec, with the nearest name where a field is unknown."""
    _, mark, rest = message.partition("unknown field `")
    fields = getattr(form, "__struct_fields__", ())
    if not mark or not fields:
        return f"{message}."
    return f"{message}.{nearest(rest.split('`')[0], fields)} Fields: {', '.join(fields)}."
