"""A proposed run, and its recipe as TOML with the reasons as comments."""

import json
import textwrap
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from tfrecall.config.inference.columns import ColumnDecision
from tfrecall.config.recipes import config_from_text
from tfrecall.config.run import RunConfig
from tfrecall.data.inspection.description import Description
from tfrecall.data.inspection.raw_tables import ReadTables
from tfrecall.data.interactions import Interactions

WIDTH = 100
# Settings that decide which tables are read, and how.
_READ_BY = ("source", "users", "items", "separator", "user_column", "item_column")


@dataclass(frozen=True)
class Proposal:
    """A run for a log, with the reasons for its settings.

    Attributes:
        name: name of the log, the recipe and the release.
        settings: sections of the configuration, without the schema.
        query, candidate: features of both towers.
        decisions: all columns that were considered, in the order of the tables.
        reasons: by section, sentences about it.
        description: statistics of the log.
        way: what users are known by.
        rivals: by way, what is proposed for other ways, or the reason against one.
        read: what was read of the files.
    """

    name: str
    settings: dict[str, Any]
    query: tuple[ColumnDecision, ...]
    candidate: tuple[ColumnDecision, ...]
    decisions: tuple[ColumnDecision, ...]
    reasons: dict[str, tuple[str, ...]]
    description: Description
    way: str = "user_id"
    rivals: Mapping[str, "Proposal | str"] = field(default_factory=dict)
    read: ReadTables | Interactions | None = field(default=None, repr=False, compare=False)

    def to_toml(self, command: str = "tfrecall run recipe.toml") -> str:
        """The recipe with the reasons as comments.

        Args:
            command: the command that runs the file, for its first lines.
        """
        return _toml(self, command)

    def config(self, overrides: list[str] | None = None) -> RunConfig:
        """The configuration, as `load_config` would read it from the file."""
        return config_from_text(self.to_toml(), self.name, overrides or [])

    def read_for(self, config: RunConfig) -> ReadTables | Interactions | None:
        """What was read, if a configuration reads the same files in the same way; None otherwise."""
        ours = self.config().data
        alike = all(getattr(config.data, name) == getattr(ours, name) for name in _READ_BY)
        return self.read if alike else None

    @property
    def messages(self) -> list[str]:
        """Everything that was inferred, one sentence a line."""
        features = [*self.query, *self.candidate]
        lines = [f"{_where(one)}{one.feature['type']}: {one.why}" for one in features if one.feature]
        lines += [f"{_where(one)}left out: {one.why}" for one in self.decisions if one.feature is None]
        return [*self.reasons["data"], *lines, *self.description.advice]


def _where(decision: ColumnDecision) -> str:
    return f"{decision.table}.{decision.column}: "


def _toml(proposal: Proposal, command: str) -> str:
    settings = proposal.settings
    parts = [
        *_comment(
            f"What {proposal.name} looks like, and a run for it. Edit what you know better, then:"
        ),
        f"#   {_one_line(command)}",
        f"description = {value(settings['description'])}",
    ]
    for section in ("data", "split"):
        parts += ["", f"[{section}]", *_comments(proposal.reasons.get(section, ()))]
        parts += _pairs(settings[section])
    parts += ["", *_comments(proposal.reasons.get("filters", ())), "# [filters]"]
    parts += ["# min_user_interactions = 5", "# min_item_interactions = 5", '# duplicates = "first"']
    parts += [
        "",
        "[schema]",
        *_features("query", proposal.query),
        *_features("candidate", proposal.candidate),
    ]
    left_out = [decision for decision in proposal.decisions if decision.feature is None]
    if left_out:
        parts += ["# Left out:"]
        parts += [
            line
            for one in left_out
            for line in _comment(f"{one.table}.{one.column}: {one.why}", "#   ")
        ]
    sections = ("model", "task", "histories", "training", "evaluation", "export")
    for section in filter(settings.__contains__, sections):
        parts += ["", f"[{section}]", *_comments(proposal.reasons.get(section, ()))]
        parts += _pairs(settings[section])
    return "\n".join(parts) + "\n"


def value(given: Any) -> str:
    """Write a value as TOML, in one line.

    >>> value({"type": "text", "column": "title", "max_tokens": 10, "ks": [1, 2]})
    '{ type = "text", column = "title", max_tokens = 10, ks = [1, 2] }'
    """
    if isinstance(given, Mapping):
        return "{ " + ", ".join(f"{_key(k)} = {value(v)}" for k, v in given.items()) + " }"
    if isinstance(given, list | tuple):
        return "[" + ", ".join(map(value, given)) + "]"
    # TOML strings are JSON strings, but without surrogate pairs (\ud83d\ude00 for an emoji), hence no
    # ASCII, and DEL must be escaped.
    if isinstance(given, str):
        return json.dumps(given, ensure_ascii=False).replace("\x7f", "\\u007f")
    return json.dumps(given)


def _key(name: str) -> str:
    return name if name.isascii() and name.replace("_", "").isalnum() else value(name)


def _pairs(section: Mapping[str, Any]) -> list[str]:
    return [f"{_key(name)} = {value(given)}" for name, given in section.items()]


def _features(side: str, features: Iterable[ColumnDecision]) -> list[str]:
    lines = [f"{side} = ["]
    for one in features:
        lines += _comment(f"{one.column}: {one.why}", "    # ")
        lines += [
            f"    {value({'type': (one.feature or {})['type'], 'column': one.column, **_rest(one)})},"
        ]
    return [*lines, "]"]


def _rest(one: ColumnDecision) -> dict[str, Any]:
    return {
        name: given for name, given in (one.feature or {}).items() if name not in ("type", "column")
    }


def _comments(texts: Iterable[str]) -> list[str]:
    return [line for text in texts for line in _comment(text)]


def _comment(text: str, start: str = "# ") -> list[str]:
    return textwrap.wrap(
        _one_line(text), WIDTH, initial_indent=start, subsequent_indent=start, break_long_words=False
    )


def _one_line(text: str) -> str:
    """Replace line breaks and control characters, which a comment cannot hold, by blanks."""
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())
