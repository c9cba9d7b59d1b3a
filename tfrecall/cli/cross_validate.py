"""`tfrecall cross-validate`: the figures of a recipe on each fold of its data."""

import json
import sys
from contextlib import redirect_stdout
from pathlib import Path
from typing import Annotated

import typer

from tfrecall.cli.options import (
    NO_TABLES,
    Json,
    LogOrFolder,
    LogTables,
    Recipe,
    Settings,
    app,
    check_writable,
    data_settings,
    guarded,
    with_tables,
)
from tfrecall.core.storage import write_atomically


@app.command("cross-validate")
@guarded
@with_tables
def cross_validate_recipe(
    recipe: Recipe,
    data: LogOrFolder = None,
    tables: LogTables = NO_TABLES,
    folds: Annotated[int, typer.Option(help="How many parts of the rows; each is tested on once.")] = 5,
    out: Annotated[
        Path | None, typer.Option(help="The figures; <recipe>_folds.json by default.")
    ] = None,
    settings: Settings = None,
    as_json: Json = False,
) -> None:
    """Train and judge a recipe on each fold of its rows: figures with mean and spread; no release.

    Baselines with a better mean of the leading figure are named; the status is 0 all the same.
    """
    from tfrecall.cli.console import STARTING, Narrator, import_tensorflow, name_rivals, show, waiting
    from tfrecall.cli.tables import fold_table
    from tfrecall.config.recipes import load_config

    config = load_config(recipe, settings or [], data_settings(data, tables))
    out = out or Path(f"{config.recipe}_folds.json")
    check_writable(out)
    import_tensorflow()
    with redirect_stdout(sys.stderr):
        with waiting(STARTING):
            from tfrecall.runs.cross_validation import cross_validate

        validation = cross_validate(config, folds, Narrator()).to_dict()
    write_atomically(out, json.dumps(validation, indent=2))
    rule = f", {validation['seen'].replace('_', ' ')}" if validation["seen"] else ""
    show(
        {**validation, "out": str(out)},
        as_json,
        f"{config.recipe}, {folds} folds{rule}",
        *(fold_table(validation, metric) for metric in validation["leading"]),
        f"Spread is the standard deviation over folds. All figures: {out}",
    )
    name_rivals(validation["beaten_by"])
