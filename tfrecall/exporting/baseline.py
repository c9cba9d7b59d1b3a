"""Writes a fitted baseline as a release.

manifest.json, manifests/<version>.json   as of every release, with `"kind": "baseline"`
context/<version>/   user ids, item table, what users had and when
scorer/<version>/    the arrays of the scorer, one .npy file each
"""

import hashlib
import json
import platform
from datetime import datetime, timezone
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from tfrecall.baselines.base import HistoryModel
from tfrecall.data.interactions import Interactions
from tfrecall.errors import ConfigError, ExportError
from tfrecall.release.baseline import KIND, PARTS, TIMES, scorer_file
from tfrecall.release.layout import publish, unfinished


def save(
    model: HistoryModel,
    path: str | Path,
    *,
    exclude_seen: bool = True,
    facts: dict[str, Any] | None = None,
) -> Path:
    """Writes the next version of a release, which `tfrecall.load` opens; returns its directory.

    The version appears whole or not at all; those before stay as they are.

    Args:
        model: fitted.
        path: the release directory; made if it is not there.
        exclude_seen: whether the release leaves out what users had, if it is not asked otherwise.
        facts: what else the manifest shall say, as JSON can hold it, such as metrics, or as `config` the
            configuration of a run (`RunConfig.to_dict`) whose test rows it shall be judged by.

    Raises:
        ConfigError: if the model is not fitted, or the manifest cannot hold the facts.
        ExportError: if the directory cannot be written.
    """
    root, arrays = Path(path), model.answers.scorer.arrays()
    manifest = {**_manifest(model, arrays), "exclude_seen": exclude_seen, **(facts or {})}
    try:
        json.dumps(manifest)
    except (TypeError, ValueError) as error:
        raise ConfigError(
            f"The manifest cannot hold these settings or `facts`: {error}. Give plain numbers, texts, "
            "lists and dictionaries."
        ) from error
    with unfinished(root) as directory:
        try:
            _write_context(directory / "context", model.train)
            (directory / "scorer").mkdir()
            for name, array in arrays.items():
                np.save(scorer_file(directory / "scorer", name), array)
        except (OSError, pl.exceptions.PolarsError) as error:
            raise ExportError(
                f"The release could not be written to {root}: {error}. Check the permissions and the "
                "free space there. The version before is untouched."
            ) from error
        publish(root, directory, manifest, parts=PARTS)
    return root


def _write_context(directory: Path, train: Interactions) -> None:
    """What `tfrecall.release.users.People` reads, and when users had what."""
    directory.mkdir()
    train.items.write_parquet(directory / "items.parquet")
    train.users.select("user_id").write_parquet(directory / "users.parquet")
    np.save(directory / "seen_offsets.npy", train.histories.offsets)
    np.save(directory / "seen_items.npy", train.histories.items)
    np.save(directory / TIMES, train.event_times)


def _manifest(model: HistoryModel, arrays: dict[str, np.ndarray]) -> dict[str, Any]:
    answers = model.answers
    return {
        "kind": KIND,
        "created_at": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "model": {
            "name": model.name,
            "type": type(model).__name__,
            "fingerprint": _fingerprint(model, arrays),
            "candidates": len(model.item_ids),
            "settings": model.settings,
        },
        "scorer": {
            "kind": answers.scorer.kind,
            "arrays": sorted(arrays),
            "facts": answers.scorer.facts(),
            "weights": answers.weights.to_dict(),
        },
        "data": {
            "name": model.train.name,
            "users": model.train.users.height,
            "items": model.train.items.height,
            "train_rows": len(model.train),
            "fingerprint": model.train.fingerprint,
        },
        "schema": {"query": [], "candidate": []},
        "query": {"forms": {"user_id": "string"}, "defaults": {"user_id": ""}},
        "made_with": {
            "python": platform.python_version(),
            **{name: version(name) for name in ("tfrecall", "numpy", "scipy")},
        },
    }


def _fingerprint(model: HistoryModel, arrays: dict[str, np.ndarray]) -> str:
    """SHA-256 of what the scores are made of, in hexadecimal."""
    answers = model.answers
    facts = [answers.scorer.kind, answers.scorer.facts(), answers.weights.to_dict()]
    digest = hashlib.sha256(json.dumps([model.item_ids.tolist(), facts], sort_keys=True).encode())
    for name in sorted(arrays):
        digest.update(np.ascontiguousarray(arrays[name]).tobytes())
    return digest.hexdigest()
