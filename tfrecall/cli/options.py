"""What the commands have in common: the application, shared options, errors turned into exit codes."""

import json
import os
import sys
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Annotated, Any

# Before TensorFlow is imported anywhere: its notes about CUDA and CPU features are no news here.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import typer

from tfrecall.errors import ConfigError, TfrecallError

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Candidate retrieval for Keras: from an interaction log to a served top-K.",
)
data_app = typer.Typer(no_args_is_help=True, help="Data sets and logs.")
recipes_app = typer.Typer(
    no_args_is_help=True, help="The runs that ship with the package, and new ones."
)

Json = Annotated[
    bool, typer.Option("--json", help="One JSON object on standard output, all else on standard error.")
]
ReleasePath = Annotated[Path, typer.Argument(help="A release directory, as `tfrecall run` writes it.")]
TopK = Annotated[int, typer.Option("-k", help="How many items.")]
IndexName = Annotated[
    str | None, typer.Option("--index", help="exact or annoy; by default what the release prefers.")
]
Columns = Annotated[
    list[str] | None, typer.Option("--column", help="Column of the item table to show; repeatable.")
]
LogOrFolder = Annotated[
    Path | None,
    typer.Option(help="A log (CSV, Parquet, JSON lines), or a MovieLens folder as GroupLens ships it."),
]
UsersTable = Annotated[Path | None, typer.Option("--users", help="The user table.")]
ItemsTable = Annotated[Path | None, typer.Option("--items", help="The item table.")]
UserColumn = Annotated[str | None, typer.Option("--user-column", help="Its name in the files.")]
ItemColumn = Annotated[str | None, typer.Option("--item-column", help="Its name in the files.")]
TimestampColumn = Annotated[str | None, typer.Option("--timestamp-column", help="Its name in the log.")]
RatingColumn = Annotated[str | None, typer.Option("--rating-column", help="Its name in the log.")]
Settings = Annotated[
    list[str] | None,
    typer.Option("--set", help="section.key=value, repeatable: training.epochs=2."),
]


def guarded(command: Callable[..., None]) -> Callable[..., None]:
    """Turns the package's errors into `Error: ...` on standard error and exit status 1."""

    @wraps(command)
    def run(*args: Any, **kwargs: Any) -> None:
        try:
            command(*args, **kwargs)
        except TfrecallError as error:
            print(f"Error: {error}", file=sys.stderr)
            raise typer.Exit(1) from error
        except KeyboardInterrupt as error:
            print("Interrupted. Releases are as they were.", file=sys.stderr)
            raise typer.Exit(130) from error

    return run


def data_overrides(data: Path | None) -> list[str]:
    """Settings for `--data`: a folder with MovieLens, or the path of a log."""
    if data is None:
        return []
    from tfrecall.data.datasets.grouplens import size_of

    if size := size_of(data):
        return [f'data.source="movielens-{size}"', f"data.folder={quoted(data)}"]
    return [f"data.source={quoted(data)}"]


def column_overrides(columns: dict[str, Any]) -> list[str]:
    """Settings for the options that name tables and columns; those not given are None."""
    return [f"data.{name}={quoted(value)}" for name, value in columns.items() if value is not None]


def quoted(value: Any) -> str:
    """A text of TOML, which unlike JSON has no pairs of surrogates."""
    return json.dumps(str(value), ensure_ascii=False)


def json_features(text: str) -> dict[str, Any]:
    """The features of a query that an option gives."""
    try:
        values = json.loads(text)
    except ValueError as error:
        raise ConfigError(f"--features takes a JSON object. Received {text!r}: {error}.") from error
    if not isinstance(values, dict):
        raise ConfigError(f"--features takes a JSON object. Received: {text!r}.")
    return values
