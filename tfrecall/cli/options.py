"""Shared parts of the commands: the application, options, exit statuses.

Exit statuses: 0 success, 1 an error that a message explains, 2 wrong usage, 3 a complete run whose model a
baseline beats, 4 a drift beyond a limit, 130 interrupted, 141 the reader of the output went away, as in
`tfrecall recommend ... | head -1`.
"""

import inspect
import json
import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields
from functools import wraps
from pathlib import Path
from typing import Annotated, Any

# Before any import of TensorFlow, which reads it once: hides notes about CUDA and CPU features.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import typer

from tfrecall.cli.exits import INTERRUPTED, READER_GONE
from tfrecall.core.arguments import command_line
from tfrecall.engines import Engine, engine_of
from tfrecall.errors import ConfigError, TfrecallError

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Candidate retrieval for Keras: from an interaction log to a served top-K.",
    epilog="Exit status: 0 success, 1 an error that is explained, 2 wrong usage, 3 a complete run whose model "
    "a baseline beats, 4 a drift beyond a limit, 130 interrupted, 141 the reader of the output went away.",
)


def _print_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        print(f"tfrecall {version('tfrecall')}")
        raise typer.Exit


@app.callback()
def _application(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version and exit."
        ),
    ] = False,
) -> None:
    """Options before the name of a command."""


data_app = typer.Typer(no_args_is_help=True, help="Data sets and logs.")
recipes_app = typer.Typer(
    no_args_is_help=True, help="The runs that ship with the package, and new ones."
)

Json = Annotated[
    bool, typer.Option("--json", help="One JSON object on standard output, all else on standard error.")
]


def complete_recipe(incomplete: str) -> list[str]:
    """Names of shipped recipes for tab completion; shells complete paths by themselves."""
    from tfrecall.config.recipes import recipe_names

    return [name for name in recipe_names() if name.startswith(incomplete)]


Recipe = Annotated[
    str,
    typer.Argument(
        help="A shipped recipe, or the path of a TOML file.", autocompletion=complete_recipe
    ),
]
ReleasePath = Annotated[Path, typer.Argument(help="A release directory, as `tfrecall run` writes it.")]
Trust = Annotated[
    bool,
    typer.Option(
        "--trust",
        help="Load a release although its models may touch files or run Python: its author may.",
    ),
]
TopK = Annotated[int, typer.Option("-k", help="How many items.")]
IndexName = Annotated[
    str | None,
    typer.Option("--index", help="exact, annoy, faiss or scann; by default what the release prefers."),
]
Columns = Annotated[
    list[str] | None, typer.Option("--column", help="Column of the item table to show; repeatable.")
]
Excluded = Annotated[
    list[str] | None, typer.Option("--exclude", help="Item id not wanted; repeatable.")
]
KeepSeen = Annotated[
    bool | None,
    typer.Option(
        help="Whether lists may hold what the user had; by default as the run found in the log."
    ),
]
LogOrFolder = Annotated[
    Path | None,
    typer.Option(help="A log (CSV, Parquet, JSON), or a MovieLens folder as GroupLens ships it."),
]
MovedLog = Annotated[
    Path | None,
    typer.Option("--data", help="The log or MovieLens folder, if not where the run found it."),
]
EngineName = Annotated[
    str, typer.Option("--engine", help="Where parts of the work run: local, beam or ray.")
]
Processes = Annotated[
    int | None, typer.Option("--processes", help="How many parts are worked on at a time.")
]
PartsEngine = Annotated[
    str | None,
    typer.Option(
        "--engine",
        help="Write parts into a directory: local (with --processes), beam or ray; by default one file.",
    ),
]
EngineOptions = Annotated[
    list[str] | None,
    typer.Option("--engine-option", help="Option of the engine, repeatable: runner=FlinkRunner."),
]
Settings = Annotated[
    list[str] | None,
    typer.Option("--set", help="section.key=value, repeatable: training.epochs=2."),
]


@dataclass(frozen=True)
class LogTables:
    """Options for tables and column names of a log; None for each option that is not given."""

    users: Annotated[Path | None, typer.Option("--users", help="The user table.")] = None
    items: Annotated[Path | None, typer.Option("--items", help="The item table.")] = None
    user_column: Annotated[str | None, typer.Option("--user-column", help="Its name in the files.")] = (
        None
    )
    item_column: Annotated[str | None, typer.Option("--item-column", help="Its name in the files.")] = (
        None
    )
    timestamp_column: Annotated[
        str | None, typer.Option("--timestamp-column", help="Its name in the log.")
    ] = None
    rating_column: Annotated[
        str | None, typer.Option("--rating-column", help="Its name in the log.")
    ] = None
    weight_column: Annotated[
        str | None,
        typer.Option("--weight-column", help="A number of the log that an event counts as often as."),
    ] = None
    null_values: Annotated[
        str | None,
        typer.Option(
            "--null-values",
            help='Words that stand for no id, with commas between: "NULL,-"; "" keeps ids as written.',
        ),
    ] = None
    repeated_rows: Annotated[
        str | None,
        typer.Option(
            "--repeated-rows", help="drop (by default) or keep rows that are equal in every column."
        ),
    ] = None
    id_spelling: Annotated[
        str | None,
        typer.Option("--id-spelling", help="numbers makes 42 of 00042 and 42.0, in every table."),
    ] = None

    separator: Annotated[
        str | None,
        typer.Option(
            "--separator", help="Mark between columns of text files, such as ';' or tab; recognised."
        ),
    ] = None
    timestamp_format: Annotated[
        str | None,
        typer.Option(
            "--timestamp-format", help="Format of times, such as '%d/%m/%Y %H:%M'; recognised."
        ),
    ] = None
    timestamp_unit: Annotated[
        str | None,
        typer.Option(
            "--timestamp-unit",
            help="Unit of times as numbers since 1970: s, ms, us, ns, d; recognised.",
        ),
    ] = None

    @property
    def columns(self) -> dict[str, Any]:
        """Role of a column in `tfrecall` -> its name in the files."""
        return {
            "user_id": self.user_column,
            "item_id": self.item_column,
            "timestamp": self.timestamp_column,
            "rating": self.rating_column,
            "weight": self.weight_column,
        }

    @property
    def reading(self) -> dict[str, Any]:
        """How files are read and cleaned: arguments of `describe` and `propose`."""
        words = None if self.null_values is None else self.null_values.split(",")
        given = {
            "separator": self.separator,
            "unit": self.timestamp_unit,
            "timestamp_format": self.timestamp_format,
            "null_values": words and tuple(word.strip() for word in words if word.strip()),
            "repeated_rows": self.repeated_rows,
            "id_spelling": self.id_spelling,
        }
        return {name: value for name, value in given.items() if value is not None}


NO_TABLES = LogTables()


def with_tables(command: Callable[..., None]) -> Callable[..., None]:
    """Replace the parameter `tables` of a command by the options of `LogTables`."""
    options = [
        inspect.Parameter(
            field.name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=field.type
        )
        for field in fields(LogTables)
    ]
    parameters: list[inspect.Parameter] = []
    for parameter in inspect.signature(command).parameters.values():
        is_tables = parameter.name == "tables"
        # Keyword-only: options have defaults, and Python allows none before a parameter without.
        parameters += options if is_tables else [parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY)]

    @wraps(command)
    def run(**values: Any) -> None:
        tables = LogTables(**{option.name: values.pop(option.name) for option in options})
        command(tables=tables, **values)

    # Typer reads the options from the signature and the annotations.
    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    run.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return run


def guarded(command: Callable[..., None]) -> Callable[..., None]:
    """Turn the package's errors into `Error: ...` on standard error and an exit status."""

    @wraps(command)
    def run(*args: Any, **kwargs: Any) -> None:
        try:
            with command_line():
                command(*args, **kwargs)
        except TfrecallError as error:
            _print_error(f"Error: {error}")
            raise typer.Exit(1) from error
        except KeyboardInterrupt as error:
            _print_error("Interrupted. Releases are as they were.")
            raise typer.Exit(INTERRUPTED) from error
        except BrokenPipeError as error:  # of standard error; `show` handles standard output
            raise typer.Exit(READER_GONE) from error
        except (
            OSError,
            MemoryError,
        ) as error:  # permissions, full disks, memory: no fault of the program
            _print_error(f"Error: {error or 'there is not enough memory'}. Releases are as they were.")
            raise typer.Exit(1) from error

    return run


def _print_error(text: str) -> None:
    from tfrecall.cli.console import stderr  # Rich, which `--help` alone does not need

    stderr.print(text, soft_wrap=True)


def data_settings(data: Path | None, tables: LogTables | None = None) -> dict[str, Any]:
    """Settings of `[data]` for options; a MovieLens folder is recognized by its files.

    Args:
        data: value of `--data`.
        tables: options for tables and columns.
    """
    from tfrecall.data.datasets.grouplens import size_of

    settings: dict[str, Any] = {}
    if data is not None:
        settings["source"] = str(data)
        if size := size_of(data):
            settings.update(source=f"movielens-{size}", folder=str(data))
    if tables is not None:
        settings |= {k: str(value) for k, value in vars(tables).items() if value is not None}
        # Lists of words are no texts; the unit has its own key already.
        settings |= {k: value for k, value in tables.reading.items() if k in settings}
    return settings


def engine_for_parts(
    name: str | None, processes: int | None, options: list[str] | None
) -> Engine | None:
    """The engine of `--engine`, `--processes` and `--engine-option`; None without any of them.

    Raises:
        ConfigError: if there is no such engine, or an option is none of it.
    """
    if name is None and processes is None and not options:
        return None
    return engine_of(name or "local", options or [], processes)


def check_writable(file: Path) -> None:
    """Refuse a file that could not be written, before hours are spent on its content.

    Raises:
        ConfigError: if there is no such directory, or no permission.
    """
    # A new file needs permission of its directory, an existing one its own.
    place = file if file.exists() else file.parent
    if not file.parent.is_dir() or not os.access(place, os.W_OK):
        raise ConfigError(f"{file} cannot be written. Give --out a file in a folder that is there.")


def json_features(text: str) -> dict[str, Any]:
    """Parse the value of `--features`, a JSON object of query features, nested or not.

    Raises:
        ConfigError: if the text is no JSON object.
    """
    received = text if len(text) <= 100 else f"{text[:100]}..."
    try:
        values = json.loads(text)
        flat = dict(_flat(values)) if isinstance(values, dict) else None
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"--features takes a JSON object. Received {received!r}: {error}.") from error
    if flat is None:
        raise ConfigError(f"--features takes a JSON object. Received: {received!r}.")
    return flat


def _flat(values: dict[str, Any], start: str = "") -> Iterator[tuple[str, Any]]:
    """Names nested values as the columns of nested logs are named: `age` in `user` is `user_age`."""
    for name, value in values.items():
        path = f"{start}{name}".replace(".", "_")
        if isinstance(value, dict):
            yield from _flat(value, f"{path}_")
        else:
            yield path, value


_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*(s|sec|m|min|h)?")


def seconds_of(text: str, option: str) -> float:
    """Reads a duration such as 90s, 10m or 1.5h; a number alone is seconds.

    Raises:
        ConfigError: naming the option.

    >>> seconds_of("10m", "--budget"), seconds_of("0", "--budget")
    (600.0, 0.0)
    """
    found = _DURATION.fullmatch(text.strip().lower())
    if found is None:
        raise ConfigError(f"{option} takes a time such as 90s, 10m or 1.5h. Received: {text!r}.")
    return float(found[1]) * {"m": 60, "min": 60, "h": 3600}.get(found[2] or "s", 1)
