"""Inference of a run from the files of a log."""

from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from tfrecall.config.inference.columns import ColumnDecision, decide, plain_name
from tfrecall.config.inference.log_columns import decide_log_column
from tfrecall.config.inference.proposal import Proposal
from tfrecall.config.inference.settings import (
    FEW_EVENTS,
    Choice,
    choose_attention,
    choose_training,
    facts_of,
)
from tfrecall.data.assembly import FILE_ORDER
from tfrecall.data.cleaning import Cleaning
from tfrecall.data.formats.text_types import NULL_VALUES
from tfrecall.data.inspection.advice import best_split, percent
from tfrecall.data.inspection.conflicts import find_conflicts, missing_items_policy
from tfrecall.data.inspection.describe import describe_tables, seconds_of
from tfrecall.data.inspection.description import MOSTLY_SINGLE, Description
from tfrecall.data.inspection.raw_tables import RawTables, open_tables
from tfrecall.data.repeat_consumption import MOSTLY_REPEATED
from tfrecall.data.timestamps import TimeForm
from tfrecall.errors import DataError

KS = (1, 5, 10, 20, 50, 100)
# Fewer validation rows do not show when to stop.
LEAST_VALIDATION_ROWS = 20
# Least and most events of a history, and the weight of each relative to the one after it. Events before the
# latest twenty weigh less than a thousandth of the newest.
HISTORY_LENGTHS = (5, 20)
DECAY = 0.7
# Targets of one batch come from all users: in whole sequences most negatives would be items that the user of
# a target takes next.
TARGETS = {"form": "windows"}
_TARGETS_WHY = (
    "Targets of all users are shuffled, so that few negatives are other items of the same user."
)
# The same of a history without order, whose events all count, and the longest mean that is cheap enough.
BAG_LENGTHS, LONGEST_BAGS = (5, 300), 150
# The same of attention, whole sequences at once, and most scores of an epoch: the catalogue for each event.
ATTENTION_LENGTHS, MOST_SCORES = (5, 50), 3e9
_SEQUENCES = {"context": 1, "by_length": True}
# What users are known by: ids, items without order, items whose weight falls with age, or by attention.
WAYS = ("user_id", "bag", "history", "attention")
# Share of users who train, split by user.
TRAIN_USERS = 0.9
# Share of events before the test, split by time.
TEST_FROM = 0.9


def propose(
    log: str | Path,
    users: str | Path | None = None,
    items: str | Path | None = None,
    *,
    separator: str | None = None,
    unit: str | None = None,
    timestamp_format: str | None = None,
    null_values: Sequence[str] = NULL_VALUES,
    repeated_rows: str = "drop",
    id_spelling: str = "as_written",
    **given: str | None,
) -> Proposal:
    """Infer a run from the files of a log.

    Args:
        log: path of the log: CSV, Parquet, JSON.
        users: path of the user table.
        items: path of the item table.
        separator: mark between columns of text files; None recognises it.
        unit: unit of numeric times; None recognises it.
        timestamp_format: format of times; None recognises it.
        null_values, repeated_rows, id_spelling: as for `tr.data.read`.
        **given: names of columns, by role: `user_id`, `item_id`, `timestamp`, `rating`, `weight`.

    Raises:
        DataError: if the files cannot be read, a column cannot be guessed, or the run would refuse the log: the
            message has every reason that `tr.data.describe` lists as `refused`.
    """
    rules = Cleaning(tuple(null_values), repeated_rows, id_spelling)
    raw = open_tables(log, users, items, given, separator, rules, TimeForm(unit, timestamp_format))
    source = {
        "source": log,
        "users": users,
        "items": items,
        "separator": separator,
        "timestamp_unit": unit,
        "timestamp_format": timestamp_format,
    }
    return _Proposer(
        raw, {k: str(value) for k, value in source.items() if value is not None}
    ).proposal()


class _Proposer:
    """Steps from raw tables to a proposal."""

    def __init__(self, raw: RawTables, source: dict[str, str]) -> None:
        self.raw = raw
        self.source = source
        self.conflicts = find_conflicts(raw)
        self.description = describe_tables(raw, self.conflicts)
        if self.description.refused:
            raise DataError("\n".join(self.description.refused))

    def proposal(self) -> Proposal:
        """What is proposed, with the other ways to know a user as its rivals."""
        own = "bag" if self._takes_bag else "history" if self.description.has_order else "user_id"
        against = {way: self._against(way, own) for way in WAYS if way != own}
        rivals = {way: why or self._by(way) for way, why in against.items()}
        return replace(self._by(own), rivals=rivals, read=self.raw.read)

    def _by(self, way: str) -> Proposal:
        """What is proposed for users who are known by one of `WAYS`."""
        data = self._data()
        split, why = self._split()
        facts = facts_of(self.description, self.catalogue_size, bool(split["validation_fraction"]))
        if way == "attention":
            choice = choose_attention(facts)
        else:
            choice = choose_training(
                replace(facts, follows_order=facts.follows_order and way == "history")
            )
        decisions = [*self._times(), *self._columns()]
        features = [_with_dim(one, choice) for one in decisions if one.feature]
        separators = {one.column: one.separator for one in features if one.separator}
        if separators:
            data["list_separators"] = separators
        query = [*self._users(choice, way), *self._history(choice, way)]
        query += [one for one in features if one.table != "items"]
        items = [self._id("items", "item_id", "the item", choice)]
        items += [one for one in features if one.table == "items"]
        return Proposal(
            name=plain_name(self.raw.name),
            way=way,
            settings=self._settings(data, split, choice, way),
            query=tuple(query),
            candidate=tuple(items),
            decisions=tuple(decisions),
            reasons={
                "data": (*self.description.guessed, *self.raw.cleaned),
                "split": (why,),
                "filters": (self._filter_advice(),),
                "histories": (_TARGETS_WHY,),
                "training": (choice.why,),
                "evaluation": (_seen(self.description),),
            },
            description=self.description,
        )

    @cached_property
    def _share_missing(self) -> float:
        """Share of the events whose item the item table lacks."""
        lost = self.description.missing.get("items", {"events": 0})
        return lost["events"] / self.description.usable_rows

    @property
    def _all_users(self) -> int:
        """Users of the log and of the table together."""
        return self.description.users + self.description.never_seen.get("users", 0)

    @cached_property
    def catalogue_size(self) -> int:
        """Items of the log and of the table together."""
        return self.description.items + self.description.never_seen.get("items", 0)

    def _settings(
        self, data: dict[str, Any], split: dict[str, Any], choice: Choice, way: str
    ) -> dict[str, Any]:
        log = self.description
        histories = {"history": TARGETS, "attention": _SEQUENCES}.get(way)
        return {
            "description": f"{log.usable_rows:,} events of {log.users:,} users with {log.items:,} items.",
            "data": data,
            "split": split,
            "model": choice.model,
            "task": choice.task,
            **({} if histories is None else {"histories": histories}),
            "training": choice.training,
            "evaluation": {"ks": [k for k in KS if k < self.catalogue_size] or [1]},
            "export": {"k": min(10, self.catalogue_size)},
        }

    def _data(self) -> dict[str, Any]:
        columns, conflicts = self.raw.columns, self.conflicts
        names = {
            "user_column": columns.user_id,
            "item_column": columns.item_id,
            "timestamp_column": columns.timestamp,
            "rating_column": None if "rating" in conflicts.unusable else columns.rating,
            "weight_column": None if "weight" in conflicts.unusable else columns.weight,
        }
        data: dict[str, Any] = {
            **self.source,
            **{k: name for k, name in names.items() if name is not None},
        }
        if self._share_missing:
            data["missing_items"] = missing_items_policy(self._share_missing)
        if conflicts.ignored:
            data["ignore_columns"] = list(conflicts.ignored)
        given, default = vars(self.raw.rules), vars(Cleaning())
        return {**data, **{name: rule for name, rule in given.items() if rule != default[name]}}

    def _split(self) -> tuple[dict[str, Any], str]:
        why = next(text for text in self.description.advice if text.startswith("Split: "))
        method = best_split(self.description)
        split: dict[str, Any] = {"method": method}
        if method == "by_user":
            split["train_users"] = int(TRAIN_USERS * self._all_users)
            enough = split["train_users"] * 0.1 >= LEAST_VALIDATION_ROWS
            split["validation_fraction"] = 0.1 if enough else 0.0
        elif method == "by_time":
            seconds = self.description.arrays["seconds"]
            split["at"] = _moment(seconds, TEST_FROM)
            before = seconds[seconds < float(split["at"])]
            # All events at one time cannot be split by time again.
            enough = len(before) * 0.1 >= LEAST_VALIDATION_ROWS and len(np.unique(before)) > 1
            split["validation_fraction"] = 0.1 if enough else 0.0
        elif method == "leave_last_out":
            # One event, or basket, each for test, validation and training.
            baskets = self.description.in_baskets
            visits = self.description.arrays["visits" if baskets else "history_lengths"]
            enough = (visits > 2).sum() >= LEAST_VALIDATION_ROWS
            split |= {"baskets": True} if baskets else {}
            split["validation_fraction"] = 0.1 if enough else 0.0
        else:
            enough = self.description.usable_rows * 0.8 * 0.1 >= LEAST_VALIDATION_ROWS
            split |= {"test_fraction": 0.2, "validation_fraction": 0.1 if enough else 0.0}
        return split, why.removeprefix("Split: ")

    def _times(self) -> list[ColumnDecision]:
        """Leave the time out: buckets hold few events, and later queries all fall into the last bucket."""
        if self.description.all_times_equal:
            return []
        why = (
            "the time of the event orders the log; as a feature it is soon learned by heart. Where demand "
            'moves with time, try { type = "bucketized", column = "timestamp", num_buckets = 30, '
            "embedding_dim = 64 }"
        )
        return [ColumnDecision("log", "timestamp", None, why)]

    def _against(self, way: str, own: str) -> str:
        """The reason against a way to know users, besides that of the proposal; empty if there is none."""
        log = self.description
        if way == "user_id":
            if log.short_lived:
                return "users never come back, so an id says nothing"
            mean = log.history_lengths["mean"]
            return f"{mean:.1f} events a user: few for an id of its own" if self._has_few_events else ""
        if log.in_baskets:
            return "the other items of a basket would stand in its own history"
        if way == "bag":
            long = log.history_lengths["mean"] > LONGEST_BAGS
            mostly_once = log.single_event_share > MOSTLY_SINGLE
            return (
                "users live for hours: the order of their items says more than the items"
                if log.short_lived
                else "most users have one event"
                if mostly_once
                else f"{log.history_lengths['mean']:.0f} events a user: slow to add up"
                if long
                else ""
            )
        if not log.has_order:
            return (
                f"users share successive items {log.order_lift:.1f} times as often as any two: no order"
            )
        scores = log.usable_rows * self.catalogue_size
        if way == "attention" and scores > MOST_SCORES:
            return f"{scores:,} scores an epoch, all items for each event: too slow to try"
        return ""

    def _users(self, choice: Choice, way: str) -> list[ColumnDecision]:
        """The id of the user, unless users never come back: then it says nothing when it is asked for.

        Where the items of the user say more, one vector for all: what is popular, the answer to strangers. In
        baskets, whose items are mostly scored as repeats, both: what is new to a user is popular first.
        """
        log = self.description
        own = self._id("log", "user_id", "the user", choice)
        why = "one vector for all users: what is popular, which strangers are answered with"
        shared = replace(own, feature={**(own.feature or {}), "max_tokens": 1}, why=why)
        if way in ("bag", "attention"):
            return [shared]
        if log.short_lived:
            return []
        if log.in_baskets:
            return [shared, own]
        if way == "history" and self._has_few_events:
            # What is popular is left to users without a history: candidates that learn it from all rows lean
            # towards what was popular, not towards what comes next. Not beside repeats, which score that.
            return [shared] if log.repeated_share >= MOSTLY_REPEATED else []
        return [own]

    @property
    def _has_few_events(self) -> bool:
        return self.description.history_lengths["mean"] < FEW_EVENTS

    @property
    def _takes_bag(self) -> bool:
        """Whether users are known by all their items, without order: where ids have few events to learn from.

        Not for baskets: the other items of a target's basket would stand in its bag. Nor where users come
        back to items: repeats are scored apart.
        """
        log = self.description
        comes_back = log.in_baskets or log.repeated_share >= MOSTLY_REPEATED
        comes_once = log.single_event_share > MOSTLY_SINGLE
        return self._has_few_events and not (log.has_order or comes_back or comes_once)

    def _history(self, choice: Choice, way: str) -> list[ColumnDecision]:
        """The items of the user: the latest ones where their order tells of the next one, or all.

        None for baskets: in training the other items of a basket would stand in its own history, which no
        query for the next basket has.
        """
        if way == "bag":
            return [self._bag(choice)]
        if way == "attention":
            return [self._attended(choice)]
        return [self._decaying(choice)] if way == "history" else []

    def _decaying(self, choice: Choice) -> ColumnDecision:
        length = int(np.clip(self.description.history_lengths["p99"], *HISTORY_LENGTHS))
        settings = {
            "type": "history",
            "of": {"type": "categorical", "column": "item_id", "embedding_dim": choice.embedding_dim},
            "history_length": length,
            "encoder": {"type": "decay", "rate": DECAY},
        }
        strangers = ""
        if not self._users(choice, "history"):
            settings["empty"] = "popular"
            strangers = ", which answers users that the log does not have; without any, what is popular"
        why = f"the last {length} items of the user, the newest counting most{strangers}"
        return ColumnDecision("log", "history", settings, why)

    def _attended(self, choice: Choice) -> ColumnDecision:
        length = int(np.clip(self.description.history_lengths["p99"], *ATTENTION_LENGTHS))
        settings = {
            "type": "history",
            "of": {"type": "categorical", "column": "item_id", "embedding_dim": choice.embedding_dim},
            "history_length": length,
            "encoder": {"type": "gated", "blocks": 2, "dropout": 0.2},
        }
        why = f"the last {length} items of the user, by gated attention"
        return ColumnDecision("log", "history", settings, why)

    def _bag(self, choice: Choice) -> ColumnDecision:
        length = int(np.clip(self.description.history_lengths["p99"], *BAG_LENGTHS))
        settings = {
            "type": "history",
            "of": {"type": "categorical", "column": "item_id", "embedding_dim": choice.embedding_dim},
            "history_length": length,
            "encoder": {"type": "root_sum"},
            "anytime": True,
        }
        why = (
            f"the items of the user, up to {length}, without order, which says little: unlike ids, users share "
            "what is learned of items"
        )
        return ColumnDecision("log", "history", settings, why)

    def _id(self, table: str, name: str, what: str, choice: Choice) -> ColumnDecision:
        settings = {"type": "categorical", "embedding_dim": choice.embedding_dim}
        count = self.description.users if name == "user_id" else self.description.items
        return ColumnDecision(table, name, settings, f"{what}, {count:,} different")

    def _columns(self) -> list[ColumnDecision]:
        decisions = []
        for name, table in self.raw.tables.items():
            own = _keys(self.raw) if name == "log" else {self.raw.key(name)}
            for column in table.columns:
                if column in own:
                    continue
                if reason := self.conflicts.reasons.get(f"{name}.{column}"):
                    decisions.append(ColumnDecision(name, column, None, reason))
                elif name == "log":
                    decisions.append(decide_log_column(self._events, column, self._seconds))
                else:
                    decisions.append(decide(name, table[column], gaps=self._gaps(name)))
        return decisions

    @cached_property
    def _events(self) -> pl.DataFrame:
        log, columns = self.raw.log, self.raw.columns
        return log.with_columns(log[columns.user_id].alias("user"), log[columns.item_id].alias("item"))

    @cached_property
    def _seconds(self) -> pl.Series | None:
        """Times of the events; None where they do not tell events apart."""
        if self.description.all_times_equal:
            return None
        return seconds_of(self.raw.log, self.raw.columns.timestamp, self.raw.times)

    def _gaps(self, table: str) -> str:
        """Reason why reading adds rows without values to a table; empty if it adds none."""
        lost = self.description.missing.get(table, {"ids": 0, "events": 0})
        dropped = table == "items" and missing_items_policy(self._share_missing) == "drop"
        if not lost["ids"] or dropped:
            return ""
        return f"{lost['ids']:,} {table} of the log do not have, as the table lacks them"

    def _filter_advice(self) -> str:
        names = ("min_rating", "duplicates", "max_user_interactions", "min_item_interactions")
        advice = [text for text in self.description.advice if any(name in text for name in names)]
        return " ".join(["No event is left out.", *advice])


def _keys(raw: RawTables) -> set[str]:
    return {name for name in raw.columns if name and name != FILE_ORDER}


def _with_dim(one: ColumnDecision, choice: Choice) -> ColumnDecision:
    feature = {**(one.feature or {}), "embedding_dim": choice.embedding_dim}
    return ColumnDecision(one.table, one.column, feature, one.why, one.separator)


def _moment(seconds: np.ndarray, share: float) -> str:
    """A moment with about this share of the events before it, and at least one event on either side."""
    # "higher" gives the time of an event, so `at` can be written exactly. The test begins at `at`: if it is
    # the first time of the log, nothing would be left to train on.
    at = float(np.quantile(seconds, share, method="higher"))
    first = float(seconds.min())
    if at == first:
        at = float(seconds[seconds > first].min())
    return repr(int(at)) if at.is_integer() else repr(at)


def _seen(description: Description) -> str:
    repeated = (
        f"{percent(description.repeated_share)} of the events repeat an item that the user had before"
    )
    if description.repeated_share >= MOSTLY_REPEATED:
        return f"{repeated}: read the figures with seen items kept."
    return f"{repeated}: read the figures with seen items removed."
