"""Names of settings in messages, as the caller writes them: in Python or on the command line."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

# Argument of `read`, `filter_log` or a split -> option of the commands; a key of recipes where there is none.
OPTIONS = {
    "users": "--users",
    "items": "--items",
    "user_id": "--user-column",
    "item_id": "--item-column",
    "timestamp": "--timestamp-column",
    "rating": "--rating-column",
    "weight": "--weight-column",
    "separator": "--separator",
    "timestamp_format": "--timestamp-format",
    "unit": "--timestamp-unit",
    "unless_worse_than": "--unless-worse-than",
    "missing_items": "--set data.missing_items",
    "ignore_columns": "--set data.ignore_columns",
    "list_separators": "--set data.list_separators",
    "min_rating": "--set filters.min_rating",
    "duplicates": "--set filters.duplicates",
    "max_user_interactions": "--set filters.max_user_interactions",
    "min_user_interactions": "--set filters.min_user_interactions",
    "min_item_interactions": "--set filters.min_item_interactions",
    "test_fraction": "--set split.test_fraction",
    "train_users": "--set split.train_users",
    "at": "--set split.at",
    "test_events": "--set split.test_events",
    "null_values": "--null-values",
    "repeated_rows": "--repeated-rows",
    "id_spelling": "--id-spelling",
}

_on_command_line: ContextVar[bool] = ContextVar("on_command_line", default=False)


@contextmanager
def command_line() -> Iterator[None]:
    """Lets messages name options instead of arguments of Python."""
    token = _on_command_line.set(True)
    try:
        yield
    finally:
        _on_command_line.reset(token)


def argument(name: str, value: str | None = None) -> str:
    """The name of a setting as the caller writes it, with a value.

    Args:
        name: argument of `tr.data.read`.
        value: its value; None names the setting alone.

    >>> argument("user_id"), argument("user_id", "who")
    ('`user_id`', 'user_id="who"')
    >>> with command_line():
    ...     argument("user_id"), argument("timestamp_format", "%d/%m/%Y"), argument("missing_items", "add")
    ('--user-column', '--timestamp-format "%d/%m/%Y"', '--set data.missing_items=add')
    """
    if not _on_command_line.get():
        number = value is not None and value.replace(".", "").removeprefix("-").isdecimal()
        quoted = value if number else f'"{value}"'
        return f"`{name}`" if value is None else f"{name}={quoted}"
    option = OPTIONS[name]
    if value is None:
        return option
    if option.startswith("--set"):
        return f"{option}={value}"
    # Quoted where a shell would divide or change it.
    return f'{option} "{value}"' if not value.isidentifier() else f"{option} {value}"
