"""What a release keeps of the training data: users as they were, what they have seen, item columns."""

from pathlib import Path

import numpy as np
import polars as pl

from tfrecall.data.interactions import Interactions
from tfrecall.raw import Form


def write_context(
    directory: Path,
    items: pl.DataFrame,
    data: Interactions | None,
    forms: dict[str, Form],
) -> None:
    """Writes the files that `tfrecall.release.people.People` reads.

    Users come in the order of the user table; those without events have what the table says of them,
    null in the columns of the log, and an empty history.

    Args:
        directory: a new directory.
        items: the item table, in catalogue order.
        data: the training log; None writes a release that knows no users.
        forms: the columns that the query model takes.
    """
    directory.mkdir()
    items.write_parquet(directory / "items.parquet")
    if data is None:
        users, offsets, seen = _nobody(forms), np.zeros(1, np.int64), np.zeros(0, np.int32)
    else:
        users = _users(data, list(forms))
        offsets, seen = data.histories.offsets, data.histories.items
    users.write_parquet(directory / "users.parquet")
    np.save(directory / "seen_offsets.npy", offsets)
    np.save(directory / "seen_items.npy", seen)


def last_queries(data: Interactions) -> pl.DataFrame:
    """The query of each user's last event, for users with events, in the order of the user table."""
    ends = data.histories.offsets[1:][data.histories.lengths > 0]
    return data.with_log(data.log[data.histories.order[ends - 1].tolist()]).queries


def _users(data: Interactions, columns: list[str]) -> pl.DataFrame:
    """One row a user of the table: what it says, and the context of the last event if there is one."""
    wanted = list(dict.fromkeys(["user_id", *columns]))
    context = last_queries(data).select(c for c in wanted if c in data.log.columns)
    users = data.users.select(c for c in wanted if c in data.users.columns)
    return users.join(context, on="user_id", how="left", maintain_order="left").select(wanted)


def _nobody(forms: dict[str, Form]) -> pl.DataFrame:
    types = {"string": pl.String(), "strings": pl.List(pl.String), "number": pl.Float64()}
    return pl.DataFrame(schema={"user_id": pl.String(), **{c: types[f] for c, f in forms.items()}})
