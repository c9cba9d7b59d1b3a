"""Checkpoints of several workers: the chief writes them, and all go on from the same one."""

import tempfile
from pathlib import Path
from typing import Any

from tfrecall.errors import CheckpointError
from tfrecall.training.checkpoints import CheckpointFile, Checkpoints, read_checkpoint
from tfrecall.training.strategy import OneReplica, Replicas

# Bytes sent at a time: a checkpoint may fill half the memory.
_PIECE = 1 << 26
# Answers of the chief: nothing to go on from, one that is refused, one that was sent before, the size of a
# file that follows.
_NONE, _REFUSED, _SAME, _FILE = b"n", b"r", b"s", b"f"


class SharedCheckpoints(Checkpoints):
    """Checkpoints that the chief of several workers writes and reads.

    The others receive the file that training goes on from, so they need no directory in common. Their own
    is a temporary one. `last` has to be called by all workers at the same point.

    Args:
        folder: the chief's directory.
        replicas: the workers.
        settings: as for `Checkpoints`.
    """

    def __init__(self, folder: str | Path, replicas: Replicas, **settings: Any) -> None:
        self.replicas = replicas
        self._own = (
            None if replicas.is_chief else tempfile.TemporaryDirectory(prefix="tfrecall-worker-")
        )
        super().__init__(folder if self._own is None else self._own.name, **settings)
        self._sent: str | None = None
        self._received: CheckpointFile | None = None

    @property
    def due(self) -> bool:
        return self.replicas.is_chief and super().due

    def last(self) -> CheckpointFile | None:
        if self.replicas.is_chief:
            return self._send()
        answer = self.replicas.from_chief(b"")
        kind, content = answer[:1], answer[1:]
        if kind == _REFUSED:
            raise CheckpointError(f"The chief refuses its checkpoint. {content.decode()}")
        if kind == _FILE:
            file = self.folder / "received.npz"
            with file.open("wb") as stream:
                for _ in range(0, int(content), _PIECE):
                    stream.write(self.replicas.from_chief(b""))
            self._received = read_checkpoint(file)
        return None if kind == _NONE else self._received

    def _send(self) -> CheckpointFile | None:
        try:
            found = super().last()
        except CheckpointError as error:
            # The others wait for an answer, and end with the same words.
            self.replicas.from_chief(_REFUSED + str(error).encode())
            raise
        if found is None:
            self.replicas.from_chief(_NONE)
        elif found.header["sha256"] == self._sent:
            self.replicas.from_chief(_SAME)
        else:
            self._sent = found.header["sha256"]
            size = found.file.stat().st_size
            self.replicas.from_chief(_FILE + str(size).encode())
            with found.file.open("rb") as stream:
                for _ in range(0, size, _PIECE):
                    self.replicas.from_chief(stream.read(_PIECE))
        return found


def make_checkpoints(folder: str | Path, replicas: OneReplica, **settings: Any) -> Checkpoints:
    """Checkpoints of one process, or of several workers; `settings` as for `Checkpoints`."""
    if not isinstance(replicas, Replicas) or replicas.cluster is None:
        return Checkpoints(folder, **settings)
    return SharedCheckpoints(folder, replicas, **settings)
