"""`tfrecall recipes ...`: the runs that ship with the package, and new ones."""

import json
from typing import Annotated

import typer

from tfrecall.cli.options import Json, guarded, recipes_app


@recipes_app.command("list")
@guarded
def recipes_list(as_json: Json = False) -> None:
    """Name the shipped recipes."""
    from tfrecall.console import item_table, show
    from tfrecall.recipes import load_config, recipe_names

    rows = [{"recipe": n, "description": load_config(n).description.strip()} for n in recipe_names()]
    show({"recipes": rows}, as_json, item_table("Recipes", rows))


@recipes_app.command("show")
@guarded
def recipes_show(
    name: Annotated[str, typer.Argument(help="A recipe that `recipes list` names.")],
    as_json: Json = False,
) -> None:
    """Print a recipe, to save and edit."""
    from tfrecall.recipes import load_config, recipe_text

    print(json.dumps(load_config(name).to_dict()) if as_json else recipe_text(name), end="")
