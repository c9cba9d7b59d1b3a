"""The command line: parses, calls, prints. One module a group of commands."""

import gc

# isort: off
# Importing a module registers its commands, in the order of --help.
from tfrecall.cli import prepare, run, tune, cross_validate, evaluate, compare, drift  # noqa: F401
from tfrecall.cli import release, index, pipeline, rank, serve, deploy, data, recipes  # noqa: F401
# isort: on

from tfrecall.cli.exits import open_streams, standard_output
from tfrecall.cli.options import app, data_app, recipes_app

app.add_typer(data_app, name="data")
app.add_typer(recipes_app, name="recipes")


def main() -> None:
    """Entry point of the `tfrecall` command."""
    open_streams()
    try:
        with standard_output():  # `--help` writes to it, too
            app()
    finally:
        # Python looks through all objects once more when it ends: seconds, of the million of TensorFlow.
        gc.freeze()
