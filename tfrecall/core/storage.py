"""Sizes and checksums: which file is the one that was written."""

import fcntl
import hashlib
import json
import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
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


LOCK = ".lock"


@contextmanager
def locked(directory: Path, *, wait: bool = True) -> Iterator[None]:
    """Holds the lock of a directory, among all processes that see its file system.

    Args:
        directory: where the lock file lies.
        wait: whether to wait for who has it now.

    Raises:
        BlockingIOError: if another has it and `wait` is False.
        OSError: if the directory cannot be written, or its file system has no locks.
    """
    file = directory / LOCK
    while True:
        descriptor = os.open(file, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
            # Whoever had it before may have removed the file: that lock keeps nobody out.
            if _is_open(descriptor, file):
                yield
                return
        finally:
            os.close(descriptor)


def _is_open(descriptor: int, file: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), file.stat())
    except FileNotFoundError:
        return False


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
