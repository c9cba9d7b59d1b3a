"""A proposal as TOML with its reasons as comments, to be read and edited by people."""

import json
import textwrap
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tfrecall.config.inference.columns import Judged
    from tfrecall.config.inference.propose import Proposal

WIDTH = 100


def toml(proposal: "Proposal", command: str) -> str:
    """The recipe as text.

    Args:
        command: what runs it, for the first lines.
    """
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
    left_out = [judged for judged in proposal.judged if judged.feature is None]
    if left_out:
        parts += ["# Left out:"]
        parts += [
            line
            for one in left_out
            for line in _comment(f"{one.table}.{one.column}: {one.why}", "#   ")
        ]
    for section in ("model", "task", "training", "evaluation", "export"):
        parts += ["", f"[{section}]", *_comments(proposal.reasons.get(section, ()))]
        parts += _pairs(settings[section])
    return "\n".join(parts) + "\n"


def value(given: Any) -> str:
    """A value as TOML writes it, in one line.

    >>> value({"type": "text", "column": "title", "max_tokens": 10, "ks": [1, 2]})
    '{ type = "text", column = "title", max_tokens = 10, ks = [1, 2] }'
    """
    if isinstance(given, Mapping):
        return "{ " + ", ".join(f"{_key(k)} = {value(v)}" for k, v in given.items()) + " }"
    if isinstance(given, list | tuple):
        return "[" + ", ".join(map(value, given)) + "]"
    if isinstance(given, str):  # a text of TOML is one of JSON, which has no pairs of surrogates
        return json.dumps(given, ensure_ascii=False).replace("\x7f", "\\u007f")
    return json.dumps(given)


def _key(name: str) -> str:
    return name if name.isascii() and name.replace("_", "").isalnum() else value(name)


def _pairs(section: Mapping[str, Any]) -> list[str]:
    return [f"{_key(name)} = {value(given)}" for name, given in section.items()]


def _features(side: str, features: Iterable["Judged"]) -> list[str]:
    lines = [f"{side} = ["]
    for one in features:
        lines += _comment(f"{one.column}: {one.why}", "    # ")
        lines += [
            f"    {value({'type': (one.feature or {})['type'], 'column': one.column, **_rest(one)})},"
        ]
    return [*lines, "]"]


def _rest(one: "Judged") -> dict[str, Any]:
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
    """Without line breaks and control characters, which a comment cannot hold."""
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())
