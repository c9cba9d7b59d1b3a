"""Rows of a log as queries at their own moment: with the events of their users before it, never after."""

from typing import Any

import numpy as np

from tfrecall._keras import tf, without_autograph
from tfrecall.core.columns import TIMESTAMP
from tfrecall.core.raw import Form
from tfrecall.data.batches import all_rows, row_batches
from tfrecall.data.interactions import Interactions
from tfrecall.data.sequences import check_apart, past_windows
from tfrecall.models.base import FeatureModel
from tfrecall.models.unordered import UnorderedHistories
from tfrecall.schema.features import History

# Rows scored at once: what evaluation has always used, so sums stay equal to the last digit.
BATCH_ROWS = 4096


def encoded_rows(
    model: FeatureModel, rows: Interactions, seen: Interactions, forms: dict[str, Form]
) -> dict[str, Any]:
    """Encodes the rows of a log, each with its user's history in `seen` until then.

    Unordered histories are not among them: `with_unordered` adds those batch by batch, by the number of
    the row, for which `row` is added here.

    Args:
        model: an adapted model.
        rows: the rows to encode.
        seen: the log that histories are taken from.
        forms: the raw columns to read, and the form of each.

    Raises:
        DataError: if the model has histories and a row is in `seen`.
    """
    columns = all_rows(rows, model.encode_rows, forms)
    if model.schema.histories:
        check_apart(rows, seen)
    if model.schema.past:
        specs, codes = model.schema.past, model.history_codes(seen)
        past = past_windows(rows.log, seen, specs, model.history_index(seen), codes)
        lists = {name: _window(past, spec) for name, spec in specs.items()}
        for layer in model.query_tower.timed:
            lists[layer.spec.column]["asked"] = layer.asked(rows.log[TIMESTAMP].to_numpy())
        columns = model.with_histories(columns, lists)
    if model.schema.bags:
        # Unordered histories are attached batch by batch: all rows at once would repeat a user's
        # whole history for each of the user's rows.
        columns["row"] = tf.range(len(rows))
    return columns


def with_unordered(
    model: FeatureModel, batches: tf.data.Dataset, rows: Interactions, seen: Interactions
) -> tf.data.Dataset:
    """Adds the unordered histories of the model, if it has some, to batches of `encoded_rows`."""
    if not model.schema.bags:
        return batches
    histories = UnorderedHistories(model, rows, seen)
    return batches.map(
        without_autograph(lambda batch: histories.attach(batch, batch.pop("row")))
    ).prefetch(2)


def query_batches(model: FeatureModel, rows: Interactions, seen: Interactions) -> tf.data.Dataset:
    """Encoded batches of rows to score, in their order; labels need not be there.

    Raises:
        DataError: if the model has histories and a row is in `seen`.
    """
    forms = {c: form for c, form in model.log_forms.items() if c in model.feature_forms}
    columns = encoded_rows(model, rows, seen, forms)
    return with_unordered(model, row_batches(columns, len(rows), BATCH_ROWS, None), rows, seen)


def predictions(model: FeatureModel, rows: Interactions, seen: Interactions) -> np.ndarray:
    """Scores each row of a log at its own moment: float32 `[n_rows]`.

    Args:
        model: a trained model whose call scores pairs.
        rows: the rows to score, with their context. Labels need not be there.
        seen: the log that histories are taken from; none of the rows may be in it.
    """
    # One graph for all batches; AutoGraph would wrap our errors in its own.
    score = tf.function(lambda batch: model(batch, training=False), autograph=False)
    return np.concatenate([score(batch).numpy() for batch in query_batches(model, rows, seen)])


def _window(past: dict[str, np.ndarray], spec: History) -> dict[str, Any]:
    """One history out of `past_windows`, as the layers take it."""
    encoded: dict[str, Any] = {"items": past[spec.column]}
    if spec.context:
        encoded["context"] = {name: past[column] for name, column in spec.context_columns.items()}
    return encoded
