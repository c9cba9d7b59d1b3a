"""Checkpoints of a training: written after epochs, resumed from after the process was killed."""

import datetime
import hashlib
import json
import time
import zipfile
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Any

import numpy as np

from tfrecall.core.manifests import manifest_checksum, sha256
from tfrecall.core.progress import LogProgress, ProgressReporter
from tfrecall.core.storage import LOCK, atomic_file, locked, remove_unfinished
from tfrecall.errors import CheckpointError

FORMAT = 1
_HEADER = "header.json"


class NotFiniteError(ValueError):
    """An array holds NaN or infinity."""


@dataclass(frozen=True)
class CheckpointFile:
    """A checkpoint that was read through and found whole.

    Attributes:
        file: its path.
        header: the metadata that were written with the arrays.
    """

    file: Path
    header: dict[str, Any]

    def count(self, group: str) -> int:
        """Number of arrays whose names begin with `group/`."""
        return sum(name.startswith(f"{group}/") for name in self.header["arrays"])

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
        header: metadata, as JSON can hold it, NaN and infinity included.
        arrays: by name, `group/number`. They are taken one at a time, so a generator keeps one in
            memory.

    Raises:
        OSError: if it cannot be written; a file of that name stays as it is.
        NotFiniteError: if an array holds NaN or infinity.
    """
    # Stored, not compressed: weights are noise to a compressor. The header comes last, as it holds
    # the checksums of the arrays.
    with atomic_file(file) as stream, zipfile.ZipFile(stream, "w") as archive:
        checksums = {name: _add(archive, name, array) for name, array in arrays}
        whole = {"format": FORMAT, **header, "arrays": checksums}
        archive.writestr(_HEADER, json.dumps({**whole, "sha256": manifest_checksum(whole)}))


def read_checkpoint(file: Path) -> CheckpointFile:
    """Reads a checkpoint through, comparing every checksum.

    Raises:
        CheckpointError: if it is damaged, or of another format.
    """
    try:
        with zipfile.ZipFile(file) as archive:
            header = json.loads(archive.read(_HEADER))
            if header["sha256"] != manifest_checksum(header):
                raise ValueError("its header is not the one that was written")
            for name, checksum in header["arrays"].items():
                with archive.open(f"{name}.npy") as stream:
                    if sha256(stream) != checksum:
                        raise ValueError(f"{name} is not what was written")
    except Exception as error:  # a damaged archive raises whatever its wrong bytes lead to
        raise CheckpointError(f"The checkpoint {file} is damaged: {error}.") from error
    if header.get("format") != FORMAT:
        raise CheckpointError(
            f"The checkpoint {file} has the format {header.get('format')}; this version reads {FORMAT}."
        )
    return CheckpointFile(file, header)


class _Hashing:
    """A stream that computes a checksum of the bytes written to it."""

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
    # The size is not known in advance, and without ZIP64 an array beyond 2 GB would fail at its end.
    with archive.open(f"{name}.npy", "w", force_zip64=True) as stream:
        hashing = _Hashing(stream)
        np.lib.format.write_array(hashing, np.asanyarray(array), allow_pickle=False)
    return hashing.digest.hexdigest()


# Two: if the newest turns out damaged, training goes on from the one before.
KEPT = 2


class Checkpoints:
    """The checkpoints of one training in one directory; the last two are kept.

    One process at a time has the directory; a second one trains without checkpoints, with a note.
    The directory is made when the first checkpoint is written.

    Args:
        folder: the directory, used for nothing else.
        seconds: a checkpoint is due when the last one is this old.
        belongs_to: everything that decides about the result of the training, as JSON can hold it. A
            checkpoint with other values is refused. `tfrecall.training.fit` fills in its own if it is None.
        context: values that explain `belongs_to`; a refusal names their differences, too.
        progress: receives a note where a checkpoint is resumed, damaged or cannot be written; without
            it the logger "tfrecall" does.

    Attributes:
        until: `time.monotonic()` at which the training pauses: at the end of that epoch, with a checkpoint from
            which it goes on; None for never.
        paused: whether it did.
        phase: the name of the training that is under way, where a run has several.
        facts: results of earlier phases, kept with each checkpoint, as JSON can hold it.

    Example:

    >>> import tempfile
    >>> with Checkpoints(tempfile.mkdtemp(), seconds=0, belongs_to={"rate": 0.1}) as kept:
    ...     _ = kept.save({"epoch": 3}, [("weights/0", np.ones(2))])
    ...     found = kept.last()
    >>> found.header["epoch"], [array.tolist() for array in found.arrays("weights")]
    (3, [[1.0, 1.0]])
    """

    def __init__(
        self,
        folder: str | Path,
        *,
        seconds: float = 30.0,
        belongs_to: dict[str, Any] | None = None,
        context: dict[str, Any] | None = None,
        progress: ProgressReporter | None = None,
    ) -> None:
        self.folder = Path(folder)
        self.seconds = seconds
        self.belongs_to = belongs_to
        self.context = context or {}
        self.progress = progress or LogProgress()
        self.until: float | None = None
        self.paused = False
        self.phase = "fit"
        self.facts: dict[str, Any] = {}
        self._lock = ExitStack()
        self._is_mine: bool | None = None
        self._damaged: set[Path] = set()
        self._said: set[str] = set()
        self._written = time.monotonic()
        self._looked = False
        self._found: CheckpointFile | None = None

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    @property
    def due(self) -> bool:
        """Whether the next checkpoint is due."""
        return self.pauses or time.monotonic() - self._written >= self.seconds

    @property
    def pauses(self) -> bool:
        """Whether the training is to pause now."""
        return self.until is not None and time.monotonic() >= self.until

    def last(self) -> CheckpointFile | None:
        """The newest whole checkpoint; damaged ones are noted and skipped.

        Raises:
            CheckpointError: if it belongs to another training, naming each difference.
        """
        if not self._looked:
            self._found, self._looked = self._look(), True
        return self._found

    def _look(self) -> CheckpointFile | None:
        try:
            if not self.folder.is_dir() or not self._take():
                return None
        except OSError as error:
            self.progress.note(
                f"The checkpoints in {self.folder} cannot be used: {error}. Training starts anew."
            )
            return None
        files = self._files()
        for i, file in enumerate(files):
            try:
                # Read through before training: a damaged file is found while there is one before it
                # to take.
                found = read_checkpoint(file)
            except CheckpointError as error:
                self._damaged.add(file)
                rest = "The one before is tried." if i + 1 < len(files) else "Training starts anew."
                self.progress.note(f"{error} {rest}")
                continue
            self._refuse_foreign(found)
            return found
        return None

    def save(self, header: dict[str, Any], arrays: Iterable[tuple[str, np.ndarray]]) -> bool:
        """Writes a checkpoint and removes those before the last two.

        If it cannot be written, the checkpoints before stay as they are, a note says so the first time, and
        training goes on.

        Args:
            header: metadata to keep with the arrays, as JSON can hold it.
            arrays: by name, `group/number`. They are taken one at a time.

        Returns:
            Whether it was written.
        """
        whole = {
            "written_at": datetime.datetime.now().astimezone().isoformat(timespec="seconds"),
            "phase": self.phase,
            "facts": self.facts,
            "belongs_to": self.belongs_to,
            "context": self.context,
            **header,
        }
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            if not self._take():
                return False
            # Numbers go on after damaged files, too, so none of them is overwritten.
            numbers = [int(file.stem) for file in self._files()]
            file = self.folder / f"{max(numbers, default=0) + 1:06d}.npz"
            write_checkpoint(file, whole, arrays)
        except NotFiniteError as error:
            self._say_once(f"No checkpoint is written while weights are not finite: {error}.", "finite")
            return False
        except OSError as error:
            self._say_once(
                f"A checkpoint could not be written to {self.folder}: {error}. Training goes on, the "
                "checkpoint before stays valid, and the next epoch tries again. Free some space, or "
                "give another directory with `--out`.",
                "disk",
            )
            return False
        self._written, self._looked = time.monotonic(), False
        self._remove_older()
        return True

    def discard(self) -> None:
        """Removes all checkpoints, and the directory if there is nothing else in it."""
        if self.folder.is_dir() and self._take():
            for file in self._files():
                file.unlink(missing_ok=True)
        self._looked = False
        self.close()

    def close(self) -> None:
        """Releases the lock of the directory; removes one without checkpoints."""
        if self._is_mine and not self._files():
            with suppress(OSError):
                (self.folder / LOCK).unlink()
                self.folder.rmdir()
        self._lock.close()
        self._is_mine = None

    def _take(self) -> bool:
        """Takes the lock of the directory unless it is held already; gives whether it is held now."""
        if self._is_mine is None:
            try:
                self._lock.enter_context(locked(self.folder, wait=False))
                self._is_mine = True
            except BlockingIOError:
                self.progress.note(
                    f"Another process is training with the checkpoints in {self.folder}. This one does "
                    "without."
                )
                self._is_mine = False
            if self._is_mine:
                # Only under the lock: unfinished files might be another process' own.
                remove_unfinished(self.folder)
        return self._is_mine

    def _files(self) -> list[Path]:
        """Files of checkpoints, the newest first."""
        files = [file for file in self.folder.glob("*.npz") if file.stem.isdecimal()]
        return sorted(files, key=lambda file: int(file.stem), reverse=True)

    def _remove_older(self) -> None:
        whole = [file for file in self._files() if file not in self._damaged]
        for file in {*self._files()} - {*whole[:KEPT]}:
            # Damaged ones are kept for inspection until there are two whole ones.
            if len(whole) >= KEPT:
                with suppress(OSError):
                    file.unlink()

    def _say_once(self, text: str, about: str) -> None:
        if about not in self._said:
            self._said.add(about)
            self.progress.note(text)

    def _refuse_foreign(self, found: CheckpointFile) -> None:
        there, now = found.header["belongs_to"], _plain(self.belongs_to)
        found_differences = differences(there, now)
        if not found_differences:
            return
        found_differences += differences(found.header["context"], _plain(self.context))
        lines = "\n".join(f"  {name}: {old} there, {new} now" for name, old, new in found_differences)
        raise CheckpointError(
            f"The checkpoint in {self.folder}, of {found.header['written_at']}, belongs to another "
            f"training:\n{lines}\nSet these back to go on with it, discard it with `--fresh`, or keep "
            "both with another directory: `--out`. In Python: `Checkpoints(folder).discard()`, or "
            "another folder."
        )


def differences(there: Any, now: Any) -> list[tuple[str, str, str]]:
    """Differences between two values as JSON can hold them: name, value in the file, value now."""
    old, new = _flat(there), _flat(now)
    return [
        (name, _shown(old.get(name)), _shown(new.get(name)))
        for name in {**old, **new}
        if old.get(name) != new.get(name)
    ]


def _plain(value: Any) -> Any:
    """A value as JSON will give it back."""
    return json.loads(json.dumps(value))


def _flat(value: Any, name: str = "") -> dict[str, Any]:
    """Flattens dictionaries, and lists of them, to dotted names, without None."""
    if isinstance(value, dict):
        items = [(str(key), inner) for key, inner in value.items()]
    elif isinstance(value, list) and any(isinstance(inner, dict) for inner in value):
        items = [(str(i), inner) for i, inner in enumerate(value)]
    else:
        return {} if value is None else {name: value}
    flat: dict[str, Any] = {}
    for key, inner in items:
        flat |= _flat(inner, f"{name}.{key}" if name else key)
    return flat


def _shown(value: Any) -> str:
    text = "none" if value is None else str(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
