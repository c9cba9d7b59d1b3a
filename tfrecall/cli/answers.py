"""Answers of a release for people: items with titles, explanations, sentences about each list."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from rich.table import Table

from tfrecall.cli.tables import item_table
from tfrecall.core.results import (
    Explanation,
    Recommendation,
    SimilarItems,
    StagedRecommendation,
    common_reasons,
)
from tfrecall.core.titles import item_of_title, titles
from tfrecall.errors import ConfigError
from tfrecall.release.base import Release
from tfrecall.release.pipeline import BasePipeline
from tfrecall.release.users import Query

# Reasons of an item that fit into one row of the table.
REASONS_SHOWN = 3


@dataclass
class Answers:
    """The answers of `tfrecall recommend`, as tables and as plain types.

    Attributes:
        release: the release that answered.
        queries: one query for each recommendation.
        recommendations: the answers.
        k: requested length of the lists.
        history: items of `--history`; None without that option.
        explain: whether to explain each item.
        exclude: items of `--exclude`.
    """

    release: Release
    queries: Sequence[Query]
    recommendations: Sequence[Recommendation]
    k: int
    history: list[str] | None = None
    explain: bool = False
    exclude: Sequence[str] = ()

    @cached_property
    def explanations(self) -> list[list[Explanation]]:
        """Explanations of the items of each answer; empty lists without `explain`."""
        if not self.explain:
            return [[] for _ in self.recommendations]
        return [
            self.release.explanations(query, answer.item_ids)
            for query, answer in zip(self.queries, self.recommendations, strict=True)
        ]

    @property
    def unknown_items(self) -> list[str]:
        """Items of the history that the catalogue lacks."""
        return unknown_items(self.release, self.history or [])

    def to_dict(self) -> dict[str, Any]:
        """Plain Python types, for `--json`."""
        given: dict[str, Any] = {}
        if self.history is not None:
            given = {"history": self.history, "not_in_catalogue": self.unknown_items}
        if unknown := unknown_items(self.release, self.exclude):
            given["excluded_not_in_catalogue"] = unknown
        if self.explain:
            given["explanations"] = [list(map(explanation_dict, e)) for e in self.explanations]
        return {**given, "recommendations": [vars(answer) for answer in self.recommendations]}

    def notes(self, *, seen_rule_given: bool) -> list[str]:
        """Sentences about all lists together.

        Args:
            seen_rule_given: whether `--keep-seen` or `--no-keep-seen` was given.
        """
        notes = []
        if not seen_rule_given and not self.release.exclude_seen:
            notes.append(
                "Users of this log come back to items: lists keep what they had (--no-keep-seen)."
            )
        if self.unknown_items:
            items = ", ".join(self.unknown_items)
            notes.append(f"Not in the catalogue, so they count for nothing: {items}.")
        notes += unknown_exclusions(self.release, self.exclude)
        notes += cold_items(self.release, self.recommendations)
        if self.explain and self.release.needs_tensorflow:
            notes.append(
                "Because of what: how much the score falls without it alone. That need not add up to the "
                "score."
            )
        return notes

    def tables(self) -> list[Table | str]:
        """Items of each answer, and the stages of a pipeline."""
        names = self.release.item_names() if self.explain else {}
        shown: list[Table | str] = []
        for answer, explanations in zip(self.recommendations, self.explanations, strict=True):
            rows = item_rows(answer)
            shared = common_reasons([reasons_of(names, one) for one in explanations])
            if shared is None:
                for row, explanation in zip(rows, explanations, strict=False):  # none without --explain
                    row["because of"] = reasons_text(names, explanation)
            title = self._title(answer)
            shown.append(
                item_table(title, rows, whole=["because of"])
                if rows
                else f"{title}: no items are left."
            )
            if shared is not None:
                shown.append(
                    f"All of them because of: {', '.join(shared) or _nothing(explanations[0])}."
                )
            shown += stage_texts(self.release, answer, self.k)
        return shown

    def _title(self, answer: Recommendation) -> str:
        if answer.known:
            return f"Recommended to user {answer.user_id}"
        user = "somebody new" if answer.user_id is None else f"user {answer.user_id}"
        if not self.release.needs_tensorflow:
            source = "the history alone" if self.history else "nothing, for no history is known"
            return f"Recommended to {user} (unknown: answered from {source})"
        source = "the history, features" if self.history else "features"
        return f"Recommended to {user} (unknown: answered from {source} and the unknown row)"


def unknown_items(release: Release, item_ids: Sequence[str]) -> list[str]:
    """Sorted ids that the catalogue of a release lacks."""
    return sorted(set(item_ids) - set(release.item_ids))


def unknown_exclusions(release: Release, exclude: Sequence[str]) -> list[str]:
    """A sentence on ids of `--exclude` that are not in the catalogue; none if all are."""
    unknown = unknown_items(release, exclude)
    if not unknown:
        return []
    return [f"Not in the catalogue, so --exclude changes nothing there: {', '.join(unknown)}."]


def cold_items(release: Release, recommendations: Sequence[Recommendation]) -> list[str]:
    """A sentence on listed items without events in training; none where all had some."""
    counts = release.event_counts
    listed = dict.fromkeys(item for answer in recommendations for item in answer.item_ids)
    cold = [item for item in listed if not counts[release.catalogue.row(item)]]
    if not cold or not counts.any():
        return []
    return [f"Without events in training, so found by their features: {', '.join(cold)}."]


def with_history(release: Release, queries: Sequence[Any], history: list[str]) -> dict[str, Any]:
    """Add the items of `--history` to the one query, or to that of an unknown user.

    Raises:
        ConfigError: if the model takes no history, takes several lists, or there are several queries.
    """
    lists = release.users.item_lists
    if not lists:
        raise ConfigError(
            f"The model of {release.root} does not look at what users had, so --history says nothing to "
            "it. Leave it out, or train one with a History in `schema.query`."
        )
    if "history" not in lists and len(lists) > 1:
        raise ConfigError(
            f"The model of {release.root} takes the lists {', '.join(lists)}. Say which with --features: "
            f"'{json.dumps({lists[0]: history})}'."
        )
    if len(queries) > 1:
        raise ConfigError(
            f"--history says what one user had. Received {len(queries)} users. Name one, or give each "
            "list with --features."
        )
    # Without a query, --history alone stands for an unknown user.
    (query,) = queries or [{}]
    query = {"user_id": query} if isinstance(query, str) else query
    return {**query, "history" if "history" in lists else lists[0]: history}


def check_stages(release: Release) -> None:
    """Refuse `--stages` of a release that is no pipeline.

    Raises:
        ConfigError: naming its model.
    """
    if not isinstance(release, BasePipeline):
        raise ConfigError(
            f"--stages is told of pipelines. {release.root} is a release of "
            f"{release.manifest['model']['type']}: leave it out."
        )


def stage_texts(release: Release, answer: Recommendation, k: int) -> list[str]:
    """Sentences on a pipeline's answer: the reason for a short list, and the stages with `--stages`."""
    if not isinstance(release, BasePipeline):
        return []
    texts = []
    if 0 < len(answer.item_ids) < k:
        texts.append(
            f"{len(answer.item_ids)} of the {k} wanted: no other candidate of {release.n_candidates} is left."
        )
    if isinstance(answer, StagedRecommendation):
        times = ", ".join(f"{name} {taken:.1f} ms" for name, taken in answer.milliseconds.items())
        texts.append(f"{len(answer.candidates)} candidates: {', '.join(answer.candidates)}.")
        texts.append(f"All queries together took: {times}.")
    return texts


def title_and_labels(release: Release) -> list[str]:
    """The title column of items, if there is one, and the columns of `label_columns`."""
    title = release.title_column
    return list(dict.fromkeys([*([title] if title else []), *label_columns(release)]))


def label_columns(release: Release) -> list[str]:
    """The most readable columns of the item table: a title, then lists of words."""
    features = release.manifest["schema"]["candidate"]
    names = [
        f["column"] for kind in ("text", "multi_categorical") for f in features if f["type"] == kind
    ]
    title = release.title_column
    return list(dict.fromkeys(names)) or ([title] if title else [])


def item_rows(answer: Recommendation | SimilarItems) -> list[dict[str, Any]]:
    """One dictionary for each item: id, score and the requested columns."""
    items = answer.items or [{} for _ in answer.item_ids]
    return [
        {"item_id": item_id, "score": score, **columns}
        for item_id, score, columns in zip(answer.item_ids, answer.scores, items, strict=True)
    ]


def titled_item(release: Release, title: str) -> str:
    """The id of the one item of a release with a title.

    Raises:
        ConfigError: if the items have no titles.
        DataError: if no title fits, or several do.
    """
    if release.title_column is None:
        raise ConfigError(
            f"The items of {release.root} have no titles, so --title finds none. Give the id. Columns: "
            f"{', '.join(release.items.columns)}."
        )
    names = titles(release.items, release.title_column)
    return item_of_title(title, names, release.item_ids.tolist())


def reasons_of(names: Mapping[str, str], explanation: Explanation) -> list[str]:
    """The strongest reasons for an item, named for people."""
    return [reason.named(names) for reason in explanation.strongest(REASONS_SHOWN)]


def reasons_text(names: Mapping[str, str], explanation: Explanation) -> str:
    """The strongest reasons for an item, with their contributions to the score."""
    strongest = explanation.strongest(REASONS_SHOWN)
    texts = [f"{reason.named(names)} ({reason.contribution:.3f})" for reason in strongest]
    return ", ".join(texts) or _nothing(explanation)


def _nothing(explanation: Explanation) -> str:
    # In an additive explanation the rest is the base score; in leave-one-out each change may just be small.
    return "everyone is given this" if explanation.additive else "nothing by itself"


def explanation_dict(explanation: Explanation) -> dict[str, Any]:
    """All contributions to the score, positive and negative, as plain Python types."""
    reasons = [
        {name: value for name, value in vars(reason).items() if value is not None}
        for reason in explanation.reasons
        if reason.contribution
    ]
    return {
        "item_id": explanation.item_id,
        "score": explanation.score,
        "base": explanation.base,
        "additive": explanation.additive,
        "because": reasons,
    }
