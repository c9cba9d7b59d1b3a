"""Writing a release: SavedModels, index, context and manifest, checked and published as one."""

import hashlib
import json
import platform
from datetime import datetime, timezone
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from tfrecall._keras import tf
from tfrecall.errors import ConfigError, ExportError
from tfrecall.exporting.context import last_queries, write_context
from tfrecall.exporting.round_trip import check_round_trip
from tfrecall.exporting.signatures import (
    CANDIDATE_OUTPUT,
    QUERY_OUTPUT,
    save_retrieval,
    save_tower,
)
from tfrecall.exporting.warmup import write_warmup
from tfrecall.index.annoy import Annoy
from tfrecall.index.bundle import Bundle, write_bundle
from tfrecall.models.catalogue import Catalogue
from tfrecall.models.two_tower import TwoTower
from tfrecall.raw import raw_features
from tfrecall.release.layout import Documents, publish, unfinished
from tfrecall.release.release import Release, load

SAMPLE_ROWS = 32
TUNING_ROWS = 500


def export(
    model: TwoTower,
    path: str | Path,
    *,
    index: Annoy | None = Annoy(),  # noqa: B008 - frozen, so one default serves all calls
    k: int = 10,
    exclude_seen: bool = True,
    facts: dict[str, Any] | None = None,
    documents: Documents | None = None,
) -> Release:
    """Writes the next version of a release and opens it.

    The version is complete and compared with the live model in a fresh process before it is published;
    if anything fails before, nothing changes. Versions before stay as they are.

    Args:
        model: an adapted, trained model.
        path: the release directory; made if it is not there.
        index: the Annoy index to build and tune; None for exact search only.
        k: length of the lists that the `serving_default` signature of `retrieval` gives.
        exclude_seen: whether the release leaves out what users had, if it is not asked otherwise.
        facts: what else the manifest shall say, as JSON can hold it: metrics, configuration, data.
        documents: gets the whole manifest and gives texts to publish beside it, by file name.

    Raises:
        ExportError: if the directory cannot be written, or an exported model answers unlike the live
            one.
        ConfigError: if `k` does not lie between 1 and the size of the catalogue.
    """
    root = Path(path)
    _check_facts(facts)
    if not 1 <= k <= len(model.catalogue):
        raise ConfigError(
            f"`k` must lie between 1 and the {len(model.catalogue)} candidates. Received: {k}."
        )
    vectors = model.embed_candidates()
    if not np.isfinite(vectors).all():
        raise ExportError(
            f"{int((~np.isfinite(vectors)).any(axis=1).sum())} of {len(vectors)} candidate vectors hold "
            "NaN or infinity: the training diverged. Lower the learning rate and train again."
        )
    fingerprint = _fingerprint(model, vectors)
    with unfinished(root) as directory:
        try:
            _save_models(model, vectors, k, directory)
            bundle = _write_index(model, vectors, index, fingerprint, directory)
            items = _item_table(model.catalogue, model.schema.candidate_id)
            write_context(directory / "context", items, model.interactions, model.query_tower.forms)
            difference = _compare(model, vectors, bundle, k, directory)
        except (OSError, tf.errors.OpError, pl.exceptions.PolarsError) as error:
            raise ExportError(
                f"The release could not be written to {root}: {error}. Check the permissions and the free "
                "space there. The version before is untouched."
            ) from error
        manifest = _manifest(model, fingerprint, k, difference, bundle, facts or {})
        manifest["exclude_seen"] = exclude_seen
        manifest = publish(root, directory, manifest, documents)
    return load(root, manifest["version"], verify=False)


def _check_facts(facts: dict[str, Any] | None) -> None:
    try:
        json.dumps(facts)
    except (TypeError, ValueError) as error:
        raise ConfigError(
            f"The manifest cannot hold these `facts`: {error}. Give plain numbers, texts, lists and "
            "dictionaries."
        ) from error


def _item_table(catalogue: Catalogue, candidate_id: str) -> pl.DataFrame:
    """The items, what names a candidate as text in `item_id`, whatever it is called beside."""
    return catalogue.items.select(
        pl.col(candidate_id).cast(pl.String).alias("item_id"), pl.all().exclude("item_id")
    )


def _save_models(model: TwoTower, vectors: np.ndarray, k: int, directory: Path) -> None:
    query, candidate = model.query_tower, model.candidate_tower
    save_tower(query, QUERY_OUTPUT, str(directory / "query"))
    save_tower(candidate, CANDIDATE_OUTPUT, str(directory / "candidate"))
    save_retrieval(query, model.catalogue, vectors, k, str(directory / "retrieval"), model.repeats)
    one_query = {name: values[:1] for name, values in sample_queries(model, 1).items()}
    one_candidate = raw_features(model.catalogue.items[:1], candidate.forms)
    asked = {**one_query, "history": np.array([[""]], object)} if model.repeats else one_query
    everyone = {**asked, "k": np.int32(k), "exclude": np.array([[""]], object)}
    write_warmup(directory / "query", "query", [("serving_default", one_query)])
    write_warmup(directory / "candidate", "candidate", [("serving_default", one_candidate)])
    write_warmup(
        directory / "retrieval",
        "retrieval",
        [("serving_default", asked), ("recommend", everyone)],
    )


def _write_index(
    model: TwoTower,
    vectors: np.ndarray,
    index: Annoy | None,
    fingerprint: str,
    directory: Path,
) -> Bundle:
    tuning = model.query_tower.embed(sample_queries(model, TUNING_ROWS))
    return write_bundle(
        directory / "index", vectors, model.catalogue.ids, index, tuning, model=fingerprint
    )


def _compare(model: TwoTower, vectors: np.ndarray, bundle: Bundle, k: int, directory: Path) -> float:
    """The largest difference between what was written and the live model."""
    queries = sample_queries(model, SAMPLE_ROWS)
    items = model.catalogue.items[:SAMPLE_ROWS]
    return check_round_trip(
        directory,
        queries,
        model.query_tower.embed(queries),
        raw_features(items, model.candidate_tower.forms),
        vectors[:SAMPLE_ROWS],
        bundle.exact,
        k,
        model.repeats,
        _sample_histories(model, len(next(iter(queries.values())))),
    )


def _sample_histories(model: TwoTower, count: int) -> list[np.ndarray]:
    """Histories of some users, as good as any for a comparison; the last of `count` is empty."""
    none = np.empty(0, np.int32)
    if model.repeats is None or model.interactions is None:
        return []
    past = model.interactions.histories
    some = np.flatnonzero(past.lengths)[: count - 1]
    found = [past[user][-model.repeats.length - 1 :] for user in some]
    return [*found, *[none] * (count - len(found))]


def sample_queries(model: TwoTower, rows: int) -> dict[str, np.ndarray]:
    """Raw features of an unknown query and of up to `rows` known users' last queries."""
    forms, unknowns = model.query_tower.forms, model.query_tower.unknowns
    unknown = {
        name: np.full((1, 1) if forms[name] == "strings" else 1, unknowns[name]) for name in forms
    }
    unknown = {name: v if forms[name] == "number" else v.astype(object) for name, v in unknown.items()}
    if model.interactions is None:
        return unknown
    queries = last_queries(model.interactions)
    known = raw_features(queries.sample(min(rows, len(queries)), seed=0), forms)
    return {name: _stack(known[name], unknown[name]) for name in forms}


def _stack(known: np.ndarray, unknown: np.ndarray) -> np.ndarray:
    if known.ndim == 2:
        unknown = np.pad(unknown, [(0, 0), (0, known.shape[1] - 1)], constant_values="")
    return np.concatenate([known, unknown])


def _manifest(
    model: TwoTower,
    fingerprint: str,
    k: int,
    difference: float,
    bundle: Bundle,
    facts: dict[str, Any],
) -> dict[str, Any]:
    defaults = dict(model.query_tower.unknowns)
    if model.interactions is not None and "timestamp" in defaults:
        # An unknown user asks now; the latest moment that the model knows is the end of training.
        defaults["timestamp"] = model.interactions.log["timestamp"].max()
    config = model.get_config()
    return {
        "created_at": _now(),
        "model": {
            "name": model.name,
            "type": type(model).__name__,
            "fingerprint": fingerprint,
            "dimension": bundle.exact.dimension,
            "candidates": len(bundle.exact),
            "normalize": config["normalize"],
        },
        "schema": config["schema"],
        "query": {"forms": model.query_tower.forms, "defaults": defaults},
        "candidate": {"forms": model.candidate_tower.forms},
        "repeats": model.repeats and model.repeats.to_dict(),
        "k": k,
        "index": bundle.summary(),
        "tuning": bundle.tuning,
        "round_trip": {"largest_relative_difference": difference},
        "made_with": {
            "python": platform.python_version(),
            **{name: version(name) for name in ("tfrecall", "tensorflow", "tf-keras", "annoy")},
        },
        **facts,
    }


def _fingerprint(model: TwoTower, vectors: np.ndarray) -> str:
    """SHA-256 of the weights, of what the towers learned from data, and of the candidates."""
    digest = hashlib.sha256(json.dumps(model.catalogue.ids.tolist()).encode())
    digest.update(vectors.tobytes())
    digest.update(json.dumps(model.repeats and model.repeats.to_dict()).encode())
    for tower in (model.query_tower, model.candidate_tower):
        digest.update(json.dumps(tower.get_config(), sort_keys=True).encode())
        for weights in tower.get_weights():
            digest.update(weights.tobytes())
    return digest.hexdigest()


def _now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="seconds")
