"""Another Annoy index for a release that exists."""

import shutil
from datetime import datetime, timezone
from pathlib import Path

import numpy as np

from tfrecall.index.annoy import Annoy
from tfrecall.index.bundle import write_bundle
from tfrecall.release.layout import publish, read_manifest, unfinished
from tfrecall.release.release import Release, load

# The index is tuned to at most so many queries of known users.
TUNING_ROWS = 500


def reindex(path: str | Path, index: Annoy) -> Release:
    """Publishes a version that differs from the current one in its Annoy index only.

    Raises:
        ReleaseError: if there is no release or it is damaged.
        ExportError: if it cannot be written.
    """
    release = load(path)
    root, current = release.root, str(release.version)
    with unfinished(root) as directory:
        for part in ("query", "candidate", "retrieval", "context"):
            shutil.copytree(root / part / current, directory / part)
        users = {name: values[:TUNING_ROWS] for name, values in release.people.features.items()}
        queries = release.embed(users) if len(release.people.rows) else None
        write_bundle(
            directory / "index",
            np.asarray(release.bundle.exact.vectors),
            release.item_ids,
            annoy=index,
            tuning_queries=queries,
            model=release.manifest["model"]["fingerprint"],
        )
        kept = {
            key: value
            for key, value in read_manifest(root).items()
            if key not in ("format", "version", "files")
        }
        manifest = publish(
            root,
            directory,
            {**kept, "created_at": datetime.now(timezone.utc).isoformat(timespec="seconds")},
        )
    return load(root, manifest["version"], verify=False)
