"""Is the model better than the list of the most popular items?"""

import math

from tfrecall.diagnostics.finding import Finding


def below_popularity(
    model: float, popularity: float, *, metric: str, rule: str, rows: int, where: str
) -> Finding | None:
    """Tells when a model does not reach what is possible without one.

    An error if the difference is beyond chance: more than two standard errors of the difference of
    two shares that are measured on so many rows.

    Args:
        model, popularity: their figures, shares of the rows.
        metric: which: `hit_rate@100`.
        rule: `seen_kept` or `seen_removed`.
        rows: how many were measured.
        where: on which: `validation` or `test`.
    """
    if model >= popularity:
        return None
    noise = math.sqrt((model * (1 - model) + popularity * (1 - popularity)) / rows)
    certain = popularity - model > 2 * noise
    chance = "" if certain else " The difference may be chance, but the model is no better either."
    return Finding(
        f"{where}_below_popularity",
        "error" if certain else "warning",
        f"On {rows:,} {where} rows the model is below the list of the most popular items: {metric} with "
        f"{rule.replace('_', ' items ')} is {model:.4f}, popularity has {popularity:.4f}.{chance} Do not "
        "serve it. Train longer, change `training.learning_rate` (`tfrecall tune` searches), or look "
        "whether the features are known for these rows.",
    )
