"""Another Annoy index for a release that exists."""

import json
import shutil
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np

from tfrecall.errors import ConfigError, ExportError
from tfrecall.index.annoy import Annoy
from tfrecall.index.bundle import write_bundle
from tfrecall.release.layout import publish, unfinished
from tfrecall.release.loading import load
from tfrecall.release.retriever import Release

# The index is tuned to at most so many queries of known users.
TUNING_ROWS = 500


def reindex(path: str | Path, index: Annoy) -> Release:
    """Publishes a version that differs from the current one in its Annoy index only.

    Raises:
        ReleaseError: if there is no release or it is damaged.
        ConfigError: if it is a pipeline.
        ExportError: if it cannot be written.
    """
    release = load(path)
    if "pipeline" in release.manifest:
        raise ConfigError(
            f"{path} is a pipeline: its index is that of the retriever it was joined from. Build that anew "
            "with `tfrecall index RETRIEVAL`, then join both again with `tfrecall pipeline`."
        )
    root, current = release.root, str(release.version)
    with unfinished(root) as directory:
        try:
            for part in ("query", "candidate", "retrieval", "context"):
                shutil.copytree(root / part / current, directory / part)
        except OSError as error:
            raise ExportError(
                f"The release could not be copied in {root}: {error}. Check the permissions and the free "
                "space there. The version before is untouched."
            ) from error
        bundle = write_bundle(
            directory / "index",
            np.asarray(release.bundle.exact.vectors),
            release.item_ids,
            annoy=index,
            tuning_queries=_tuning_queries(release),
            model=release.manifest["model"]["fingerprint"],
            interests=release.interests,
        )
        made_anew = ("format", "version", "files", "sha256")
        kept = {key: value for key, value in release.manifest.items() if key not in made_anew}
        facts = {
            "created_at": datetime.now(timezone.utc).isoformat(timespec="seconds"),
            "index": bundle.summary(),
            "tuning": bundle.tuning,
        }
        manifest = publish(root, directory, {**kept, **facts}, lambda whole: _metrics(root, whole))
    return load(root, manifest["version"], verify=False)


def _tuning_queries(release: Release) -> np.ndarray | None:
    """Queries of random users; None if the release knows nobody."""
    user_ids = list(release.people.rows)
    if not user_ids:
        return None
    count = min(TUNING_ROWS, len(user_ids))
    users = np.random.default_rng(0).choice(len(user_ids), count, replace=False)
    return release.embed(release.people.ask([user_ids[user] for user in users]).features)


def _metrics(root: Path, manifest: dict[str, Any]) -> dict[str, str]:
    """`metrics.json`, if the run wrote one, with what is measured of the new index."""
    try:
        metrics = json.loads((root / "metrics.json").read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    changed = {"version": manifest["version"], "index": manifest["index"]}
    return {"metrics.json": json.dumps({**metrics, **changed}, indent=2)}
