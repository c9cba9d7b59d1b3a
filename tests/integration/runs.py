"""A log of files and a recipe, small enough to run in seconds."""

from pathlib import Path

import polars as pl

from tests.tiny import tiny_interactions

RECIPE = """
description = "Rock & roll [with brackets] [/b]"

[schema]
query = [
    { type = "categorical", column = "user_id", embedding_dim = 4 },
    { type = "categorical", column = "home_town", embedding_dim = 4 },
    { type = "numeric", column = "age" },
    { type = "bucketized", column = "timestamp", num_buckets = 5, embedding_dim = 4 },
]
candidate = [
    { type = "categorical", column = "item_id", embedding_dim = 4 },
    { type = "text", column = "title", max_tokens = 50, embedding_dim = 4 },
]

[model]
layer_sizes = [8]

[training]
epochs = 2
batch_size = 256
monitor = "hit_rate@5"

[evaluation]
ks = [1, 5, 10, 20, 100]

[index]
n_trees = 5

[export]
k = 5
"""

# Towers of one feature each instead of four and two: such a run takes half the time.
SMALL = (
    "schema.query=[{type='categorical', column='user_id', embedding_dim=4}]",
    "schema.candidate=[{type='categorical', column='item_id', embedding_dim=4}]",
)


def options(*settings: str) -> list[str]:
    """Settings of a run as options of the command."""
    return [part for setting in settings for part in ("--set", setting)]


def write_files(folder: Path, **changes: pl.DataFrame) -> list[str]:
    """Writes log, tables and recipe; returns the arguments of `tfrecall run` that name them.

    Args:
        folder: where.
        **changes: other frames for `log`, `users` or `items`; None for no table.
    """
    data = tiny_interactions()
    items = data.items.with_columns(title=pl.col("title") + " [rec]")
    tables = {"log": data.log, "users": data.users.drop("tags"), "items": items, **changes}
    (folder / "tiny_run.toml").write_text(RECIPE, "utf-8")
    tables["log"].write_csv(folder / "log.csv")
    arguments = [str(folder / "tiny_run.toml"), "--data", str(folder / "log.csv")]
    for name in ("users", "items"):
        if tables[name] is not None:
            tables[name].write_parquet(folder / f"{name}.parquet")
            arguments += [f"--{name}", str(folder / f"{name}.parquet")]
    return [*arguments, "--out", str(folder / "out")]
