"""Export of a ranker: one SavedModel, and the context of users and items."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import numpy as np

from tfrecall._keras import keras, tf
from tfrecall.core.raw import raw_features
from tfrecall.errors import ExportError
from tfrecall.exporting.context import write_context
from tfrecall.exporting.retriever import (
    PACKAGES,
    histories_of,
    history_settings,
    item_table,
    sample_queries,
    tensorflow_errors,
)
from tfrecall.exporting.round_trip import SAMPLE_ROWS, Case, check_replayed
from tfrecall.exporting.signatures import by_precision, write_warmup
from tfrecall.models.bayesian_ranker import BayesianRanker
from tfrecall.models.queries import query_defaults
from tfrecall.models.ranker import Ranker
from tfrecall.release.layout import StagedRelease, stage
from tfrecall.release.loading import load
from tfrecall.release.manifest import check_facts, fingerprint, made_with
from tfrecall.release.ranker import RankerRelease

OUTPUT = "score"
SPREAD = "spread"


def export_ranker(
    model: Ranker,
    path: str | Path,
    *,
    facts: dict[str, Any] | None = None,
) -> RankerRelease:
    """Write the next version of a release of a ranker and open it.

    The version is complete and compared with the live model in a fresh process before it is published.

    Args:
        model: an adapted, trained model.
        path: the release directory; created if it does not exist.
        facts: further facts for the manifest, as JSON can hold them: metrics, configuration, data.

    Raises:
        ExportError: if the directory cannot be written, the scores are not finite, or the exported model
            answers unlike the live one.

    Example:

    >>> import polars as pl
    >>> import tfrecall as tr
    >>> log = tr.data.synthetic(n_users=6, n_items=5, n_rows=40, seed=1)
    >>> log = log.with_log(log.log.with_columns(rating=pl.Series([3.0, 5.0] * 20)))
    >>> schema = tr.Schema(query=[tr.Categorical("user_id", 4)], candidate=[tr.Categorical("item_id", 4)])
    >>> model = tr.Ranker(schema, crosses=["dot"])
    >>> _ = tr.fit(model, log)  # doctest: +SKIP
    >>> release = tr.export_ranker(model, "saved_models/ratings")  # doctest: +SKIP
    >>> release.predict(["u1"], ["i1", "i2"])  # doctest: +SKIP
    array([3.9, 4.2], dtype=float32)
    """
    with stage(path) as staged:
        stage_ranker(model, staged, facts=facts)
    return cast(RankerRelease, load(path, staged.version, verify=False))


def stage_ranker(
    model: Ranker, staged: StagedRelease, *, facts: dict[str, Any] | None = None
) -> dict[str, Any]:
    """Fill a staged release with a ranker, and compare both in a fresh process.

    Args:
        model: an adapted, trained model.
        staged: from `tfrecall.release.layout.stage`.
        facts: further facts for the manifest.

    Returns:
        The manifest, but for the files.

    Raises:
        ExportError: if the scores are not finite, or the exported model answers unlike the live one.
    """
    check_facts(facts)
    directory = staged.directory
    with tensorflow_errors(staged):
        save_ranker(model, str(directory / "ranker"))
        difference = _compare(model, directory)
        stored = write_context(
            directory / "context",
            item_table(model.catalogue, model.schema.candidate_id),
            model.interactions,
            model.query_tower.forms,
            histories_of(model),
        )
    manifest = {**_facts(model, difference), "stored_histories": stored}
    return staged.describe("ranker", {**manifest, **(facts or {})})


def save_ranker(model: Ranker, path: str) -> None:
    """Save a ranker as one SavedModel, with signatures that give `score`, float32 `[n]`.

    - `serving_default`: the raw columns of queries and of candidates, side by side. With numbers among
      them, which are float64, `serving_float32` takes them as float32.
    - `rank`: the raw columns of queries, and `candidate_ids` (string `[n]`), whose features the model
      holds; an id outside the catalogue is an unknown item without features.
    - `rank_lists`: the same with `candidate_ids` (string `[batch, any]`), a list for each query, whose
      features are embedded once; `score` is `[batch, any]`. Pad with the empty string.
    - `spread`, of a `BayesianRanker`: the inputs of `rank`; `spread`, float32 `[n]`, is the standard deviation
      of the ratings that may come.

    All but `rank_lists` take as many queries as candidates, or a single query for all candidates.
    """
    query, candidate = model.query_tower.signature, model.candidate_tower.signature
    ids = tf.TensorSpec([None], tf.string, name="candidate_ids")

    def by_features(**raw: tf.Tensor) -> dict[str, tf.Tensor]:
        columns = {name: raw[name] for name in candidate}
        encoded = model.candidate_tower.preprocess(columns)
        return _scored(model, raw, encoded, _rows(columns[next(iter(candidate))]))

    def by_ids(candidate_ids: tf.Tensor, **raw: tf.Tensor) -> dict[str, tf.Tensor]:
        encoded = model.catalogue.features(model.catalogue.index(candidate_ids))
        return _scored(model, raw, encoded, _rows(candidate_ids))

    def by_lists(candidate_ids: tf.Tensor, **raw: tf.Tensor) -> dict[str, tf.Tensor]:
        encoded = model.catalogue.features(model.catalogue.index(tf.reshape(candidate_ids, [-1])))
        columns = _checked_columns(model, raw)
        shape = tf.shape(candidate_ids)
        queries = model.query_tower.preprocess(columns)
        rows = tf.repeat(tf.range(shape[0]), shape[1])
        scores = model.score(queries, encoded, rows, training=False)
        return {OUTPUT: tf.reshape(scores, shape)}

    score = tf.function(by_features, autograph=False)
    rank = tf.function(by_ids, autograph=False).get_concrete_function(candidate_ids=ids, **query)
    lists = tf.TensorSpec([None, None], tf.string, name="candidate_ids")
    rank_lists = tf.function(by_lists, autograph=False)
    module = tf.Module()
    signatures = {
        **{
            name: score.get_concrete_function(**columns)
            for name, columns in by_precision({**query, **candidate}).items()
        },
        "rank": rank,
        "rank_lists": rank_lists.get_concrete_function(candidate_ids=lists, **query),
    }
    if isinstance(model, BayesianRanker):
        spread = tf.function(_spread_by_ids(model), autograph=False)
        signatures[SPREAD] = spread.get_concrete_function(candidate_ids=ids, **query)
    # A SavedModel must track every variable and table of its graph. Variables and tables alone: tracking the
    # Keras model would export its layers, too.
    module.tracked = _resources(model)
    tf.saved_model.save(module, path, signatures=signatures)


def _spread_by_ids(model: BayesianRanker) -> Callable[..., dict[str, tf.Tensor]]:
    def by_ids(candidate_ids: tf.Tensor, **raw: tf.Tensor) -> dict[str, tf.Tensor]:
        encoded = model.catalogue.features(model.catalogue.index(candidate_ids))
        query, rows = _paired(model, raw, _rows(candidate_ids))
        return {SPREAD: model.spread(query, encoded, rows)}

    return by_ids


def _scored(
    model: Ranker, raw: dict[str, tf.Tensor], candidate: dict[str, Any], count: tf.Tensor
) -> dict[str, tf.Tensor]:
    query, rows = _paired(model, raw, count)
    return {OUTPUT: model.score(query, candidate, rows, training=False)}


def _paired(
    model: Ranker, raw: dict[str, tf.Tensor], count: tf.Tensor
) -> tuple[dict[str, Any], tf.Tensor]:
    """Encoded queries, and the row of the query of each of `count` candidates."""
    columns = _checked_columns(model, raw)
    queries = _rows(next(iter(columns.values())))
    fits = tf.debugging.Assert(
        (queries == 1) | (queries == count),
        ["Queries are as many as candidates, or a single one. Received:", queries, count],
    )
    with tf.control_dependencies([fits]):
        # Row of the query of each candidate: 0, 1, 2, ... for pairs, all 0 for a single query.
        rows = tf.minimum(tf.range(count), queries - 1)
    return model.query_tower.preprocess(columns), rows


def _checked_columns(model: Ranker, raw: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
    # TF Serving does not check ranks against the signature: without this, a list nested too deep would get
    # an arbitrary answer instead of an error.
    signature = model.query_tower.signature
    return {name: tf.ensure_shape(raw[name], spec.shape) for name, spec in signature.items()}


def _rows(column: tf.Tensor) -> tf.Tensor:
    return tf.shape(column)[0]


def _resources(model: Ranker) -> list[Any]:
    lookups = [part for part in model.submodules if isinstance(part, keras.layers.StringLookup)]
    tables = [lookup.lookup_table for lookup in (*lookups, model.catalogue.lookup)]
    return [*model.variables, *tables]


def _compare(model: Ranker, directory: Path) -> float:
    """Write warm-up requests; return the largest difference between SavedModel and live model."""
    queries = sample_queries(model, SAMPLE_ROWS)
    count = min(len(model.catalogue), len(next(iter(queries.values()))))
    # As many queries as items: row i scores query i with item i.
    queries = {column: values[:count] for column, values in queries.items()}
    items = model.catalogue.items[:count]
    candidates = raw_features(items, model.candidate_tower.forms)
    ids = model.catalogue.ids[:count]
    live = model.score_raw(queries, np.arange(count), np.arange(count))
    one = {column: values[:1] for column, values in queries.items()}
    broadcast = model.score_raw(one, np.arange(count), np.zeros(count, np.int64))
    if not (np.isfinite(live).all() and np.isfinite(broadcast).all()):
        raise ExportError(
            f"{int((~np.isfinite(live)).sum())} of {count} scores are NaN or infinite: the training "
            "diverged. Lower the learning rate and train again."
        )
    cases = [
        _case("serving_default", {**queries, **candidates}, live),
        _case("rank", {**queries, "candidate_ids": ids}, live),
        _case("serving_default", {**one, **candidates}, broadcast),
        _case("rank", {**one, "candidate_ids": ids}, broadcast),
        _case("rank_lists", {**queries, "candidate_ids": ids[:, np.newaxis]}, live[:, np.newaxis]),
    ]
    if isinstance(model, BayesianRanker):
        spread = model.spread_raw(queries, np.arange(count), np.arange(count))
        cases.append(_case(SPREAD, {**queries, "candidate_ids": ids}, spread, SPREAD))
    requests = [("serving_default", {**one, **candidates}), ("rank", {**one, "candidate_ids": ids})]
    write_warmup(directory / "ranker", "ranker", requests)
    return check_replayed(directory, cases)


def _case(
    signature: str, inputs: dict[str, np.ndarray], values: np.ndarray, output: str = OUTPUT
) -> Case:
    plain = {name: column.tolist() for name, column in inputs.items()}
    return Case("ranker", signature, plain, {output: values})


def _facts(model: Ranker, difference: float) -> dict[str, Any]:
    config = model.get_config()
    return {
        "model": {
            "name": model.name,
            "type": type(model).__name__,
            "fingerprint": _fingerprint(model),
            "candidates": len(model.catalogue),
            "task": type(model.task).__name__,
            **({"draws": model.draws} if isinstance(model, BayesianRanker) else {}),
        },
        "label": config["label"],
        "schema": config["schema"],
        "query": {"forms": model.query_tower.forms, "defaults": query_defaults(model)},
        "candidate": {
            "forms": model.candidate_tower.forms,
            "defaults": model.candidate_tower.unknowns,
        },
        "histories": history_settings(model.schema),
        "round_trip": {"largest_relative_difference": difference},
        "made_with": made_with(*PACKAGES),
    }


def _fingerprint(model: Ranker) -> str:
    """Fingerprint of weights, vocabularies and statistics, and candidates."""
    towers = (model.query_tower, model.candidate_tower)
    facts = [model.catalogue.ids.tolist(), *(tower.get_config() for tower in towers)]
    return fingerprint(facts, model.get_weights())
