"""`tfrecall run`: from a log to a release."""

import sys
from contextlib import redirect_stdout
from pathlib import Path
from typing import Annotated, Any

import typer

from tfrecall.cli.options import Json, Settings, app, data_overrides, guarded, quoted


@app.command("run")
@guarded
def run_recipe(
    recipe: Annotated[
        str, typer.Argument(help="A shipped recipe, or the path of a TOML file.")
    ] = "two_tower_ml100k",
    data: Annotated[
        Path | None,
        typer.Option(
            help="A log (CSV, Parquet, JSON lines), or a MovieLens folder as GroupLens ships it."
        ),
    ] = None,
    users: Annotated[Path | None, typer.Option(help="The user table.")] = None,
    items: Annotated[Path | None, typer.Option(help="The item table.")] = None,
    user_column: Annotated[str | None, typer.Option(help="Its name in the files.")] = None,
    item_column: Annotated[str | None, typer.Option(help="Its name in the files.")] = None,
    timestamp_column: Annotated[str | None, typer.Option(help="Its name in the log.")] = None,
    rating_column: Annotated[str | None, typer.Option(help="Its name in the log.")] = None,
    out: Annotated[
        Path | None, typer.Option(help="Release directory; saved_models/<recipe> by default.")
    ] = None,
    settings: Settings = None,
    as_json: Json = False,
) -> None:
    """Prepare, fit, evaluate, export, index: the whole way from a log to a release."""
    from tfrecall.console import (
        Narrator,
        import_tensorflow,
        item_table,
        metric_table,
        show,
        stderr,
    )
    from tfrecall.recipes import load_config

    columns = {
        "user_column": user_column,
        "item_column": item_column,
        "timestamp_column": timestamp_column,
        "rating_column": rating_column,
        "users": users,
        "items": items,
    }
    overrides = data_overrides(data) + [
        f"data.{name}={quoted(value)}" for name, value in columns.items() if value is not None
    ]
    config = load_config(recipe, [*overrides, *(settings or [])])
    stderr.print(config.recipe, style="bold")
    stderr.print(" ".join(config.description.split()))
    import_tensorflow()
    with redirect_stdout(sys.stderr):  # nothing that a library prints may get into the answer
        from tfrecall.example import example_of
        from tfrecall.run import run

        outcome = run(config, out, Narrator())
        example = example_of(outcome)
    root = outcome.release.root
    tables: list[Any] = [
        metric_table(outcome.metrics),
        item_table(f"What user {example.user_id} had, {example.order} first", example.had),
        item_table(f"Recommended to user {example.user_id}", example.recommended),
        f"Release {outcome.release.version} in {root}. Ask it: tfrecall recommend {root} "
        f"--user {example.user_id} -k 10",
    ]
    show({**outcome.metrics, "release": str(root)}, as_json, *tables)
