"""Items added to a release and removed from it, without training."""

import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from tfrecall.core.columns import COLD, REQUEST_TIME
from tfrecall.core.raw import raw_features
from tfrecall.errors import ConfigError, DataError, ExportError
from tfrecall.exporting.item_changes import ChangedItems, changed
from tfrecall.exporting.items_context import write_changed_context
from tfrecall.exporting.retriever import tensorflow_errors
from tfrecall.exporting.round_trip import SAMPLE_ROWS, check_round_trip
from tfrecall.exporting.signatures import FILE, resave_retrieval
from tfrecall.index.approximate import Approximate
from tfrecall.index.bundle import Bundle, IndexSettings, write_bundle
from tfrecall.index.reduced import Storage
from tfrecall.release.base import REPEATED
from tfrecall.release.histories import padded_ids
from tfrecall.release.layout import StagedRelease, stage
from tfrecall.release.loading import load
from tfrecall.release.manifest import STATE, check_documents, fingerprint, inherited
from tfrecall.release.reindex import tuning_queries, write_documents
from tfrecall.release.retriever import RetrieverRelease
from tfrecall.release.signature import load_signatures

# Items embedded at once.
BLOCK = 4096


def change_items(
    path: str | Path,
    added: pl.DataFrame | None = None,
    removed: Sequence[str] = (),
    *,
    index: IndexSettings | None = None,
    storage: Storage | None = None,
    trust: bool = False,
) -> RetrieverRelease:
    """Publish a version of a retriever with other items, and the same trained models.

    Vectors of added items come from the exported candidate model: their ids are unknown to it, all else comes
    from their features. Removed items leave the catalogue, all indexes and the SavedModel `retrieval`;
    histories that hold them are read as before. An item that is removed and added at once has new features.
    The SavedModels are compared with the new index in a fresh process before anything is published. Figures of
    the version, such as `metrics.json`, stay those of the run.

    Args:
        path: the release directory.
        added: a table with `item_id` and the candidate columns of the schema; columns that the item table of
            the release lacks are left out, and other missing ones are null.
        removed: ids.
        index: the index to build; None for one with the settings of the one before, if it had one.
        storage: numbers that exact search reads beside an approximate index; None for those of the version
            before.
        trust: whether to load models with operations that touch files or run foreign code.

    Raises:
        ConfigError: if it is no retriever, nothing would change, or no item would be left.
        DataError: if an id is there already, occurs twice or is none, an id to remove is not there, or a value
            does not fit its column.
        MissingColumnError: if the table lacks a candidate column.
        ReleaseError: if there is no release, it is damaged, or the documents beside it are of another version.
        ExportError: if it cannot be written, or the SavedModels answer unlike the new index.

    Example:

    >>> import tempfile
    >>> import tfrecall as tr
    >>> log = tr.data.synthetic(n_users=6, n_items=5, n_rows=40, seed=1)
    >>> schema = tr.Schema(query=[tr.Categorical("user_id", 2)], candidate=[tr.Categorical("title", 2)])
    >>> model = tr.TwoTower(schema, layer_sizes=[])
    >>> model.adapt(log)
    >>> root = tr.export(model, tempfile.mkdtemp(), index=None, k=2).root
    >>> new = log.items[:1].with_columns(item_id=pl.lit("new"))
    >>> release = tr.change_items(root, new, [log.items["item_id"][0]])
    >>> release.version, len(release.item_ids), str(release.item_ids[-1])
    (2, 5, 'new')
    """
    release = load(path, trust=trust)
    if not isinstance(release, RetrieverRelease) or "pipeline" in release.manifest:
        raise ConfigError(
            f"{path} is no release of a retriever alone, but of {release.manifest['model']['type']}. Change "
            "the items of a retriever. A pipeline is joined again afterwards, from a ranker that knows the "
            "items; a baseline knows no features: fit it again."
        )
    root = release.root
    check_documents(root, release.manifest)
    change = changed(release, added, removed)
    vectors = np.concatenate([np.asarray(release.bundle.exact.vectors)[change.kept], _embedded(change)])
    with stage(root) as staged, tensorflow_errors(staged):
        _stage(change, vectors, index or _settings(release.bundle), storage, staged)
    published = load(root, staged.version, verify=False, trust=trust)
    assert isinstance(published, RetrieverRelease), "a retriever was staged"
    return published


def _embedded(change: ChangedItems) -> np.ndarray:
    """Vectors of the added items: float32 `[any, dim]`.

    Raises:
        DataError: if a number is missing, or a vector has another length.
        ExportError: if the model gives no finite vector.
    """
    dimension = change.release.bundle.exact.dimension
    if not change.added.height:
        return np.empty((0, dimension), np.float32)
    features = raw_features(change.added, change.release.manifest["candidate"]["forms"])
    features = _whole_vectors(features, change.release.manifest["candidate"].get("defaults", {}))
    (model,) = load_signatures(change.release.part("candidate"), ["serving_default"])
    blocks = [
        model({name: values[start : start + BLOCK] for name, values in features.items()})
        for start in range(0, change.added.height, BLOCK)
    ]
    vectors = np.concatenate(blocks)
    if not np.isfinite(vectors).all():
        raise ExportError(
            "The candidate model gives added items vectors that are NaN or infinite. Look at their numbers."
        )
    return vectors


def _whole_vectors(features: dict[str, np.ndarray], defaults: dict[str, Any]) -> dict[str, np.ndarray]:
    """Columns of vectors without any have no length of their own: zeros of the length that the model takes."""
    for name, values in features.items():
        if values.ndim == 2 and values.dtype == np.float32:
            length = len(defaults[name])
            if values.shape[1] not in (0, length):
                raise DataError(
                    f'The vectors "{name}" of the items to add have {values.shape[1]} numbers, and the model '
                    f"takes {length}."
                )
            if not values.shape[1]:
                features[name] = np.zeros((len(values), length), np.float32)
    return features


def _settings(bundle: Bundle) -> Approximate | None:
    # Without the old `search_k`, which was tuned for the old items.
    return None if bundle.approximate is None else replace(bundle.approximate.settings, search_k=None)


def _stage(
    change: ChangedItems,
    vectors: np.ndarray,
    index: IndexSettings | None,
    storage: Storage | None,
    staged: StagedRelease,
) -> None:
    release, directory = change.release, staged.directory
    manifest = release.manifest
    release.copy_parts(("query", "candidate", STATE), directory, shared=True)
    release.copy_parts(("context",), directory)
    stored = write_changed_context(
        directory / "context", change.table, change.rows, change.retired, release
    )
    identity = fingerprint([manifest["model"]["fingerprint"], change.ids.tolist()], [vectors])
    tuning = tuning_queries(release)
    if seen := tuning.get("tuning_exclude"):
        tuning["tuning_exclude"] = [_within(change, rows) for rows in seen]
    bundle = write_bundle(
        directory / "index",
        vectors,
        change.ids,
        index,
        **tuning,
        model=identity,
        interests=release.interests,
        storage=storage or release.bundle.exact.storage,
    )
    k = manifest.get("k", 10)
    shape = [bundle.exact.dimension]
    resave_retrieval(
        directory / "query",
        shape if release.interests == 1 else [release.interests, *shape],
        change.ids,
        vectors,
        k,
        str(directory / "retrieval"),
        release.repeats,
    )
    requests = release.part("retrieval") / FILE
    if requests.exists():
        (directory / "retrieval" / FILE).parent.mkdir(exist_ok=True)
        shutil.copy(requests, directory / "retrieval" / FILE)
    difference = _compare(change, vectors, bundle, min(k, len(change.ids)), directory)
    staged.describe(
        "retriever", {**inherited(manifest), **_facts(change, bundle, identity, difference, stored)}
    )
    write_documents(release, staged, bundle)


def _within(change: ChangedItems, rows: np.ndarray) -> np.ndarray:
    """Catalogue rows after, of the items that are still there."""
    after = change.rows[rows]
    return after[after < len(change.ids)]


def _compare(
    change: ChangedItems, vectors: np.ndarray, bundle: Bundle, k: int, directory: Path
) -> float:
    """The largest difference between SavedModels and index, for some users and the last items."""
    release = change.release
    some = list(release.users.ids)[: SAMPLE_ROWS - 1]
    asked = release.users.build_queries([*some, {}])
    features = dict(asked.features)
    if REQUEST_TIME in features:
        # One moment, which does not pass between the answers compared.
        features[REQUEST_TIME] = np.full(len(asked.users), 1e9)
    past = None
    if release.repeats is not None:
        own = padded_ids([release.item_ids[release.users.seen(user)].tolist() for user in asked.users])
        past = features.get(REPEATED, own)
    last = slice(max(0, len(change.ids) - SAMPLE_ROWS), None)
    candidates = raw_features(change.table[last], release.manifest["candidate"]["forms"])
    return check_round_trip(
        directory,
        features,
        release.embed(features),
        _whole_vectors(candidates, release.manifest["candidate"].get("defaults", {})),
        vectors[last],
        bundle.exact,
        k,
        release.repeats,
        past,
    )


def _facts(
    change: ChangedItems, bundle: Bundle, identity: str, difference: float, stored: list[str]
) -> dict[str, Any]:
    release = change.release
    had = np.unique(_within(change, np.asarray(release.users.seen_items)))
    before = release.manifest.get("stored_histories", ())
    model = {"fingerprint": identity, "candidates": len(change.ids)}
    if len(release.users.seen_items):
        model[f"{COLD}_candidates"] = len(change.ids) - len(had)
    return {
        "model": {**release.manifest["model"], **model},
        **({"stored_histories": list(dict.fromkeys([*before, *stored]))} if stored else {}),
        "index": bundle.summary(),
        "tuning": bundle.tuning,
        "round_trip": {"largest_relative_difference": difference},
        "items_changed": {
            "version": release.version,
            "added": change.added.height,
            "removed": len(release.item_ids) - len(change.kept),
        },
    }
