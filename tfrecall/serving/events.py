"""The feedback log: events of users as JSON lines, on disk before they are acknowledged.

Each process writes files of its own, so that several may share a directory. A file that has grown or aged is
closed and a new one begun. `tfrecall run --data DIRECTORY` reads the directory as a log.
"""

import fcntl
import os
import uuid
from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime, timezone
from pathlib import Path
from time import monotonic, time
from typing import Any

import msgspec

from tfrecall.core.columns import ITEM, TIMESTAMP, USER
from tfrecall.core.storage import sync_directory
from tfrecall.errors import DataError, NotReadyError
from tfrecall.release.histories import check_text, id_text

SUFFIX = ".jsonl"
# Seconds since 1970 are below it until the year 5138; milliseconds are above it since 1973.
_LARGEST_TIME = 1e11
_ENCODER = msgspec.json.Encoder()


class Event(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """A user did something with an item.

    Attributes:
        user_id: user.
        item_id: item, of the catalogue or new.
        timestamp: seconds since 1970 in UTC; None for now.
        columns: further columns of the log, such as a rating; training wants each in all events, with values
            of one type.
    """

    user_id: str | int
    item_id: str | int
    timestamp: int | float | None = None
    columns: dict[str, str | int | float | bool | None] = {}


class EventsRequest(msgspec.Struct, forbid_unknown_fields=True):
    """Events of users, in the order in which they happened."""

    events: list[Event]


class EventsAnswer(msgspec.Struct):
    """Number of events that are on disk."""

    accepted: int


class Row(msgspec.Struct):
    """A line of the log, as far as the service reads it again."""

    user_id: str
    item_id: str
    timestamp: float = 0.0


def checked_row(event: Event, now: float) -> dict[str, Any]:
    """The line of an event.

    Raises:
        DataError: if an id is empty or no text, or the time is no time in seconds.

    >>> checked_row(Event(user_id=42, item_id="a", columns={"rating": 5}), 1700000000.0)
    {'user_id': '42', 'item_id': 'a', 'timestamp': 1700000000.0, 'rating': 5}
    """
    found: dict[str, Any] = {}
    for column, value in ((USER, event.user_id), (ITEM, event.item_id)):
        text = id_text(value)
        if not text:
            raise DataError(f"`{column}` is a text that is not empty. Received: {value!r:.200}.")
        check_text(column, text)
        found[column] = text
    seconds = now if event.timestamp is None else event.timestamp
    if not abs(seconds) < _LARGEST_TIME:
        raise DataError(
            f"`{TIMESTAMP}` is in seconds since 1970. Received: {seconds!r}, which looks like milliseconds. "
            "Divide by 1,000."
        )
    found[TIMESTAMP] = float(seconds)
    if taken := [name for name in event.columns if name in found or not name]:
        raise DataError(f"`columns` cannot hold {taken[0]!r}: an event has it beside them.")
    return {**found, **event.columns}


class EventLog:
    """Appends events to files of this process. One thread at a time may write.

    Files of processes that were killed lose an unfinished last line, which nobody was told is written.

    Args:
        directory: where the files lie; made if it is missing.
        max_bytes: size from which a new file is begun.
        max_seconds: age from which a new file is begun.

    Raises:
        OSError: if the directory cannot be written.
    """

    def __init__(
        self, directory: Path, *, max_bytes: int = 64 << 20, max_seconds: float = 3600.0
    ) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.directory = directory
        self._max_bytes = max_bytes
        self._max_seconds = max_seconds
        self._file: int | None = None
        self._path = directory
        self._size = 0
        self._begun = 0.0
        # Names of the files of this process, which `EventTail` passes over.
        self.names: set[str] = set()
        mend(directory)

    def write(self, batches: Sequence[Sequence[dict[str, Any]]]) -> list[int]:
        """Append several requests' events and bring them to disk, all by one `fsync`.

        Returns:
            Number of events of each request.

        Raises:
            NotReadyError: if they could not be written; none of them counts.
        """
        lines = b"".join(_ENCODER.encode(row) + b"\n" for batch in batches for row in batch)
        try:
            file = self._opened()
            try:
                _write_all(file, lines)
                os.fsync(file)
            except OSError:
                self._drop_since(self._size)
                raise
        except OSError as error:
            raise NotReadyError(
                f"The events could not be written: {error.strerror}. Send them again later."
            ) from error
        self._size += len(lines)
        return [len(batch) for batch in batches]

    def close(self) -> None:
        """End the current file; the next event begins a new one."""
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def _opened(self) -> int:
        old = monotonic() - self._begun > self._max_seconds
        if self._file is not None and (old or self._size >= self._max_bytes):
            self.close()
        if self._file is None:
            stamp = datetime.now(timezone.utc).strftime("%Y%m%dT%H%M%S")
            name = f"events-{stamp}-{os.getpid()}-{uuid.uuid4().hex[:8]}{SUFFIX}"
            flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_EXCL
            self._path = self.directory / name
            self._file = os.open(self._path, flags, 0o644)
            self.names.add(name)
            with suppress(OSError):  # no locks on this file system: then nobody mends files there
                fcntl.flock(self._file, fcntl.LOCK_EX)
            sync_directory(self.directory)
            self._size, self._begun = 0, monotonic()
        return self._file

    def _drop_since(self, size: int) -> None:
        """Cut a failed write off, so that its lines are neither torn nor there twice after a retry."""
        if self._file is not None:
            with suppress(OSError):
                os.ftruncate(self._file, size)
                # Otherwise each request to a full disk would leave an empty file.
                if not size:
                    self._path.unlink()
        # After a failed `fsync` nothing is known of the file: the next events go to another one.
        self.close()


class EventTail:
    """Reads the newest events of a directory, then those that other processes add.

    Args:
        directory: of an `EventLog`.
        max_bytes: bytes to read at first, those of the newest files.
    """

    def __init__(self, directory: Path, max_bytes: int = 32 << 20) -> None:
        self._directory = directory
        self._max_bytes = max_bytes
        self._read: dict[str, int] | None = None

    def new(self, without: set[str] | None = None) -> list[Row]:
        """Events since the call before, ordered by time, equal ones as they stand.

        Lines that are no event are passed over, and an unfinished last line until it is finished.

        Args:
            without: names of files that are not read.
        """
        sizes = {}
        for file in sorted(self._directory.glob(f"*{SUFFIX}")):
            with suppress(FileNotFoundError):  # removed meanwhile
                if file.name not in (without or ()):
                    sizes[file.name] = file.stat().st_size
        if self._read is None:
            self._read = _start(sizes, self._max_bytes)
        rows: list[Row] = []
        for name, size in sizes.items():
            start = self._read.get(name, 0)
            if size > start:
                with suppress(FileNotFoundError):
                    lines, self._read[name] = _whole_lines(self._directory / name, start)
                    rows += filter(None, map(_row, lines))
        return sorted(rows, key=lambda row: row.timestamp)


def mend(directory: Path) -> None:
    """Cut unfinished last lines off files whose writers were killed; those of live writers are locked."""
    for file in directory.glob(f"*{SUFFIX}"):
        with suppress(OSError), file.open("r+b") as stream:
            fcntl.flock(stream.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
            end = _end_of_lines(stream)
            if end < os.fstat(stream.fileno()).st_size:
                stream.truncate(end)
                os.fsync(stream.fileno())


def timed_now() -> float:
    """Seconds since 1970, to the millisecond."""
    return round(time(), 3)


def _start(sizes: dict[str, int], budget: int) -> dict[str, int]:
    """First byte to read of each file: the newest files, as far as the budget goes."""
    found = {}
    for name in sorted(sizes, reverse=True):
        found[name] = max(0, sizes[name] - budget)
        budget = max(0, budget - sizes[name])
    return found


def _whole_lines(file: Path, start: int) -> tuple[list[bytes], int]:
    """Finished lines from a byte on, and the byte after them."""
    with file.open("rb") as stream:
        stream.seek(max(0, start - 1))
        content = stream.read()
    if start:
        # The byte before tells whether a line begins at `start`; the rest of a cut line is no line.
        first = content.find(b"\n") + 1
        if not first:
            return [], start
        start, content = start - 1 + first, content[first:]
    whole = content.rfind(b"\n") + 1
    return content[:whole].split(b"\n"), start + whole


def _row(line: bytes) -> Row | None:
    try:
        return msgspec.json.decode(line, type=Row)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return None


def _end_of_lines(stream: Any) -> int:
    """The byte after the last finished line; read from the end, as files may be large."""
    end = stream.seek(0, os.SEEK_END)
    while end:
        start = max(0, end - 65_536)
        stream.seek(start)
        place = stream.read(end - start).rfind(b"\n")
        if place >= 0:
            return start + place + 1
        end = start
    return 0


def _write_all(file: int, content: bytes) -> None:
    view = memoryview(content)
    while view:
        view = view[os.write(file, view) :]
