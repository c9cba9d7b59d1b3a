"""Features made of the log: the history of a user, the age of an example."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

import tfrecall.layers.codes  # noqa: F401 - its layer joins LAYERS
from tfrecall._keras import keras, tf, without_autograph
from tfrecall.core.columns import REQUEST_TIME, TIMESTAMP
from tfrecall.core.raw import Form
from tfrecall.core.vocabulary import FIRST, PADDING
from tfrecall.errors import DataError
from tfrecall.layers.encoders.make import make_encoder
from tfrecall.layers.event_times import EventTimes
from tfrecall.layers.features import LAYERS, ColumnReader, FeatureLayer, string_lookup
from tfrecall.schema import features as schema


@keras.utils.register_keras_serializable(package="tfrecall")
class HistoryFeature(FeatureLayer):
    """Raw ids `[batch, any]` -> int32 `[batch, history_length]` -> float `[batch, output_dim]`.

    An encoder of several interests gives float `[batch, interests, output_dim]`.

    Encoded, a history is a dictionary. `items` are history indexes, padded with 0 in front, the newest
    last. Alone, each row is the history of one query. With `positions`, the rows are whole sequences, and
    each query takes one cell of the encoder's output; the encoder is causal, so its vector is that of a
    row of its own. `context`, where the spec has some, holds codes of the shape of `items` for each
    context: 0 pads, 1 is the unknown value. `asked`, for an encoder that reads times, holds the code of the
    time of each request, or of the last one of a whole sequence.

    A history of `anytime` may come as one row a user: `items`, dense or ragged, with `rows`, the row of
    each query, and `left_out`, the item to take out of the query's history, 0 for none.

    The vector of unknown context values is trained, too: in training it replaces a share of the codes.
    Unknown ids are left out before the newest `history_length` are taken.

    Args:
        spec: a `History`, or its plain form.
        embedding_regularization: weight of the squared length of the embeddings used in a step.
        state: items, their values and those of the context, when made from a configuration.
        embedding_stddev: standard deviation of initial embeddings, drawn from a normal distribution; None for
            Keras' default, uniform in +-.05.

    Attributes:
        inner: the layer of the feature `spec.of`, which may be shared with another feature.
        contexts: the embedding layer of each context of the spec.
    """

    unknown = ""

    def __init__(
        self,
        spec: schema.Feature | dict[str, Any],
        embedding_regularization: float = 0.0,
        state: Any = None,
        embedding_stddev: float | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(spec, embedding_regularization, None, embedding_stddev, **kwargs)
        self.inner: Any = LAYERS[type(self.spec.of)](
            self.spec.of, embedding_regularization, None, embedding_stddev
        )
        self.encoder = make_encoder(self.spec.encoder, self.spec.history_length)
        self.contexts: dict[str, Any] = {
            name: LAYERS[schema.Categorical](
                schema.Categorical(name, self.spec.of.embedding_dim),
                embedding_regularization,
                None,
                embedding_stddev,
                name=column,
            )
            for name, column in self.spec.context_columns.items()
        }
        # Fitted after training: candidates that learned from it, too, would lean towards what is popular.
        self._popular = (
            keras.layers.Embedding(1, self.output_dim, "zeros", trainable=False)
            if self.spec.empty == "popular"
            else None
        )
        if self.spec.is_timed:
            self.contexts[TIMESTAMP] = EventTimes()
        if state is not None:
            self._set_state(state)

    @property
    def columns(self) -> dict[str, Form]:
        contexts = self.spec.context_columns.values()
        request: dict[str, Form] = {REQUEST_TIME: "number"} if self.spec.is_timed else {}
        return {**super().columns, **dict.fromkeys(contexts, self.form), **request}

    @property
    def interests(self) -> int:
        """Number of vectors a query has."""
        return self.encoder.interests

    @property
    def output_dim(self) -> int:
        """Length of the vectors."""
        return self.encoder.output_dim(self.spec.of.embedding_dim) // self.interests

    def share(self, layer: FeatureLayer) -> None:
        """Embeds items by another layer, sharing its weights.

        Raises:
            DataError: if this feature has learned from data already.
        """
        if self.state is not None:
            raise DataError(f'The history "{self.spec.column}" has its own table already.')
        self.inner = layer

    def adapt_to_items(
        self,
        item_ids: Sequence[str],
        read_item: ColumnReader,
        read_column: ColumnReader | None = None,
    ) -> None:
        """Learns the items, what `spec.of` learns of them, and the values of the context.

        Args:
            item_ids: ids of the items that have training rows.
            read_item: gives the batches of a raw column of those items.
            read_column: gives the batches of a column of context.

        Raises:
            DataError: if there is context, but nothing to read it from.
        """
        if self._earlier is not None:
            self._continue_parts(self._earlier)
        for name, context in self.spec.context_columns.items():
            if read_column is None:
                raise DataError(f'The values of "{context}" have to be learned. Pass `read_column`.')
            self.contexts[name].adapt(read_column(context, self.form))
        column, form = self.spec.of.column, self.spec.of.form
        if self.inner.state is None:
            self.inner.adapt_to(read_item)
        encoded = _stacked([self.inner.preprocess(batch).numpy() for batch in read_item(column, form)])
        learned = [layer.state for layer in self.contexts.values()]
        self._set_state((item_ids, self.inner.state, encoded.tolist(), *learned))

    def _continue_parts(self, state: Any) -> None:
        """Let items and context keep their rows; which items have rows follows from the data."""
        _, items, _, *contexts = state
        if self.inner.state is None:
            self.inner.continue_from(items)
        for layer, earlier in zip(self.contexts.values(), contexts, strict=True):
            layer.continue_from(earlier)

    def index(self, item_ids: np.ndarray) -> np.ndarray:
        """The index of each item id: int32, 0 for unknown ids."""
        # History indexes count the items with training rows from 2 (`FIRST`). They are not rows of
        # the item table, which holds items without training rows, too. Index 1, unknown, becomes
        # padding.
        index = self._lookup(tf.constant(item_ids, tf.string)).numpy()
        return np.where(index >= FIRST, index, PADDING).astype(np.int32)

    def codes(self, context: str, values: np.ndarray) -> np.ndarray:
        """The code of each text of a context: int32, 1 for unknown texts."""
        return (
            self.contexts[context].preprocess(tf.constant(values, tf.string)).numpy().astype(np.int32)
        )

    def asked(self, seconds: np.ndarray) -> np.ndarray:
        """The code of the time of each request: int32; for an encoder that reads times."""
        return self.contexts[TIMESTAMP].codes(tf.constant(seconds, tf.float64)).numpy()

    def encode(self, raw: Mapping[str, tf.Tensor]) -> dict[str, Any]:
        context = {name: raw[column] for name, column in self.spec.context_columns.items()}
        encoded = self.preprocess(raw[self.spec.column], context)
        if self.spec.is_timed:
            encoded["asked"] = self.contexts[TIMESTAMP].of_requests(raw[REQUEST_TIME])
        return encoded

    def preprocess(
        self,
        values: tf.Tensor | tf.RaggedTensor,
        context: Mapping[str, tf.Tensor | tf.RaggedTensor] | None = None,
    ) -> dict[str, Any]:
        """Raw ids, or indexes that `index` gave, to the newest known ones.

        Args:
            values: ids or indexes of the events, oldest first.
            context: texts, or the codes that `codes` gave, of the shape of the values.
        """
        values = _dense(values)
        index = tf.cast(self._lookup(values) if values.dtype == tf.string else values, tf.int32)
        length = self.spec.history_length
        known = tf.cast(index >= FIRST, tf.int32)
        # Counted from the newest: known events that came later. They decide the cell of each event.
        newer = tf.cumsum(known, axis=1, reverse=True, exclusive=True)
        # Example of length 3, where 1 is unknown: index [7, 1, 5, 9, 4] has known [1, 0, 1, 1, 1] and
        # newer [3, 3, 2, 1, 0]. 5, 9 and 4 go to the columns 2 - newer = 0, 1, 2; 7 has three newer
        # ones and drops out.
        places = tf.where((known > 0) & (newer < length))
        columns = length - 1 - tf.gather_nd(newer, places)
        cells = tf.stack([places[:, 0], tf.cast(columns, tf.int64)], axis=1)
        shape = tf.stack([tf.shape(index, tf.int64)[0], length])
        encoded: dict[str, Any] = {"items": tf.scatter_nd(cells, tf.gather_nd(index, places), shape)}
        if self.contexts:
            context_codes = {
                name: self._context_codes(name, index, (context or {})[name]) for name in self.contexts
            }
            encoded["context"] = {
                name: tf.scatter_nd(cells, tf.gather_nd(codes, places), shape)
                for name, codes in context_codes.items()
            }
        return encoded

    def _context_codes(
        self, name: str, index: tf.Tensor, values: tf.Tensor | tf.RaggedTensor
    ) -> tf.Tensor:
        values = _dense(values)
        column = self.spec.context_columns[name]
        equal = tf.debugging.assert_equal(
            tf.shape(values),
            tf.shape(index),
            f'"{column}" needs one value for each id of "{self.spec.column}"; "" is not known.',
        )
        # Eagerly the assertion has raised by now, or is None. In a graph it would never run unless
        # the values depend on it.
        with tf.control_dependencies([equal] if equal is not None else []):
            values = tf.identity(values)
        if values.dtype == tf.string:
            values = self.contexts[name].preprocess(values)
        return tf.cast(values, tf.int32)

    @without_autograph
    def call(self, inputs: Mapping[str, tf.Tensor], training: bool | None = None) -> tf.Tensor:
        items = inputs["items"]
        if self.spec.anytime:
            return self._pooled(items, inputs)
        mask = items > PADDING
        vectors = self._vectors(items, mask, inputs.get("context", {}), training)
        moments = (
            {"times": inputs["context"][TIMESTAMP], "asked": inputs["asked"]}
            if self.spec.is_timed
            else {}
        )
        if "positions" not in inputs:
            last = self.encoder.last(vectors, mask, training=training, **moments)
            return self._apart(self._or_popular(last, tf.reduce_any(mask, axis=1)))
        states = self.encoder(vectors, mask, training=training, **moments)
        states = self._or_popular(states, tf.cumsum(tf.cast(mask, tf.int32), axis=1) > 0)
        # Positions are flat: row * number of cells + cell, over all rows of the batch.
        cells = tf.reshape(states, [-1, self.output_dim * self.interests])
        return self._apart(tf.gather(cells, inputs["positions"]))

    def _pooled(
        self,
        items: tf.Tensor | tf.RaggedTensor,
        inputs: Mapping[str, tf.Tensor],
    ) -> tf.Tensor:
        """Sums the vectors of the items, without padding, which is most of a padded batch."""
        rows, left_out = inputs.get("rows"), inputs.get("left_out")
        if isinstance(items, tf.RaggedTensor):
            # `owners` is the row of each item; a ragged batch has no padding, a dense one is stripped
            # of it.
            known, owners, count = items.values, items.value_rowids(), items.nrows()
        else:
            places = tf.where(items > PADDING)
            known, owners, count = tf.gather_nd(items, places), places[:, 0], tf.shape(items)[0]
        sums = tf.math.unsorted_segment_sum(self._item_vectors(known), owners, count)
        counts = tf.math.unsorted_segment_sum(tf.ones_like(known), owners, count)
        if rows is not None:
            sums, counts = tf.gather(sums, rows), tf.gather(counts, rows)
        if left_out is not None:
            # The row's own item is taken out of the sum again, so the sum is made once a user.
            copies = inputs.get("copies", tf.cast(left_out > PADDING, counts.dtype))
            own = self._item_vectors(left_out)
            sums -= own * tf.cast(copies, own.dtype)[:, tf.newaxis]
            counts -= copies
        # `anytime` admits only encoders with one window. Its total is 1 for an empty history.
        (window,) = self.encoder.windows
        pooled = sums / tf.cast(window.total(counts), sums.dtype)[:, tf.newaxis]
        return self._or_popular(pooled, counts > 0)

    def set_popular(self, vector: np.ndarray) -> None:
        """Takes the vector of histories without events: float `[output_dim]`."""
        assert self._popular is not None, "the spec has no such vector"
        self._popular.set_weights([vector[np.newaxis]])

    def _or_popular(self, vectors: tf.Tensor, has_events: tf.Tensor) -> tf.Tensor:
        """Puts the vector of what is popular, if there is one, in the place of vectors of no events."""
        if self._popular is None:
            return vectors
        popular = tf.cast(self._popular(tf.zeros([1], tf.int32)), vectors.dtype)
        return tf.where(has_events[..., tf.newaxis], vectors, popular)

    def _item_vectors(self, items: tf.Tensor) -> tf.Tensor:
        """Vectors of some items, `[n, embedding_dim]`."""
        vectors = self.inner.vectors(tf.gather(self._encoded[0], items))
        return tf.math.l2_normalize(vectors, axis=-1) if self.spec.normalize else vectors

    def _apart(self, vectors: tf.Tensor) -> tf.Tensor:
        """Splits the vectors of several interests: `[batch, interests, output_dim]`."""
        if self.interests == 1:
            return vectors
        return tf.reshape(vectors, [-1, self.interests, self.output_dim])

    def _vectors(
        self,
        items: tf.Tensor,
        mask: tf.Tensor,
        codes: Mapping[str, tf.Tensor],
        training: bool | None,
    ) -> tf.Tensor:
        """Vectors of the events, float `[rows, cells, embedding_dim]`, zero where there is none."""
        (encoded,) = self._encoded
        # `encoded` maps a history index to the encoded value of `spec.of`: [n] for one value an item,
        # [n, width] for several.
        if encoded.shape.rank == 1:
            vectors = self.inner.vectors(tf.gather(encoded, items))
        else:  # a mean of several values: once for each item
            distinct, places = tf.unique(tf.reshape(items, [-1]))
            some = self.inner.vectors(tf.gather(encoded, distinct))
            vectors = tf.reshape(tf.gather(some, places), [*_shape(items), self.spec.of.embedding_dim])
        if self.spec.normalize:
            vectors = tf.math.l2_normalize(vectors, axis=-1)
        for name, layer in self.contexts.items():
            if not isinstance(layer, EventTimes):
                vectors += layer(codes[name], training=training)
        return vectors * tf.cast(mask, vectors.dtype)[..., tf.newaxis]

    def _set_state(self, state: Sequence[Any]) -> None:
        ids, of, encoded, *contexts = state
        if self.inner.state is None:
            self.inner._set_state(of)
        for layer, values in zip(self.contexts.values(), contexts, strict=True):
            if layer.state is None:
                layer._set_state(values)
        # Of tuples only: Keras would track each entry of a list.
        learned = (layer.state for layer in self.contexts.values())
        self.state = (tuple(ids), self.inner.state, tuple(map(_tuple, encoded)), *learned)
        self._lookup = string_lookup(ids)
        # Two rows in front: padding, and the unknown item, which never gets here.
        rows = np.array(encoded)
        padded = np.concatenate([np.zeros((FIRST, *rows.shape[1:]), rows.dtype), rows])
        self._encoded = (tf.constant(padded),)


def _dense(values: tf.Tensor | tf.RaggedTensor) -> tf.Tensor:
    if isinstance(values, tf.RaggedTensor):
        return values.to_tensor("" if values.dtype == tf.string else 0)
    return values


def _tuple(value: Any) -> Any:
    return tuple(value) if isinstance(value, list | tuple) else value


def _shape(tensor: tf.Tensor) -> list[tf.Tensor]:
    shape = tf.shape(tensor)
    return [shape[i] for i in range(tensor.shape.rank)]


def _stacked(batches: list[np.ndarray]) -> np.ndarray:
    """Rows of all batches; lists are padded to the longest."""
    if batches[0].ndim == 1:
        return np.concatenate(batches)
    width = max(batch.shape[1] for batch in batches)
    return np.concatenate([np.pad(b, [(0, 0), (0, width - b.shape[1])]) for b in batches])


@keras.utils.register_keras_serializable(package="tfrecall")
class ExampleAgeFeature(FeatureLayer):
    """Raw time `[batch]` -> float32 `[batch, 1]`: age of an example, 0 the newest, 1 the oldest."""

    unknown = 0.0

    def preprocess(self, values: tf.Tensor) -> tf.Tensor:
        oldest, newest = self.state
        # float64: seconds since 1970 have ten digits, a float32 holds seven. At least one second: a
        # log of a single moment would divide 0 by 0.
        age = (newest - tf.cast(values, tf.float64)) / max(newest - oldest, 1.0)
        return tf.cast(tf.clip_by_value(age, 0.0, 1.0), tf.float32)[:, tf.newaxis]

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        return inputs

    def _learn(self, values: tf.data.Dataset) -> list[float]:
        bounds = [(float(tf.reduce_min(batch)), float(tf.reduce_max(batch))) for batch in values]
        oldest, newest = zip(*bounds, strict=True)
        return [min(oldest), max(newest)]

    def _set_state(self, state: list[float]) -> None:
        self.state = tuple(state)


LAYERS[schema.History] = HistoryFeature
LAYERS[schema.ExampleAge] = ExampleAgeFeature
