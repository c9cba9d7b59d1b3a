"""Greedy batching: while one call runs, requests collect; all that wait go in the next call.

No timer holds a request back, so a single client pays nothing, and under load batches grow by themselves.
The queue is bounded: beyond it a request is refused at once, which keeps the delay of accepted ones bounded.

Sources: the queue follows the advice of TensorFlow Serving for CPUs (batch_timeout_micros = 0), and the
description of adaptive batching in Crankshaw et al., "Clipper", NSDI 2017.
"""

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from math import inf
from queue import SimpleQueue
from threading import Event, Thread
from time import monotonic
from typing import Any, Generic, TypeVar

from tfrecall.errors import (
    DeadlineError,
    ModelFailedError,
    NotReadyError,
    QueueFullError,
    TfrecallError,
)

Asked = TypeVar("Asked")
Answer = TypeVar("Answer")

_LOG = logging.getLogger(__name__)
# Calls that hang at the same time, each in a thread that nothing can end, before requests are refused.
MAX_HANGING = 3
# Time for an idle thread to end.
_JOIN_SECONDS = 1.0


@dataclass(eq=False, slots=True)
class Waiting(Generic[Asked, Answer]):
    """A request that was accepted.

    Attributes:
        asked: the request.
        tell: takes its answer, or the error in place of one; None when nobody waits any more.
        since: when it came, of `time.monotonic`.
        deadline: moment after which nobody waits; infinite for none.
    """

    asked: Asked
    tell: Callable[[Answer | Exception], None] | None
    since: float
    deadline: float


class GreedyBatcher(Generic[Asked, Answer]):
    """Answers requests of one event loop in batches, in one thread of its own.

    Requests are answered in the order in which they came. One whose deadline passes, or whose client leaves,
    gives its place in the queue free at once; if its call runs already, the call is not interrupted.

    A call that does not return in `stuck_seconds` fails, and a new thread takes over; its thread, which
    nothing can end, is left alone. While `MAX_HANGING` calls hang, requests are refused.

    Args:
        answer: answers a batch, in order; an exception in the place of an answer is raised for that
            request alone.
        max_batch: largest number of requests of one call.
        max_waiting: largest number of requests that wait.
        stuck_seconds: time after which a call counts as hanging.
        observe: called after each call with the seconds that each of its requests had waited, and the
            seconds of the call.
    """

    def __init__(
        self,
        answer: Callable[[Sequence[Asked]], Sequence[Answer | Exception]],
        *,
        max_batch: int = 64,
        max_waiting: int = 256,
        stuck_seconds: float = 30.0,
        observe: Callable[[Sequence[float], float], None] | None = None,
    ) -> None:
        self._answer = answer
        self._max_batch = max_batch
        self._max_waiting = max_waiting
        self._stuck_seconds = stuck_seconds
        self._observe = observe
        self._waiting: OrderedDict[Waiting[Asked, Answer], None] = OrderedDict()
        self._running: list[Waiting[Asked, Answer]] = []
        self._watchdog: asyncio.TimerHandle | None = None
        # One timer for all requests, which mostly have the same time: at the earliest of their deadlines.
        self._timer: asyncio.TimerHandle | None = None
        self._next_deadline = inf
        self._thread: _Thread | None = None
        self._hanging = 0
        self._has_ended: asyncio.Future[None] | None = None
        self._is_closed = False
        # Whether the running call has returned; its answers may not have been given yet.
        self._is_over = Event()

    def __len__(self) -> int:
        """Number of requests that wait, without those of the running call."""
        return len(self._waiting)

    @property
    def is_full(self) -> bool:
        """Whether the next request would be refused because too many wait."""
        return len(self._waiting) >= self._max_waiting

    @property
    def is_stuck(self) -> bool:
        """Whether requests are refused because calls do not return."""
        return self._hanging >= MAX_HANGING

    def let_run(self, seconds: float) -> None:
        """Block the event loop until the running call returns, at most for some time, and once for a call.

        The loop and the call share one interpreter. While refusals alone are to be written, taking it in turns
        costs both of them more than the wait does.

        Args:
            seconds: the longest wait.
        """
        if self._running and not self._is_over.is_set():
            self._is_over.wait(seconds)
            self._is_over.set()

    async def ask(self, asked: Asked, deadline: float | None = None) -> Answer:
        """The answer to one request.

        Args:
            asked: the request.
            deadline: moment of `time.monotonic` after which nobody waits any more; None for none.

        Raises:
            QueueFullError: if too many wait already.
            DeadlineError: if the deadline passes first.
            ModelFailedError: if the call raises something other than our errors, or hangs.
            NotReadyError: after `close`, or while calls hang.
        """
        future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        one = self.submit(asked, partial(_pass_on, future), deadline)
        try:
            return await future
        finally:
            self.withdraw(one)

    def submit(
        self,
        asked: Asked,
        tell: Callable[[Answer | Exception], None],
        deadline: float | None = None,
    ) -> Waiting[Asked, Answer]:
        """Accept a request without waiting for its answer.

        Args:
            asked: the request.
            tell: called once in the event loop with the answer, or with an error that `ask` would raise; it
                must be quick and not raise.
            deadline: moment of `time.monotonic` after which nobody waits any more; None for none.

        Raises:
            QueueFullError: if too many wait already.
            DeadlineError: if the deadline has passed.
            NotReadyError: after `close`, or while calls hang.
        """
        self._check_open()
        now = monotonic()
        if deadline is None:
            deadline = inf
        elif deadline <= now:
            raise _late()
        loop = asyncio.get_running_loop()
        one: Waiting[Asked, Answer] = Waiting(asked, tell, now, deadline)
        self._waiting[one] = None
        if deadline < self._next_deadline:
            self._look_at(loop, deadline)
        if not self._running:
            self._start_next(loop)
        return one

    def withdraw(self, one: Waiting[Asked, Answer]) -> None:
        """Take a request back: nobody waits for its answer, and its place in the queue is free."""
        one.tell = None
        self._waiting.pop(one, None)
        self._note_end()

    async def close(self) -> None:
        """Refuse new requests, wait for the answers of all accepted ones, then end the thread."""
        self._is_closed = True
        self._has_ended = asyncio.get_running_loop().create_future()
        self._note_end()
        await self._has_ended
        if self._timer is not None:
            self._timer.cancel()
        if self._thread is not None:
            self._thread.end()

    def _note_end(self) -> None:
        """Let `close` go on when nobody waits any more."""
        if self._has_ended is None or self._has_ended.done():
            return
        if not any(one.tell for one in (*self._waiting, *self._running)):
            self._has_ended.set_result(None)

    def _check_open(self) -> None:
        if self._is_closed:
            raise NotReadyError("The service is stopping. Ask another one.")
        if self.is_stuck:
            raise NotReadyError(
                f"{self._hanging} calls of the model have not returned. Restart the service."
            )
        if self.is_full:
            raise QueueFullError(
                f"{len(self._waiting):,} requests wait already. Try again later, or start more workers."
            )

    def _start_next(self, loop: asyncio.AbstractEventLoop) -> None:
        """Give the oldest requests that somebody still waits for to the thread."""
        batch: list[Waiting[Asked, Answer]] = []
        now = monotonic()
        while self._waiting and len(batch) < self._max_batch:
            one, _ = self._waiting.popitem(last=False)
            if one.deadline > now:
                batch.append(one)
            else:  # a busy loop notices deadlines late
                self._tell(one, _late())
        self._running = batch
        if batch:
            if self._thread is None:
                self._thread = _Thread()
            self._watchdog = loop.call_later(self._stuck_seconds, self._abandon, loop, batch)
            self._is_over.clear()
            self._thread.run(partial(self._call, loop, batch))

    def _call(self, loop: asyncio.AbstractEventLoop, batch: list[Waiting[Asked, Answer]]) -> None:
        """In the thread: answer a batch."""
        start = monotonic()
        answers: Sequence[Answer | BaseException]
        try:
            answers = self._answer([one.asked for one in batch])
            if len(answers) != len(batch):
                raise RuntimeError(f"{len(answers)} answers to {len(batch)} requests")
        # Not `Exception`: a thread that ends would leave its requests without an answer.
        except BaseException as error:
            answers = [error] * len(batch)
        if batch is self._running:
            self._is_over.set()
        with suppress(RuntimeError):  # the loop was closed meanwhile, so nobody waits
            loop.call_soon_threadsafe(self._returned, loop, batch, answers, start, monotonic())

    def _returned(
        self,
        loop: asyncio.AbstractEventLoop,
        batch: list[Waiting[Asked, Answer]],
        answers: Sequence[Answer | BaseException],
        start: float,
        end: float,
    ) -> None:
        if batch is not self._running:  # it was abandoned, and its requests have failed
            self._hanging -= 1
            return
        if self._watchdog is not None:
            self._watchdog.cancel()
        # First of all: the next call runs while these answers are written.
        self._start_next(loop)
        for one, answer in zip(batch, answers, strict=True):
            self._tell(one, answer)
        _log_failures(answers)
        if self._observe is not None:
            self._observe([start - one.since for one in batch], end - start)

    def _abandon(self, loop: asyncio.AbstractEventLoop, batch: list[Waiting[Asked, Answer]]) -> None:
        """Go on in a new thread, because a call does not return."""
        self._hanging += 1
        failed = [*batch]
        if self._thread is not None:
            self._thread.end(wait=False)
            self._thread = None
        if self.is_stuck:
            failed += self._waiting
            self._waiting.clear()
        error = TimeoutError(f"a call has not returned in {self._stuck_seconds:g} seconds")
        _log_failures([error])
        self._start_next(loop)
        for one in failed:
            self._tell(one, error)

    def _tell(self, one: Waiting[Asked, Answer], answer: Answer | BaseException) -> None:
        """Give a request its answer, unless nobody waits any more."""
        tell, one.tell = one.tell, None
        if tell is None:
            return
        if isinstance(answer, BaseException) and not isinstance(answer, TfrecallError):
            # One exception for each request: raised in several tasks, one would collect all their tracebacks.
            failed = ModelFailedError(
                "The model failed on the request. The log of the service has the reason."
            )
            failed.__cause__ = answer
            answer = failed
        try:
            tell(answer)
        except Exception:  # the other requests of the call would stay without an answer
            _LOG.exception("An answer could not be given.")
        self._note_end()

    def _look_at(self, loop: asyncio.AbstractEventLoop, moment: float) -> None:
        """Look for deadlines that have passed at a moment, in place of any later one."""
        if self._timer is not None:
            self._timer.cancel()
        self._next_deadline = moment
        self._timer = loop.call_later(moment - monotonic(), self._expire, loop)

    def _expire(self, loop: asyncio.AbstractEventLoop) -> None:
        """Fail requests whose deadline has passed, in the queue and in the running call."""
        self._timer, self._next_deadline = None, inf
        now = monotonic()
        waits = [one for one in (*self._waiting, *self._running) if one.tell is not None]
        for one in waits:
            if one.deadline <= now:
                self._waiting.pop(one, None)
                self._tell(one, _late())
        following = min((one.deadline for one in waits if one.deadline > now), default=inf)
        if following < self._next_deadline:  # answers may have brought new requests
            self._look_at(loop, following)


class _Thread:
    """Thread that runs calls one after another.

    A daemon: a call that hangs must not keep the process from ending, as a thread of an executor would.
    """

    def __init__(self) -> None:
        self._calls: SimpleQueue[Callable[[], Any] | None] = SimpleQueue()
        self._thread = Thread(target=self._loop, name="tfrecall-answer", daemon=True)
        self._thread.start()

    def run(self, call: Callable[[], Any]) -> None:
        self._calls.put(call)

    def end(self, *, wait: bool = True) -> None:
        """End after the running call."""
        self._calls.put(None)
        if wait:
            self._thread.join(_JOIN_SECONDS)

    def _loop(self) -> None:
        while (call := self._calls.get()) is not None:
            call()
            call = None  # while the thread is idle it keeps no answers alive


def _pass_on(future: "asyncio.Future[Answer]", answer: Answer | Exception) -> None:
    if future.done():
        return
    if isinstance(answer, Exception):
        future.set_exception(answer)
    else:
        future.set_result(answer)


def _log_failures(answers: Sequence[Any]) -> None:
    """Write errors that are not ours to the log, each once."""
    failures = {id(a): a for a in answers if isinstance(a, BaseException)}
    for failure in failures.values():
        if not isinstance(failure, TfrecallError):
            _LOG.error("The model failed: %s", failure, exc_info=failure)


def _late() -> DeadlineError:
    return DeadlineError("The deadline of the request passed before its answer was there.")
