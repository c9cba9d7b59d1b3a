"""One layer a feature: from a raw column to a vector.

Each layer has two halves. `preprocess` turns raw values into integers or floats with
the Keras preprocessing layers and runs in the input pipeline; `call` turns those into vectors and runs
in the training step. The state that `adapt` learns is part of `get_config`, so a layer made from the
configuration of another encodes alike.
"""

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from tfrecall._keras import keras, tf
from tfrecall.core.raw import UNKNOWN_TOKEN, Form, refuse_not_finite
from tfrecall.core.vocabulary import FIRST, PADDING, UNKNOWN
from tfrecall.errors import DataError
from tfrecall.layers.randomness import RandomUnknown
from tfrecall.layers.shared_rows import (
    Counted,
    Events,
    admitted,
    continued,
    encoded,
    is_free,
    renewed,
    shared_rows,
)
from tfrecall.schema import features as schema

# Gives the batches of one raw column, as `FeatureLayer.adapt` takes them.
ColumnReader = Callable[[str, Form], tf.data.Dataset]
# Seconds.
_DAY = 86_400
# Shared rows of a value, where the number is not set: with two, few values share both with another one.
HASHES = 2


class FeatureLayer(keras.layers.Layer):
    """Base of the feature layers.

    Args:
        spec: the specification from `tfrecall.schema.features`, or its plain form.
        embedding_regularization: weight of the squared length of the embeddings used in a step,
            summed over the batch. Rows that are not used are not touched.
        state: vocabulary, boundaries or moments, when the layer is made from a configuration.
        embedding_stddev: standard deviation of initial embeddings, drawn from a normal distribution; None for
            Keras' default, uniform in +-.05.

    Attributes:
        unknown: the raw value that stands for "not known".
    """

    unknown: Any = UNKNOWN_TOKEN
    # Whether the state is a list of values, each with a row, which may grow.
    learns_values = False

    _table: keras.layers.Embedding
    _earlier: Any

    def __init__(
        self,
        spec: schema.Feature | dict[str, Any],
        embedding_regularization: float = 0.0,
        state: Any = None,
        embedding_stddev: float | None = None,
        **kwargs: Any,
    ) -> None:
        self.spec: Any = schema.feature_from_dict(spec) if isinstance(spec, dict) else spec
        super().__init__(name=kwargs.pop("name", f"{self.spec.column}_{self.spec.type}"), **kwargs)
        self.embedding_regularization = embedding_regularization
        self.embedding_stddev = embedding_stddev
        self.state: Any = None
        self.continue_from(None)
        if state is not None:
            self._set_state(state)

    @property
    def form(self) -> Form:
        """The raw form that `preprocess` takes (see `tfrecall.core.raw`)."""
        return self.spec.form

    @property
    def columns(self) -> dict[str, Form]:
        """The raw columns that the layer reads at serving, and the form of each."""
        return {self.spec.column: self.form}

    @property
    def output_dim(self) -> int:
        """Length of the vectors."""
        return getattr(self.spec, "embedding_dim", 1)

    @property
    def table(self) -> tf.Variable:
        """Embeddings of the encoded values: float `[values, embedding_dim]`. Exists after the first call."""
        return self._table.embeddings

    def adapt(self, values: tf.data.Dataset) -> None:
        """Learns vocabulary, boundaries or moments.

        Args:
            values: batches of the raw column, each `[batch_size]` or `[batch_size, any]`.

        Raises:
            DataError: if no row has a value, or a number is NaN or infinite.
        """
        self._set_state(self._continued(self._learn(values)))

    def adapt_to(self, read_column: ColumnReader) -> None:
        """Learns from the columns of the feature, as `adapt` does from one."""
        self.adapt(read_column(self.spec.column, self.form))

    def preprocess(self, values: tf.Tensor) -> tf.Tensor:
        """Raw values to encoded values, both with the batch in front."""
        raise NotImplementedError

    def encode(self, raw: Mapping[str, tf.Tensor]) -> Any:
        """Encodes a batch that holds all of `columns`."""
        return self.preprocess(raw[self.spec.column])

    def vectors(self, inputs: tf.Tensor) -> tf.Tensor:
        """Encoded values to vectors, with nothing left to chance."""
        return self(inputs)

    def continue_from(self, state: Any) -> None:
        """Set the state that `adapt` goes on from (warm start); None to learn anew."""
        # Past Keras, which would track each entry of its lists.
        object.__setattr__(self, "_earlier", state)

    def _continued(self, learned: Any) -> Any:
        """A learned state after an earlier one, whose values keep their rows, and whose numbers stay."""
        if self._earlier is None:
            return learned
        if not self.learns_values:
            return self._earlier
        known = set(self._earlier)
        grown = [*self._earlier, *(value for value in learned if value not in known)]
        return grown[: max(self.spec.max_tokens or len(grown), len(known))]

    def _learn(self, values: tf.data.Dataset) -> Any:
        raise NotImplementedError

    def _set_state(self, state: Any) -> None:
        raise NotImplementedError

    def _as_string(self, values: tf.Tensor | tf.RaggedTensor) -> tf.Tensor | tf.RaggedTensor:
        if values.dtype == tf.string:
            return values
        if values.dtype.is_floating:
            raise DataError(
                f'The column "{self.spec.column}" comes as {values.dtype.name}, but '
                f"{type(self.spec).__name__} takes strings or whole numbers, because 7 and 7.0 would "
                "be two values. Cast it to strings first."
            )
        return tf.strings.as_string(values)

    def _learn_vocabulary(
        self, batches: Iterable[tf.Tensor | tf.RaggedTensor], max_tokens: int | None
    ) -> list[str]:
        """Distinct texts, the most frequent first; of equally frequent ones the last in order of bytes.

        That is the order of Keras' `adapt`, which traces a graph for each layer: longer than counting takes.
        """
        counts: Counter[bytes] = Counter()
        for batch in batches:
            texts = batch.flat_values if isinstance(batch, tf.RaggedTensor) else batch
            counts.update(texts.numpy().ravel().tolist())
        for special in ("", UNKNOWN_TOKEN):
            counts.pop(special.encode(), None)
        if not counts:
            raise DataError(
                f'The column "{self.spec.column}" holds no value at all, so {type(self.spec).__name__} '
                "has nothing to learn. Fill it, or take the feature out of the schema."
            )
        ordered = sorted(counts, key=lambda text: (counts[text], text), reverse=True)
        return [text.decode() for text in ordered[:max_tokens]]

    def _embedding(self, size: int, mask_zero: bool = False) -> keras.layers.Embedding:
        initializer: Any = "uniform"
        if self.embedding_stddev is not None:
            initializer = keras.initializers.RandomNormal(stddev=self.embedding_stddev)
        return keras.layers.Embedding(
            size, self.spec.embedding_dim, embeddings_initializer=initializer, mask_zero=mask_zero
        )

    def _regularize(self, vectors: tf.Tensor) -> tf.Tensor:
        if self.embedding_regularization:
            squares = tf.square(tf.cast(vectors, tf.float32))
            self.add_loss(self.embedding_regularization * tf.reduce_sum(squares))
        return vectors

    def _mean(self, indexes: tf.Tensor) -> tf.Tensor:
        """The mean of the embeddings of each row; a row of padding gives zeros.

        Padding is not looked up: most of a padded batch is padding, and its gradients would cost
        as much as those of values.
        """
        return tf.math.unsorted_segment_mean(*self._used(indexes), tf.shape(indexes)[0])

    def _sum(self, indexes: tf.Tensor) -> tf.Tensor:
        """The sum of the embeddings of each row; a row of padding gives zeros."""
        return tf.math.unsorted_segment_sum(*self._used(indexes), tf.shape(indexes)[0])

    def _used(self, indexes: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """The embeddings of all indexes but padding, and the row of each."""
        # Example: the indexes [[5, 7], [3, 0]] have the places [[0, 0], [0, 1], [1, 0]], whose first
        # column [0, 0, 1] is the row that the embedding of each index is averaged into.
        places = tf.where(tf.not_equal(indexes, PADDING))
        return self._regularize(self._table(tf.gather_nd(indexes, places))), places[:, 0]

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "spec": schema.feature_to_dict(self.spec),
            "embedding_regularization": self.embedding_regularization,
            "state": self.state,
            "embedding_stddev": self.embedding_stddev,
        }


@keras.utils.register_keras_serializable(package="tfrecall")
class CategoricalFeature(FeatureLayer):
    """Raw string `[batch]` -> int64 `[batch]` -> float `[batch, embedding_dim]`.

    Index 1 is the unknown value and the empty string, the most frequent value is 2. Whole numbers are
    taken as their digits.

    With `hash_rows` the encoded form is `[batch, hashes]`, the rows that are added up (`shared_rows.encoded`).
    """

    learns_values = True

    def preprocess(self, values: tf.Tensor) -> tf.Tensor:
        texts = self._values_of(values)
        # The lookup gives 0 for the empty string, a row that nothing trains.
        index = tf.maximum(self._lookup(texts), UNKNOWN)
        return encoded(texts, index, self.spec.hash_rows, self._hashes) if self._hashes else index

    def call(self, inputs: tf.Tensor, training: bool | None = None) -> tf.Tensor:
        if not self._hashes:
            return self.vectors(self._random_unknown(inputs, training=training))
        first = self._random_unknown(inputs[:, :1], training=training)
        others = tf.where(first == UNKNOWN, tf.constant(PADDING, inputs.dtype), inputs[:, 1:])
        return self.vectors(tf.concat([first, others], axis=1))

    def vectors(self, inputs: tf.Tensor) -> tf.Tensor:
        return self._sum(inputs) if self._hashes else self._regularize(self._table(inputs))

    @property
    def table_rows(self) -> dict[str, int]:
        """The row of each known value in `table`; padding, the unknown value and shared rows come before."""
        return {
            value: row for row, value in enumerate(self.state, start=self._first) if not is_free(value)
        }

    @property
    def size(self) -> int:
        """Number of rows of `table`: padding, the unknown value, shared rows, the vocabulary."""
        return self._first + len(self.state)

    def adapt(self, values: tf.data.Dataset) -> None:
        self._adapt(values, Events())

    def adapt_to(self, read_column: ColumnReader) -> None:
        # Only readers of items and of logs tell how many events their rows stand for, and when they were.
        events = getattr(read_column, "events", None) or Events()
        self._adapt(read_column(self.spec.column, self.form), events)

    def renew(self, table: tf.Variable) -> np.ndarray:
        """Starts rows of values that had none in the state gone on from; gives those rows.

        A value that had shared rows keeps their sum as its vector, others begin as unknown.
        """
        places = renewed(self._earlier or (), self.state)
        rows = self._first + np.array(places, np.int64)
        values = table.numpy()
        values[rows] = values[UNKNOWN]
        taken = [place for place in places if not is_free(self.state[place])]
        if self._hashes and taken:
            texts = tf.constant([self.state[place] for place in taken])
            shared = FIRST + shared_rows(texts, self.spec.hash_rows, self._hashes)
            values[self._first + np.array(taken)] = values[shared.numpy()].sum(axis=1)
        table.assign(values)
        return rows

    @property
    def _hashes(self) -> int:
        """Number of shared rows of a value; 0 without any."""
        return (self.spec.hashes or HASHES) if self.spec.hash_rows else 0

    @property
    def _first(self) -> int:
        """The first row of the vocabulary."""
        return FIRST + (self.spec.hash_rows or 0)

    def _adapt(self, values: tf.data.Dataset, events: Events) -> None:
        if not self.spec.is_selective:
            super().adapt(values)
            return
        texts = np.concatenate([self._values_of(batch).numpy() for batch in values])
        learned, recent = admitted(Counted.of(texts, events), self.spec)
        if self._earlier is not None:
            learned = continued(self._earlier, learned, recent, self.spec.max_tokens)
        self._set_state(learned)

    def _values_of(self, values: tf.Tensor) -> tf.Tensor:
        """The text of each value, cut to its prefix if the spec has one."""
        text = self._as_string(values)
        if self.spec.prefix is None:
            return text
        first = tf.strings.substr(text, 0, self.spec.prefix, unit="UTF8_CHAR")
        # The token is not cut: its prefix, such as "[UN", would be one more known value.
        return tf.where(text == UNKNOWN_TOKEN, text, first)

    def _learn(self, values: tf.data.Dataset) -> list[str]:
        return self._learn_vocabulary(map(self._values_of, values), self.spec.max_tokens)

    def _set_state(self, state: list[str]) -> None:
        self.state = tuple(state)  # Keras would track each entry of a list
        self._lookup = string_lookup(self.state)
        self._random_unknown = RandomUnknown(self.spec.unknown_rate)
        self._table = self._embedding(self.size)


@keras.utils.register_keras_serializable(package="tfrecall")
class MultiCategoricalFeature(FeatureLayer):
    """Raw strings `[batch, any]` -> int64 `[batch, any]` -> float `[batch, embedding_dim]`.

    The empty string pads. Ragged batches are padded.
    """

    unknown = ""
    learns_values = True

    def preprocess(self, values: tf.Tensor | tf.RaggedTensor) -> tf.Tensor:
        values = self._as_string(values)
        if isinstance(values, tf.RaggedTensor):
            values = values.to_tensor("")
        return self._lookup(values)

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        return self._mean(inputs)

    def _learn(self, values: tf.data.Dataset) -> list[str]:
        return self._learn_vocabulary(map(self._as_string, values), self.spec.max_tokens)

    def _set_state(self, state: list[str]) -> None:
        self.state = tuple(state)
        self._lookup = string_lookup(self.state)
        self._table = self._embedding(self._lookup.vocabulary_size())


@keras.utils.register_keras_serializable(package="tfrecall")
class TextFeature(FeatureLayer):
    """Raw string `[batch]` -> int64 `[batch, words]` -> float `[batch, embedding_dim]`.

    Words are lower-cased and stripped of punctuation in every script (`standardized`); an empty text gives the
    zero vector.
    """

    unknown = ""
    learns_values = True

    def preprocess(self, values: tf.Tensor) -> tf.Tensor:
        return self._vectorization(self._known_text(values))

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        return self._mean(inputs)

    def _learn(self, values: tf.data.Dataset) -> list[str]:
        words = (tf.strings.split(self._known_text(batch)) for batch in values)
        return self._learn_vocabulary(words, self.spec.max_tokens)

    def _known_text(self, values: tf.Tensor) -> tf.Tensor:
        """Standardized, without the token of unknown values, which would read as the word "unk"."""
        values = self._as_string(values)
        return standardized(tf.where(values == UNKNOWN_TOKEN, "", values))

    def _set_state(self, state: list[str]) -> None:
        self.state = tuple(state)
        self._vectorization = keras.layers.TextVectorization(vocabulary=self.state, standardize=None)
        self._table = self._embedding(self._vectorization.vocabulary_size())


@keras.utils.register_keras_serializable(package="tfrecall")
class NumericFeature(FeatureLayer):
    """Raw number `[batch]` -> float32 `[batch, 1]`, which is its own vector.

    A column that holds a single value, up to rounding, is shifted to 0 and not scaled.
    """

    def preprocess(self, values: tf.Tensor) -> tf.Tensor:
        # In float64: a time stamp in seconds has more digits than a float32. Not `Normalization`, which
        # divides by 1e-7 at least: a column of very small numbers would keep its small variance.
        mean, variance = self.state
        normalized = (tf.cast(values, tf.float64)[:, tf.newaxis] - mean) / math.sqrt(variance)
        return tf.cast(normalized, tf.float32)

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        return inputs

    def _learn(self, values: tf.data.Dataset) -> list[float]:
        column = _collect(values, self.spec.column)
        # A variance of 0, or of rounding, would blow up the first other value that comes. Numbers that differ
        # by a few units in their last place differ by how they were computed.
        spread, rounding = np.ptp(column), 4 * np.spacing(np.abs(column).max())
        if spread <= rounding:
            return [float(column[0]), 1.0]
        return [float(column.mean()), float(column.var())]

    def _set_state(self, state: list[float]) -> None:
        self.state = tuple(state)
        # The mean stands for unknown numbers: normalized it is 0, where the feature adds nothing.
        self.unknown, _ = self.state


@keras.utils.register_keras_serializable(package="tfrecall")
class BucketizedFeature(FeatureLayer):
    """Raw number `[batch]` -> int64 `[batch]` -> float `[batch, embedding_dim]`."""

    def preprocess(self, values: tf.Tensor) -> tf.Tensor:
        return self._discretization(tf.cast(values, tf.float64))

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        return self._regularize(self._table(inputs))

    def _learn(self, values: tf.data.Dataset) -> list[float]:
        column = _collect(values, self.spec.column)
        count = self.spec.num_buckets
        if self.spec.method == "equal_width":
            # Both extremes are boundaries here, so the first bucket holds values below all of
            # training. Of quantiles only the inner ones are: n buckets have n - 1.
            boundaries = np.linspace(column.min(), column.max(), num=count)
        else:
            boundaries = np.quantile(column, np.linspace(0, 1, count + 1)[1:-1])
        # The kernel compares with float32 boundaries: what coincides there is one boundary.
        distinct = np.unique(boundaries.astype(np.float32)).astype(float)
        # The median first: `_set_state` takes it for the value of unknown rows.
        return [float(np.median(column)), *distinct.tolist()]

    def _set_state(self, state: list[float]) -> None:
        self.state = tuple(state)
        self.unknown, *boundaries = self.state
        self._discretization = keras.layers.Discretization(bin_boundaries=boundaries)
        # n boundaries make n + 1 buckets; neither padding nor an unknown value needs a row.
        self._table = self._embedding(len(boundaries) + 1)


@keras.utils.register_keras_serializable(package="tfrecall")
class DayFeature(FeatureLayer):
    """Raw seconds `[batch]` -> int64 `[batch]` -> float `[batch, embedding_dim]`.

    Index 1 is a day, or a pair of a value and a day, without training rows. Raw values are a pair of tensors,
    seconds and texts, where the spec has `per`.
    """

    def adapt_to(self, read_column: ColumnReader) -> None:
        seconds = read_column(self.spec.column, self.form)
        if self.spec.per is None:
            self.adapt(seconds)
        else:
            self.adapt(tf.data.Dataset.zip((seconds, read_column(self.spec.per, "string"))))

    def encode(self, raw: Mapping[str, tf.Tensor]) -> tf.Tensor:
        seconds = raw[self.spec.column]
        return self.preprocess(seconds if self.spec.per is None else (seconds, raw[self.spec.per]))

    def preprocess(self, values: Any) -> tf.Tensor:
        return tf.maximum(self._lookup(self._texts(values)), UNKNOWN)

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        return self._regularize(self._table(inputs))

    def _texts(self, values: Any) -> tf.Tensor:
        """The number of the day, after the value that it belongs to."""
        seconds, owners = values if isinstance(values, tuple) else (values, None)
        days = tf.strings.as_string(tf.cast(tf.floor(tf.cast(seconds, tf.float64) / _DAY), tf.int64))
        return days if owners is None else tf.strings.join([self._as_string(owners), days], "/")

    def _learn(self, values: tf.data.Dataset) -> list[Any]:
        is_pair = isinstance(values.element_spec, tuple)
        times = values.map(lambda seconds, _: seconds) if is_pair else values
        median = float(np.median(_collect(times, self.spec.column)))
        # The median first: `_set_state` takes it for the time of unknown rows, as Bucketized does.
        return [median, *self._learn_vocabulary(map(self._texts, values), None)]

    def _set_state(self, state: list[Any]) -> None:
        self.state = tuple(state)
        self.unknown, *texts = self.state
        self._lookup = string_lookup(texts)
        self._table = self._embedding(self._lookup.vocabulary_size())


@keras.utils.register_keras_serializable(package="tfrecall")
class VectorFeature(FeatureLayer):
    """Raw numbers `[batch, length]` -> float32 `[batch, length]` -> float `[batch, output_dim]`.

    A batch without any vector may come with the length 0: zeros, as null is.
    """

    def __init__(self, spec: schema.Feature | dict[str, Any], *args: Any, **kwargs: Any) -> None:
        super().__init__(spec, *args, **kwargs)
        # A tuple: Keras would track each entry of a list.
        self.unknown = (0.0,) * self.spec.length

    @property
    def output_dim(self) -> int:
        """Length of the vectors."""
        return self.spec.embedding_dim or self.spec.length

    def preprocess(self, values: tf.Tensor) -> tf.Tensor:
        values = vectors_of(values, self.spec.column, self.spec.length)
        return tf.math.l2_normalize(values, axis=-1) if self.spec.normalize else values

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        return self._matrix(inputs) if self._matrix else inputs

    def _learn(self, values: tf.data.Dataset) -> list[int]:
        if not any(bool(tf.reduce_any(self.preprocess(batch) != 0)) for batch in values):
            raise DataError(
                f'The column "{self.spec.column}" holds no vector at all, so {type(self.spec).__name__} has '
                "nothing to tell. Fill it, or take the feature out of the schema."
            )
        return [self.spec.length]

    def _set_state(self, state: list[int]) -> None:
        self.state = tuple(state)
        dim = self.spec.embedding_dim
        self._matrix = keras.layers.Dense(dim, use_bias=False) if dim else None


def vectors_of(values: tf.Tensor, column: str, length: int) -> tf.Tensor:
    """A raw column of vectors as float32 `[batch, length]`; a batch without any may come with the length 0.

    Raises:
        DataError: if the vectors are of another length.
    """
    given = values.shape[-1]
    if given is not None and given not in (0, length):
        raise DataError(
            f'The vectors of "{column}" have {given} numbers, and the schema says {length}. Set '
            f"`length` of the feature, or give the vectors that it was trained on."
        )
    values = tf.cast(values, tf.float32)
    if given != length:
        values = tf.pad(values, [[0, 0], [0, length - tf.shape(values)[1]]])
    return tf.ensure_shape(values, [None, length])


def standardized(texts: tf.Tensor) -> tf.Tensor:
    """Texts in lower case, without punctuation and symbols, with words separated by single spaces.

    Of every script, by the classes of Unicode. Limits: accents that are characters of their own stay apart from
    letters that hold theirs (no normalization), "ß" and "ss" are two, and scripts that write no spaces between
    words, such as Chinese, give a word a text or sentence.

    >>> standardized(tf.constant(["“ÉTÉ”… à Nice!"])).numpy()[0].decode()
    'été à nice'
    """
    lower = tf.strings.lower(texts, encoding="utf-8")
    # Punctuation, symbols and invisible marks (byte order, soft hyphen) go, and leave no gap: "don't" is one
    # word. Then separators of any kind and control characters, tab and new line among them, become spaces.
    marks = tf.strings.regex_replace(lower, r"[\p{P}\p{S}\p{Cf}]+", "")
    return tf.strings.strip(tf.strings.regex_replace(marks, r"[\p{Z}\p{Cc}]+", " "))


# What makes the layer of a specification: its class, or a function with the arguments of one.
LAYERS: dict[type, Callable[..., FeatureLayer]] = {
    schema.Categorical: CategoricalFeature,
    schema.MultiCategorical: MultiCategoricalFeature,
    schema.Numeric: NumericFeature,
    schema.Bucketized: BucketizedFeature,
    schema.Day: DayFeature,
    schema.Text: TextFeature,
    schema.Vector: VectorFeature,
}


def string_lookup(vocabulary: Sequence[str] | np.ndarray) -> keras.layers.StringLookup:
    """A lookup of texts: 0 for "", 1 for unknown ones, then the vocabulary from 2."""
    # As objects: of a list Keras makes texts of fixed width, four bytes for each character of the longest.
    texts = np.array(vocabulary, dtype=object)
    lookup = keras.layers.StringLookup(vocabulary=texts, mask_token="", oov_token=UNKNOWN_TOKEN)
    # Saving asks for its truth, which an array does not have.
    lookup.input_vocabulary = tuple(texts)
    return lookup


def _collect(values: tf.data.Dataset, column: str) -> np.ndarray:
    """All values of a numeric column, 8 bytes a row."""
    batches = [np.asarray(batch, np.float64).ravel() for batch in values]
    if not batches:
        raise DataError(f'There are no rows to learn the column "{column}" from. Received none.')
    collected = np.concatenate(batches)
    refuse_not_finite(collected, column)
    return collected
