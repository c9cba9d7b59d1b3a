"""A release behind the service: the version that answers, its queue, and the swap to the next version."""

from pathlib import Path

from tfrecall.release.loading import load
from tfrecall.serving.answering import Answerer
from tfrecall.serving.batching import GreedyBatcher
from tfrecall.serving.config import ServingConfig
from tfrecall.serving.requests import RecommendAnswer, RecommendRequest


class Hosted:
    """A release by name, open to requests.

    Args:
        name: its name in requests and answers.
        root: the release directory.
        config: settings of the service.

    Raises:
        ReleaseError: if it cannot be loaded.
    """

    def __init__(self, name: str, root: Path, config: ServingConfig) -> None:
        self.name = name
        self.root = root
        self.config = config
        self.answerer = self._opened(config.pins.get(name))
        self.batcher: GreedyBatcher[RecommendRequest, RecommendAnswer] = GreedyBatcher(
            # The attribute is read at each call: a swap takes effect between two batches.
            lambda requests: self.answerer.recommend(requests),
            max_batch=config.max_batch,
            max_waiting=config.max_waiting,
        )

    def _opened(self, version: int | None) -> Answerer:
        """A version, loaded and warm."""
        release = load(self.root, version, trust=self.config.trust)
        answerer = Answerer(self.name, release, self.config.index)
        answerer.warm()
        return answerer
