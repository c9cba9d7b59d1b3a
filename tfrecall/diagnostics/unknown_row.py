"""Has the row that answers for unknown values been trained?"""

import numpy as np

from tfrecall.data.vocabulary import FIRST, UNKNOWN
from tfrecall.diagnostics.finding import Finding

# Chance leaves a row untouched that training was to replace 20 values by once in e^20 runs.
MIN_EXPECTED_DRAWS = 20
# Rows of rare values are shorter than others, rows of frequent ones longer, by less than this.
MAX_LENGTH_RATIO = 5.0


def dead_unknown_row(
    feature: str,
    table: np.ndarray,
    start: np.ndarray,
    *,
    unknown_rate: float,
    draws: float,
) -> Finding | None:
    """Tells when the embedding of unknown values is as it began, or out of all proportion.

    Args:
        feature: what the message calls it.
        table: float `[n_values + 2, embedding_dim]`, after training.
        start: float `[embedding_dim]`, its row 1 at the beginning of training.
        unknown_rate: the share of the values that training replaced by the unknown value.
        draws: how many values that was, in expectation; below 20 an untouched row proves nothing.
    """
    row, others = table[UNKNOWN], table[FIRST:]
    if np.array_equal(row, start):
        if unknown_rate and draws < MIN_EXPECTED_DRAWS:
            return None
        why = (
            "its `unknown_rate` is 0, so nothing stood for the unknown value in training. Set it to 0.01"
            if not unknown_rate
            else f"though {draws:,.0f} values should have been replaced by it. Look whether the feature "
            "reaches the loss at all"
        )
        return Finding(
            "dead_unknown_row",
            "warning",
            f"The vector of unknown values of {feature} is still the random one it began with: {why}. "
            "New values are answered with noise.",
        )
    typical = float(np.median(np.linalg.norm(others, axis=1)))
    ratio = float(np.linalg.norm(row)) / typical if typical else 0.0
    if ratio <= MAX_LENGTH_RATIO:
        return None
    return Finding(
        "dead_unknown_row",
        "warning",
        f"The vector of unknown values of {feature} is {ratio:.0f} times as long as that of a typical "
        f"value ({np.linalg.norm(row):.3g} against {typical:.3g}), so it drowns what else is known of a "
        "new user or item. Lower `unknown_rate` of that feature or `training.learning_rate`.",
    )
