"""Target leakage: features that reveal the item.

A column that is written down with the choice (the price paid, the category clicked, the page that
ended the session) knows the item, and will not be there when somebody asks for a recommendation. A
model that is given it looks brilliant until it is served.
"""

from collections.abc import Sequence

import polars as pl

from tfrecall.data.interactions import Interactions
from tfrecall.diagnostics.finding import Finding
from tfrecall.schema.features import Schema

# The value names the item in every second row, which no habit of a whole log does, and at least three
# times as often as the most popular item would be right and half as often again as the user id is.
MIN_ACCURACY, MIN_LIFT, MIN_LIFT_OVER_USER = 0.5, 3.0, 1.5
# A column of the event that repeats a column of the item, row by row; people have exceptions.
MIN_COPIED, MAX_COPIED_BY_CHANCE = 0.99, 0.5
# With 50 rows a share is known to within .14 (two standard errors).
MIN_ROWS = 50
TRAIN_ROWS, HELD_ROWS = 200_000, 20_000


def leaking_features(
    schema: Schema, train: Interactions, held: Interactions | None = None
) -> list[Finding]:
    """Find query features that leak the target, before training.

    On a sample of a bounded size. For each feature the item that goes most often with its value in
    the training rows is guessed on held rows; values that are unique to their row, such as times, are
    never met again and so say nothing. The user id is left out: it is known before the choice.

    Args:
        schema: whose features are looked at.
        train: rows to learn the guesses from.
        held: rows to make them on, such as validation rows, never test rows; without it a fifth of
            `train`.
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

    Counted are held rows whose value stands in `train`.

    Args:
        train, held: with `item_id` and the column.

    >>> train = pl.DataFrame({"item_id": ["a", "a", "b"], "shop": ["x", "x", "y"]})
    >>> held = pl.DataFrame({"item_id": ["a", "b", "b"], "shop": ["x", "x", "new"]})
    >>> guess_accuracy(train, held, "shop")
    (0.5, 2)
    """
    counted = train.drop_nulls(column).group_by(column, "item_id").len()
    # Of items that are equally frequent the first by name: the same guess in every run.
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
    """As `_names_the_item` for values that no training row could teach: they are the id itself."""
    share = _share(held[column] == held["item_id"])
    if share < MIN_ACCURACY:
        return None
    return _finding(column, f'The value of "{column}" is the item\'s id in {share:.0%} of the rows.')


def _copies(query: str, candidate: str, held: pl.DataFrame, items: pl.DataFrame) -> Finding | None:
    """An event's column that repeats what the item table says of the item chosen."""
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
    """Share of the rows that are true; null is not, and of no rows it is 0."""
    return float(mask.fill_null(False).sum()) / max(len(mask), 1)


def _finding(column: str, fact: str) -> Finding:
    return Finding(
        "leaking_feature",
        "warning",
        f"{fact} If it is written down with the choice, it will not be known when somebody asks, and "
        "every figure of this model is too good: take the feature out of `schema.query`. If it is known "
        "beforehand, all is well.",
    )
