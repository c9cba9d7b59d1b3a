"""How the events of a log were rated."""

import numpy as np

from tfrecall.data.interactions import Interactions
from tfrecall.errors import ConfigError


def ratings(log: Interactions, setting: str) -> np.ndarray:
    """The rating of each row of a log: float64 `[n_rows]`, NaN where there is none.

    Args:
        log: the log.
        setting: which one asks for them, for the message.

    Raises:
        ConfigError: if the log has no ratings.
    """
    if "rating" not in log.log.columns:
        raise ConfigError(
            f"`{setting}` chooses events by their rating, but the log has no ratings. Received the columns: "
            f"{', '.join(log.log.columns)}. Name theirs in `data.rating_column`, or leave `{setting}` out."
        )
    return log.log["rating"].to_numpy()
