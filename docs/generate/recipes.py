"""The page of the shipped recipes."""

from tfrecall.config.recipes import load_config, recipe_names, recipe_text

INTRODUCTION = """# Recipes

A recipe is a complete configuration that ships with the package. `tfrecall run NAME` prepares the data, trains,
evaluates and exports it to `saved_models/NAME`; `tfrecall recipes show NAME` prints the file, to save and edit.
Figures of all recipes are on the page [Results](../results.md).
"""


def page() -> str:
    """Generate the page: an overview, then the description and the file of each recipe."""
    configs = {name: load_config(name) for name in recipe_names()}
    rows = [
        f"| [`{name}`](#{name}) | {config.data.source} | `{config.split.method}` | `{config.model.type}` | "
        f"`{config.task.type}` |"
        for name, config in configs.items()
    ]
    table = "| recipe | data | split | model | loss |\n| --- | --- | --- | --- | --- |\n" + "\n".join(
        rows
    )
    return "\n\n".join([INTRODUCTION, table, *(_section(name) for name in configs)])


def _section(name: str) -> str:
    text = recipe_text(name).strip()
    told = " ".join(load_config(name).description.split())
    file = f'??? note "The file"\n\n    ```toml\n{_indented(text)}\n    ```'
    return f"## `{name}` {{ #{name} }}\n\n{told}\n\n{file}"


def _indented(text: str) -> str:
    return "\n".join(f"    {line}" if line else "" for line in text.splitlines())
