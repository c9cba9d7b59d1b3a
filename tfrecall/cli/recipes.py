"""`tfrecall recipes ...`: the runs that ship with the package, and new ones."""

import json
from pathlib import Path
from typing import Annotated

import typer

from tfrecall.cli.exits import standard_output
from tfrecall.cli.options import (
    NO_TABLES,
    Json,
    LogTables,
    complete_recipe,
    guarded,
    recipes_app,
    with_tables,
)
from tfrecall.core.storage import write_atomically
from tfrecall.errors import ConfigError


@recipes_app.command("list")
@guarded
def recipes_list(as_json: Json = False) -> None:
    """Name the shipped recipes."""
    from tfrecall.cli.console import show
    from tfrecall.cli.tables import item_table
    from tfrecall.config.recipes import load_config, recipe_names

    texts = {name: load_config(name).description for name in recipe_names()}
    rows = [{"recipe": name, "description": " ".join(text.split())} for name, text in texts.items()]
    show({"recipes": rows}, as_json, item_table("Recipes", rows, whole=["description"]))


@recipes_app.command("show")
@guarded
def recipes_show(
    name: Annotated[
        str, typer.Argument(help="A recipe that `recipes list` names.", autocompletion=complete_recipe)
    ],
    as_json: Json = False,
) -> None:
    """Print a recipe, to save and edit."""
    from tfrecall.config.recipes import load_config, recipe_text

    with standard_output():  # without a console, which would wrap lines: the text may go to a file
        print(json.dumps(load_config(name).to_dict()) if as_json else recipe_text(name), end="")


@recipes_app.command("init")
@guarded
@with_tables
def recipes_init(
    log: Annotated[Path, typer.Argument(help="Your log: CSV, Parquet, JSON.")],
    tables: LogTables = NO_TABLES,
    out: Annotated[
        Path | None, typer.Option(help="The file to write; <log>.toml here by default.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Write over a file that is there.")] = False,
    as_json: Json = False,
) -> None:
    """Write a recipe for a log: features inferred from its columns, with the reasons, to edit."""
    from tfrecall.cli.console import show, stderr, waiting
    from tfrecall.cli.program import command
    from tfrecall.config.inference import propose

    with waiting(f"Read {log}"):
        proposal = propose(log, tables.users, tables.items, **tables.columns, **tables.reading)
    path = out or Path(f"{proposal.name}.toml")
    config = proposal.config()  # fails here rather than in the next command
    for text in proposal.messages:
        stderr.print(f"  {text}", soft_wrap=True)
    _write(path, proposal.to_toml(f"tfrecall run {path}"), force)
    answer = {"recipe": str(path), "config": config.to_dict(), "said": proposal.messages}
    show(answer, as_json, f"{path}: edit it, then: {command('run', path)}")


def _write(path: Path, text: str, force: bool) -> None:
    if path.suffix != ".toml":
        raise ConfigError(f"A recipe is a file that ends in .toml. Received: {path}.")
    if path.exists() and not force:
        raise ConfigError(f"{path} is there already. Name another with --out, or add --force.")
    try:
        write_atomically(path, text)
    except OSError as error:
        raise ConfigError(
            f"{path} cannot be written: {error}. Name another place with --out."
        ) from error
