"""Events of users: written to the feedback log, then counted as recent."""

import asyncio
from collections.abc import Sequence
from typing import Any

from tfrecall.core.columns import ITEM, TIMESTAMP, USER
from tfrecall.errors import UnsupportedError
from tfrecall.serving.batching import GreedyBatcher
from tfrecall.serving.config import ServingConfig
from tfrecall.serving.events import (
    Event,
    EventLog,
    EventTail,
    checked_row,
    timed_now,
)
from tfrecall.serving.observer import Observer
from tfrecall.serving.recent import RecentEvents

# Time after which a write counts as hanging: disks take seconds under load.
_STUCK_SECONDS = 60.0
# Time between two looks for events of other processes.
FOLLOW_SECONDS = 1.0

Rows = Sequence[dict[str, Any]]


class Feedback:
    """The feedback log of a service, and what it knows of recent events.

    While one `fsync` runs, requests collect; the next one is for all of them.

    Args:
        config: settings of the service.
        observer: hears of accepted events.

    Attributes:
        recent: items of the users who were active last; empty without a log.
    """

    def __init__(self, config: ServingConfig, observer: Observer) -> None:
        self._config = config
        self._observer = observer
        self.recent = RecentEvents()
        self._log: EventLog | None = None
        self._tail: EventTail | None = None
        self._batcher: GreedyBatcher[Rows, int] | None = None

    def open(self) -> None:
        """Open the log, and count the newest events of earlier processes. Blocks.

        Raises:
            OSError: if the directory cannot be written.
        """
        if self._config.events is None:
            return
        log = EventLog(self._config.events)
        self._log, self._tail = log, EventTail(self._config.events)
        self.recent.add_all(self._others())
        self._batcher = GreedyBatcher(
            log.write,
            max_batch=1024,
            max_waiting=self._config.max_waiting,
            stuck_seconds=_STUCK_SECONDS,
        )

    async def close(self) -> None:
        """Finish accepted writes and end the file."""
        if self._batcher is not None and self._log is not None:
            await self._batcher.close()
            self._log.close()

    async def add(self, events: Sequence[Event], deadline: float | None = None) -> int:
        """Write events, count them, and give their number.

        Args:
            events: as they happened.
            deadline: moment of `time.monotonic`; events whose deadline passes may be on disk all the same.

        Raises:
            UnsupportedError: if the service has no log.
            DataError: if an event is impossible; none of them is written.
            ServingError: if they are not on disk.
        """
        if self._batcher is None:
            raise UnsupportedError(
                "This service takes no events. Start it with a directory for them: `--events DIRECTORY`."
            )
        now = timed_now()
        rows = [checked_row(event, now) for event in events]
        written = await self._batcher.ask(rows, deadline) if rows else 0
        self.recent.add_all((row[USER], row[ITEM], row[TIMESTAMP]) for row in rows)
        self._observer.events(written)
        return written

    async def follow(self) -> None:
        """Count what other processes have written to the directory since the call before."""
        # Read in a thread and added in this one, which `add` uses, too.
        self.recent.add_all(await asyncio.to_thread(self._others))

    def _others(self) -> list[tuple[str, str, float]]:
        if self._tail is None or self._log is None:
            return []
        new = self._tail.new(without=self._log.names)
        return [(row.user_id, row.item_id, row.timestamp) for row in new]
