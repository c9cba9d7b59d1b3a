"""Requests as queries of a release: titles become ids, and new events join the stored history."""

from collections.abc import Sequence
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

from tfrecall.core.event_context import context_column
from tfrecall.core.titles import item_of_title, titles
from tfrecall.core.top_k import check_k
from tfrecall.errors import DataError, UnsupportedError
from tfrecall.release.base import REPEATED, RecommendingRelease, Release
from tfrecall.release.histories import checked_ids, id_text
from tfrecall.release.pipeline import BasePipeline
from tfrecall.serving.recent import RecentEvents, unlogged
from tfrecall.serving.requests import RecommendRequest

_NOTHING: list[str] = []


class AskedQuery(NamedTuple):
    """A request with its query as the release takes it.

    Attributes:
        request: the request.
        query: features, as `Release.recommend` takes them.
        exclude: ids to leave out, new events of the user among them.
        exclude_seen: whether what the user had is left out.
        unknown: items of the request's history that the release does not have.
        is_bare: whether the request gives nothing but a user.
    """

    request: RecommendRequest
    query: dict[str, Any]
    exclude: list[str]
    exclude_seen: bool
    unknown: list[str]
    is_bare: bool


class Queries:
    """Reads requests to one release.

    Args:
        name: name of the release in messages.
        release: a release of any kind.
        recent: events that came after the training log; None without feedback.
    """

    def __init__(self, name: str, release: Release, recent: RecentEvents | None = None) -> None:
        self.name = name
        self.release = release
        self._recent = recent
        self._recommends = isinstance(release, (RecommendingRelease, BasePipeline))
        self._is_pipeline = isinstance(release, BasePipeline)

    def read(self, request: RecommendRequest) -> AskedQuery:
        """The query of a request.

        Raises:
            DataError: if the request contradicts itself.
            ConfigError: if `k` is impossible.
            UnsupportedError: if the release lacks an ability that is asked for.
        """
        release: Any = self.release
        if not self._recommends:
            release.recommend  # noqa: B018 - raises the error that says what to ask instead
        of_pipelines = request.rules or request.stages or request.n_candidates is not None
        if not self._is_pipeline and of_pipelines:
            raise UnsupportedError(
                f'`rules`, `stages` and `n_candidates` are of pipelines, and "{self.name}" is no pipeline. '
                "Leave them out."
            )
        # Of a batch the largest k is searched for: each is checked on its own.
        check_k(request.k, len(release.item_ids), of_what="items in the catalogue")
        if request.columns:
            release.check_columns(request.columns)
        query = given(request.user_id, request.features)
        is_bare = not request.features and request.history is None
        leave_out = release.exclude_seen if request.exclude_seen is None else bool(request.exclude_seen)
        new = self._new_events(query)
        # The same list for all requests without exclusions, which the release then looks up once.
        exclude = [*request.exclude, *new] if new and leave_out else request.exclude or _NOTHING
        unknown = _NOTHING
        if request.history is not None:
            past = self._past(query, request.history)
            unknown = [item for item in past if release.catalogue.vocabulary.row(item) < 0]
            query.update(dict.fromkeys(release.users.item_lists, past))
        elif new:
            query.update(self._continued(query, new))
        return AskedQuery(request, query, exclude, leave_out, unknown, is_bare)

    def barred(self, asked: AskedQuery) -> np.ndarray:
        """Catalogue rows to leave out for one query, as `Release.barred` has them, at the cost of look-ups.

        Raises:
            DataError: if an id is no text.
        """
        release, query = self.release, asked.query
        rows = release.catalogue.rows(asked.exclude)
        if not asked.exclude_seen:
            return rows
        user = id_text(query.get("user_id"))
        row = -1 if user is None else release.users.vocabulary.row(user)
        lists = (checked_ids(name, query.get(name)) for name in release.users.item_lists)
        return release.with_seen(rows, row, lists)

    def item(self, text: str | None, *, strict: bool = True) -> str:
        """The id of an item that is given by id or title.

        Args:
            text: an id of the catalogue, or a title or a part of it.
            strict: whether to refuse a text that no title fits; otherwise it is an unknown id.
        """
        text = str(text)
        if self.release.catalogue.vocabulary.row(text) >= 0:
            return text
        if text in self._by_title:
            return self._by_title[text]
        if not strict:
            return text
        names = titles(self.release.items, self.release.title_column)
        return item_of_title(text, names, self.release.item_ids.tolist())

    @cached_property
    def names(self) -> dict[str, str]:
        """The title of each item, its id without one."""
        return self.release.item_names()

    @cached_property
    def _by_title(self) -> dict[str, str]:
        """Item of each whole title; titles that several items have are left to `item_of_title`."""
        found: dict[str, list[str]] = {}
        for item_id, name in self.names.items():
            found.setdefault(name, []).append(item_id)
        return {name: ids[0] for name, ids in found.items() if len(ids) == 1}

    def _past(self, query: dict[str, Any], history: Sequence[str]) -> list[str]:
        lists = self.release.users.item_lists
        if not lists:
            raise UnsupportedError(
                f'The model of "{self.name}" reads no history. Give `user_id` or `features`.'
            )
        if twice := [name for name in lists if name in query]:
            raise DataError(f"The history is given twice: as `history` and as `{twice[0]}`.")
        return [self.item(text, strict=False) for text in history]

    def _new_events(self, query: dict[str, Any]) -> list[str]:
        """Items of the user's events after the training log, oldest first."""
        user = query.get("user_id")
        if self._recent is None or user is None:
            return _NOTHING
        text = id_text(user)
        return _NOTHING if text is None else self._recent.items(text)

    def _continued(self, query: dict[str, Any], new: Sequence[str]) -> dict[str, list[Any]]:
        """Stored histories with new events at their ends, of the lists that the query does not give."""
        users = self.release.users
        user = users.vocabulary.row(id_text(query["user_id"]) or "")
        found: dict[str, list[Any]] = {}
        newest = set(new)
        for name in users.item_lists:
            if name in query:
                continue
            if name == REPEATED and self._counts_repeats:
                found[name] = self._counted(query["user_id"], user)
                continue
            stored = self._stored(name, user)
            # An item that came again moves to the end: the training log may hold the new event, too.
            kept = [place for place, item in enumerate(stored) if item not in newest]
            found[name] = [stored[place] for place in kept] + [*new]
            for context in users.contexts.get(name, ()):
                column = context_column(name, context)
                values = users.histories[column].ids(np.array([user]))[0].tolist()
                # Texts of the stored events, unknown where the list is shorter; None for the new ones.
                values += [""] * (len(stored) - len(values))
                found[column] = [values[place] or None for place in kept] + [None] * len(new)
        return found

    @property
    def _counts_repeats(self) -> bool:
        """Whether the model weighs an item by the number of its events, of which the log has the times."""
        users = self.release.users
        repeats = getattr(self.release, "repeats", None)
        return repeats is not None and users.seen_times is not None and not users.contexts.get(REPEATED)

    def _counted(self, user_id: Any, user: int) -> list[str]:
        """All events of a user, an item as often as it came: the stored ones, then those after the log."""
        users = self.release.users
        stored = self.release.item_ids[users.seen(user)].tolist()
        recent = [] if self._recent is None else self._recent.events(id_text(user_id) or "")
        return stored + [event.item_id for event in unlogged(recent, stored, users.times(user))]

    def _stored(self, name: str, user: int) -> list[str]:
        users = self.release.users
        if name in users.histories:
            return [item for item in users.histories[name].ids(np.array([user]))[0].tolist() if item]
        return self.release.item_ids[users.seen(user)].tolist()


def given(user_id: str | int | None, features: dict[str, Any] | None) -> dict[str, Any]:
    """Features of a query that may name its user in two places.

    Raises:
        DataError: if two users are named.
    """
    query = dict(features or {})
    if user_id is not None and query.setdefault("user_id", user_id) != user_id:
        raise DataError(f"Two users are given: {user_id!r}, and {query['user_id']!r} in `features`.")
    return query
