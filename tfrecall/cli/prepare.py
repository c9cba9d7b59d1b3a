"""`tfrecall prepare`: from a log of any size to shards."""

from pathlib import Path
from typing import Annotated, Any

import typer

from tfrecall.cli.options import (
    NO_TABLES,
    EngineName,
    EngineOptions,
    Json,
    LogTables,
    Processes,
    Settings,
    app,
    data_settings,
    guarded,
    with_tables,
)
from tfrecall.engines import engine_of
from tfrecall.errors import ConfigError


@app.command()
@guarded
@with_tables
def prepare(
    log: Annotated[
        Path, typer.Argument(help="A log: a file, a folder or a pattern (CSV, Parquet, JSON).")
    ],
    out: Annotated[Path, typer.Option(help="The folder of shards to be.")],
    partitions: Annotated[int, typer.Option(help="Number of shards; all of a user lies in one.")] = 8,
    engine: EngineName = "local",
    processes: Processes = None,
    engine_option: EngineOptions = None,
    tables: LogTables = NO_TABLES,
    settings: Settings = None,
    as_json: Json = False,
) -> None:
    """Read, clean and filter a log that does not fit into memory, and write it by users into shards.

    `run`, `fit`, `evaluate`, `compare` and `data describe` take the folder in place of the log, with equal
    results. Settings of `[data]` and `[filters]` are given by --set: filters.min_item_interactions=5.
    """
    from tfrecall.cli.console import Narrator, show, waiting

    with waiting("Start"):
        from tfrecall.data.shards.prepare import prepare as prepare_log

    config = _config(log, tables, settings or [])
    manifest = prepare_log(
        log,
        out,
        partitions=partitions,
        engine=engine_of(engine, engine_option or [], processes),
        progress=Narrator(),
        filtering=vars(config.filters),
        **_reading(config),
    )
    answer = {"out": str(out), **manifest.model_dump(include={"name", "counts", "columns", "notes"})}
    counts = manifest.counts
    told = f"{counts.kept:,} of {counts.read:,} rows of {counts.users:,} users in {partitions:,} shards: {out}"
    show(answer, as_json, *manifest.notes, told)


def _config(log: Path, tables: LogTables, settings: list[str]) -> Any:
    """A configuration with the settings of data and filters."""
    from tfrecall.config.recipes import keys_of, load_config
    from tfrecall.data.datasets.grouplens import size_of

    if size_of(log):
        raise ConfigError(
            f"{log} is a MovieLens folder, which fits into memory. Give it to `tfrecall run` as it is."
        )
    for setting in settings:
        if keys_of(setting.partition("=")[0])[:1] not in (["data"], ["filters"]):
            raise ConfigError(f"--set takes settings of data and filters here. Received: {setting}.")
    return load_config("two_tower_ml100k", settings, data_settings(log, tables))


def _reading(config: Any) -> dict[str, Any]:
    from tfrecall.runs.preparation import reading

    return reading(config.data)
