"""Sizes and checksums: which file is the one that was written."""

import hashlib
import json
from pathlib import Path
from typing import Any

from tfrecall.errors import ReleaseError


def sha256(file: Path) -> str:
    """Checksum of a file's contents, read in pieces."""
    digest = hashlib.sha256()
    with file.open("rb") as stream:
        while piece := stream.read(1 << 20):
            digest.update(piece)
    return digest.hexdigest()


def describe(file: Path) -> dict[str, Any]:
    """Size and checksum of a file, for a manifest."""
    return {"bytes": file.stat().st_size, "sha256": sha256(file)}


def check_file(file: Path, facts: dict[str, Any], *, contents: bool = True) -> None:
    """Refuses a file that is not there or not the one that was described.

    Args:
        file: the file.
        facts: what `describe` said of it.
        contents: whether to compare checksums, which reads the file; sizes are always compared.

    Raises:
        ReleaseError: naming the file.
    """
    if not file.is_file():
        raise ReleaseError(f"{file} is missing. Export again or copy it again.")
    size = file.stat().st_size
    if size != facts["bytes"]:
        raise ReleaseError(
            f"{file} is truncated or altered: it has {size} bytes where the manifest says "
            f"{facts['bytes']}. Export again or copy it again."
        )
    if contents and sha256(file) != facts["sha256"]:
        raise ReleaseError(
            f"{file} was altered: its SHA-256 differs from the manifest. Export again or copy it again."
        )


def own_checksum(manifest: dict[str, Any]) -> str:
    """Of everything in a manifest but the checksum itself, however it is indented."""
    rest = {key: value for key, value in manifest.items() if key != "sha256"}
    # Once through JSON, so that what will be read back gives the same.
    text = json.dumps(json.loads(json.dumps(rest)), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()
