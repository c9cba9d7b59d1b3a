"""From the files of a log to a recipe."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from tfrecall.config.inference.columns import Judged, judge, plain_name
from tfrecall.config.inference.conflicts import Conflicts, find_conflicts
from tfrecall.config.inference.log_columns import judge_log_column
from tfrecall.config.inference.settings import Choice, choose_training, facts_of
from tfrecall.config.inference.toml import toml
from tfrecall.config.recipes import config_from_text
from tfrecall.config.run import RunConfig
from tfrecall.data.assembly import FILE_ORDER
from tfrecall.data.inspection.advice import advise, best_split, percent
from tfrecall.data.inspection.describe import Description, describe_opened
from tfrecall.data.inspection.opening import Opened, open_data
from tfrecall.data.repeat_consumption import MOSTLY_REPEATED
from tfrecall.errors import DataError

KS = (1, 5, 10, 20, 50, 100)
# Fewer say too little about when to stop.
LEAST_VALIDATION_ROWS = 20
# The part of the events up to which those of items without a row in the table are dropped.
FEW_MISSING = 0.01
# Where the test begins when it is split by time.
TEST_FROM = 0.9


@dataclass(frozen=True)
class Proposal:
    """A run for a log, and why it is as it is.

    Attributes:
        name: of the log, the recipe and the release.
        settings: the sections of the configuration but the schema.
        query, candidate: the features of both towers.
        judged: all columns looked at, in the order of the tables.
        reasons: for a section, sentences about it.
        found: the description of the log.
    """

    name: str
    settings: dict[str, Any]
    query: tuple[Judged, ...]
    candidate: tuple[Judged, ...]
    judged: tuple[Judged, ...]
    reasons: dict[str, tuple[str, ...]]
    found: Description

    def to_toml(self, command: str = "tfrecall run recipe.toml") -> str:
        """The recipe with the reasons as comments.

        Args:
            command: what runs the file, which its first lines say.
        """
        return toml(self, command)

    def config(self, overrides: list[str] | None = None) -> RunConfig:
        """The configuration, as `load_config` would read it from the file."""
        return config_from_text(self.to_toml(), self.name, overrides or [])

    @property
    def said(self) -> list[str]:
        """Everything that was inferred, in words, one a line."""
        features = [*self.query, *self.candidate]
        lines = [f"{_where(one)}{one.feature['type']}: {one.why}" for one in features if one.feature]
        lines += [f"{_where(one)}left out: {one.why}" for one in self.judged if one.feature is None]
        return [*self.reasons["data"], *lines, *(f"split: {text}" for text in self.reasons["split"])]


def _where(one: Judged) -> str:
    return f"{one.table}.{one.column}: "


def propose(
    log: str | Path,
    users: str | Path | None = None,
    items: str | Path | None = None,
    **given: str | None,
) -> Proposal:
    """Infers a run from the files of a log.

    Args:
        log: path of the log: CSV, Parquet, JSON lines.
        users: path of the user table; likewise `items`.
        **given: names of columns that are known: `user_id`, `item_id`, `timestamp`, `rating`, `weight`.

    Raises:
        DataError: if the files cannot be read, the columns cannot be told, or nothing could be learned.
    """
    opened = open_data(log, users, items, given)
    paths = {"source": log, "users": users, "items": items}
    return _Proposer(opened, {k: str(path) for k, path in paths.items() if path is not None}).proposal()


class _Proposer:
    """The steps from opened tables to a proposal."""

    def __init__(self, opened: Opened, paths: dict[str, str]) -> None:
        self.opened = opened
        self.paths = paths
        self.found = describe_opened(opened)
        if self.found.users < 2 or self.found.items < 2:
            raise DataError(advise(self.found)[0])
        self.conflicts: Conflicts = find_conflicts(opened)

    def proposal(self) -> Proposal:
        data, said = self._data()
        split, why = self._split()
        choice = choose_training(
            facts_of(self.found, self.catalogue_size, bool(split["validation_fraction"]))
        )
        judged = [*self._times(), *self._judged()]
        features = [_with_dim(one, choice) for one in judged if one.feature]
        separators = {one.column: one.separator for one in features if one.separator}
        if separators:
            data["list_separators"] = separators
        query = [self._id("log", "user_id", "the user", choice)]
        query += [one for one in features if one.table != "items"]
        items = [self._id("items", "item_id", "the item", choice)]
        items += [one for one in features if one.table == "items"]
        return Proposal(
            name=plain_name(self.opened.name),
            settings=self._settings(data, split, choice),
            query=tuple(query),
            candidate=tuple(items),
            judged=tuple(judged),
            reasons={
                "data": (*self.found.guessed, *said),
                "split": (why,),
                "filters": (self._filter_advice(),),
                "training": (choice.why,),
                "evaluation": (_seen(self.found),),
            },
            found=self.found,
        )

    @cached_property
    def catalogue_size(self) -> int:
        """Items of the log and of the table together."""
        return self.found.items + self.found.never_seen.get("items", 0)

    def _settings(self, data: dict[str, Any], split: dict[str, Any], choice: Choice) -> dict[str, Any]:
        found = self.found
        return {
            "description": f"{found.usable_rows:,} events of {found.users:,} users with {found.items:,} items.",
            "data": data,
            "split": split,
            "model": choice.model,
            "task": choice.task,
            "training": choice.training,
            "evaluation": {"ks": [k for k in KS if k < self.catalogue_size] or [1]},
            "export": {"k": min(10, self.catalogue_size)},
        }

    def _data(self) -> tuple[dict[str, Any], list[str]]:
        columns, conflicts = self.opened.columns, self.conflicts
        names = {
            "user_column": columns.user_id,
            "item_column": columns.item_id,
            "timestamp_column": columns.timestamp,
            "rating_column": None if "rating" in conflicts.unusable else columns.rating,
            "weight_column": None if "weight" in conflicts.unusable else columns.weight,
        }
        data: dict[str, Any] = {
            **self.paths,
            **{k: name for k, name in names.items() if name is not None},
        }
        said = list(conflicts.said)
        lost = self.found.missing.get("items", {"ids": 0, "events": 0})
        if lost["ids"]:
            share = lost["events"] / self.found.usable_rows
            data["missing_items"] = "drop" if share <= FEW_MISSING else "add"
            what = (
                "their events are dropped" if share <= FEW_MISSING else "they are kept without features"
            )
            said.append(
                f"{lost['ids']:,} items of the log ({share:.1%} of the events) are not in the item "
                f"table: {what}."
            )
        if conflicts.ignored:
            data["ignore_columns"] = list(conflicts.ignored)
        return data, said

    def _split(self) -> tuple[dict[str, Any], str]:
        why = next(text for text in advise(self.found) if text.startswith("Split: "))
        method = best_split(self.found)
        split: dict[str, Any] = {"method": method}
        if method == "by_time":
            seconds = self.found.arrays["seconds"]
            split["at"] = _moment(seconds, TEST_FROM)
            before = seconds[seconds < float(split["at"])]
            enough = len(before) * 0.1 >= LEAST_VALIDATION_ROWS and len(np.unique(before)) > 1
            split["validation_fraction"] = 0.1 if enough else 0.0
        elif method == "leave_last_out":
            enough = (self.found.arrays["history_lengths"] > 2).sum() >= LEAST_VALIDATION_ROWS
            split["validation_fraction"] = 0.1 if enough else 0.0
        else:
            enough = self.found.usable_rows * 0.8 * 0.1 >= LEAST_VALIDATION_ROWS
            split |= {"test_fraction": 0.2, "validation_fraction": 0.1 if enough else 0.0}
        return split, why.removeprefix("Split: ")

    def _times(self) -> list[Judged]:
        """The time of an event is left out: few events a bucket, and who asks later asks from the last."""
        if self.found.all_times_equal:
            return []
        why = (
            "the time of the event orders the log; as a feature it is soon learned by heart. Where demand "
            'moves with time, try { type = "bucketized", column = "timestamp", num_buckets = 30, '
            "embedding_dim = 64 }"
        )
        return [Judged("log", "timestamp", None, why)]

    def _id(self, table: str, name: str, what: str, choice: Choice) -> Judged:
        settings = {"type": "categorical", "embedding_dim": choice.embedding_dim}
        count = self.found.users if name == "user_id" else self.found.items
        return Judged(table, name, settings, f"{what}, {count:,} different")

    def _judged(self) -> list[Judged]:
        judged = []
        for name, table in self.opened.tables.items():
            own = _keys(self.opened) if name == "log" else {self.opened.key(name)}
            for column in table.columns:
                if column in own:
                    continue
                if reason := self.conflicts.reasons.get(f"{name}.{column}"):
                    judged.append(Judged(name, column, None, reason))
                elif name == "log":
                    judged.append(judge_log_column(self._events, column))
                else:
                    judged.append(judge(name, table[column], gaps=self._gaps(name)))
        return judged

    @cached_property
    def _events(self) -> pl.DataFrame:
        log, columns = self.opened.log, self.opened.columns
        return log.with_columns(log[columns.user_id].alias("user"), log[columns.item_id].alias("item"))

    def _gaps(self, table: str) -> str:
        """Why rows of a table will have no value."""
        lost = self.found.missing.get(table, {"ids": 0, "events": 0})
        dropped = table == "items" and lost["events"] / self.found.usable_rows <= FEW_MISSING
        if not lost["ids"] or dropped:
            return ""
        return f"{lost['ids']:,} {table} of the log do not have, as the table lacks them"

    def _filter_advice(self) -> str:
        rare = next((text for text in advise(self.found) if "min_item_interactions" in text), "")
        return f"No event is left out. {rare}".strip()


def _keys(opened: Opened) -> set[str]:
    return {name for name in opened.columns if name and name != FILE_ORDER}


def _with_dim(one: Judged, choice: Choice) -> Judged:
    feature = {**(one.feature or {}), "embedding_dim": choice.embedding_dim}
    return Judged(one.table, one.column, feature, one.why, one.separator)


def _moment(seconds: np.ndarray, share: float) -> str:
    """A moment with about this share before it, and at least one event on both sides."""
    at = float(np.quantile(seconds, share, method="higher"))
    first = float(seconds.min())
    if at == first:
        at = float(seconds[seconds > first].min())
    return repr(int(at)) if at.is_integer() else repr(at)


def _seen(found: Description) -> str:
    repeated = f"{percent(found.repeated_share)} of the events repeat an item that the user had before"
    if found.repeated_share >= MOSTLY_REPEATED:
        return f"{repeated}: read the figures with seen items kept."
    return f"{repeated}: read the figures with seen items removed."
