"""The recipes that ship with the package, and the reading of these and of other TOML files.

Everything a file or `--set` may get wrong is said in the words of the file, before any work starts.
"""

import copy
import dataclasses
import re
import sys
import typing
from collections.abc import Iterable, Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from tfrecall.config.run import ModelConfig, RankerConfig, RunConfig, TaskConfig
from tfrecall.errors import ConfigError, nearest
from tfrecall.schema import features as schema
from tfrecall.schema.negatives import Source

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


# A key of TOML: one with dots stands in quotes.
_KEY = r"""\s*(?:"([^"]+)"|'([^']+)'|([^."'\s][^."']*))\s*"""


def recipe_names() -> list[str]:
    """The recipes that ship with the package, in alphabetical order."""
    files = (resources.files("tfrecall") / "recipes").iterdir()
    return sorted(file.name.removesuffix(".toml") for file in files if file.name.endswith(".toml"))


def recipe_text(name: str) -> str:
    """The TOML of a shipped recipe.

    Raises:
        ConfigError: if there is no recipe of that name.
    """
    if name not in recipe_names():
        raise ConfigError(
            f'There is no recipe "{name}".{nearest(name, recipe_names())} Shipped recipes: '
            f"{', '.join(recipe_names())}. A recipe of your own is given by the path of its file."
        )
    return (resources.files("tfrecall") / "recipes" / f"{name}.toml").read_text("utf-8")


def load_config(
    recipe: str = "two_tower_ml100k",
    overrides: Sequence[str] = (),
    data: Mapping[str, Any] | None = None,
) -> RunConfig:
    """Reads a recipe by name or a TOML file by path.

    Args:
        recipe: the name of a shipped recipe, or a path that ends in `.toml`.
        overrides: settings that take precedence, each `section.key=value` with the value as in TOML;
            quotes around text may be left out, `none` without quotes is no value. A number counts in a
            list, `schema.query.0.column`; the number after the last one adds to it. A key with dots
            stands in quotes: `tune."training.epochs"={low=2, high=9}`.
        data: values of `[data]` that replace those of the recipe, before the overrides.

    Raises:
        ConfigError: if there is no such recipe or file, or it says something that makes no sense.
    """
    name = Path(recipe).stem if recipe.endswith(".toml") else recipe
    return config_from_text(_text(recipe), name, overrides, recipe, data)


def config_from_text(
    text: str,
    name: str,
    overrides: Sequence[str] = (),
    where: str | None = None,
    data: Mapping[str, Any] | None = None,
) -> RunConfig:
    """Reads the TOML of a recipe.

    Args:
        text: the TOML.
        name: of the recipe, if it does not say another.
        overrides: as for `load_config`.
        where: what messages call it; its name by default.
        data: as for `load_config`.

    Raises:
        ConfigError: if it says something that makes no sense.
    """
    where = where or name
    values = _parse(text, where)
    values.setdefault("recipe", name)
    for key, value in (data or {}).items():
        _put(values, ["data", key], value, f"data.{key}")
    for override in overrides:
        _override(values, override)
    return config_from_dict(values, where)


def config_from_dict(values: dict[str, Any], where: str = "configuration") -> RunConfig:
    """Checks the plain form of a configuration, as `RunConfig.to_dict` gives it.

    Raises:
        ConfigError: naming each setting that is wrong, and the nearest valid name for an unknown one.
    """
    try:
        return TypeAdapter(RunConfig).validate_python(values)
    except ValidationError as error:
        problems = "\n".join(f"  {_explain(problem)}" for problem in error.errors())
        raise ConfigError(f"{where} cannot be used:\n{problems}") from error


def with_settings(config: RunConfig, settings: Mapping[str, Any]) -> RunConfig:
    """A configuration with other values at some paths, each path as `--set` has it.

    Raises:
        ConfigError: as `load_config`.
    """
    values = config.to_dict()
    for path, value in settings.items():
        if not (keys := keys_of(path)):
            raise ConfigError(f'"{path}" is no setting. Write section.key, such as training.epochs.')
        _put(values, keys, copy.deepcopy(value), path)
    return config_from_dict(values, config.recipe)


def _text(recipe: str) -> str:
    if not recipe.endswith(".toml"):
        return recipe_text(recipe)
    try:
        return Path(recipe).read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"The recipe {recipe} cannot be read: {error}. Give the path of a TOML file in UTF-8, or "
            f"one of the shipped recipes: {', '.join(recipe_names())}."
        ) from error


def _parse(text: str, where: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{where} is not valid TOML: {error}.") from error


def _override(values: dict[str, Any], override: str) -> None:
    path, equals, text = override.partition("=")
    keys = keys_of(path)
    if not equals or not keys:
        raise ConfigError(
            f'"{override}" is no setting. Write section.key=value, for example training.epochs=2.'
        )
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        value = None if text.strip() == "none" else text.strip()  # text without quotes
    _put(values, keys, value, override)


def keys_of(path: str) -> list[str]:
    """The keys of a dotted path; none if it is no path."""
    if not re.fullmatch(rf"{_KEY}(?:\.{_KEY})*", path):
        return []
    return [next(filter(None, groups)).strip() for groups in re.findall(_KEY, path)]


def _put(values: dict[str, Any], keys: Sequence[str], value: Any, override: str) -> None:
    target: Any = values
    for depth, key in enumerate(keys[:-1], 1):
        if isinstance(target, dict):
            target = target.setdefault(key, _unsaid(keys[:depth]))
        else:
            target = target[_place(target, key, override, len(target))]
        if not isinstance(target, dict | list):
            raise ConfigError(f'"{override}": {key} is a single value and has no settings inside.')
    if isinstance(target, dict):
        target[keys[-1]] = value
    else:
        place = _place(target, keys[-1], override, len(target) + 1)
        target[place : place + 1] = [value]


def _unsaid(keys: Sequence[str]) -> dict[str, Any] | list[Any]:
    """What a file means that says nothing of a list or a section."""
    default: Any = RunConfig
    for key in keys:
        default = getattr(default, key, None)
    return list(default) if isinstance(default, tuple) else {}


def _place(target: list[Any], key: str, override: str, end: int) -> int:
    if not key.isdecimal() or int(key) >= end:
        raise ConfigError(
            f'"{override}" counts to {key} in a list of {len(target)}. Numbers start at 0.'
        )
    return int(key)


def _explain(problem: Any) -> str:
    """One of pydantic's findings in the words of the file."""
    *sections, last = problem["loc"] or ("",)
    path = [
        part for part in (*(s for s in sections if s not in _tags() | _sources()), last) if part != ""
    ]
    if problem["type"] == "value_error" and isinstance(problem["input"], dict) and last in _tags():
        path = path[:-1]  # what a task as a whole says
    name = ".".join(map(str, path))
    if problem["type"] in ("unexpected_keyword_argument", "extra_forbidden"):
        valid = _valid_names(problem["loc"][:-1])
        return (
            f"{name}: there is no such setting.{nearest(str(path[-1]), valid)} "
            f"Valid here: {', '.join(valid)}."
        )
    if problem["type"] == "missing":
        return f"{name}: this setting is missing."
    text = problem["msg"].removeprefix("Value error, ").rstrip(".")
    if problem["type"] == "value_error" and isinstance(problem["input"], dict):
        return f"{name or 'settings'}: {text}."  # which tells what was received
    if "Received: " in text:
        return f"{name}: {text}."
    return f"{name}: {text}. Received: {problem['input']!r}.{_nearest_value(problem)}"


def _nearest_value(problem: Any) -> str:
    """The value nearest to one that is not among those that a setting takes."""
    context = problem.get("ctx", {})
    valid = re.findall("'([^']+)'", str(context.get("expected_tags", context.get("expected", ""))))
    return nearest(str(context.get("tag", problem["input"])), valid)


def _valid_names(path: Iterable[Any]) -> list[str]:
    """The settings of the section that a path of pydantic leads to."""
    section: Any = RunConfig
    tags = _tags()
    for part in path:
        if part in tags:
            section = tags[part]
        elif typing.get_origin(section) is dict:
            section = typing.get_args(section)[1]
        elif isinstance(part, str):
            section = typing.get_type_hints(section, include_extras=True)[part]
            tags = _sources() if part == "negatives" else tags
    return [field.name for field in dataclasses.fields(section) if field.init]


def _tags() -> dict[Any, type]:
    """The classes behind each value of `type`."""
    unions = (schema.Feature, TaskConfig)
    found = _by_type(cls for union in unions for cls in typing.get_args(typing.get_args(union)[0]))
    return {**found, "retriever": ModelConfig, "ranker": RankerConfig}


def _sources() -> dict[Any, type]:
    """As `_tags`, of negatives, some of whose types are called like a task."""
    return _by_type(typing.get_args(Source))


def _by_type(members: Iterable[Any]) -> dict[Any, type]:
    return {cls.__dataclass_fields__["type"].default: cls for cls in members}
