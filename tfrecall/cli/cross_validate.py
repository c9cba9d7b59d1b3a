"""`tfrecall cross-validate`: the figures of a recipe on each fold of its data."""

import json
import os
import sys
from contextlib import redirect_stdout
from pathlib import Path
from typing import Annotated, Any

import typer

from tfrecall.cli.options import (
    ItemColumn,
    ItemsTable,
    Json,
    LogOrFolder,
    RatingColumn,
    Settings,
    TimestampColumn,
    UserColumn,
    UsersTable,
    app,
    column_overrides,
    data_overrides,
    guarded,
)
from tfrecall.core.storage import write_atomically
from tfrecall.errors import ConfigError

# What fits 80 columns beside model, mean and spread.
MOST_COLUMNS = 5


@app.command("cross-validate")
@guarded
def cross_validate_recipe(
    recipe: Annotated[str, typer.Argument(help="A shipped recipe, or the path of a TOML file.")],
    data: LogOrFolder = None,
    users: UsersTable = None,
    items: ItemsTable = None,
    user_column: UserColumn = None,
    item_column: ItemColumn = None,
    timestamp_column: TimestampColumn = None,
    rating_column: RatingColumn = None,
    folds: Annotated[int, typer.Option(help="How many parts of the rows; each is tested on once.")] = 5,
    out: Annotated[
        Path | None, typer.Option(help="The figures; <recipe>_folds.json by default.")
    ] = None,
    settings: Settings = None,
    as_json: Json = False,
) -> None:
    """Train and judge a recipe on each fold of its rows: figures with mean and spread; no release."""
    from tfrecall.cli.console import Narrator, import_tensorflow, item_table, show
    from tfrecall.config.recipes import load_config

    columns = {
        "user_column": user_column,
        "item_column": item_column,
        "timestamp_column": timestamp_column,
        "rating_column": rating_column,
        "users": users,
        "items": items,
    }
    overrides = [*data_overrides(data), *column_overrides(columns), *(settings or [])]
    config = load_config(recipe, overrides)
    out = _checked(out or Path(f"{config.recipe}_folds.json"))
    import_tensorflow()
    with redirect_stdout(sys.stderr):
        from tfrecall.runs.cross_validation import cross_validate

        found = cross_validate(config, folds, Narrator()).to_dict()
    write_atomically(out, json.dumps(found, indent=2))
    rule = f", {found['seen'].replace('_', ' ')}" if found["seen"] else ""
    show(
        {**found, "out": str(out)},
        as_json,
        f"{config.recipe}, {folds} folds{rule}",
        *(item_table(metric, _rows(found, metric)) for metric in found["leading"]),
        f"Spread is the standard deviation over folds. All figures: {out}",
    )


def _checked(out: Path) -> Path:
    """Refuses what could not be written, before the time of several trainings is spent on it."""
    if not out.parent.is_dir() or not os.access(out if out.exists() else out.parent, os.W_OK):
        raise ConfigError(f"{out} cannot be written. Give --out a file in a folder that is there.")
    return out


def _rows(found: dict[str, Any], metric: str) -> list[dict[str, Any]]:
    """A row a model; with many folds mean and spread alone. Errors have a digit more than shares."""
    digits = 3 if found["seen"] else 4
    rows = []
    for model, figures in found["figures"].items():
        told = figures[metric]
        folds = told["folds"] if found["folds"] <= MOST_COLUMNS else []
        cells = {f"{i + 1}": value for i, value in enumerate(folds)}
        cells |= {"mean": told["mean"], "spread": told["spread"]}
        rows.append({"model": model} | {name: f"{value:.{digits}f}" for name, value in cells.items()})
    return rows
