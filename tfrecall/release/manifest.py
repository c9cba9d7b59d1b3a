"""The manifest of a release: what a version says of itself, and the refusal of other files."""

import json
from pathlib import Path
from typing import Any

from tfrecall.core.storage import check_file, manifest_checksum
from tfrecall.errors import ReleaseError

FORMAT = 1
MANIFEST = "manifest.json"


def read_manifest(root: Path, version: int | None = None) -> dict[str, Any]:
    """What a release says of itself.

    Args:
        root: the release directory.
        version: None for the current one.

    Raises:
        ReleaseError: if there is no release or no such version, or if its manifest is damaged, altered or
            of another format.
    """
    file = root / MANIFEST if version is None else manifest_file(root, version)
    try:
        manifest = json.loads(file.read_text("utf-8"))
    except FileNotFoundError as error:
        there = ", ".join(map(str, versions(root))) or "none"
        what = "release" if version is None else f"version {version} of a release"
        raise ReleaseError(
            f"There is no {what} at {root}: {file} is missing. Versions there: {there}. Write one with "
            "`tfrecall run` or `tfrecall.export`."
        ) from error
    except (OSError, UnicodeDecodeError, ValueError) as error:
        raise ReleaseError(f"{file} cannot be read: {error}. Export again.") from error
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        found = manifest.get("format") if isinstance(manifest, dict) else None
        raise ReleaseError(
            f"{file} is of format {found!r}; this version of tfrecall reads format {FORMAT}. Export again."
        )
    if manifest.get("sha256") != manifest_checksum(manifest):
        raise ReleaseError(f"{file} was altered: its checksum is another one. Export or copy it again.")
    if version not in (None, manifest["version"]):
        raise ReleaseError(
            f"{file} is foreign: it belongs to version {manifest['version']}. Copy it again."
        )
    return manifest


def manifest_file(root: Path, version: int) -> Path:
    """Where a version keeps its manifest, current or not."""
    return root / "manifests" / f"{version}.json"


def versions(root: Path) -> list[int]:
    """The versions that were published, oldest first."""
    files = (root / "manifests").glob("*.json")
    return sorted(int(file.stem) for file in files if file.stem.isdecimal())


def check_files(root: Path, manifest: dict[str, Any], *, contents: bool = True) -> None:
    """Compares every file with the manifest.

    Args:
        root: the release directory.
        manifest: of the version to check.
        contents: whether to compare checksums, which reads every file; sizes are always compared.

    Raises:
        ReleaseError: naming the first file that is missing, truncated or altered.
    """
    for name, facts in manifest["files"].items():
        check_file(root / name, facts, contents=contents)
