"""The manifest of an index bundle: what it says, and the refusal of files it does not vouch for."""

import hashlib
import json
from pathlib import Path
from typing import Any

from tfrecall.errors import ReleaseError

FORMAT = "tfrecall.index"
FORMAT_VERSION = 1
MANIFEST = "manifest.json"


def write_manifest(directory: Path, facts: dict[str, Any], files: list[str]) -> None:
    """Writes the manifest of a finished bundle.

    Args:
        directory: where the files lie.
        facts: what to say of them, as JSON can hold it.
        files: names of the files to vouch for.
    """
    manifest = {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        **facts,
        "files": {name: _facts(directory / name) for name in files},
    }
    manifest["sha256"] = _own_checksum(manifest)
    text = json.dumps(manifest, indent=2) + "\n"
    (directory / MANIFEST).write_text(text, encoding="utf-8")


def _facts(path: Path) -> dict[str, Any]:
    return {"size": path.stat().st_size, "sha256": _checksum(path)}


def _checksum(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(2**20):
            digest.update(block)
    return digest.hexdigest()


def _own_checksum(manifest: dict[str, Any]) -> str:
    """Of everything in the manifest but itself, however it is indented."""
    rest = {key: value for key, value in manifest.items() if key != "sha256"}
    return hashlib.sha256(json.dumps(rest, sort_keys=True).encode()).hexdigest()


def read_manifest(directory: Path, model: str | None) -> dict[str, Any]:
    """Gives the manifest of a bundle, or refuses it.

    Args:
        directory: the bundle.
        model: the fingerprint that it must name; None to accept any.

    Raises:
        ReleaseError: if it is missing, no manifest, altered, of another format or of another model.
    """
    path = directory / MANIFEST
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ReleaseError(
            f"{path} is missing, so {directory} is no index bundle. "
            "Pass the directory that `write_bundle` wrote."
        ) from error
    except ValueError as error:  # not JSON, or not UTF-8
        raise ReleaseError(f"{path} is truncated or altered: {error}. Export again.") from error
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        raise ReleaseError(f'{path} is foreign: it does not say "format": "{FORMAT}".')
    if manifest.get("format_version") != FORMAT_VERSION:
        raise ReleaseError(
            f"{path} has format version {manifest.get('format_version')!r}; this version of "
            f"tfrecall reads {FORMAT_VERSION}. Export again, or use the version that wrote it."
        )
    if manifest.get("sha256") != _own_checksum(manifest):
        raise ReleaseError(f"{path} was altered: its checksum is another one. Export again.")
    if model is not None and manifest["model"] != model:
        raise ReleaseError(
            f"{path} belongs to another model: it was written for {manifest['model']!r}, asked for "
            f"is {model!r}. Export model and index together."
        )
    return manifest


def check_file(path: Path, facts: dict[str, Any], verify: bool) -> None:
    """Refuses a file that is not there or not the one that was written.

    Args:
        path: the file.
        facts: its entry under `files` in the manifest.
        verify: whether to compare the checksum too, not only the size.

    Raises:
        ReleaseError: naming the file.
    """
    if not path.is_file():
        raise ReleaseError(f"{path} is missing. Copy the whole bundle, or export again.")
    size = path.stat().st_size
    if size != facts["size"]:
        raise ReleaseError(
            f"{path} is truncated or altered: it has {size} bytes, {facts['size']} were written. "
            "Copy the bundle again, or export again."
        )
    if verify and _checksum(path) != facts["sha256"]:
        raise ReleaseError(
            f"{path} was altered: its SHA-256 is not the one in {MANIFEST}. "
            "Copy the bundle again, or export again."
        )
