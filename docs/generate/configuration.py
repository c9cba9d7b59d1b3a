"""The reference of every key of a recipe, from the dataclasses that check it and their docstrings."""

import dataclasses
import inspect
import re
import types
import typing
from collections.abc import Iterable, Iterator
from typing import Annotated, Any, Literal

from annotated_types import BaseMetadata

from tfrecall.config.run import RunConfig
from tfrecall.config.sections import TuneConfig
from tfrecall.schema import baselines, encoders, features, negatives

INTRODUCTION = """# Configuration

A recipe is a TOML file. `tfrecall run my.toml` checks all of it before any work starts: an unknown key, a wrong
type or settings that contradict each other are refused with the name of the key and the nearest valid one.
`--set section.key=value` changes one key from the command line; a number counts in a list
(`--set schema.query.0.embedding_dim=16`), and `none` without quotes is no value.

```toml
[data]
source = "purchases.csv"
user_column = "customer_id"
item_column = "sku"
timestamp_column = "bought_at"

[split]
method = "leave_last_out"

[schema]
query = [{ type = "categorical", column = "user_id", embedding_dim = 64 }]
candidate = [{ type = "categorical", column = "item_id", embedding_dim = 64 }]

[task]
type = "in_batch"

[training]
optimizer = "adagrad"
epochs = 20
```

Every key except `schema` has a default. `tfrecall recipes show NAME` prints a shipped recipe
([all recipes](recipes.md)), `tfrecall recipes init LOG` writes one for a log.

## Environment variables

| variable | meaning |
| --- | --- |
| `TFRECALL_CACHE` | folder for fetched data sets; the platform's cache folder by default |
| `TFRECALL_CASES` | folder of small inputs with the right answers, for `tests/test_cases.py` |
| `TFRECALL_MOVIELENS` | folder with `ml-100k` and `ml-1m`, for tests, notebooks and benchmarks |
| `TFRECALL_NOTEBOOK_BUDGET` | `small` for the run of the notebooks in CI; `part`, longer, in three of them |
| `TFRECALL_REPLAY` | `in_process` spares an export the fresh process that compares answers; for tests |
| `TF_USE_LEGACY_KERAS` | set to `1` by `import tfrecall`: TFRS needs Keras 2 |
"""


class Section(typing.NamedTuple):
    """A table of keys."""

    title: str
    cls: type


def sections() -> Iterator[Section]:
    """Yield every section of a recipe: each dataclass once, in the order of the file."""
    yield Section("Top level", RunConfig)
    hints = typing.get_type_hints(RunConfig, include_extras=True)
    for name in ("data", "filters", "split"):
        yield Section(f"`[{name}]`", hints[name])
    yield Section("`[schema]`", features.Schema)
    yield from _kinds("A feature", features.Feature)
    yield from _kinds("An encoder of a `history`", encoders.Encoder)
    yield from _kinds("`[model]`", hints["model"])
    yield from _kinds("`[task]`", hints["task"])
    yield from _kinds("`negatives` of a task", negatives.Negatives)
    for name in ("histories", "training", "evaluation", "index", "export"):
        yield Section(f"`[{name}]`", hints[name])
    yield Section("`[tune]`, the value of one setting", TuneConfig)


def page() -> str:
    """Generate the page."""
    return "\n\n".join([INTRODUCTION, *(_section(section) for section in sections())])


def keys(cls: type) -> list[tuple[str, dataclasses.Field[Any]]]:
    """List the keys of a section, without `type`, which the title names."""
    return [
        (field.name, field) for field in dataclasses.fields(cls) if field.init and field.name != "type"
    ]


def descriptions(cls: type) -> dict[str, str]:
    """Read the `Attributes:` of a class and its parents, the class itself last."""
    found: dict[str, str] = {}
    for base in reversed(cls.__mro__):
        found |= _attributes(inspect.cleandoc(base.__dict__.get("__doc__") or ""))
    return found


def _attributes(doc: str) -> dict[str, str]:
    lines = iter(doc.splitlines())
    for line in lines:
        if line.startswith("Attributes:"):
            break
    entries: dict[str, str] = {}
    names: list[str] = []
    for line in lines:
        if line and not line.startswith(" "):
            break
        # An entry names one key or several: "low, high: the declared range".
        if start := re.match(r" {4}(\w+(?:, \w+)*): (.*)", line):
            names = start[1].split(", ")
            entries |= dict.fromkeys(names, start[2])
        elif line.strip():
            entries |= {name: f"{entries[name]} {line.strip()}" for name in names}
    return entries


def _kinds(title: str, union: Any) -> Iterator[Section]:
    """Yield one section for each member of a union that `type` tells apart."""
    for cls in _members(union):
        kind = cls.__dataclass_fields__["type"]
        names = typing.get_args(typing.get_type_hints(cls)["type"]) or (kind.default,)
        yield Section(f"{title}: {' or '.join(f'`{name}`' for name in names)}", cls)


def _members(union: Any) -> list[type]:
    if isinstance(union, type) and dataclasses.is_dataclass(union):
        return [union]
    return [cls for part in typing.get_args(union) for cls in _members(part)]


def _section(section: Section) -> str:
    told = descriptions(section.cls)
    hints = typing.get_type_hints(section.cls, include_extras=True)
    rows = [
        f"| `{name}` | {type_name(hints[name])} | {_default(field)} | {_cell(told.get(name, ''))} |"
        for name, field in keys(section.cls)
        # The sections below have their own tables.
        if section.cls is not RunConfig or name in ("recipe", "description", "tune")
    ]
    intro = _cell(_first_paragraph(section.cls))
    if not rows:
        return f"## {section.title}\n\n{intro}\n\nNo keys besides `type`."
    head = "| key | type | default | meaning |\n| --- | --- | --- | --- |"
    return f"## {section.title}\n\n{intro}\n\n{head}\n" + "\n".join(rows)


def _first_paragraph(cls: type) -> str:
    return inspect.cleandoc(cls.__doc__ or "").split("\n\n")[0].replace("\n", " ")


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;")


def type_name(hint: Any) -> str:
    """Name a type in the words of TOML, with its bounds."""
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin is Annotated:
        inner = type_name(args[0])
        bounds = _bounds(args[1:])
        return f"{inner} {bounds}" if bounds else inner
    if origin is Literal:
        return ", ".join(f"`{_toml(value)}`" for value in args)
    if origin in (typing.Union, types.UnionType):
        parts = dict.fromkeys(type_name(arg) for arg in args if arg is not type(None))
        return "one of a kind" if len(parts) > 3 else " or ".join(parts)
    if origin in (tuple, list):
        return f"list of {type_name(args[0])}" if origin is list or ... in args else "two values"
    if origin is dict:
        return "table"
    if hint in (encoders.Encoder, negatives.Negatives) or dataclasses.is_dataclass(hint):
        return "table"
    words = {bool: "true or false", str: "text", int: "whole number", float: "number", Any: "any"}
    return words.get(hint, "table")


def _bounds(metadata: Iterable[Any]) -> str:
    signs = {"gt": ">", "ge": "≥", "lt": "<", "le": "≤"}
    flat = [part for meta in metadata for part in getattr(meta, "metadata", [meta])]
    told = [
        f"{sign} {getattr(part, name):,}"
        for part in flat
        for name, sign in signs.items()
        if isinstance(part, BaseMetadata) and hasattr(part, name)
    ]
    return " and ".join(told).replace("<", "&lt;")


def _default(field: dataclasses.Field[Any]) -> str:
    if getattr(field.default, "default_factory", None) is not None:  # of pydantic's `Field`
        return "`{}`"
    if field.default is not dataclasses.MISSING:
        return "" if field.default is None else f"`{_toml(_plain(field.default))}`"
    if field.default_factory is not dataclasses.MISSING:
        return "`{}`"
    return "required"


def _plain(value: Any) -> Any:
    return value.type if dataclasses.is_dataclass(value) and hasattr(value, "type") else value


def _toml(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple | list):
        return f"[{', '.join(map(_toml, value))}]"
    return f'"{value}"' if isinstance(value, str) else str(value)


def baseline_names() -> list[str]:
    """Name the baselines that `evaluation.baselines` takes."""
    return list(baselines.BASELINES)
