"""The candidates that a model knows: their ids, encoded features and training frequencies."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import polars as pl

from tfrecall._keras import tf
from tfrecall.core.raw import UNKNOWN_TOKEN, raw_features
from tfrecall.core.vocabulary import FIRST
from tfrecall.errors import DataError
from tfrecall.layers.features import string_lookup
from tfrecall.models.towers import CandidateTower


@dataclass(eq=False)
class Catalogue:
    """All candidates, encoded once.

    Position 0 of the encoded table is padding and 1 the unknown candidate, so a `candidate_index`
    is its position; row r of the item table has index r + 2. Training gathers candidate features here,
    so batches carry one integer a candidate.

    Attributes:
        items: the item table.
        ids: object array of `str` `[n]`, in the order of the item table.
        encoded: encoded features, each with `n + 2` rows.
        probability: float32 `[n + 2]`, the share of the training rows that hold the candidate.
        vectors: float32 `[n, embedding_dim]`, of the last `refresh`.
        sampling: float32 `[n + 2]`, the share of the targets of the training that are the candidate, by which
            batches hold it: `probability`, but for a training on some of its rows (`sample_from`).
    """

    items: pl.DataFrame
    ids: np.ndarray
    encoded: dict[str, tf.Tensor]
    probability: tf.Tensor
    vectors: tf.Variable | None = field(default=None)
    sampling: tf.Tensor = field(init=False)

    @classmethod
    def build(
        cls, items: pl.DataFrame, candidate_id: str, tower: CandidateTower, counts: np.ndarray
    ) -> "Catalogue":
        """Encodes an item table with an adapted tower.

        Args:
            items: one row a candidate.
            candidate_id: the column that names it.
            tower: the adapted tower.
            counts: int `[n]`, training rows of each candidate.

        Raises:
            DataError: if an id is null, empty, repeated or `[UNK]`.
        """
        ids = items[candidate_id].cast(pl.String)
        if ids.n_unique() != len(ids) or ids.null_count():
            raise DataError(
                f'The column "{candidate_id}" of the item table must name each candidate once. '
                f"Received {len(ids)} rows with {ids.n_unique()} different values and "
                f"{ids.null_count()} nulls. Remove the duplicates, or set `candidate_id`."
            )
        reserved = ids.filter(ids.is_in(["", UNKNOWN_TOKEN]))
        if len(reserved):
            raise DataError(
                f'The column "{candidate_id}" of the item table names a candidate "{reserved[0]}", '
                "which stands for padding or for what is unknown. Rename it or take it out."
            )
        # Two ones in front for padding and the unknown candidate.
        share = _shares(np.concatenate([[1, 1], counts]), counts.sum())
        return cls.of(items, candidate_id, tower, share)

    @classmethod
    def of(
        cls, items: pl.DataFrame, candidate_id: str, tower: CandidateTower, probability: np.ndarray
    ) -> "Catalogue":
        """Encodes an item table whose ids are known to be good, as a file holds it.

        Args:
            items: one row a candidate.
            candidate_id: the column that names it.
            tower: the adapted tower.
            probability: float `[n + 2]`, as the attribute.
        """
        raw = raw_features(items, tower.forms)
        padded = {name: _with_specials(raw[name], tower.unknowns[name]) for name in raw}
        encoded = tower.preprocess({name: tf.constant(values) for name, values in padded.items()})
        names = np.array(items[candidate_id].cast(pl.String).to_list(), dtype=object)
        return cls(items, names, encoded, tf.constant(probability, tf.float32))

    def __post_init__(self) -> None:
        self.lookup = string_lookup(self.ids)
        self.sampling = self.probability

    def sample_from(self, index: np.ndarray) -> None:
        """Counts the candidates of a training on some of the rows.

        Args:
            index: int `[n_targets]`, the index of the candidate of each target.
        """
        counts = np.bincount(index, minlength=len(self) + FIRST)
        self.sampling = tf.constant(_shares(counts, len(index)), tf.float32)

    def __len__(self) -> int:
        return len(self.ids)

    def index(self, candidate_ids: tf.Tensor) -> tf.Tensor:
        """Index of each outside id among the candidates, int32; 1 for unknown ids."""
        if candidate_ids.dtype != tf.string:
            candidate_ids = tf.strings.as_string(candidate_ids)
        return tf.cast(self.lookup(candidate_ids), tf.int32)

    def features(self, index: tf.Tensor) -> dict[str, tf.Tensor]:
        """Encoded features of some candidates."""
        return {name: tf.gather(values, index) for name, values in self.encoded.items()}

    def embed(self, tower: CandidateTower, training: bool = False) -> tf.Tensor:
        """Vectors of all candidates, float `[n, embedding_dim]`, in one pass with gradients."""
        encoded = {name: values[FIRST:] for name, values in self.encoded.items()}
        return tower(encoded, training=training)

    def refresh(self, tower: CandidateTower, batch_size: int = 8192) -> tf.Tensor:
        """Embeds all candidates in batches and keeps the vectors until the next refresh."""
        # Candidate indexes, which begin with 2 (`FIRST`); in batches, as dense layers over the whole
        # catalogue could fill the memory.
        indexes = range(FIRST, len(self) + FIRST, batch_size)
        parts = [
            tower(self.features(tf.range(i, min(i + batch_size, len(self) + FIRST))), training=False)
            for i in indexes
        ]
        vectors = tf.concat(parts, axis=0)
        if self.vectors is None:
            # A variable, not a tensor: a validation step traced before reads the vectors of each
            # refresh.
            self.vectors = tf.Variable(vectors, trainable=False)
        self.vectors.assign(vectors)
        return self.vectors


def _shares(counts: np.ndarray, rows: int) -> np.ndarray:
    """The share of the rows that hold each candidate: float64 `[n + 2]`.

    A candidate without rows counts as one row: log 0 has no place in a correction.
    """
    return np.maximum(counts, 1) / max(rows, 1)


def _with_specials(values: np.ndarray, unknown: Any) -> np.ndarray:
    """Two rows in front: padding and the unknown candidate, both with unknown features."""
    front = np.empty((FIRST, *values.shape[1:]), dtype=values.dtype)
    front[:] = unknown
    return np.concatenate([front, values])
