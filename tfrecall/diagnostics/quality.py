"""Quality of a trained model: against popularity, over epochs, between users."""

import math
from collections.abc import Mapping, Sequence

import numpy as np

from tfrecall.core.seen import Seen
from tfrecall.diagnostics.finding import Finding
from tfrecall.evaluation.report import note_on_few
from tfrecall.evaluation.rivals import Beaten


def below_popularity(
    model: float, popularity: float, *, metric: str, rule: str, rows: int, where: str
) -> Finding | None:
    """Finding if the model is worse than popularity.

    An error if the difference is beyond chance: more than two standard errors of the difference of two
    shares of `rows` rows.

    Args:
        model, popularity: the metric of both, a share of the rows.
        metric: name of the metric, such as `hit_rate@100`.
        rule: `seen_kept` or `seen_removed`.
        rows: number of rows.
        where: name of the rows, `validation` or `test`.
    """
    if model >= popularity:
        return None
    # As if the two shares were independent. They come from the same rows, so the true error is smaller
    # and an error is not raised too early.
    noise = math.sqrt((model * (1 - model) + popularity * (1 - popularity)) / rows)
    certain = popularity - model > 2 * noise
    chance = "" if certain else " The difference may be chance, but the model is no better either."
    return Finding(
        f"{where}_below_popularity",
        "error" if certain else "warning",
        f"On {rows:,} {where} rows the model is below the list of the most popular items: {metric} with "
        f"seen items {Seen(rule).word} is {model:.4f}, popularity has {popularity:.4f}.{chance} Do not "
        "serve it. Train longer, change `training.learning_rate` (`tfrecall tune` searches), or look "
        "whether the features are known for these rows.",
    )


def below_baseline(beaten: Beaten) -> Finding:
    """Finding on the baselines of the table that beat the model on its leading figure."""
    return Finding(
        "below_baseline",
        "error",
        f"{beaten} Counting is cheaper to serve and as good or better: serve the baseline "
        "(`tfrecall.export(tfrecall.ItemCF().fit(log), directory)`), or improve the model (`tfrecall tune`, "
        "a history, `model.repeats` where people come back to items).",
    )


def few_rows(rows: int) -> Finding | None:
    """Finding if the test has so few rows that its figures are mostly chance."""
    note = note_on_few(rows)
    text = f"{note}. Test more users, or a larger part of the time (section [split] of the recipe)."
    return Finding("few_test_rows", "warning", text) if note else None


# Relative fall below which a loss has not moved: the mean over an epoch varies by more.
MIN_FALL = 0.001


def never_learned(losses: Sequence[float]) -> Finding | None:
    """Finding if the training loss did not fall.

    Args:
        losses: loss of each epoch; a single one gives no finding.
    """
    if len(losses) < 2 or min(losses[1:]) < losses[0] * (1 - MIN_FALL):
        return None
    rose = losses[-1] > losses[0] * (1 + MIN_FALL)
    advice = "lower `training.learning_rate`" if rose else "raise or lower `training.learning_rate`"
    return Finding(
        "never_learned",
        "error",
        f"The training loss {'rose' if rose else 'did not fall'}: {losses[0]:.4f} in the first epoch, "
        f"{losses[-1]:.4f} in the last of {len(losses)}. Nothing was learned: {advice} by a factor of ten, "
        "and look whether the features say anything about the items (`tfrecall data describe`).",
    )


def best_epoch(
    history: Mapping[str, Sequence[float]], monitor: str, best: int, epochs: int, most: int
) -> Finding | None:
    """Finding if the best epoch is the last or the first.

    Args:
        history: metric -> its value after each epoch, as in Keras.
        monitor: the monitored validation metric, without `val_`.
        best: best epoch by that metric, from 1.
        epochs: number of trained epochs.
        most: largest number of epochs, `training.epochs`.
    """
    values = history.get(f"val_{monitor}", [])
    if len(values) < 2 or min(values) == max(values):
        return None
    if best == epochs == most:
        return Finding(
            "best_epoch_is_last",
            "warning",
            f"The last epoch, {best} of {most}, was the best: {monitor} was still getting better "
            f"({values[-2]:.4f}, then {values[-1]:.4f}). Raise `training.epochs`; "
            "training stops by itself when it is enough.",
        )
    if best == 1:
        return Finding(
            "best_epoch_is_first",
            "warning",
            f"The first of {epochs} epochs was the best: {monitor} was {values[0]:.4f}, then "
            f"{values[1]:.4f}. The model learns the training rows by heart or jumps past what is good: "
            "lower `training.learning_rate`, or add `model.dropout`.",
        )
    return None


# Nine of ten items in common for an average pair of users. Useful models have one to three; random lists
# share k / n_items, which `list_length` keeps at a quarter or less.
MAX_OVERLAP = 0.9
MIN_USERS = 10


def list_length(n_items: int) -> int:
    """Length of the compared lists: ten, or a quarter of a small catalogue."""
    return max(1, min(10, n_items // 4))


def overlap(lists: np.ndarray) -> float:
    """Mean share of common items over all pairs of users' lists.

    Args:
        lists: int `[n_users, k]`, distinct rows of items in each list.

    >>> overlap(np.array([[1, 2], [2, 1], [3, 4]]))  # one of three pairs is alike
    0.3333333333333333
    """
    n, k = lists.shape
    # An item in c lists is common to c * (c - 1) ordered pairs: counting items is O(n * k), comparing all
    # pairs of lists O(n^2 * k).
    counts = np.bincount(lists.ravel()).astype(np.float64)
    return float(np.sum(counts * (counts - 1)) / (n * (n - 1) * k))


def same_lists(lists: np.ndarray, popular: np.ndarray) -> Finding | None:
    """Finding if nearly all users get the same list.

    Args:
        lists: int `[n_users, k]`, the best items of some users, seen items kept.
        popular: int `[k]`, the most popular items.
    """
    n, k = lists.shape
    if n < MIN_USERS or (common := overlap(lists)) < MAX_OVERLAP:
        return None
    known = float(np.isin(lists, popular).mean())
    return Finding(
        "same_lists",
        "error",
        f"Nearly everybody gets the same list: of the first {k} items of two of {n:,} users {common:.0%} "
        f"are the same (popularity: 100%), and {known:.0%} are among the {k} most popular. The query "
        "features say nothing about the item, or the model did not learn from them: add features of the "
        "user or the moment to `schema.query`, train longer, or lower `training.learning_rate`.",
    )
