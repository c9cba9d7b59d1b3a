"""Read-only views of a loaded release for people: searches, histories, a map of its items, its evaluation."""

import json
import math
from collections.abc import Sequence
from datetime import date
from functools import cached_property
from typing import Any

import numpy as np
import polars as pl

from tfrecall.core.columns import ITEM, TIMESTAMP, USER
from tfrecall.core.dates import day_text, is_moment, value_text, written_day
from tfrecall.core.run_names import as_named
from tfrecall.core.text import caseless, feature_words, folded
from tfrecall.core.titles import titles
from tfrecall.errors import DataError
from tfrecall.release.base import Release
from tfrecall.release.manifest import documents
from tfrecall.serving.facts import facts_of
from tfrecall.serving.item_map import item_map
from tfrecall.serving.recent import RecentEvent, unlogged

# Longest list of one answer.
MOST = 100
# Columns shown beside a title, and the most values of one that is no list.
_TAGS, _FEW = 2, 100


class Explorer:
    """Views of one release. Tables of searches are made at their first use, and kept.

    Args:
        release: a release of any kind.
    """

    def __init__(self, release: Release) -> None:
        self.release = release

    def facts(self) -> dict[str, Any]:
        """Abilities and columns of the release, by which a page chooses its controls."""
        release, manifest = self.release, self.release.manifest
        bundle = getattr(release, "bundle", None)
        pipeline = manifest.get("pipeline")
        return {
            **facts_of(release),
            "created_at": _day_of(manifest.get("created_at")),
            "data": manifest.get("data") or {},
            "recommends": hasattr(release, "recommend"),
            "explains": hasattr(release, "explanations"),
            "takes_history": bool(release.users.item_lists),
            "exclude_seen": getattr(release, "exclude_seen", None),
            "indexes": ["exact"] if bundle is None else bundle.names,
            "title_column": release.title_column,
            "tags": self.tag_columns,
            "columns": [name for name in release.items.columns if name != ITEM],
            "rules": None if pipeline is None else pipeline["rules"],
            "candidates": None if pipeline is None else pipeline["n_candidates"],
        }

    def items(self, query: str, k: int) -> dict[str, Any]:
        """Items whose title or id holds a text: ids and whole titles first, then beginnings, then words.

        Case and accents do not count, except that a whole title with its accents comes before others. Of equal
        fits popular items are first.

        Args:
            query: a part of a title; the empty text finds the most popular items.
            k: length of the list.
        """
        wanted = folded(query)
        texts = self._folded_titles
        rank = _fits(texts, wanted)
        rank += (self._caseless_titles == caseless(query)).to_numpy()
        rank += 6 * (self._folded_ids == wanted).to_numpy()
        rows = np.flatnonzero(rank)
        rows = rows[np.lexsort((-self.release.event_counts[rows], -rank[rows]))]
        return {"items": [self.item_line(row) for row in rows[:k].tolist()], "total": len(rows)}

    def users(self, query: str, k: int) -> dict[str, Any]:
        """Users whose id holds a text: the same id first, then beginnings; the empty text finds all."""
        wanted = folded(query)
        rank = _fits(self._folded_users, wanted) + 4 * (self._folded_users == wanted).to_numpy()
        rows = np.flatnonzero(rank)
        rows = rows[np.argsort(-rank[rows], kind="stable")]
        ids = self.release.users.vocabulary.ids
        found = [{"user_id": ids[row], **self._activity(row)} for row in rows[:k].tolist()]
        return {"users": found, "total": len(rows)}

    def user(self, user_id: str, k: int, recent: Sequence[RecentEvent] = ()) -> dict[str, Any]:
        """What a release knows of a user: features in words, and the newest `k` items of the history.

        Args:
            user_id: any user; an unknown one has no features.
            k: length of the history.
            recent: events of the user since, oldest first; those that the release has stored count once.
        """
        row = self.release.users.vocabulary.row(user_id)
        known = row >= 0
        stored = self.release.item_ids[self.release.users.seen(row)].tolist()
        new = unlogged(recent, stored, self.release.users.times(row))[::-1]
        told = self._activity(row) if known else {"events": 0}
        last = {"last_active": day_text(new[0].time)} if new else {}
        return {
            "user_id": user_id,
            "known": known,
            **told,
            **last,
            "events": told["events"] + len(new),
            "features": self._features(row) if known else [],
            "history": [*map(self._new_line, new), *self._stored_lines(row, k)][:k],
        }

    def _stored_lines(self, row: int, k: int) -> list[dict[str, Any]]:
        """The newest stored events of a user, newest first."""
        if row < 0:
            return []
        newest = self.release.users.seen(row)[::-1][:k].tolist()
        days = self._days(row)[::-1]
        return [
            self.item_line(item) | ({"when": days[i]} if days else {}) for i, item in enumerate(newest)
        ]

    def _new_line(self, event: RecentEvent) -> dict[str, Any]:
        """An event since the log, of whose item the catalogue may know nothing."""
        row = self.release.catalogue.vocabulary.row(event.item_id)
        unknown = {"item_id": event.item_id, "title": event.item_id, "columns": {}}
        line = self.item_line(row) if row >= 0 else unknown
        return line | {"when": day_text(event.time), "new": True}

    def item(self, item_id: str) -> dict[str, Any]:
        """All columns of an item as texts, and the number of users who had it.

        Raises:
            DataError: if the catalogue lacks the item, with the nearest id.
        """
        row = self.release.catalogue.row(item_id)
        told = self.release.items.row(row, named=True)
        columns = [
            {"name": feature_words(name), "value": value_text(value)}
            for name, value in told.items()
            if name not in (ITEM, self.release.title_column) and value is not None
        ]
        return {**self.item_line(row), "users": self._n_users_of(row), "facts": columns}

    def item_line(self, row: int) -> dict[str, Any]:
        """Id, title and tags of the item of a row."""
        tags = {name: values[row] for name, values in self._tags.items() if values[row]}
        return {"item_id": self._ids[row], "title": self._titles[row], "columns": tags}

    def map(self, k: int) -> dict[str, Any]:
        """Places of the most popular `k` items in the plane of their vectors, from 0 to 1.

        Items of a release without vectors are placed by their users: two lie together if the same users had
        them.
        """
        return {**self._map, "points": self._map["points"][:k]}

    def evaluation(self) -> dict[str, Any]:
        """Figures of the run beside its baselines, and recall and latency of the index.

        Returns:
            `rules`, the rules of the figures; `rows`, one for each model with `name`, `is_model` and
            `figures`, rule -> metric -> value; `metrics`, in the order of a table; `lower`, those of which
            less is better; `intervals`; `index`, the measured efforts of the approximate index. A release
            without a run has no rows.
        """
        metrics = as_named(self._documents.get("metrics.json", {}))
        told = {metrics.get("model", ""): metrics.get("test", {}), **metrics.get("baselines", {})}
        rows = [
            {"name": name, "is_model": place == 0, "figures": _by_rule(figures)}
            for place, (name, figures) in enumerate(told.items())
            if figures
        ]
        rules = list(dict.fromkeys(rule for row in rows for rule in row["figures"]))
        names = dict.fromkeys(name for row in rows for f in row["figures"].values() for name in f)
        bundle = getattr(self.release, "bundle", None)
        return {
            "rules": rules,
            "leading": metrics.get("leading"),
            "metrics": _chosen(list(names)),
            "lower": [name for name in names if name.endswith(("loss", "rmse", "mae", "error"))],
            "rows": rows,
            "intervals": metrics.get("intervals", {}),
            "data": metrics.get("data", {}),
            "index": {} if bundle is None else bundle.tuning,
        }

    def _n_users_of(self, row: int) -> int:
        """Number of users who had an item, however often."""
        users = self.release.users
        events = np.flatnonzero(np.asarray(users.seen_items) == row)
        return len(np.unique(np.searchsorted(users.seen_offsets, events, side="right")))

    @cached_property
    def tag_columns(self) -> list[str]:
        """Columns shown beside titles: lists of texts first, then texts and whole numbers of few values."""
        items, leave = self.release.items, (ITEM, self.release.title_column)
        columns = [column for column in items.iter_columns() if column.name not in leave]
        lists = [c.name for c in columns if c.dtype == pl.List(pl.String)]
        few = [c.name for c in columns if _has_few_values(c)]
        return [*lists, *few][:_TAGS]

    @cached_property
    def _tags(self) -> dict[str, list[Any]]:
        return {
            name: ["" if v is None else value_text(v) for v in self.release.items[name].to_list()]
            for name in self.tag_columns
        }

    @cached_property
    def _ids(self) -> list[str]:
        return self.release.item_ids.tolist()

    @cached_property
    def _titles(self) -> list[str]:
        return titles(self.release.items, self.release.title_column).to_list()

    @cached_property
    def _folded_titles(self) -> pl.Series:
        return pl.Series([folded(title) for title in self._titles], dtype=pl.String)

    @cached_property
    def _caseless_titles(self) -> pl.Series:
        return pl.Series([caseless(title) for title in self._titles], dtype=pl.String)

    @cached_property
    def _folded_ids(self) -> pl.Series:
        return pl.Series([folded(item_id) for item_id in self._ids], dtype=pl.String)

    @cached_property
    def _folded_users(self) -> pl.Series:
        return pl.Series([folded(user) for user in self.release.users.ids], dtype=pl.String)

    @cached_property
    def _documents(self) -> dict[str, Any]:
        texts = documents(self.release.root, self.release.manifest)
        return {name: json.loads(text) for name, text in texts.items() if name.endswith(".json")}

    def _activity(self, row: int) -> dict[str, Any]:
        """Number of events of a user, and the day of the last one; None where no times are stored."""
        users = self.release.users
        days = self._days(row, newest=1)
        last = days[0] if days else None
        times = users.features.get(TIMESTAMP)
        if last is None and times is not None and not users.gaps[TIMESTAMP][row]:
            last = day_text(times[row]) if users.forms[TIMESTAMP] == "number" else None
        return {"events": len(users.seen(row)), "last_active": last}

    def _days(self, row: int, newest: int = MOST) -> list[str]:
        """Days of the newest events of a user, oldest first; none where no times are stored."""
        users = self.release.users
        times = users.seen_times
        start, end = users.seen_offsets[row : row + 2].tolist()
        # Numbers that are no moments only order the events: logs without times have them.
        if times is None or start == end or not is_moment(times[end - 1]):
            return []
        return [day_text(time) for time in times[max(start, end - newest) : end].tolist()]

    def _features(self, row: int) -> list[dict[str, str]]:
        users = self.release.users
        return [
            {"name": feature_words(name), "value": value_text(_plain(values[row]))}
            for name, values in users.features.items()
            if name not in (USER, TIMESTAMP) and not users.gaps[name][row] and values.ndim == 1
        ]

    @cached_property
    def _map(self) -> dict[str, Any]:
        return item_map(self.release, self._titles)


def count_of(text: str | None, default: int, most: int = MOST) -> int:
    """The `k` of a request for a page.

    Raises:
        DataError: if it is no whole number from 1.
    """
    if text is None:
        return default
    if not text.isdecimal() or not int(text[:9]) >= 1:
        raise DataError(f"`k` is a whole number from 1 to {most:,}. Received: {text[:20]!r}.")
    return min(int(text[:9]), most)


def _fits(texts: pl.Series, wanted: str) -> np.ndarray:
    """4 for equal texts, 3 for those that begin so, 2 where a later word does, 1 with all words, else 0."""
    if not wanted:
        return np.ones(len(texts), np.int64)
    # Word by word: "the matrix" finds "Matrix, The".
    holds = [texts.str.contains(word, literal=True).to_numpy() for word in wanted.split()]
    inside = texts.str.contains(f" {wanted}", literal=True).to_numpy()
    first = texts.str.starts_with(wanted).to_numpy()
    whole = (texts == wanted).to_numpy()
    return np.select([whole, first, inside, np.all(holds, axis=0)], [4, 3, 2, 1], 0)


def _has_few_values(column: pl.Series) -> bool:
    if column.dtype not in (pl.String, pl.Categorical) and not column.dtype.is_integer():
        return False
    return 2 <= column.n_unique() <= min(_FEW, max(2, len(column) // 2))


def _plain(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else value


def _by_rule(figures: dict[str, Any]) -> dict[str, dict[str, float]]:
    """Figures by rule; those of a ranker have none and stand under "test"."""
    nested = any(isinstance(value, dict) for value in figures.values())
    return {
        rule: {n: v for n, v in told.items() if isinstance(v, int | float) and math.isfinite(v)}
        for rule, told in (figures if nested else {"test": figures}).items()
    }


def _chosen(names: Sequence[str]) -> list[str]:
    """Figures of the table: hit rates at three lengths, one NDCG and MRR; all of a ranker's."""
    lengths = [f"hit_rate@{k}" for k in (10, 50, 100)]
    wanted = [*lengths, "ndcg@10", "mrr", "coverage@10"]
    return [name for name in wanted if name in names] or list(names)[:8]


def _day_of(moment: Any) -> str | None:
    """The day of an ISO 8601 moment, as manifests have it."""
    try:
        return written_day(date.fromisoformat(str(moment)[:10]))
    except ValueError:
        return None
