"""`tfrecall tune`: a search over a recipe's settings."""

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
from tfrecall.errors import ConfigError


@app.command("tune")
@guarded
@with_tables
def tune_recipe(
    recipe: Recipe,
    data: LogOrFolder = None,
    tables: LogTables = NO_TABLES,
    trials: Annotated[int, typer.Option(min=1, help="How many, those in --study included.")] = 20,
    minutes: Annotated[
        float | None, typer.Option(min=0, help="Begin no trial after so many minutes.")
    ] = None,
    study: Annotated[
        Path | None, typer.Option(help="Keep the trials in this file, to go on with later.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="The best recipe; <recipe>_tuned.toml by default.")
    ] = None,
    settings: Settings = None,
    as_json: Json = False,
) -> None:
    """Search for better settings on the validation rows; test rows are never looked at.

    The section [tune] of the recipe gives a range or choices for each setting to search.
    """
    from tfrecall.cli.console import STARTING, Narrator, import_tensorflow, show, waiting
    from tfrecall.cli.program import command
    from tfrecall.cli.tables import trial_table
    from tfrecall.config.recipes import load_config, with_settings

    config = load_config(recipe, settings or [], data_settings(data, tables))
    out = out or Path(f"{config.recipe}_tuned.toml")
    if out.suffix != ".toml":
        raise ConfigError(f"A recipe is a file that ends in .toml. Received: --out {out}.")
    check_writable(out)
    import_tensorflow()
    with redirect_stdout(sys.stderr):
        with waiting(STARTING):
            from tfrecall.runs.tuning import tune

        narrator = Narrator()
        with narrator.step(f"Search over {config.recipe}"):
            search = tune(config, trials=trials, minutes=minutes, study=study, progress=narrator)
    if search.interrupted:
        again = f"--study {study} goes on with the rest" if study else "with --study it could go on"
        narrator.note(f"Interrupted after {len(search.trials)} of {trials} trials; {again}.")
    # Named after its file: the release of the original recipe is not replaced.
    best = with_settings(search.config, {"recipe": out.stem})
    write_atomically(out, best.to_toml())
    answer = {**search.to_dict(), "config": best.to_dict(), "out": str(out)}
    show(
        answer,
        as_json,
        trial_table(answer),
        *_importance(search.importance),
        f"The best recipe is in {out}. Train, judge and export it: {command('run', out)}",
    )


def _importance(importance: dict[str, float]) -> list[str]:
    if not importance:
        return []
    shares = ", ".join(f"{path} {share:.0%}" for path, share in importance.items())
    return [f"What the difference between good trials and others is due to: {shares}."]
