"""Recall of an approximate index as it serves: a sample of its lists is compared with exact search."""

import asyncio
import logging
from time import monotonic

from msgspec.structs import replace

from tfrecall.serving.answering import Answerer
from tfrecall.serving.observer import Observer
from tfrecall.serving.requests import RecommendAnswer, RecommendRequest

_LOG = logging.getLogger(__name__)


class RecallSample:
    """Compares at most one list at a time, in a thread beside the one that answers.

    Args:
        observer: hears of the share of the exact list that was found.
        seconds: time between two comparisons, each of which costs an exact search.
    """

    def __init__(self, observer: Observer, seconds: float = 1.0) -> None:
        self._observer = observer
        self._seconds = seconds
        self._next = 0.0
        self._task: asyncio.Task[None] | None = None

    def offer(self, answerer: Answerer, request: RecommendRequest, answer: RecommendAnswer) -> None:
        """Compare an answer, if it is of an approximate index and the last comparison is long enough ago."""
        if not answerer.is_approximate(request) or answer.fallback is not None or not answer.items:
            return
        if monotonic() < self._next or (self._task is not None and not self._task.done()):
            return
        self._next = monotonic() + self._seconds
        self._task = asyncio.create_task(self._compare(answerer, request, answer))

    async def _compare(
        self, answerer: Answerer, request: RecommendRequest, answer: RecommendAnswer
    ) -> None:
        exact = replace(request, index="exact", explain=False, columns=[], stages=False)
        (expected,) = await asyncio.to_thread(answerer.recommend, [exact])
        # Errors, and another version since, tell nothing about the index.
        if isinstance(expected, Exception) or expected.version != answer.version:
            _LOG.debug("No comparison with exact search: %s", expected)
            return
        wanted = {item.item_id for item in expected.items}
        found = wanted.intersection(item.item_id for item in answer.items)
        if wanted:
            self._observer.index_recall(answerer.name, len(found) / len(wanted))
