"""Greedy batching: while one call runs, requests collect; all that wait go in the next call.

No timer holds a request back, so a single client pays nothing, and under load batches grow by themselves.
The queue is bounded: beyond it a request is refused at once, which keeps the delay of accepted ones bounded.

Sources: the queue follows the advice of TensorFlow Serving for CPUs (batch_timeout_micros = 0), and the
description of adaptive batching in Crankshaw et al., "Clipper", NSDI 2017.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from time import monotonic
from typing import Generic, TypeVar

from tfrecall.errors import DeadlineError, QueueFullError

Asked = TypeVar("Asked")
Answer = TypeVar("Answer")


@dataclass
class _Waiting(Generic[Asked, Answer]):
    asked: Asked
    answer: "asyncio.Future[Answer]"
    deadline: float | None
    since: float = field(default_factory=monotonic)


class GreedyBatcher(Generic[Asked, Answer]):
    """Answers requests of one event loop in batches, in one thread of its own.

    Args:
        answer: answers a batch, in order; an exception in the place of an answer is raised for that
            request alone.
        max_batch: largest number of requests of one call.
        max_waiting: largest number of requests that wait.
    """

    def __init__(
        self,
        answer: Callable[[Sequence[Asked]], Sequence[Answer | Exception]],
        *,
        max_batch: int = 64,
        max_waiting: int = 256,
    ) -> None:
        self._answer = answer
        self._max_batch = max_batch
        self._max_waiting = max_waiting
        self._waiting: deque[_Waiting[Asked, Answer]] = deque()
        self._running: asyncio.Task[None] | None = None
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="tfrecall-answer")

    def __len__(self) -> int:
        """Number of requests that wait."""
        return len(self._waiting)

    async def ask(self, asked: Asked, deadline: float | None = None) -> Answer:
        """The answer to one request.

        Args:
            asked: the request.
            deadline: moment of `time.monotonic` after which nobody waits any more; None for none.

        Raises:
            QueueFullError: if too many wait already.
            DeadlineError: if the deadline passes first.
        """
        if len(self._waiting) >= self._max_waiting:
            raise QueueFullError(
                f"{len(self._waiting):,} requests wait already. Try again later, or start more workers."
            )
        loop = asyncio.get_running_loop()
        waiting: _Waiting[Asked, Answer] = _Waiting(asked, loop.create_future(), deadline)
        self._waiting.append(waiting)
        if self._running is None:
            self._running = loop.create_task(self._run())
        left = None if deadline is None else deadline - monotonic()
        try:
            return await asyncio.wait_for(waiting.answer, left)
        except asyncio.TimeoutError:
            raise DeadlineError(
                "The deadline of the request passed before its answer was there."
            ) from None

    async def close(self) -> None:
        """Wait for all accepted requests, then end the thread."""
        while self._running is not None:
            await self._running
        self._thread.shutdown()

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            while batch := self._next():
                asked = [one.asked for one in batch]
                try:
                    answers = await loop.run_in_executor(self._thread, self._answer, asked)
                except Exception as error:
                    answers = [error] * len(batch)
                for one, answer in zip(batch, answers, strict=True):
                    _tell(one.answer, answer)
        finally:
            self._running = None

    def _next(self) -> "list[_Waiting[Asked, Answer]]":
        """The next batch: the oldest requests that somebody still waits for."""
        batch: list[_Waiting[Asked, Answer]] = []
        now = monotonic()
        while self._waiting and len(batch) < self._max_batch:
            one = self._waiting.popleft()
            # Cancelled: the client left, or its deadline passed; work for nobody is dropped.
            if not one.answer.done() and (one.deadline is None or one.deadline > now):
                batch.append(one)
        return batch


def _tell(future: "asyncio.Future[Answer]", answer: Answer | Exception) -> None:
    if future.done():
        return
    if isinstance(answer, Exception):
        future.set_exception(answer)
    else:
        future.set_result(answer)
