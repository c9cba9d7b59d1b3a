"""Codes of content by residual k-means, whose rows similar items share: semantic ids."""

import base64
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import scipy.sparse as sp
from scipy.cluster.vq import kmeans2, vq
from scipy.sparse.linalg import svds

from tfrecall._keras import keras, tf
from tfrecall.core.raw import UNKNOWN_TOKEN
from tfrecall.core.vocabulary import FIRST, PADDING
from tfrecall.errors import DataError
from tfrecall.layers.features import LAYERS, FeatureLayer, standardized, string_lookup, vectors_of
from tfrecall.schema import features as schema

# Centres hardly move after these many rounds.
ROUNDS = 25
# Rows that centres are fitted to: hundreds for each of some hundred centres.
MOST_ROWS = 100_000
# Content has length one, so what is left of it below this is rounding.
ROUNDING = 1e-6


@keras.utils.register_keras_serializable(package="tfrecall")
class CodesFeature(FeatureLayer):
    """Raw texts, lists of words or vectors -> int64 `[batch, levels]` -> float `[batch, embedding_dim]`.

    The codes of a level follow those of the level before, from 1; 0 stands for content that is not known.
    """

    def __init__(self, spec: schema.Feature | dict[str, Any], *args: Any, **kwargs: Any) -> None:
        super().__init__(spec, *args, **kwargs)
        self.unknown = (0.0,) * self.spec.length if self.form == "vector" else ""

    def preprocess(self, values: tf.Tensor | tf.RaggedTensor) -> tf.Tensor:
        left = self._content(values)
        known = tf.reduce_any(left != 0, axis=1)
        codes, first = [], PADDING + 1
        for centres in self._centres:
            # The square of the distance but for that of the row itself, which all centres have in common.
            distances = tf.reduce_sum(centres**2, axis=1) - 2 * tf.matmul(
                left, centres, transpose_b=True
            )
            nearest = tf.argmin(distances, axis=1)
            codes.append(first + nearest)
            left -= tf.gather(centres, nearest)
            first += len(centres)
        return tf.where(known[:, tf.newaxis], tf.stack(codes, axis=1), tf.constant(PADDING, tf.int64))

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        return self._sum(inputs)

    def _content(self, values: tf.Tensor | tf.RaggedTensor) -> tf.Tensor:
        """Content as vectors of length one, or zeros: float32 `[batch, any]`."""
        if self.form == "vector":
            vectors = vectors_of(values, self.spec.column, self.spec.length)
        else:
            words = self._words(values)
            weights = tf.gather(self._weights[0], self._lookup(words.values))
            vectors = tf.math.unsorted_segment_sum(weights, words.value_rowids(), words.nrows())
        return tf.math.l2_normalize(vectors, axis=-1)

    def _words(self, values: tf.Tensor | tf.RaggedTensor) -> tf.RaggedTensor:
        values = self._as_string(values)
        if self.form == "string":
            return tf.strings.split(standardized(tf.where(values == UNKNOWN_TOKEN, "", values)))
        if not isinstance(values, tf.RaggedTensor):
            values = tf.RaggedTensor.from_tensor(values)
        return tf.ragged.boolean_mask(values, values != "")

    def _learn(self, values: tf.data.Dataset) -> list[Any]:
        words, weights = ([], "") if self.form == "vector" else self._learn_words(values)
        self._set_words(words, weights)
        rows = np.concatenate([self._content(batch).numpy() for batch in values])
        rows = rows[rows.any(axis=1)]
        if not len(rows):
            raise DataError(
                f'The column "{self.spec.column}" holds no content at all, so {type(self.spec).__name__} has '
                "nothing to learn. Fill it, or take the feature out of the schema."
            )
        levels = residual_centres(rows, self.spec.levels, self.spec.size, self.spec.seed)
        return [words, weights, *map(_packed, levels)]

    def _learn_words(self, values: tf.data.Dataset) -> tuple[list[str], str]:
        """The words that count, and as text the numbers of each: float32 `[words, any]`."""
        rows = [self._words(batch) for batch in values]
        vocabulary = self._learn_vocabulary((batch.values for batch in rows), self.spec.max_tokens)
        lookup = string_lookup(vocabulary)
        columns = np.concatenate([lookup(batch.values).numpy() for batch in rows]) - FIRST
        lengths = np.concatenate([batch.row_lengths().numpy() for batch in rows])
        owners = np.repeat(np.arange(len(lengths)), lengths)
        kept = columns >= 0
        shape = (len(lengths), len(vocabulary))
        counts = sp.csr_matrix((np.ones(kept.sum()), (owners[kept], columns[kept])), shape, np.float64)
        return vocabulary, _packed(word_vectors(counts, self.spec.dimension, self.spec.seed))

    def _set_words(self, words: Sequence[str], weights: str) -> None:
        if self.form != "vector":
            self._lookup = string_lookup(words)
            # Two rows of zeros in front, for padding and unknown words; in a tuple, which Keras does not track.
            self._weights = (tf.pad(_unpacked(weights), [[FIRST, 0], [0, 0]]),)

    def _set_state(self, state: Sequence[Any]) -> None:
        words, weights, *levels = state
        self.state = (tuple(words), weights, *levels)
        self._set_words(words, weights)
        self._centres = tuple(tf.constant(_unpacked(level)) for level in levels)
        self._table = self._embedding(PADDING + 1 + sum(len(level) for level in self._centres))


def word_vectors(counts: sp.csr_matrix, dimension: int, seed: int) -> np.ndarray:
    """Numbers of each word whose sum over the words of a text is its TF-IDF, reduced (SVD).

    Args:
        counts: how often each text holds each word: `[texts, words]`.
        dimension: most numbers a word.
        seed: seed of the first vector of the decomposition.

    Returns:
        Float32 `[words, dimension]`; fewer numbers where there are fewer texts or words.
    """
    texts, words = counts.shape
    holding = np.bincount(counts.indices, minlength=words)
    # As scikit-learn's: as if one more text held every word, and no weight is 0.
    rarity = np.log((1 + texts) / (1 + holding)) + 1
    weighted = counts @ sp.diags(rarity)
    lengths = np.sqrt(np.asarray(weighted.multiply(weighted).sum(axis=1)).ravel())
    weighted = sp.diags(1 / np.maximum(lengths, 1e-12)) @ weighted
    if min(counts.shape) <= dimension:  # `svds` gives fewer than all
        directions = np.linalg.svd(weighted.toarray(), full_matrices=False)[2]
    else:
        start = np.random.default_rng(seed).normal(size=min(counts.shape))
        directions = svds(weighted, k=dimension, v0=start)[2]
    return (rarity[:, np.newaxis] * directions.T).astype(np.float32)


def residual_centres(rows: np.ndarray, levels: int, size: int, seed: int) -> list[np.ndarray]:
    """Centres of residual k-means: each level clusters what the nearest centres of those before leave.

    Args:
        rows: float `[n, d]`, of length one.
        levels: number of levels.
        size: most centres of a level; empty clusters are left out.
        seed: equal seeds give equal centres.

    Returns:
        Float32 `[any, d]` for each level.
    """
    generator = np.random.default_rng(seed)
    left = rows.astype(np.float64)
    if len(left) > MOST_ROWS:
        left = left[np.sort(generator.choice(len(left), MOST_ROWS, replace=False))]
    found = []
    for _ in range(levels):
        left[np.abs(left) < ROUNDING] = 0
        count = min(size, len(np.unique(left, axis=0)))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of empty clusters
            centres, _ = kmeans2(left, count, iter=ROUNDS, minit="++", seed=generator)
        owners, _ = vq(left, centres)
        used, owners = np.unique(owners, return_inverse=True)
        centres = centres[used].astype(np.float32)
        left = left - centres[owners]
        found.append(centres)
    return found


def _packed(numbers: np.ndarray) -> str:
    """An array as text: a configuration with a list of so many numbers would be ten times as long."""
    shape = ",".join(map(str, numbers.shape))
    return f"{shape}:{base64.b64encode(numbers.astype('<f4').tobytes()).decode()}"


def _unpacked(text: str) -> np.ndarray:
    shape, _, numbers = text.partition(":")
    flat = np.frombuffer(base64.b64decode(numbers), "<f4")
    return flat.reshape([int(length) for length in shape.split(",")]).astype(np.float32)


LAYERS[schema.Codes] = CodesFeature
