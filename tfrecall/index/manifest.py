"""The manifest of an index bundle: what it says, and the refusal of files it does not vouch for."""

import json
from pathlib import Path
from typing import Any

from tfrecall.checksums import describe, own_checksum
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
        "files": {name: describe(directory / name) for name in files},
    }
    manifest["sha256"] = own_checksum(manifest)
    text = json.dumps(manifest, indent=2) + "\n"
    (directory / MANIFEST).write_text(text, encoding="utf-8")


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
    if manifest.get("sha256") != own_checksum(manifest):
        raise ReleaseError(f"{path} was altered: its checksum is another one. Export again.")
    if model is not None and manifest["model"] != model:
        raise ReleaseError(
            f"{path} belongs to another model: it was written for {manifest['model']!r}, asked for "
            f"is {model!r}. Export model and index together."
        )
    return manifest
