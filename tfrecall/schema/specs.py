"""Common parts of specifications and configurations: types of settings, errors in plain words."""

import functools
import re
from collections.abc import Mapping
from dataclasses import fields
from typing import Annotated, Any, Literal, TypeVar

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError

from tfrecall.errors import ConfigError, nearest

_Class = TypeVar("_Class", bound=type)

# A misspelt setting is an error.
STRICT = ConfigDict(extra="forbid")

Fraction = Annotated[float, Field(gt=0, lt=1)]
Rate = Annotated[float, Field(ge=0, lt=1)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Weight = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Finite = Annotated[float | None, Field(allow_inf_nan=False)]
# Seeds that NumPy's and TensorFlow's generators both take.
Seed = Annotated[int, Field(ge=0, lt=2**31)]
Activation = Literal["relu", "leaky_relu", "tanh", "linear"]


def one_or_more_distinct(values: tuple[Any, ...]) -> tuple[Any, ...]:
    """Checks a tuple, for pydantic: not empty, each value once."""
    if not values or len(set(values)) < len(values):
        raise ValueError("expected one or more distinct values")
    return values


# Classes of specifications by the `type` of their plain form.
_KINDS: dict[str, type] = {}


def config_errors(cls: _Class) -> _Class:
    """Makes a pydantic dataclass raise `ConfigError` in plain words instead of pydantic's own error."""
    # The constructor is wrapped, not subclassed: the class keeps its name, its fields and its place in
    # unions.
    original = cls.__init__  # type: ignore[misc]

    @functools.wraps(original)
    def construct(self: Any, *args: Any, **kwargs: Any) -> None:
        try:
            original(self, *args, **kwargs)
        except ValidationError as error:
            raise _config_error(cls, error) from error

    cls.__init__ = construct  # type: ignore[misc]
    kind = getattr(cls, "type", None)
    if isinstance(kind, str):
        _KINDS[kind] = cls
    return cls


def from_plain(form: Any, values: Any, name: type | str) -> Any:
    """Reads a specification from its plain form.

    Args:
        form: class of the specification, or a union of classes distinguished by `type`.
        values: a dictionary, or a specification, which is returned as it is.
        name: the class, or its name in errors if `type` names no class.

    Raises:
        ConfigError: if the settings are invalid.
    """
    try:
        return TypeAdapter(form).validate_python(values)
    except ValidationError as error:
        kind = values.get("type") if isinstance(values, Mapping) else None
        raise _config_error(_KINDS.get(str(kind), name), error) from error


def _config_error(cls: type | str, error: ValidationError) -> ConfigError:
    """The last of pydantic's findings, in the words of the class."""
    problem = error.errors()[-1]
    # pydantic puts the `type` that it chose from a union into the path: ("of", "text", "max_tokens") is
    # the setting `of.max_tokens`, of the class Text.
    inner = next((_KINDS[part] for part in reversed(problem["loc"]) if part in _KINDS), cls)
    path = [str(part) for part in problem["loc"] if part not in _KINDS]
    if problem["type"] == "unexpected_keyword_argument" and isinstance(inner, type):
        valid = [field.name for field in fields(inner)]
        return ConfigError(
            f'{inner.__name__} has no setting "{path[-1]}".{nearest(path[-1], valid)} '
            f"It has: {', '.join(valid)}."
        )
    name = cls.__name__ if isinstance(cls, type) else cls
    where = f"{name}: `{'.'.join(path)}`" if path else name
    if problem["type"] == "missing":
        return ConfigError(f"{where} is missing.")
    reason = problem["msg"].removeprefix("Value error, ")
    if problem["type"] == "value_error":
        return ConfigError(reason)
    # For a `Literal` pydantic gives its values as one text: "'relu', 'tanh' or 'linear'".
    options = re.findall("'([^']*)'", problem.get("ctx", {}).get("expected", ""))
    return ConfigError(
        f"{where}: {reason}. Received: {problem['input']!r}.{nearest(str(problem['input']), options)}"
    )
