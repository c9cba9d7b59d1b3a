"""`tfrecall tune`: a search over a recipe's settings."""

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

# Of a long search the table shows the best.
ROWS_SHOWN = 10


@app.command("tune")
@guarded
def tune_recipe(
    recipe: Annotated[str, typer.Argument(help="A shipped recipe, or the path of a TOML file.")],
    data: LogOrFolder = None,
    users: UsersTable = None,
    items: ItemsTable = None,
    user_column: UserColumn = None,
    item_column: ItemColumn = None,
    timestamp_column: TimestampColumn = None,
    rating_column: RatingColumn = None,
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

    What is searched stands in [tune] of the recipe: a range or choices for each setting.
    """
    from tfrecall.cli.console import Narrator, import_tensorflow, item_table, show
    from tfrecall.config.recipes import load_config, with_settings

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
    out = _checked(out or Path(f"{config.recipe}_tuned.toml"))
    import_tensorflow()
    with redirect_stdout(sys.stderr):
        from tfrecall.runs.tuning import tune

        narrator = Narrator()
        with narrator.step(f"Search over {config.recipe}"):
            found = tune(config, trials=trials, minutes=minutes, study=study, progress=narrator)
    if found.interrupted:
        again = f"--study {study} goes on with the rest" if study else "with --study it could go on"
        narrator.note(f"Interrupted after {len(found.trials)} of {trials} trials; {again}.")
    best = with_settings(found.config, {"recipe": out.stem})
    write_atomically(out, best.to_toml())
    answer = {**found.to_dict(), "config": best.to_dict(), "out": str(out)}
    show(
        answer,
        as_json,
        item_table(f"The best trials by {found.metric} on the validation rows", _rows(answer)),
        *_importance(found.importance),
        f"The best recipe is in {out}. Train, judge and export it: tfrecall run {out}",
    )


def _checked(out: Path) -> Path:
    """Refuses what could not be written, before hours are spent on it."""
    if out.suffix != ".toml":
        raise ConfigError(f"A recipe is a file that ends in .toml. Received: --out {out}.")
    if not out.parent.is_dir() or not os.access(out if out.exists() else out.parent, os.W_OK):
        raise ConfigError(f"{out} cannot be written. Give --out a file in a folder that is there.")
    return out


def _rows(answer: dict[str, Any]) -> list[dict[str, Any]]:
    """The best completed trials, best first; then how many there are of each other kind."""
    from tfrecall.evaluation.metrics import is_lower_better

    sign = 1 if is_lower_better(answer["metric"]) else -1
    done = [trial for trial in answer["trials"] if trial["state"] == "complete"]
    done.sort(key=lambda trial: sign * trial["value"])
    headings = _headings(list(answer["best"]["settings"]))
    rows = [
        {"trial": t["number"], "value": f"{t['value']:.4f}", "seconds": f"{t['seconds']:.1f}"}
        | {heading: _short(t["settings"][path]) for path, heading in headings.items()}
        for t in done[:ROWS_SHOWN]
    ]
    for state in ("pruned", "failed"):
        if count := sum(trial["state"] == state for trial in answer["trials"]):
            rows.append({"trial": f"{count} {state}"})
    return rows


def _headings(paths: list[str]) -> dict[str, str]:
    """The last word of each path, or all of it where two paths end alike."""
    last = {path: path.rpartition(".")[2] for path in paths}
    words = list(last.values())
    return {path: word if words.count(word) == 1 else path for path, word in last.items()}


def _importance(importance: dict[str, float]) -> list[str]:
    if not importance:
        return []
    told = ", ".join(f"{path} {share:.0%}" for path, share in importance.items())
    return [f"What the difference between good trials and others is due to: {told}."]


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
