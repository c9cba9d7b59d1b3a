"""Engines by the word of `--engine`, with options as texts."""

from collections.abc import Callable, Sequence

from tfrecall.engines.base import Engine
from tfrecall.engines.beam import Beam
from tfrecall.engines.local import Local
from tfrecall.engines.ray import Ray
from tfrecall.errors import ConfigError, nearest


def engine_of(name: str, options: Sequence[str] = (), processes: int | None = None) -> Engine:
    """Make an engine by its name.

    Args:
        name: one of `ENGINES`.
        options: texts such as `runner=FlinkRunner` (beam) or `address=auto` (ray); local takes none.
        processes: how many tasks run at a time; None for the engine's default.

    Raises:
        ConfigError: if there is no such engine, or an option is none of it.

    Example:

    >>> engine_of("local", processes=2).processes
    2
    """
    make = _MAKERS.get(name)
    if make is None:
        raise ConfigError(
            f'There is no engine "{name}".{nearest(name, ENGINES)} Engines: {", ".join(ENGINES)}.'
        )
    return make(options, processes)


def _local(options: Sequence[str], processes: int | None) -> Engine:
    if options:
        raise ConfigError(
            f"The engine local takes no options but the number of processes. Received: {', '.join(options)}."
        )
    return Local(1 if processes is None else processes)


_MAKERS: dict[str, Callable[[Sequence[str], int | None], Engine]] = {
    "local": _local,
    "beam": Beam,
    "ray": Ray,
}
ENGINES = tuple(_MAKERS)
