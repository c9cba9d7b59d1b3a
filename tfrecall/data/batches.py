"""Batches of an interaction log as `tf.data` datasets. The only module of this room that needs TensorFlow."""

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import numpy as np
import polars as pl

from tfrecall._keras import tf, without_autograph
from tfrecall.core.columns import ITEM
from tfrecall.core.parts import WHOLE, Part
from tfrecall.core.raw import Form, raw_features
from tfrecall.data.interactions import Interactions
from tfrecall.errors import DataError

# Rows converted at a time, to bound the memory of strings.
CHUNK_ROWS = 65_536

Encoder = Callable[[dict[str, tf.Tensor]], dict[str, Any]]


def examples(
    data: Interactions,
    batch_size: int = 2048,
    *,
    shuffle: bool = True,
    seed: int = 42,
    first_epoch: int = 0,
    encode: Encoder | None = None,
    forms: dict[str, Form] | None = None,
) -> tf.data.Dataset:
    """Makes batches of training examples, one example an event.

    Args:
        data: the log; columns of the user and item tables are joined.
        batch_size: rows a batch; the last batch may be shorter.
        shuffle: whether to shuffle all rows anew in each epoch.
        seed: seed of the shuffling; the order of an epoch follows from it and the number of the epoch.
        first_epoch: number of the first epoch that is read; each further one counts up.
        encode: encoder of a raw batch, such as `TwoTower.encode`. All rows are encoded once, before the
            first epoch, and only integers and floats are shuffled. None leaves the batches raw.
        forms: columns and their raw forms, such as `TwoTower.forms`. None takes every column of the log,
            the user table and the item table in the form of its type, without numbers that have nulls.

    Returns:
        A dataset of dictionaries: raw, a tensor a column and `sample_weight` if the log has `weight`;
        encoded, the results of `encode`.

    Example:

    >>> import tfrecall as tr
    >>> data = tr.data.synthetic(n_rows=100)
    >>> batch = next(iter(tr.data.examples(data, batch_size=32)))
    >>> batch["user_id"].shape.as_list(), sorted(batch)
    ([32], ['group', 'item_id', 'segment', 'timestamp', 'title', 'user_id'])
    """
    columns = all_rows(data, encode, forms)
    return row_batches(columns, len(data), batch_size, (seed, first_epoch) if shuffle else None)


def all_rows(
    data: Interactions, encode: Encoder | None = None, forms: dict[str, Form] | None = None
) -> dict[str, Any]:
    """Tensors of all rows of a log, in its order; `encode` and `forms` as for `examples`."""
    frame = data.queries
    if forms is None or not set(forms) <= set(frame.columns):
        frame = frame.join(data.items, on=ITEM, how="left", maintain_order="left")
    forms = natural_forms(frame) if forms is None else dict(forms)
    if "weight" in frame.columns:
        frame = frame.with_columns(sample_weight=pl.col("weight"))
        forms["sample_weight"] = "number"
    return _columns(frame, forms, encode)


def row_batches(
    columns: dict[str, Any],
    rows: int,
    batch_size: int,
    start: tuple[int, int] | None,
    part: Part = WHOLE,
) -> tf.data.Dataset:
    """Batches of rows: in order if `start` is None, else shuffled in each epoch, from (seed, epoch) on.

    With a `part`, of each batch that part of the rows.
    """
    # Row numbers are shuffled and batches gathered, which is far cheaper than moving rows one by one.
    batches = parts_of(_row_numbers(rows, batch_size, start), part).map(
        without_autograph(lambda batch: gathered(columns, batch))
    )
    return batches.prefetch(2).with_options(untuned())


def gathered(columns: dict[str, Any], rows: tf.Tensor) -> dict[str, Any]:
    """Gathers rows of nested tensors."""
    return tf.nest.map_structure(lambda values: tf.gather(values, rows), columns)


def parts_of(batches: tf.data.Dataset, part: Part) -> tf.data.Dataset:
    """A part of the rows of each batch, whose tensors all hold a row of the batch in each row."""
    if part.count == 1:
        return batches

    @without_autograph
    def cut(batch: Any) -> Any:
        first, end = part.bounds(tf.shape(tf.nest.flatten(batch)[0])[0])
        return tf.nest.map_structure(lambda values: values[first:end], batch)

    return batches.map(cut)


def untuned() -> tf.data.Options:
    """Options without autotuning: Keras would wait for its thread after each epoch, for up to half a second."""
    options = tf.data.Options()
    options.autotune.enabled = False
    return options


def _row_numbers(rows: int, batch_size: int, start: tuple[int, int] | None) -> tf.data.Dataset:
    """Batches of row numbers: in order if `start` is None, else shuffled in each epoch."""
    if start is None:
        return tf.data.Dataset.range(rows).batch(batch_size)
    seed, first_epoch = start
    epochs = itertools.count(first_epoch)
    steps = -(-rows // batch_size)

    def order() -> np.ndarray:
        # One Python call an epoch; `from_generator` makes four.
        # Not `Dataset.shuffle`, whose state can be neither saved nor set: a resumed training needs epoch n.
        return np.random.default_rng((seed, next(epochs))).permutation(rows)

    @without_autograph
    def whole(_: tf.Tensor) -> tf.Tensor:
        return tf.ensure_shape(tf.numpy_function(order, [], tf.int64), [rows])

    @without_autograph
    def batches_of(numbers: tf.Tensor) -> tf.data.Dataset:
        firsts = tf.data.Dataset.range(0, rows, batch_size)
        return firsts.map(lambda first: numbers[first : first + batch_size])

    batches = tf.data.Dataset.range(1).map(whole).flat_map(batches_of)
    # `flat_map` loses the number of steps, which Keras shows in its progress bar and schedules need.
    return batches.apply(tf.data.experimental.assert_cardinality(steps))


def raw_tensors(batch: Mapping[str, Any], forms: dict[str, Form]) -> dict[str, tf.Tensor]:
    """One raw batch as tensors: columns of tensors as they are, arrays and lists in the form of each.

    Args:
        batch: columns; None in arrays and lists is null.
        forms: columns and their raw forms. Arrays and lists of other columns are left out.

    Raises:
        DataError: if a column cannot take its form.

    >>> raw_tensors({"user_id": ["u1", None], "other": [1, 2]}, {"user_id": "string"})["user_id"].numpy()
    array([b'u1', b'[UNK]'], dtype=object)
    """
    tensors = {c: v for c, v in batch.items() if tf.is_tensor(v) or isinstance(v, tf.RaggedTensor)}
    given = {c: v for c, v in batch.items() if c in forms and c not in tensors}
    frame = pl.DataFrame(
        [pl.Series(column, _plain(values), strict=False) for column, values in given.items()]
    )
    arrays = raw_features(frame, {column: forms[column] for column in given})
    return {**tensors, **{column: tf.constant(values) for column, values in arrays.items()}}


def _plain(values: Any) -> Any:
    """Lists of texts and numbers; bytes, as datasets give them, are UTF-8."""
    if isinstance(values, np.ndarray):
        values = values.tolist()
    return [_plain(v) if isinstance(v, list | tuple | np.ndarray) else _text(v) for v in values]


def column_batches(frame: pl.DataFrame, column: str, form: Form) -> tf.data.Dataset:
    """Batches of one raw column, for `adapt`.

    Raises:
        MissingColumnError: if the column is missing.
        DataError: if its values cannot take the form.
    """
    if form in ("number", "vector"):
        values = raw_features(frame, {column: form})[column]
        return tf.data.Dataset.from_tensor_slices(values).batch(CHUNK_ROWS)
    if 0 < frame.height <= CHUNK_ROWS:
        # One batch needs no generator, whose graph takes longer to trace than the rows to read.
        return tf.data.Dataset.from_tensors(raw_features(frame, {column: form})[column])
    raw_features(frame.head(0), {column: form})  # an error inside tf.data would lose its type

    def batches() -> Iterator[np.ndarray]:
        for chunk in frame.iter_slices(CHUNK_ROWS):
            yield raw_features(chunk, {column: form})[column]

    shape = [None, None] if form == "strings" else [None]
    return tf.data.Dataset.from_generator(
        batches, output_signature=tf.TensorSpec(shape=shape, dtype=tf.string)
    )


def natural_forms(frame: pl.DataFrame) -> dict[str, Form]:
    """Raw forms of the columns by type; numbers with nulls are left out."""
    forms: dict[str, Form] = {}
    for column in frame.iter_columns():
        if isinstance(column.dtype, pl.List | pl.Array):
            forms[column.name] = "vector" if column.dtype.inner.is_float() else "strings"
        elif not column.dtype.is_numeric():
            forms[column.name] = "string"
        elif not column.null_count():
            forms[column.name] = "integer" if column.dtype.is_integer() else "number"
    return forms


def as_batches(dataset: tf.data.Dataset, column: str) -> tf.data.Dataset:
    """Turns a dataset, as tutorials write them, into batches of dictionaries.

    Single examples are batched; bare values become the given column. Lists of several lengths become ragged.
    """
    if not isinstance(getattr(dataset, "element_spec", None), dict):
        dataset = dataset.map(without_autograph(lambda values: {column: values}))
    if any(spec.shape.rank == 0 for spec in dataset.element_spec.values()):
        return dataset.ragged_batch(CHUNK_ROWS)
    return dataset


def to_frame(batches: tf.data.Dataset, columns: Iterable[str]) -> pl.DataFrame:
    """Collects columns of batches into a table.

    Raises:
        DataError: if a string is not UTF-8, or there are no rows.
    """
    columns = list(dict.fromkeys(columns))
    frames = [
        pl.DataFrame([_series(column, values[column]) for column in columns])
        for values in batches.map(
            without_autograph(lambda raw: {column: raw[column] for column in columns})
        )
    ]
    if not frames:
        raise DataError(f"The dataset with the columns {', '.join(columns)} has no rows.")
    return pl.concat(frames, how="vertical_relaxed")


def _series(column: str, values: tf.Tensor | tf.RaggedTensor) -> pl.Series:
    rows = values.to_list() if isinstance(values, tf.RaggedTensor) else values.numpy().tolist()
    try:
        if values.shape.rank > 1:  # "" pads
            return pl.Series(column, [[_text(v) for v in row if v != b""] for row in rows])
        return pl.Series(column, [_text(value) for value in rows])
    except UnicodeDecodeError as error:
        raise DataError(f'The column "{column}" holds text that is not UTF-8: {error}.') from error


def _text(value: Any) -> Any:
    return value.decode() if isinstance(value, bytes) else value


def _columns(frame: pl.DataFrame, forms: dict[str, Form], encode: Encoder | None) -> dict[str, Any]:
    """Converts and encodes all rows, chunk by chunk."""
    # Numbers are checked all at once, so that messages count rows of the table, not of a chunk.
    raw_features(
        frame, {c: form for c, form in forms.items() if form in ("number", "integer", "vector")}
    )
    chunks = []
    for chunk in frame.iter_slices(CHUNK_ROWS):
        raw = {name: tf.constant(values) for name, values in raw_features(chunk, forms).items()}
        chunks.append(encode(raw) if encode else raw)
    return tf.nest.map_structure(lambda *parts: _concat(parts), *chunks)


def _concat(parts: tuple[tf.Tensor, ...]) -> tf.Tensor:
    """Concatenates chunks; lists are padded to the longest of all chunks."""
    if parts[0].shape.rank == 1:
        return tf.concat(parts, axis=0)
    # Each chunk was padded to its own longest list. `tf.pad` adds 0, or "" to texts: padding, too.
    width = max(part.shape[1] for part in parts)
    return tf.concat([tf.pad(part, [[0, 0], [0, width - part.shape[1]]]) for part in parts], axis=0)
