"""`tfrecall run`: from a log to a release."""

import json
import sys
from contextlib import redirect_stdout
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from tfrecall.cli.exits import BEATEN
from tfrecall.cli.options import (
    NO_TABLES,
    Json,
    LogOrFolder,
    LogTables,
    Settings,
    app,
    complete_recipe,
    data_settings,
    guarded,
    seconds_of,
    with_tables,
)
from tfrecall.errors import ConfigError


@app.command("run")
@guarded
@with_tables
def run_recipe(
    recipe: Annotated[
        str | None,
        typer.Argument(
            help="A shipped recipe, or the path of a TOML file. Without, two_tower_ml100k; for a log of "
            "your own the best of what is inferred from it, by a tournament on validation rows.",
            show_default=False,
            autocompletion=complete_recipe,
        ),
    ] = None,
    data: LogOrFolder = None,
    tables: LogTables = NO_TABLES,
    out: Annotated[
        Path | None, typer.Option(help="Release directory; saved_models/<recipe> by default.")
    ] = None,
    settings: Settings = None,
    warm_start: Annotated[
        Path | None,
        typer.Option(
            "--warm-start",
            help="Release to go on from with the events that it has not learned: its configuration unless "
            "a recipe is named, and its next version unless --out says otherwise.",
        ),
    ] = None,
    strategy: Annotated[
        Literal["none", "mirrored", "multi_worker_mirrored"] | None,
        typer.Option(
            help="Replicas that train: none, mirrored (all devices of this machine) or multi_worker_mirrored "
            "(the machines of TF_CONFIG; the same command on each); as the recipe says by default.",
            show_default=False,
        ),
    ] = None,
    budget: Annotated[
        str | None,
        typer.Option(
            help="Time to choose a model in, where no recipe is given: 90s, 10m, 2h; by default half a minute "
            "to ten minutes, by the size of the log. 0 trains what is inferred from the columns.",
            show_default=False,
        ),
    ] = None,
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Discard what an interrupted run left, and start anew.")
    ] = False,
    tensorboard: Annotated[
        Path | None, typer.Option(help="Directory for TensorBoard: curves and item vectors.")
    ] = None,
    open_report: Annotated[
        bool, typer.Option("--open", help="Open the report in the browser at the end.")
    ] = False,
    allow_worse: Annotated[
        bool,
        typer.Option(
            "--allow-worse", help="End with status 0, not 3, where a baseline of the table is better."
        ),
    ] = False,
    unless_worse_than: Annotated[
        float | None,
        typer.Option(
            min=0,
            help="Publish nothing, and end with status 1, if the leading figure is worse than that of the "
            "release's current version by more than this share, such as 0.01.",
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Prepare, fit, evaluate, export, index: the whole way from a log to a release.

    Where a baseline of the table beats a model that was trained on the leading figure, the release is written,
    and the command ends with status 3.
    """
    from tfrecall.cli.console import (
        STARTING,
        Narrator,
        import_tensorflow,
        name_rivals,
        open_page,
        show,
        stderr,
        waiting,
    )

    with waiting("Read the recipe"):
        from tfrecall.config.inference import Entrant, entrants, propose
        from tfrecall.config.recipes import load_config
        from tfrecall.data.datasets.grouplens import size_of

    if warm_start is not None:
        settings = [*(settings or []), f"training.warm_start={json.dumps(str(warm_start))}"]
        recipe, out = recipe or str(warm_start / "config.toml"), out or warm_start
    settings = settings if strategy is None else [*(settings or []), f"training.strategy={strategy}"]
    seconds = None if budget is None else seconds_of(budget, "--budget")
    # A MovieLens folder has shipped recipes; only foreign logs need inference.
    invited: list[Entrant] = []
    found = None
    if recipe is None and data is not None and not size_of(data):
        with waiting(f"Read {data}"):
            proposal = propose(data, tables.users, tables.items, **tables.columns, **tables.reading)
        stderr.print(
            "Inferred from the files (`tfrecall recipes init` writes it down to edit):", style="bold"
        )
        for text in proposal.messages:
            stderr.print(f"  {text}", soft_wrap=True)
        if seconds is None:
            seconds = _usual_budget(proposal.description.usable_rows, settings or [])
        config = proposal.config(settings or [])
        invited = entrants(proposal, settings or [], seconds) if seconds else []
        found = proposal.read_for(config)
        del proposal  # its tables are large; prepared ones take their place
    else:
        if seconds:
            raise ConfigError(
                "`--budget` is the time to choose a model in, and a recipe is a choice. Leave one of both out."
            )
        chosen = recipe or "two_tower_ml100k"
        config = load_config(chosen, settings or [], data_settings(data, tables))
    stderr.print(config.recipe, style="bold")
    stderr.print(" ".join(config.description.split()))
    import_tensorflow()
    with redirect_stdout(sys.stderr):  # libraries may print; standard output holds the answer only
        with waiting(STARTING):
            from tfrecall.cli.outcome import outcome_tables
            from tfrecall.runs.run import run
            from tfrecall.runs.tournament import run_best

        _end_as_worker(config, invited, Narrator())
        splits = None if found is None else _prepared(config, found, Narrator())
        del found
        options: dict[str, Any] = {
            "splits": splits,
            "fresh": fresh,
            "tensorboard": tensorboard,
            "unless_worse_than": unless_worse_than,
        }
        if invited and seconds:
            outcome = run_best(invited, seconds, out, Narrator(), **options)
        else:
            outcome = run(config, out, Narrator(), **options)
        with waiting("Ask the release"):
            shown = outcome_tables(outcome)
    report = outcome.release.root / "report.html"
    show(
        {**outcome.metrics, "release": str(outcome.release.root), "report": str(report)},
        as_json,
        *shown,
    )
    if open_report:
        open_page(report)
    trained = outcome.release.manifest["kind"] != "baseline"
    if not trained and invited:
        _name_unused(settings or [], outcome.metrics["model"])
    if name_rivals(outcome.metrics["beaten_by"]) and trained and not allow_worse:
        stderr.print("Status 3, so that nothing goes on by itself; --allow-worse ends with 0.")
        raise typer.Exit(BEATEN)


def _usual_budget(rows: int, settings: list[str]) -> float:
    """Seconds of a tournament that nobody named: none where settings ask for a training."""
    from tfrecall.cli.console import stderr
    from tfrecall.config.inference import default_budget
    from tfrecall.config.inference.entrants import of_training

    if not (asked := of_training(settings)):
        return default_budget(rows)
    # Who sets epochs wants a training: a baseline would answer without what was asked for.
    stderr.print(
        f"{', '.join(asked)}: settings of a training, so what is inferred is trained. Give `--budget` to "
        "choose among models.",
        soft_wrap=True,
    )
    return 0.0


def _name_unused(settings: list[str], chosen: str) -> None:
    """Name the settings that were given for networks where a baseline was chosen."""
    from tfrecall.cli.console import stderr
    from tfrecall.config.inference.entrants import of_networks

    if unused := of_networks(settings):
        stderr.print(
            f"{chosen} is chosen, which counts and has no use for {', '.join(unused)}. To train what is "
            "inferred with it, run again with --budget 0.",
            soft_wrap=True,
        )


def _prepared(config: Any, found: Any, progress: Any) -> Any:
    """The rows of a configuration from tables that were read to infer it."""
    from tfrecall.runs.preparation import prepare

    with progress.step("Prepare the data"):
        return prepare(config, progress, found)


def _end_as_worker(config: Any, invited: list[Any], progress: Any) -> None:
    """On a worker beside the chief: do its part, and end."""
    from tfrecall.runs.run import is_worker, run_worker

    if invited and config.training.strategy == "multi_worker_mirrored":
        raise ConfigError(
            "Several machines train one recipe, and without one a tournament goes by the clock of each. Name a "
            "recipe, which `tfrecall recipes init` writes for a log, or give `--budget 0`."
        )
    if is_worker(config):
        run_worker(config, progress)
        raise typer.Exit
