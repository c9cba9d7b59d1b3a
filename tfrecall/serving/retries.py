"""Attempts at a request within the time of its caller."""

import random
from collections.abc import Callable
from dataclasses import dataclass
from time import monotonic, sleep
from typing import TypeVar

from tfrecall.errors import ConfigError, ServingError

T = TypeVar("T")

# Pauses between attempts are drawn from 0 to this, doubled at each attempt, so that clients which were
# turned away together do not come back together.
FIRST_PAUSE_SECONDS = 0.05
LONGEST_PAUSE_SECONDS = 2.0


class TransientError(Exception):
    """An attempt that failed in a way that another one may not; its cause is what is raised at last.

    Attributes:
        error: raised when no attempt is left.
        retry_after: seconds that the server asks to wait; None if it does not say.
    """

    def __init__(self, error: ServingError, retry_after: float | None = None) -> None:
        super().__init__(str(error))
        self.error, self.retry_after = error, retry_after


@dataclass(frozen=True)
class Retries:
    """How often and how long a request is tried.

    Attributes:
        timeout_seconds: for all attempts and pauses of a request together.
        attempts: at most so many.
    """

    timeout_seconds: float = 5.0
    attempts: int = 4

    def __post_init__(self) -> None:
        if not (self.timeout_seconds > 0 and self.attempts >= 1):
            raise ConfigError(
                "A client needs time and an attempt. Received: "
                f"timeout_seconds={self.timeout_seconds}, attempts={self.attempts}."
            )

    def run(self, attempt: Callable[[float], T]) -> T:
        """Call `attempt` with the seconds that are left, until it returns.

        Raises:
            ServingError: the last attempt's, when none is left, or when the pause before the next would
                outlast the time.
        """
        deadline = monotonic() + self.timeout_seconds
        number = 0
        while True:
            number += 1
            try:
                return attempt(deadline - monotonic())
            except TransientError as failed:
                pause = failed.retry_after
                if pause is None:
                    longest = min(LONGEST_PAUSE_SECONDS, FIRST_PAUSE_SECONDS * 2**number)
                    pause = random.uniform(0, longest)
                if number == self.attempts or monotonic() + pause >= deadline:
                    raise failed.error from failed.__cause__
                sleep(pause)
