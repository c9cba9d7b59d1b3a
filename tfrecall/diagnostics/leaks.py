"""Target leakage: features that reveal the item.

A column recorded with the choice (the price paid, the category clicked, the last page of the session)
reveals the item, and does not exist yet at the time of a recommendation. A model with such a feature
looks brilliant until it is served.
"""

from collections.abc import Sequence

import polars as pl

from tfrecall.data.interactions import Interactions
from tfrecall.diagnostics.finding import Finding
from tfrecall.schema.features import Schema

# A leak guesses the item in every second row, which no habit of all users does, at least three times as
# often as the most popular item is right, and 1.5 times as often as the guess from the user id.
MIN_ACCURACY, MIN_LIFT, MIN_LIFT_OVER_USER = 0.5, 3.0, 1.5
# A copied column equals a column of the item in nearly every row. Shares by chance above one half say
# nothing: two columns that are nearly always "no" agree anyway.
MIN_COPIED, MAX_COPIED_BY_CHANCE = 0.99, 0.5
# With 50 rows a share is known to within .14 (two standard errors: 2 * sqrt(.5 * .5 / 50)).
MIN_ROWS = 50
# Sample sizes, for a check of seconds on any log.
TRAIN_ROWS, HELD_ROWS = 200_000, 20_000


def leaking_features(
    schema: Schema, train: Interactions, held: Interactions | None = None
) -> list[Finding]:
    """Find query features that leak the target, before training.

    For each feature, the most frequent item of each value in the training rows is the guess for held rows
    with that value, on samples of bounded size. Values unique to their row, such as times, never occur
    again and do not count. The user id is left out: it is known before the choice.

    Args:
        schema: the schema of the query features.
        train: rows to learn the guesses from.
        held: rows to test the guesses on, such as validation rows, never test rows; None for a fifth
            of `train`.
    """
    names = train.queries.head(0).columns
    columns = [c for c in schema.query_columns if c in names and c != "user_id"]
    learned, judged = _samples(train, held, columns)
    if judged.height < MIN_ROWS:
        return []
    candidates = [c for c in schema.candidate_columns if c in train.items.columns and c != "item_id"]
    items = train.items.select("item_id", *(_comparable(train.items[c]) for c in candidates))
    findings = []
    for column in columns:
        finding = _names_the_item(column, learned, judged) or _is_the_item(column, judged)
        if finding is None and column in train.log.columns:
            copies = (_copies(column, candidate, judged, items) for candidate in candidates)
            finding = next(filter(None, copies), None)
        findings += [finding] if finding else []
    return findings


def guess_accuracy(train: pl.DataFrame, held: pl.DataFrame, column: str) -> tuple[float, int]:
    """Accuracy of guessing the most frequent item of each value, and the number of rows.

    Only held rows whose value occurs in `train` count.

    Args:
        train, held: tables with `item_id` and the column.
        column: name of the feature.

    >>> train = pl.DataFrame({"item_id": ["a", "a", "b"], "shop": ["x", "x", "y"]})
    >>> held = pl.DataFrame({"item_id": ["a", "b", "b"], "shop": ["x", "x", "new"]})
    >>> guess_accuracy(train, held, "shop")
    (0.5, 2)
    """
    counted = train.drop_nulls(column).group_by(column, "item_id").len()
    # Ties go to the first item by name: the same guess in every run.
    best = counted.sort([column, "len", "item_id"], descending=[False, True, False]).unique(
        column, keep="first"
    )
    guessed = held.join(best.select(column, guess="item_id"), on=column, how="inner")
    return _share(guessed["item_id"] == guessed["guess"]), guessed.height


def _samples(
    train: Interactions, held: Interactions | None, columns: Sequence[str]
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Rows to count on and rows to test on, each column as one comparable value a row."""
    wanted = ["user_id", "item_id", *columns]
    if held is None:
        rows = _sample(train.log, TRAIN_ROWS + HELD_ROWS)
        cut = rows.height // 5
        learned, judged = rows[cut:], rows[:cut]
    else:
        learned, judged = train.log, held.log
    parts = []
    for rows, most in ((learned, TRAIN_ROWS), (judged, HELD_ROWS)):
        queries = train.with_log(_sample(rows, most)).queries
        parts.append(queries.select(_comparable(queries[name]) for name in wanted))
    return parts[0], parts[1]


def _sample(rows: pl.DataFrame, most: int) -> pl.DataFrame:
    return rows.sample(min(rows.height, most), shuffle=True, seed=0)


def _comparable(column: pl.Series) -> pl.Series:
    """Convert a column to text; lists are joined."""
    if isinstance(column.dtype, pl.Array):
        column = column.arr.to_list()
    if isinstance(column.dtype, pl.List):
        # \x1f, the unit separator, occurs in no text: ["a,b"] and ["a", "b"] stay different.
        return column.cast(pl.List(pl.String)).list.join("\x1f").alias(column.name)
    return column.cast(pl.String)


def _names_the_item(column: str, train: pl.DataFrame, held: pl.DataFrame) -> Finding | None:
    accuracy, rows = guess_accuracy(train, held, column)
    if rows < MIN_ROWS or accuracy < MIN_ACCURACY:
        return None
    everything = pl.lit("").alias("everybody")
    popular, _ = guess_accuracy(
        train.with_columns(everything), held.with_columns(everything), "everybody"
    )
    user, _ = guess_accuracy(train, held, "user_id")
    if accuracy < MIN_LIFT * popular or accuracy < MIN_LIFT_OVER_USER * user:
        return None
    return _finding(
        column,
        f'The value of "{column}" alone names the item in {accuracy:.0%} of {rows:,} rows that were held '
        f"out; the most popular item would be right in {popular:.1%}, the user's most frequent one in "
        f"{user:.1%}.",
    )


def _is_the_item(column: str, held: pl.DataFrame) -> Finding | None:
    """Check whether the value is the item id itself, also where no training row has that value."""
    share = _share(held[column] == held["item_id"])
    if share < MIN_ACCURACY:
        return None
    return _finding(column, f'The value of "{column}" is the item\'s id in {share:.0%} of the rows.')


def _copies(query: str, candidate: str, held: pl.DataFrame, items: pl.DataFrame) -> Finding | None:
    """Check whether a column of the event copies a column of the chosen item."""
    table = items.select("item_id", there=candidate)
    pairs = held.select("item_id", here=query).join(table, on="item_id", how="left").drop_nulls()
    if pairs.height < MIN_ROWS:
        return None
    share = _share(pairs["here"] == pairs["there"])
    chance = _alike_by_chance(pairs["here"], pairs["there"])
    if share < MIN_COPIED or chance > MAX_COPIED_BY_CHANCE:
        return None
    return _finding(
        query,
        f'The event\'s "{query}" is the item\'s "{candidate}" in {share:.1%} of {pairs.height:,} rows, '
        f"where chance would make it {chance:.1%}.",
    )


def _alike_by_chance(here: pl.Series, there: pl.Series) -> float:
    """Expected share of equal pairs if both columns were shuffled."""
    counts = [column.alias("value").value_counts() for column in (here, there)]
    both = counts[0].join(counts[1], on="value")
    return float((both["count"] / len(here) * (both["count_right"] / len(there))).sum())


def _share(mask: pl.Series) -> float:
    """Share of true rows; null counts as false, and no rows give 0."""
    return float(mask.fill_null(False).sum()) / max(len(mask), 1)


def _finding(column: str, fact: str) -> Finding:
    return Finding(
        "leaking_feature",
        "warning",
        f"{fact} If it is written down with the choice, it will not be known when somebody asks, and "
        "every figure of this model is too good: take the feature out of `schema.query`. If it is known "
        "beforehand, all is well.",
    )
