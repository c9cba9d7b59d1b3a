"""Recipes: reading of shipped and own TOML files, with errors in terms of the file."""

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

from tfrecall.config.models import BaselineConfig, BayesianRankerConfig, ModelConfig, RankerConfig
from tfrecall.config.run import RunConfig
from tfrecall.config.tasks import TaskConfig
from tfrecall.errors import ConfigError, nearest
from tfrecall.schema.features import Feature
from tfrecall.schema.negatives import Source

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


# A TOML key: double-quoted, single-quoted or bare, one group for each. Keys with dots need quotes.
_KEY = r"""\s*(?:"([^"]+)"|'([^']+)'|([^."'\s][^."']*))\s*"""


def recipe_names() -> list[str]:
    """Names of the shipped recipes, in alphabetical order."""
    files = (resources.files("tfrecall") / "recipes").iterdir()
    return sorted(file.name.removesuffix(".toml") for file in files if file.name.endswith(".toml"))


def recipe_text(name: str) -> str:
    """The TOML of a shipped recipe.

    Raises:
        ConfigError: if no recipe has the name.
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
    """Read a configuration from a shipped recipe or a TOML file.

    Args:
        recipe: name of a shipped recipe, or path of a file that ends in `.toml`.
        overrides: settings that take precedence, each `section.key=value` with the value in TOML; quotes
            around text are optional, `none` without quotes is None. A number is an index into a list,
            `schema.query.0.column`; the index after the last appends. A key with dots is quoted:
            `tune."training.epochs"={low=2, high=9}`.
        data: values of `[data]` that replace those of the recipe, before the overrides.

    Raises:
        ConfigError: if there is no such recipe or file, or a setting is invalid.

    Example:

    >>> config = load_config("two_tower_ml100k", ["training.epochs=2"])
    >>> config.training.epochs, config.model.type
    (2, 'two_tower')
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
    """Read a configuration from TOML.

    Args:
        text: the TOML.
        name: name of the recipe, unless the text has its own.
        overrides: settings that take precedence, each `section.key=value`.
        where: name of the text in messages; by default that of the recipe.
        data: values of `[data]` that replace those of the text, before the overrides.

    Raises:
        ConfigError: if the text is no TOML, or a setting is invalid.
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
    """Read a configuration from its plain form, as `RunConfig.to_dict` gives it.

    Raises:
        ConfigError: with each invalid setting, and the nearest valid name of an unknown one.
    """
    try:
        return TypeAdapter(RunConfig).validate_python(values)
    except ValidationError as error:
        problems = "\n".join(f"  {_explain(problem)}" for problem in error.errors())
        raise ConfigError(f"{where} cannot be used:\n{problems}") from error


def with_settings(config: RunConfig, settings: Mapping[str, Any]) -> RunConfig:
    """Copy a configuration with other values of some settings.

    Args:
        config: the configuration.
        settings: values by path, such as `training.epochs`.

    Raises:
        ConfigError: if a path or value is invalid.
    """
    values = config.to_dict()
    for path, value in settings.items():
        if not (keys := keys_of(path)):
            raise ConfigError(f'"{path}" is not a setting. Write section.key, such as training.epochs.')
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
    except RecursionError as error:
        raise ConfigError(f"{where} nests its values too deeply to be a recipe.") from error


def _override(values: dict[str, Any], override: str) -> None:
    path, equals, text = override.partition("=")
    keys = keys_of(path)
    if not equals or not keys:
        raise ConfigError(
            f'"{override}" is not a setting. Write section.key=value, for example training.epochs=2.'
        )
    try:
        # A value alone is no TOML document. A user's unquoted text fails to parse and is taken literally.
        value = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        value = None if text.strip() == "none" else text.strip()  # text without quotes
    except RecursionError as error:
        raise ConfigError(
            f"--set {path.strip()} nests its values too deeply to be a setting."
        ) from error
    _put(values, keys, value, override)


def keys_of(path: str) -> list[str]:
    """Split a dotted path into keys; an invalid path has none."""
    if not re.fullmatch(rf"{_KEY}(?:\.{_KEY})*", path):
        return []
    return [next(filter(None, groups)).strip() for groups in re.findall(_KEY, path)]


def _put(values: dict[str, Any], keys: Sequence[str], value: Any, override: str) -> None:
    target: Any = values
    for depth, key in enumerate(keys[:-1], 1):
        if isinstance(target, dict):
            # A copy of the default list, so that `schema.query.0.column` can change one entry of a default.
            target = target.setdefault(key, _default_of(keys[:depth]))
        else:
            target = target[_place(target, key, override, len(target))]
        if not isinstance(target, dict | list):
            raise ConfigError(f'"{override}": {key} is a single value and has no settings inside.')
    if isinstance(target, dict):
        target[keys[-1]] = value
    else:
        # A slice, not an index: the place after the last entry then appends.
        place = _place(target, keys[-1], override, len(target) + 1)
        target[place : place + 1] = [value]


def _default_of(keys: Sequence[str]) -> dict[str, Any] | list[Any]:
    """The default of a list or a section that the file omits."""
    default: Any = RunConfig
    for key in keys:
        default = getattr(default, key, None)
    return list(default) if isinstance(default, tuple) else {}


def _place(target: list[Any], key: str, override: str, end: int) -> int:
    if not key.isdecimal() or int(key) >= end:
        raise ConfigError(
            f'"{override}": there is no place {key} in a list of {len(target)}. The first place is 0.'
        )
    return int(key)


def _explain(problem: Any) -> str:
    """Describe an error of pydantic in terms of the file."""
    # `loc` is the path in the file, with the tags of unions in between, which no file has:
    # ("task", "in_batch", "temperature") is `task.temperature`. The last part stays even if it is named
    # like a tag.
    *sections, last = problem["loc"] or ("",)
    path = [
        part for part in (*(s for s in sections if s not in _tags() | _sources()), last) if part != ""
    ]
    if problem["type"] == "value_error" and isinstance(problem["input"], dict) and last in _tags():
        path = path[:-1]  # an error of the task as a whole
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
        return f"{name or 'settings'}: {text}."  # the text says what was received
    if "Received: " in text:
        return f"{name}: {text}."
    return f"{name}: {text}. Received: {problem['input']!r}.{_nearest_value(problem)}"


def _nearest_value(problem: Any) -> str:
    """The valid value nearest to an invalid one."""
    context = problem.get("ctx", {})
    # Pydantic lists the valid values in a text only: "'uniform', 'popularity' or 'mixed'".
    valid = re.findall("'([^']+)'", str(context.get("expected_tags", context.get("expected", ""))))
    return nearest(str(context.get("tag", problem["input"])), valid)


def _valid_names(path: Iterable[Any]) -> list[str]:
    """Settings of the section at a path of pydantic."""
    section: Any = RunConfig
    tags = _tags()
    for part in path:
        if part in tags:
            section = tags[part]
        elif typing.get_origin(section) is dict:
            section = typing.get_args(section)[1]
        elif isinstance(part, str):
            section = typing.get_type_hints(section, include_extras=True)[part]
            # Below `negatives`, `in_batch` names a source, elsewhere a task.
            tags = _sources() if part == "negatives" else tags
    return [field.name for field in dataclasses.fields(section) if field.init]


def _tags() -> dict[Any, type]:
    """Classes by value of `type`."""
    unions = (Feature, TaskConfig)
    classes = _by_type(cls for union in unions for cls in typing.get_args(typing.get_args(union)[0]))
    return {
        **classes,
        "retriever": ModelConfig,
        "ranker": RankerConfig,
        "bayesian": BayesianRankerConfig,
        "baseline": BaselineConfig,
    }


def _sources() -> dict[Any, type]:
    """Classes of negatives by value of `type`; apart from `_tags`, because some are named like a task."""
    return _by_type(typing.get_args(Source))


def _by_type(members: Iterable[Any]) -> dict[Any, type]:
    return {cls.__dataclass_fields__["type"].default: cls for cls in members}
