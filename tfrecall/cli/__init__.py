"""The command line: parses, calls, prints. One module a group of commands."""

from tfrecall.cli import (
    compare,
    cross_validate,
    data,
    evaluate,
    pipeline,
    rank,
    recipes,
    release,
    run,
    tune,
)
from tfrecall.cli.options import app, data_app, recipes_app

app.add_typer(data_app, name="data")
app.add_typer(recipes_app, name="recipes")


def main() -> None:
    """The entry point of the `tfrecall` command."""
    app()
