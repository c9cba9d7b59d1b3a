"""The data plane: requests to releases by name. Protocols translate to it and from it."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from time import monotonic
from typing import Any, cast
from uuid import uuid4

from tfrecall.errors import (
    DataError,
    DeadlineError,
    ModelFailedError,
    NotReadyError,
    nearest,
)
from tfrecall.serving.answering import Request
from tfrecall.serving.config import ServingConfig
from tfrecall.serving.events import EventsAnswer, EventsRequest
from tfrecall.serving.feedback import FOLLOW_SECONDS, Feedback
from tfrecall.serving.hosting import Hosted, collect_garbage
from tfrecall.serving.observer import Observer
from tfrecall.serving.recall import RecallSample
from tfrecall.serving.requests import (
    ItemsAnswer,
    RankRequest,
    RecommendAnswer,
    RecommendRequest,
    SimilarRequest,
)
from tfrecall.serving.routing import chosen

_LOG = logging.getLogger(__name__)
# The longest time for which the event loop stands back from a call of the model: beyond it probes would wait.
PAUSE_SECONDS = 0.05


class UnknownReleaseError(DataError):
    """Request for a release that the service does not have."""


class Service:
    """Releases behind one event loop.

    Args:
        config: settings.
        observer: hears of batches, versions and fallbacks; None for nobody.

    Attributes:
        hosted: releases by name.
        feedback: the log of events.
        is_open: whether requests are taken.
    """

    def __init__(self, config: ServingConfig, observer: Observer | None = None) -> None:
        self.config = config
        self.observer = observer or Observer()
        self.hosted: dict[str, Hosted] = {}
        self._recall = RecallSample(self.observer)
        self.feedback = Feedback(config, self.observer)
        # Requests are taken until the service stops, also while probes are told that it is not ready.
        self.is_open = False
        self._is_ready = False
        self._tasks: list[asyncio.Task[None]] = []

    @property
    def ready(self) -> bool:
        """The answer to probes: whether load balancers should send requests here."""
        return self._is_ready and not any(one.batcher.is_stuck for one in self.hosted.values())

    @ready.setter
    def ready(self, ready: bool) -> None:
        self._is_ready = ready

    def is_full(self, under_way: int) -> bool:
        """Whether a new request finds no place, whatever release it names.

        Args:
            under_way: requests that were accepted and are not answered; some of them may not have got as
                far as a queue.
        """
        places = len(self.hosted) * (self.config.max_waiting + self.config.max_batch)
        return self._is_ready and (
            under_way >= places or all(one.batcher.is_full for one in self.hosted.values())
        )

    def let_calls_run(self) -> None:
        """Block the event loop for a moment, until the running calls return."""
        for one in self.hosted.values():
            one.batcher.let_run(PAUSE_SECONDS / len(self.hosted))

    async def start(self) -> None:
        """Load and warm all releases, then be ready."""
        await asyncio.to_thread(self.feedback.open)
        recent = None if self.config.events is None else self.feedback.recent
        for name, root in self.config.releases.items():
            self.hosted[name] = await asyncio.to_thread(
                Hosted, name, root, self.config, self.observer, recent
            )
        if self.config.reload_seconds:
            self._repeat(self.refresh, self.config.reload_seconds)
        if self.config.events is not None:
            self._repeat(self.feedback.follow, FOLLOW_SECONDS)
        await asyncio.to_thread(collect_garbage)
        self.ready = self.is_open = True

    async def stop(self) -> None:
        """Take no more requests, and answer those that were accepted."""
        self.ready = self.is_open = False
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await asyncio.gather(*(hosted.batcher.close() for hosted in self.hosted.values()))
        await self.feedback.close()

    async def refresh(self) -> list[str]:
        """Serve newly published versions, and give the names of releases whose version changed."""
        return [name for name, hosted in self.hosted.items() if await asyncio.to_thread(hosted.refresh)]

    def route(
        self, name: str | None, user: str | int | None = None, caller: str | None = None
    ) -> Hosted:
        """The release of a request: the named one, or the one of the user's share.

        Args:
            name: name of the release; None for none.
            user: user of the request.
            caller: stands for a user who is not known, such as the id of the request; None for anyone.

        Raises:
            UnknownReleaseError: if there is no release of that name.
            NotReadyError: while the service starts or stops.
        """
        if not self.is_open:
            raise _closed()
        if name is None and self.config.shares:
            someone = caller or uuid4().hex
            name = chosen(self.config.shares, someone if user is None else str(user))
        if name is None:
            return next(iter(self.hosted.values()))
        if name not in self.hosted:
            raise UnknownReleaseError(
                f'There is no release "{name}".{nearest(name, self.hosted)} There are: '
                f"{', '.join(self.hosted)}."
            )
        return self.hosted[name]

    async def recommend(
        self,
        request: RecommendRequest,
        deadline: float | None = None,
        *,
        until: float | None = None,
        release: str | None = None,
        caller: str | None = None,
    ) -> RecommendAnswer:
        """The answer to one request, of popular items where the model has none in time.

        Args:
            request: the request.
            deadline: moment of `time.monotonic` after which the client does not wait; None for one who does
                not say.
            until: moment after which popular items stand in; None for the service's `timeout_ms` from now.
                Without `fallback` it is the deadline of clients who name none.
            release: name of the release if the request has none, as the header `X-Release` gives it.
            caller: stands for the user of a request without one (`route`).

        Raises:
            DeadlineError: if the client's deadline passes first; also `until` without `fallback`.
            ServingError: if it is not answered; with `fallback` only because the queue is full, or the
                service is not ready.
            TfrecallError: if it cannot be used.
        """
        hosted = self.route(request.release or release, _user(request), caller)
        last, is_clients = self._last_moment(deadline, until)
        answer: RecommendAnswer | Exception
        try:
            answer = cast(RecommendAnswer, await self._ask(hosted, request, last))
        except (DeadlineError, ModelFailedError) as error:
            answer = error
        answer = self._outcome(hosted, request, answer, is_clients)
        if isinstance(answer, Exception):
            raise answer
        return answer

    def submit(
        self,
        request: RecommendRequest,
        tell: Callable[[RecommendAnswer | Exception], None],
        deadline: float | None = None,
        *,
        caller: str | None = None,
    ) -> Callable[[], None]:
        """Accept what `recommend` takes, without a task that waits for the answer.

        Args:
            request: the request.
            tell: called once in the event loop with the answer, or with the error that `recommend` would raise.
            deadline: as of `recommend`.
            caller: as of `recommend`.

        Returns:
            Takes the request back, whose answer nobody waits for any more.

        Raises:
            TfrecallError: if it is not accepted.
        """
        hosted = self.route(request.release, _user(request), caller)
        last, is_clients = self._last_moment(deadline)

        def told(answer: Any) -> None:
            tell(self._outcome(hosted, request, answer, is_clients))

        one = hosted.batcher.submit(request, told, last)
        return partial(hosted.batcher.withdraw, one)

    def _last_moment(self, deadline: float | None, until: float | None = None) -> tuple[float, bool]:
        """The moment until which the model may answer, and whether it is the client who names it.

        Nobody reads an answer past the client's deadline; past the service's own somebody waits.
        """
        until = self._deadline(until)
        if deadline is not None and (deadline <= until or not self.config.fallback):
            return deadline, True
        return until, False

    def _outcome(
        self,
        hosted: Hosted,
        request: RecommendRequest,
        answer: RecommendAnswer | Exception,
        is_clients: bool,
    ) -> RecommendAnswer | Exception:
        """The answer to a request, of popular items where the model has none in time.

        Args:
            hosted: the release.
            request: the request.
            answer: that of the model, or the error in its place.
            is_clients: whether a deadline that passed was the client's.
        """
        if not isinstance(answer, Exception):
            self._recall.offer(hosted.answerer, request, answer)
            return answer
        is_late = isinstance(answer, DeadlineError)
        if not self.config.fallback or (is_late and is_clients):
            return answer
        if not isinstance(answer, (DeadlineError, ModelFailedError)):
            return answer
        reason = "timeout" if is_late else "failed"
        try:
            popular = hosted.answerer.popular(request, reason)
        except Exception as error:
            return error
        self.observer.fallback(hosted.name, reason)
        return popular

    async def recommend_batch(
        self,
        requests: Sequence[RecommendRequest],
        deadline: float | None = None,
        *,
        release: str | None = None,
        caller: str | None = None,
    ) -> list[RecommendAnswer | BaseException]:
        """Answers in order, with the error of a request in the place of its answer."""
        answers: list[RecommendAnswer | BaseException] = []
        until = self._deadline(None)
        # Some at a time: a long batch leaves room in the queue for others.
        for start in range(0, len(requests), self.config.max_batch):
            some = requests[start : start + self.config.max_batch]
            asked = (
                self.recommend(one, deadline, until=until, release=release, caller=caller)
                for one in some
            )
            answers += await asyncio.gather(*asked, return_exceptions=True)
        return answers

    async def similar(
        self, request: SimilarRequest, deadline: float | None = None, *, release: str | None = None
    ) -> ItemsAnswer:
        """The items most similar to one."""
        hosted = self.route(request.release or release)
        return cast(ItemsAnswer, await self._ask(hosted, request, deadline))

    async def rank(
        self,
        request: RankRequest,
        deadline: float | None = None,
        *,
        release: str | None = None,
        caller: str | None = None,
    ) -> ItemsAnswer:
        """Given items by a ranker's scores."""
        hosted = self.route(request.release or release, _user(request), caller)
        return cast(ItemsAnswer, await self._ask(hosted, request, deadline))

    async def add_events(self, request: EventsRequest, deadline: float | None = None) -> EventsAnswer:
        """Write events of users to disk, and count them as history and seen items from now on."""
        if not self.is_open:
            raise _closed()
        return EventsAnswer(await self.feedback.add(request.events, self._deadline(deadline)))

    def describe(self) -> list[dict[str, Any]]:
        """Facts of each release, for `GET /v1/releases`."""
        return [hosted.describe() for hosted in self.hosted.values()]

    async def _ask(self, hosted: Hosted, request: Request, deadline: float | None) -> Any:
        return await hosted.batcher.ask(request, self._deadline(deadline))

    def _deadline(self, deadline: float | None) -> float:
        return monotonic() + self.config.timeout_ms / 1000 if deadline is None else deadline

    def _repeat(self, call: Callable[[], Awaitable[Any]], seconds: float) -> None:
        """Call it again and again until the service stops."""

        async def repeated() -> None:
            while True:
                await asyncio.sleep(seconds)
                try:
                    await call()
                except Exception:
                    _LOG.exception("A task of the service failed; it goes on.")

        self._tasks.append(asyncio.create_task(repeated()))


def _closed() -> NotReadyError:
    return NotReadyError("The service is starting or stopping. Try again in some seconds.")


def _user(request: RecommendRequest | RankRequest) -> Any:
    if request.user_id is None and request.features:
        return request.features.get("user_id")
    return request.user_id
