"""Facts of a loaded release that all its descriptions have."""

from typing import Any

from tfrecall.release.base import Release
from tfrecall.release.manifest import kind_of


def facts_of(release: Release) -> dict[str, Any]:
    """Version, kind, model, numbers of users and items, checksum."""
    return {
        "version": release.version,
        "kind": kind_of(release.manifest),
        "model": release.name,
        "users": len(release.users.vocabulary),
        "items": len(release.item_ids),
        "checksum": release.manifest.get("sha256"),
    }
