"""The data plane: requests to releases by name. Protocols translate to it and from it."""

import asyncio
from collections.abc import Callable, Sequence
from time import monotonic
from typing import Any, TypeVar

from tfrecall.errors import DataError, NotReadyError, nearest
from tfrecall.serving.answering import Answerer
from tfrecall.serving.config import ServingConfig
from tfrecall.serving.hosting import Hosted
from tfrecall.serving.requests import (
    ItemsAnswer,
    RankRequest,
    RecommendAnswer,
    RecommendRequest,
    SimilarRequest,
)

Answer = TypeVar("Answer")


class UnknownReleaseError(DataError):
    """Request for a release that the service does not have."""


class Service:
    """Releases behind one event loop.

    Args:
        config: settings.
    """

    def __init__(self, config: ServingConfig) -> None:
        self.config = config
        self.hosted: dict[str, Hosted] = {}
        # What probes are told; requests are taken until the service stops.
        self.ready = False
        self.is_open = False

    async def start(self) -> None:
        """Load and warm all releases, then be ready."""
        for name, root in self.config.releases.items():
            self.hosted[name] = await asyncio.to_thread(Hosted, name, root, self.config)
        self.ready = self.is_open = True

    async def stop(self) -> None:
        """Take no more requests, and answer those that were accepted."""
        self.ready = self.is_open = False
        for hosted in self.hosted.values():
            await hosted.batcher.close()

    def route(self, name: str | None, user: str | int | None = None) -> Hosted:
        """The release of a request: the named one, or the one of the user's share.

        Raises:
            UnknownReleaseError: if there is no release of that name.
            NotReadyError: while the service starts or stops.
        """
        if not self.is_open:
            raise NotReadyError("The service is starting or stopping. Try again in some seconds.")
        if name is None:
            return next(iter(self.hosted.values()))
        if name not in self.hosted:
            raise UnknownReleaseError(
                f'There is no release "{name}".{nearest(name, self.hosted)} There are: '
                f"{', '.join(self.hosted)}."
            )
        return self.hosted[name]

    async def recommend(
        self, request: RecommendRequest, deadline: float | None = None
    ) -> RecommendAnswer:
        """The answer to one request; `deadline` is a moment of `time.monotonic`."""
        hosted = self.route(request.release, request.user_id)
        if deadline is None:
            deadline = monotonic() + self.config.timeout_ms / 1000
        return await hosted.batcher.ask(request, deadline)

    async def recommend_batch(
        self, requests: Sequence[RecommendRequest], deadline: float | None = None
    ) -> list[RecommendAnswer | BaseException]:
        """Answers in order, with the error of a request in the place of its answer."""
        asked = (self.recommend(request, deadline) for request in requests)
        return await asyncio.gather(*asked, return_exceptions=True)

    async def similar(self, request: SimilarRequest) -> ItemsAnswer:
        """The items most similar to one."""
        answerer = self.route(request.release).answerer
        return await self._in_thread(answerer.similar, request)

    async def rank(self, request: RankRequest) -> ItemsAnswer:
        """Given items by a ranker's scores."""
        answerer = self.route(request.release, request.user_id).answerer
        return await self._in_thread(answerer.rank, request)

    def describe(self) -> list[dict[str, Any]]:
        """Facts of each release, for `GET /v1/releases`."""
        return [_facts(hosted.answerer) for hosted in self.hosted.values()]

    async def _in_thread(self, call: Callable[[Any], Answer], request: Any) -> Answer:
        return await asyncio.to_thread(call, request)


def _facts(answerer: Answerer) -> dict[str, Any]:
    release = answerer.release
    return {
        "name": answerer.name,
        "version": release.version,
        "kind": release.manifest["kind"],
        "model": release.name,
        "users": len(release.users.vocabulary),
        "items": len(release.item_ids),
        "state": "available",
    }
