"""Who hears what a run is doing, and how long it takes."""

import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol


class Listener(Protocol):
    """Hears what a run is doing."""

    def step(self, title: str) -> AbstractContextManager[None]:
        """Entered when a step begins and left when it ends."""

    def note(self, text: str) -> None:
        """Something worth knowing."""

    def progress(self, title: str, done: int, total: int, unit: str = "rows") -> None:
        """How far a long step has come; `total` is 0 where it is not known."""


class Silent:
    """A listener that says nothing."""

    @contextmanager
    def step(self, title: str) -> Iterator[None]:
        yield

    def note(self, text: str) -> None:
        pass

    def progress(self, title: str, done: int, total: int, unit: str = "rows") -> None:
        pass


class Stopwatch:
    """Seconds of named steps, of the one that is running until now."""

    def __init__(self) -> None:
        self._started: dict[str, float] = {}
        self._ended: dict[str, float] = {}

    @contextmanager
    def time(self, name: str) -> Iterator[None]:
        self._started[name] = time.perf_counter()
        yield
        self._ended[name] = time.perf_counter()

    @property
    def seconds(self) -> dict[str, float]:
        now = time.perf_counter()
        return {n: round(self._ended.get(n, now) - start, 3) for n, start in self._started.items()}
