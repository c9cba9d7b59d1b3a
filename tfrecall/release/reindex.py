"""New index for an existing release."""

import json
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from tfrecall.errors import ConfigError
from tfrecall.index.bundle import Bundle, IndexSettings, write_bundle
from tfrecall.index.reduced import Storage
from tfrecall.release.base import Release
from tfrecall.release.layout import StagedRelease, stage
from tfrecall.release.loading import load
from tfrecall.release.manifest import STATE, check_documents, documents, inherited

# Largest number of known users whose queries tune the index.
TUNING_ROWS = 500


def reindex(
    path: str | Path,
    index: IndexSettings | None,
    *,
    storage: Storage | None = None,
    trust: bool = False,
) -> Release:
    """Publish a version that differs from the current one in its index only.

    Args:
        path: the release directory.
        index: the settings of the new index; None for exact search only.
        storage: numbers that exact search reads beside an approximate index; None for those of the version
            before.
        trust: whether to load models with operations that touch files or run foreign code.

    Raises:
        ReleaseError: if there is no release, it is damaged, or the documents beside it are of another version.
        ConfigError: if it is a pipeline or a baseline, or a library is not installed.
        ExportError: if it cannot be written.
    """
    release = load(path, trust=trust)
    if getattr(release, "bundle", None) is None:
        raise ConfigError(
            f"{path} has no vectors to index: it is of {release.manifest['model']['type']}."
        )
    if "pipeline" in release.manifest:
        raise ConfigError(
            f"{path} is a pipeline: its index is that of the retriever it was joined from. Build that anew "
            "with `tfrecall index RETRIEVAL`, then join both again with `tfrecall pipeline`."
        )
    root = release.root
    check_documents(root, release.manifest)
    with stage(root) as staged:
        parts = ("query", "candidate", "retrieval", "context", STATE)
        release.copy_parts(parts, staged.directory, shared=True)
        bundle = write_bundle(
            staged.directory / "index",
            np.asarray(release.bundle.exact.vectors),
            release.item_ids,
            annoy=index,
            **tuning_queries(release),
            model=release.manifest["model"]["fingerprint"],
            interests=release.interests,
            storage=storage or release.bundle.exact.storage,
        )
        facts = {**inherited(release.manifest), "index": bundle.summary(), "tuning": bundle.tuning}
        staged.describe("retriever", facts)
        write_documents(release, staged, bundle)
    return load(root, staged.version, verify=False, trust=trust)


def tuning_queries(release: Release) -> dict[str, Any]:
    """Queries of random users, with what their lists leave out: arguments of `write_bundle`.

    Nothing for a release without users.
    """
    user_ids = list(release.users.ids)
    if not user_ids:
        return {}
    count = min(TUNING_ROWS, len(user_ids))
    users = np.random.default_rng(0).choice(len(user_ids), count, replace=False)
    asked = release.users.build_queries([user_ids[user] for user in users])
    seen = [release.users.seen(user) for user in users] if release.exclude_seen else None
    return {"tuning_queries": release.embed(asked.features), "tuning_exclude": seen}


def write_documents(release: Release, staged: StagedRelease, bundle: Bundle) -> None:
    """Write the documents of the version before; `metrics.json` with the measurements of the new index."""
    texts = documents(release.root, release.manifest)
    with suppress(KeyError, ValueError):
        metrics = json.loads(texts["metrics.json"])
        changed = {"version": staged.version, "index": bundle.summary()}
        texts["metrics.json"] = json.dumps({**metrics, **changed}, indent=2)
    for name, text in texts.items():
        staged.write(name, text)
