"""An encoded batch in words: which rows, with which values."""

from typing import Any

import numpy as np

from tfrecall.data.vocabulary import FIRST
from tfrecall.models.two_tower import TwoTower

# Of a bell curve nothing is so far out, and of most skewed columns neither.
MAX_DEVIATIONS = 50.0
ROWS_TOLD = 3


def worst_rows(
    model: TwoTower, inputs: dict[str, Any], queries: np.ndarray, candidates: np.ndarray
) -> str:
    """The rows with the longest vectors, those that are not finite first, by their raw values.

    Args:
        model: that the batch was encoded by.
        inputs: the encoded batch, as arrays.
        queries, candidates: the vectors of its rows, float `[batch_size, embedding_dim]`; of queries
            with several interests `[batch_size, interests, embedding_dim]`.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        lengths = sum(
            np.linalg.norm(vectors.reshape(len(vectors), -1), axis=1)
            for vectors in (queries, candidates)
        )
    order = np.argsort(-np.nan_to_num(lengths, nan=np.inf), kind="stable")[:ROWS_TOLD]
    return "; ".join(_row(model, inputs, row) for row in order)


def suspicious_numbers(model: TwoTower, inputs: dict[str, Any]) -> str:
    """Numeric features of the batch that are far out of the range that they were scaled by."""
    index = inputs["candidate_index"]
    encoded = {**inputs["query"], **{n: v.numpy() for n, v in model.catalogue.features(index).items()}}
    layers = (*model.query_tower.features, *model.candidate_tower.features)
    told = []
    for layer in layers:
        if layer.spec.type != "numeric":
            continue
        reach = float(np.max(np.abs(encoded[layer.name]), initial=0.0))
        if not reach <= MAX_DEVIATIONS:
            told.append(
                f'The number "{layer.spec.column}" reaches {reach:.3g} standard deviations from its mean: '
                "make it a `bucketized` feature, or cut off its outliers."
            )
    return " ".join(told)


def _row(model: TwoTower, inputs: dict[str, Any], row: int) -> str:
    place = int(inputs["candidate_index"][row]) - FIRST
    candidate = str(model.catalogue.ids[place]) if place >= 0 else "unknown"
    values = {
        layer.spec.column: value
        for layer in model.query_tower.features
        if (value := _value(layer, inputs["query"][layer.name], row))
    }
    told = ", ".join(f"{name}={value}" for name, value in values.items())
    return f"{model.schema.candidate_id}={candidate} asked by {told}"


def _value(layer: Any, encoded: Any, row: int) -> str:
    """The raw value of a categorical feature; of a number how many deviations; of others nothing."""
    if layer.spec.type == "numeric":
        return f"{float(np.ravel(encoded[row])[0]):.3g} deviations"
    if layer.spec.type != "categorical":
        return ""
    place = int(encoded[row]) - FIRST
    return layer.state[place] if place >= 0 else "unknown"
