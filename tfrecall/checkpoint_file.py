"""One checkpoint on disk: arrays and a header in a NumPy archive, whole or not there at all.

The file is an `.npz` without pickles, so `numpy.load` opens it, with one more member, `header.json`,
which holds the SHA-256 of each array and of itself. It is written under a temporary name, brought to
the disk and renamed.
"""

import hashlib
import json
import os
import uuid
import zipfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np

from tfrecall.checksums import own_checksum
from tfrecall.errors import CheckpointError

FORMAT = 1
# Begins the names of files that are being written; a killed process leaves one behind.
WRITING = ".writing-"
_HEADER = "header.json"


class NotFiniteError(ValueError):
    """An array holds NaN or infinity."""


@dataclass(frozen=True)
class CheckpointFile:
    """A checkpoint that was read through and found whole.

    Attributes:
        file: where it lies.
        header: what was written beside the arrays.
    """

    file: Path
    header: dict[str, Any]

    def arrays(self, group: str) -> Iterator[np.ndarray]:
        """The arrays whose names begin with `group/`, in the order they were written, one at a time."""
        with zipfile.ZipFile(self.file) as archive:
            for name in self.header["arrays"]:
                if name.startswith(f"{group}/"):
                    with archive.open(f"{name}.npy") as stream:
                        yield np.lib.format.read_array(stream, allow_pickle=False)


def write_checkpoint(
    file: Path, header: dict[str, Any], arrays: Iterable[tuple[str, np.ndarray]]
) -> None:
    """Writes a checkpoint; whatever happens, no temporary file stays behind.

    Args:
        file: its name, in a directory that is there.
        header: as JSON can hold it, NaN and infinity included.
        arrays: by name, `group/number`. They are taken one at a time, so a generator keeps one in
            memory.

    Raises:
        OSError: if it cannot be written; what bears the name now stays.
        NotFiniteError: if an array holds NaN or infinity.
    """
    temporary = file.with_name(f"{WRITING}{uuid.uuid4().hex[:12]}.npz")
    try:
        with temporary.open("wb") as raw:
            with zipfile.ZipFile(raw, "w") as archive:
                checksums = {name: _add(archive, name, array) for name, array in arrays}
                whole = {"format": FORMAT, **header, "arrays": checksums}
                archive.writestr(_HEADER, json.dumps({**whole, "sha256": own_checksum(whole)}))
            raw.flush()
            os.fsync(raw.fileno())
        os.replace(temporary, file)
        _bring_to_disk(file.parent)
    finally:
        temporary.unlink(missing_ok=True)


def read_checkpoint(file: Path) -> CheckpointFile:
    """Reads a checkpoint through, comparing every checksum.

    Raises:
        CheckpointError: if it is damaged, or of another format.
    """
    try:
        with zipfile.ZipFile(file) as archive:
            header = json.loads(archive.read(_HEADER))
            if header["sha256"] != own_checksum(header):
                raise ValueError("its header is not the one that was written")
            for name, checksum in header["arrays"].items():
                with archive.open(f"{name}.npy") as stream:
                    if _sha256(stream) != checksum:
                        raise ValueError(f"{name} is not what was written")
    except Exception as error:  # a damaged archive raises whatever its wrong bytes lead to
        raise CheckpointError(f"The checkpoint {file} is damaged: {error}.") from error
    if header.get("format") != FORMAT:
        raise CheckpointError(
            f"The checkpoint {file} has the format {header.get('format')}; this version reads {FORMAT}."
        )
    return CheckpointFile(file, header)


class _Hashing:
    """A stream that counts what is written to it into a checksum."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        self.digest = hashlib.sha256()

    def write(self, data: bytes) -> int:
        self.digest.update(data)
        return self._stream.write(data)


def _add(archive: zipfile.ZipFile, name: str, array: np.ndarray) -> str:
    """Writes an array; gives its checksum."""
    # The extremes instead of a mask of all values: no memory, and NaN comes through both.
    if array.size and array.dtype.kind == "f" and not np.isfinite([array.min(), array.max()]).all():
        raise NotFiniteError(f"{name} holds NaN or infinity")
    with archive.open(f"{name}.npy", "w", force_zip64=True) as stream:
        hashing = _Hashing(stream)
        np.lib.format.write_array(hashing, np.asanyarray(array), allow_pickle=False)
    return hashing.digest.hexdigest()


def _sha256(stream: IO[bytes]) -> str:
    digest = hashlib.sha256()
    while piece := stream.read(1 << 20):
        digest.update(piece)
    return digest.hexdigest()


def _bring_to_disk(folder: Path) -> None:
    """Sees to it that a renaming outlives a loss of power, too."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
