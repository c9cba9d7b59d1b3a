"""`tfrecall run`: from a log to a release."""

import sys
from collections.abc import Callable
from contextlib import redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

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

if TYPE_CHECKING:
    from tfrecall.config.run import RunConfig


@app.command("run")
@guarded
def run_recipe(
    recipe: Annotated[
        str | None,
        typer.Argument(
            help="A shipped recipe, or the path of a TOML file. Without, two_tower_ml100k; for a log of "
            "your own one that is inferred from it.",
            show_default=False,
        ),
    ] = None,
    data: LogOrFolder = None,
    users: UsersTable = None,
    items: ItemsTable = None,
    user_column: UserColumn = None,
    item_column: ItemColumn = None,
    timestamp_column: TimestampColumn = None,
    rating_column: RatingColumn = None,
    out: Annotated[
        Path | None, typer.Option(help="Release directory; saved_models/<recipe> by default.")
    ] = None,
    settings: Settings = None,
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Discard what an interrupted run left, and start anew.")
    ] = False,
    tensorboard: Annotated[
        Path | None, typer.Option(help="Directory for TensorBoard: curves and item vectors.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Prepare, fit, evaluate, export, index: the whole way from a log to a release."""
    from tfrecall.cli.console import Narrator, import_tensorflow, item_table, metric_table, show, stderr

    columns = {
        "user_column": user_column,
        "item_column": item_column,
        "timestamp_column": timestamp_column,
        "rating_column": rating_column,
        "users": users,
        "items": items,
    }
    config = _config(recipe, data, columns, settings or [], stderr.print)
    stderr.print(config.recipe, style="bold")
    stderr.print(" ".join(config.description.split()))
    import_tensorflow()
    if config.ranks:
        _rank(config, out, fresh, tensorboard, as_json)
        return
    with redirect_stdout(sys.stderr):  # nothing that a library prints may get into the answer
        from tfrecall.cli.example import example_of
        from tfrecall.runs.retrieval import run

        outcome = run(config, out, Narrator(), fresh=fresh, tensorboard=tensorboard)
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


def _rank(
    config: "RunConfig", out: Path | None, fresh: bool, tensorboard: Path | None, as_json: bool
) -> None:
    """The run of a ranker, and what it predicts for one user."""
    from tfrecall.cli.console import Narrator, item_table, ranking_table, show

    with redirect_stdout(sys.stderr):
        from tfrecall.cli.example import predicted_of
        from tfrecall.runs.ranking import run_ranking

        outcome = run_ranking(config, out, Narrator(), fresh=fresh, tensorboard=tensorboard)
        user_id, rows = predicted_of(outcome)
    root = outcome.release.root
    items = ",".join(row["item_id"] for row in rows[:3])
    show(
        {**outcome.metrics, "release": str(root)},
        as_json,
        ranking_table(outcome.metrics),
        item_table(f"Test rows of user {user_id}, the highest score first", rows),
        f"Release {outcome.release.version} in {root}. Ask it: tfrecall rank {root} --user {user_id} "
        f"--items {items}",
    )


def _config(
    recipe: str | None,
    data: Path | None,
    columns: dict[str, Any],
    settings: list[str],
    say: Callable[..., None],
) -> "RunConfig":
    """The recipe that was named; else the one for MovieLens, or one inferred from a log."""
    from tfrecall.config.recipes import load_config
    from tfrecall.data.datasets.grouplens import size_of

    if recipe is None and data is not None and not size_of(data):
        return _inferred(data, columns, settings, say)
    overrides = [*data_overrides(data), *column_overrides(columns), *settings]
    return load_config(recipe or "two_tower_ml100k", overrides)


def _inferred(
    data: Path, columns: dict[str, Any], settings: list[str], say: Callable[..., None]
) -> "RunConfig":
    from tfrecall.config.inference import propose

    named = {
        "user_id": columns["user_column"],
        "item_id": columns["item_column"],
        "timestamp": columns["timestamp_column"],
        "rating": columns["rating_column"],
    }
    proposal = propose(data, columns["users"], columns["items"], **named)
    say("Inferred from the files (`tfrecall recipes init` writes it down to edit):", style="bold")
    for text in proposal.messages:
        say(f"  {text}", soft_wrap=True)
    return proposal.config(settings)
