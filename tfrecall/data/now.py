"""Users as they are when a log ends: what the user table says, and the context of the last event."""

import polars as pl

from tfrecall.data.interactions import Interactions


def last_queries(data: Interactions) -> pl.DataFrame:
    """The query of each user's last event, for users with events, in the order of the user table."""
    ends = data.histories.offsets[1:][data.histories.lengths > 0]
    return data.with_log(data.log[data.histories.order[ends - 1].tolist()]).queries


def users_now(data: Interactions, columns: list[str]) -> pl.DataFrame:
    """One row a user of the table: what it says, and the context of the last event if there is one."""
    wanted = list(dict.fromkeys(["user_id", *columns]))
    context = last_queries(data).select(c for c in wanted if c in data.log.columns)
    users = data.users.select(c for c in wanted if c in data.users.columns)
    return users.join(context, on="user_id", how="left", maintain_order="left").select(wanted)
