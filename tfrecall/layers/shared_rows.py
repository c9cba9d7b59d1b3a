"""Values with rows of their own, and hashed rows that all others share.

Frequent values are admitted to rows of their own. Others have no row and no place in a vocabulary: hash
functions of their text give each some of the shared rows, whose vectors are added up. Two values seldom share
all of them, so a table of a tenth of the values still tells nearly all apart.

References:
    Svenstrup et al., "Hash Embeddings for Efficient Word Representations", NeurIPS 2017. Serra and
    Karatzoglou, "Getting Deep Recommenders Fit: Bloom Embeddings for Sparse Binary Input/Output Networks",
    RecSys 2017. Here vectors are added up without weights, as in the second one.
"""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import polars as pl

from tfrecall._keras import tf
from tfrecall.core.raw import UNKNOWN_TOKEN, Form
from tfrecall.core.vocabulary import FIRST, PADDING, UNKNOWN
from tfrecall.errors import DataError
from tfrecall.schema.features import Categorical

# Seconds.
_DAY = 86_400
# Two numbers that choose the hash function; the first is counted up, a function each. Any others would do as
# well, but must never change: releases hold rows that were trained under them.
_KEY = (24_301, 2_654_435_769)


class Events(NamedTuple):
    """Training events of the rows that a reader of columns gives.

    Attributes:
        counts: number of events of each row; None where each row is one.
        last: time of the last event of each row, in seconds since 1970; None where times are not known.
    """

    counts: np.ndarray | None = None
    last: np.ndarray | None = None


@dataclass(frozen=True)
class EventReader:
    """Reader of raw columns that also tells the events of its rows.

    Attributes:
        read: gives the batches of a raw column.
        events: those of the rows, in the order of the batches.
    """

    read: Callable[[str, Form], tf.data.Dataset]
    events: Events

    def __call__(self, column: str, form: Form) -> tf.data.Dataset:
        return self.read(column, form)


class Counted(NamedTuple):
    """Distinct values, the most frequent first; of equally frequent ones the last in order of bytes.

    Attributes:
        values: the texts.
        counts: events of each.
        ages: days from the last event of each to the last of all; None where times are not known.
    """

    values: list[str]
    counts: np.ndarray
    ages: np.ndarray | None

    @classmethod
    def of(cls, texts: np.ndarray, events: Events) -> "Counted":
        """Count values, without the empty and the unknown one.

        Args:
            texts: bytes `[rows]`.
            events: those of the rows.
        """
        # In UTF-8, as TensorFlow has them; Polars sorts by bytes as well.
        frame = pl.DataFrame(
            {
                "value": pl.Series(texts.tolist(), dtype=pl.Binary).cast(pl.String),
                "count": np.ones(len(texts), np.int64) if events.counts is None else events.counts,
                "last": np.zeros(len(texts)) if events.last is None else events.last,
            }
        )
        newest = frame["last"].max()
        found = (
            frame.filter(~pl.col("value").is_in(["", UNKNOWN_TOKEN]))
            .group_by("value")
            .agg(pl.col("count").sum(), age=(newest - pl.col("last").max()) / _DAY)
            .sort("count", "value", descending=True)
        )
        ages = None if events.last is None else found["age"].to_numpy()
        return cls(found["value"].to_list(), found["count"].to_numpy(), ages)


def admitted(found: Counted, spec: Categorical) -> tuple[list[str], set[str] | None]:
    """Values that get rows of their own, and those with an event within `max_age_days`; None without a limit.

    Raises:
        DataError: if there is an age limit without times, or no value is admitted.
    """
    keep, recent = found.counts >= (spec.min_count or 1), None
    if spec.max_age_days is not None:
        if found.ages is None:
            raise DataError(
                f'`max_age_days` of "{spec.column}" needs the times of events, which a dataset of examples '
                "does not tell. Adapt the model to an interaction log, or leave the setting out."
            )
        young = found.ages <= spec.max_age_days
        recent = {value for value, is_young in zip(found.values, young, strict=True) if is_young}
        keep &= young
    values = [value for value, kept in zip(found.values, keep, strict=True) if kept]
    if not values:
        most = int(found.counts.max(initial=0))
        raise DataError(
            f'No value of "{spec.column}" gets a row of its own: the most frequent of {len(found.values):,} '
            f"has {most:,} training events. Received: min_count={spec.min_count}, max_age_days="
            f"{spec.max_age_days}. Lower `min_count`, or raise `max_age_days`."
        )
    return values[: spec.max_tokens], recent


def continued(
    earlier: Sequence[str], learned: Sequence[str], recent: Collection[str] | None, most: int | None
) -> list[str]:
    """A vocabulary that goes on from an earlier one: values keep their rows, those too old give theirs away.

    Args:
        earlier: values by row; those given away by `_free`.
        learned: values that are to have rows, the most important first.
        recent: values young enough to keep a row; None for all.
        most: most rows; rows there already are kept.
    """
    values = [v if recent is None or v in recent else _free(row) for row, v in enumerate(earlier)]
    known = set(values)
    new = [value for value in learned if value not in known]
    for row, value in enumerate(values):
        if new and value == _free(row):
            values[row] = new.pop(0)
    return values + new[: max(0, (most or len(values) + len(new)) - len(values))]


def renewed(earlier: Sequence[str], values: Sequence[str]) -> list[int]:
    """Places whose value is another one than before, or was not there."""
    return [i for i, v in enumerate(values) if i >= len(earlier) or earlier[i] != v]


def is_free(value: str) -> bool:
    """Whether an entry of a vocabulary is a row that was given away."""
    return value.startswith("[FREE ") and value.endswith("]")


def _free(row: int) -> str:
    # A lookup takes each text once, so the number of the row makes them differ.
    return f"[FREE {row}]"


def shared_rows(texts: tf.Tensor, rows: int, hashes: int) -> tf.Tensor:
    """Shared rows of each text, from 0: int64 `[batch, hashes]`, SipHash-2-4 with a key for each column.

    The same rows for the same text in every process, and hard to foresee.
    """
    columns = [
        tf.strings.to_hash_bucket_strong(texts, rows, (_KEY[0] + i, _KEY[1])) for i in range(hashes)
    ]
    return tf.stack(columns, axis=-1)


def encoded(texts: tf.Tensor, index: tf.Tensor, rows: int, hashes: int) -> tf.Tensor:
    """Rows of a table that are added up for each text: int64 `[batch, hashes]`, padded with 0.

    The table has the shared rows after padding and the unknown value, then a row a value of the vocabulary, so
    that it grows at its end.

    Args:
        texts: string `[batch]`.
        index: int64 `[batch]`: 1 for texts outside the vocabulary, which begins with 2.
        rows: number of shared rows.
        hashes: number of shared rows of a text.
    """
    alone = tf.where(index > UNKNOWN, index + rows, UNKNOWN)[:, tf.newaxis]
    alone = tf.pad(alone, [[0, 0], [0, hashes - 1]], constant_values=PADDING)
    nothing = (texts == "") | (texts == UNKNOWN_TOKEN)
    has_shared = (index <= UNKNOWN) & ~nothing
    return tf.where(has_shared[:, tf.newaxis], FIRST + shared_rows(texts, rows, hashes), alone)
