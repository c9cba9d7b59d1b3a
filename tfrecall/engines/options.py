"""Options of engines as texts: `name=value`, `--name=value` or `name` alone."""

from collections.abc import Sequence

from tfrecall.errors import ConfigError


def parsed(options: Sequence[str]) -> dict[str, str | None]:
    """Map the names of options to their values, None for a name alone.

    Raises:
        ConfigError: if one has no name, or is given twice.

    Example:

    >>> parsed(["runner=FlinkRunner", "--streaming"])
    {'runner': 'FlinkRunner', 'streaming': None}
    """
    found: dict[str, str | None] = {}
    for option in options:
        name, mark, value = option.removeprefix("--").partition("=")
        if not name.strip():
            raise ConfigError(f"An option of an engine is NAME=VALUE. Received: {option!r}.")
        if name in found:
            raise ConfigError(
                f"The option {name} of the engine is given twice: {found[name]}, {value}."
            )
        found[name] = value if mark else None
    return found
