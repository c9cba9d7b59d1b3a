"""What the training curves say."""

from collections.abc import Mapping, Sequence

from tfrecall.diagnostics.finding import Finding

# A loss that falls by less than this share of itself has not moved: a mean over an epoch varies more.
MIN_FALL = 0.001


def never_learned(losses: Sequence[float]) -> Finding | None:
    """Tells when the training loss did not fall.

    Args:
        losses: of each epoch; one says nothing.
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
    """Tells when training ended too early, or was at its best before it began in earnest.

    Args:
        history: of each metric its value after each epoch, as Keras has it.
        monitor: the validation metric that decides, without `val_`.
        best: the epoch, from 1, that was best by it.
        epochs: how many were trained.
        most: how many there might have been.
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
