"""A release on disk: versions beside each other, and one manifest that says which one answers.

    manifest.json            the current version: a copy of manifests/<version>.json
    manifests/<version>.json what that version is, and size and SHA-256 of each of its files
    query/<version>/         SavedModel: raw query features -> vector
    candidate/<version>/     SavedModel: raw candidate features -> vector
    retrieval/<version>/     SavedModel: raw query features -> best candidates
    index/<version>/         vectors, ids, Annoy's trees
    context/<version>/       what is known of users and items: features, histories, item columns
    metrics.json, config.toml, of the current version

`query/`, `candidate/` and `retrieval/` are what TF Serving takes as a model's base path. A version is
written into a temporary directory and its parts are renamed into place; it counts from the moment that
`manifest.json` is replaced, which is one atomic step. Earlier versions stay as they are.
"""

import hashlib
import json
import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tfrecall.errors import ExportError, ReleaseError

FORMAT = 1
PARTS = ("query", "candidate", "retrieval", "index", "context")
MANIFEST = "manifest.json"
_UNFINISHED = ".unfinished-"


def read_manifest(root: Path, version: int | None = None) -> dict[str, Any]:
    """What a release says of itself.

    Args:
        root: the release directory.
        version: None for the current one.

    Raises:
        ReleaseError: if there is no release, no such version, or it is of another format.
    """
    file = root / MANIFEST if version is None else root / "manifests" / f"{version}.json"
    try:
        manifest = json.loads(file.read_text("utf-8"))
    except FileNotFoundError as error:
        there = ", ".join(map(str, versions(root))) or "none"
        raise ReleaseError(
            f"There is no release at {root}: {file} is missing. Versions there: {there}. Write one with "
            "`tfrecall run` or `tfrecall.export`."
        ) from error
    except (OSError, UnicodeDecodeError, ValueError) as error:
        raise ReleaseError(f"{file} cannot be read: {error}. Export again.") from error
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        found = manifest.get("format") if isinstance(manifest, dict) else None
        raise ReleaseError(
            f"{file} is of format {found!r}; this version of tfrecall reads format {FORMAT}. Export again."
        )
    return manifest


def versions(root: Path) -> list[int]:
    """The versions that were published, oldest first."""
    files = (root / "manifests").glob("*.json")
    return sorted(int(file.stem) for file in files if file.stem.isdigit())


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
        file = root / name
        if not file.is_file():
            raise ReleaseError(f"{file} is missing from the release. Export again or copy it again.")
        size = file.stat().st_size
        if size != facts["bytes"]:
            raise ReleaseError(
                f"{file} has {size} bytes where the manifest says {facts['bytes']}: it is truncated or "
                "altered. Export again or copy it again."
            )
        if contents and sha256(file) != facts["sha256"]:
            raise ReleaseError(
                f"{file} is not the file that was exported: its SHA-256 differs from the manifest. "
                "Export again or copy it again."
            )


def sha256(file: Path) -> str:
    """Checksum of a file's contents, read in pieces."""
    digest = hashlib.sha256()
    with file.open("rb") as stream:
        while piece := stream.read(1 << 20):
            digest.update(piece)
    return digest.hexdigest()


@contextmanager
def unfinished(root: Path) -> Iterator[Path]:
    """A temporary directory inside the release directory, gone afterwards whatever happens.

    What a killed process left behind is removed on the way.

    Raises:
        ExportError: if it cannot be made.
    """
    directory = root / f"{_UNFINISHED}{os.getpid()}-{uuid.uuid4().hex[:8]}"
    try:
        directory.mkdir(parents=True)
    except OSError as error:
        raise ExportError(
            f"The release directory {root} cannot be written: {error}. Choose another with `--out`."
        ) from error
    _remove_leftovers(root)
    try:
        yield directory
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def publish(root: Path, directory: Path, manifest: dict[str, Any]) -> dict[str, Any]:
    """Makes the parts in a temporary directory the next version.

    Args:
        root: the release directory.
        directory: holds one subdirectory a part.
        manifest: what the version says of itself, but for format, version and files.

    Returns:
        The whole manifest.

    Raises:
        ExportError: if it cannot be written; the version before stays in place.
    """
    version = 1 + max([*versions(root), *_part_versions(root)], default=0)
    moved: list[Path] = []
    try:
        files = _describe_files(directory, version)
        manifest = {"format": FORMAT, "version": version, **manifest, "files": files}
        for part in PARTS:
            target = root / part / str(version)
            target.parent.mkdir(exist_ok=True)
            os.rename(directory / part, target)
            moved.append(target)
        text = json.dumps(manifest, indent=2)
        own = root / "manifests" / f"{version}.json"
        write_atomically(own, text)
        moved.append(own)
        write_atomically(root / MANIFEST, text)
    except BaseException as error:
        for path in moved:
            path.unlink() if path.is_file() else shutil.rmtree(path, ignore_errors=True)
        if not isinstance(error, OSError):
            raise
        raise ExportError(
            f"Version {version} could not be written to {root}: {error}. The version before is untouched."
        ) from error
    return manifest


def write_atomically(file: Path, text: str) -> None:
    """Replaces a file in one step: readers see the old text or the new, never a part."""
    file.parent.mkdir(parents=True, exist_ok=True)
    temporary = file.with_name(f".{file.name}.{uuid.uuid4().hex[:8]}")
    try:
        with temporary.open("w", encoding="utf-8") as stream:
            stream.write(text)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(temporary, file)
    finally:
        temporary.unlink(missing_ok=True)


def _describe_files(directory: Path, version: int) -> dict[str, dict[str, Any]]:
    facts = {}
    for file in sorted(path for path in directory.rglob("*") if path.is_file()):
        part, *rest = file.relative_to(directory).parts
        name = "/".join([part, str(version), *rest])
        facts[name] = {"bytes": file.stat().st_size, "sha256": sha256(file)}
    return facts


def _part_versions(root: Path) -> list[int]:
    """Versions of parts, published or left behind by a killed process: no number is used twice."""
    names = (path.name for part in PARTS for path in (root / part).glob("*"))
    return [int(name) for name in names if name.isdigit()]


def _remove_leftovers(root: Path) -> None:
    for directory in root.glob(f"{_UNFINISHED}*"):
        owner = directory.name.removeprefix(_UNFINISHED).partition("-")[0]
        if not owner.isdigit() or not _is_running(int(owner)):
            shutil.rmtree(directory, ignore_errors=True)


def _is_running(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True
