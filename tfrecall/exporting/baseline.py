"""Export of a fitted baseline: the arrays of its scorer, users, items and histories.

manifest.json, manifests/<version>.json   like that of every release, with `"kind": "baseline"`
context/<version>/   user ids, item table, histories of users with times
scorer/<version>/    the arrays of the scorer, one .npy file each
"""

from pathlib import Path
from typing import Any

import numpy as np

from tfrecall.baselines.base import HistoryModel
from tfrecall.data.interactions import Interactions
from tfrecall.release.base import Release
from tfrecall.release.baseline import KIND, scorer_file
from tfrecall.release.layout import StagedRelease, stage
from tfrecall.release.loading import load
from tfrecall.release.manifest import check_facts, fingerprint, made_with
from tfrecall.release.parts import TIMES


def export_baseline(
    model: HistoryModel,
    path: str | Path,
    *,
    exclude_seen: bool = True,
    facts: dict[str, Any] | None = None,
) -> Release:
    """Write the next version of a release of a baseline and open it.

    Args:
        model: a fitted baseline.
        path: the release directory; created if it does not exist.
        exclude_seen: whether lists leave out seen items unless a query says otherwise.
        facts: further facts for the manifest, as JSON can hold them, such as metrics, or as `config` the
            configuration of a run (`RunConfig.to_dict`) whose test rows the release is evaluated on.

    Raises:
        ConfigError: if the model is not fitted, or the manifest cannot hold the facts.
        ExportError: if the directory cannot be written.
    """
    with stage(path) as staged:
        stage_baseline(model, staged, exclude_seen=exclude_seen, facts=facts)
    return load(path, staged.version, verify=False)


def stage_baseline(
    model: HistoryModel,
    staged: StagedRelease,
    *,
    exclude_seen: bool = True,
    facts: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """Fill a staged release with a fitted baseline.

    Args:
        model: a fitted baseline.
        staged: from `tfrecall.release.layout.stage`.
        exclude_seen: whether the release leaves out seen items by default.
        facts: further facts for the manifest.

    Returns:
        The manifest, but for the files.

    Raises:
        ConfigError: if the model is not fitted, or the manifest cannot hold the facts.
    """
    arrays = model.answers.scorer.arrays()
    manifest = {**_facts(model, arrays), "exclude_seen": exclude_seen, **(facts or {})}
    check_facts(manifest)
    _write_context(staged.directory / "context", model.train)
    (staged.directory / "scorer").mkdir()
    for name, array in arrays.items():
        np.save(scorer_file(staged.directory / "scorer", name), array)
    return staged.describe(KIND, manifest)


def _write_context(directory: Path, train: Interactions) -> None:
    """Write users, items and histories with their times."""
    directory.mkdir()
    train.items.write_parquet(directory / "items.parquet")
    train.users.select("user_id").write_parquet(directory / "users.parquet")
    np.save(directory / "seen_offsets.npy", train.histories.offsets)
    np.save(directory / "seen_items.npy", train.histories.items)
    np.save(directory / TIMES, train.event_times)


def _facts(model: HistoryModel, arrays: dict[str, np.ndarray]) -> dict[str, Any]:
    answers = model.answers
    return {
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
        "made_with": made_with("tfrecall", "numpy", "scipy"),
    }


def _fingerprint(model: HistoryModel, arrays: dict[str, np.ndarray]) -> str:
    """Fingerprint of everything that determines the scores."""
    answers = model.answers
    facts = [answers.scorer.kind, answers.scorer.facts(), answers.weights.to_dict()]
    return fingerprint([model.item_ids.tolist(), facts], [arrays[name] for name in sorted(arrays)])
