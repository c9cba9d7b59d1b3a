"""A release behind the service: the version that answers, its queue, and the swap to the next version."""

import gc
import json
import logging
from pathlib import Path
from typing import Any

from tfrecall.errors import ReleaseError
from tfrecall.release.loading import load
from tfrecall.release.manifest import MANIFEST, read_manifest, versions
from tfrecall.release.ranker import RankerRelease
from tfrecall.serving.answering import Answer, Answerer, Request
from tfrecall.serving.batching import GreedyBatcher
from tfrecall.serving.config import ServingConfig
from tfrecall.serving.facts import facts_of
from tfrecall.serving.observer import Observer
from tfrecall.serving.recent import RecentEvents

_LOG = logging.getLogger(__name__)


class Hosted:
    """A release by name, open to requests.

    Args:
        name: its name in requests and answers.
        root: the release directory.
        config: settings of the service.
        observer: hears of batches, versions and fallbacks.
        recent: events that came after the training log; None without feedback.

    Attributes:
        answerer: the version that answers: model, index and context together.
        batcher: the queue of its requests.
        rejected: versions published since that cannot be served, with the reason.

    Raises:
        ReleaseError: if it cannot be loaded.
    """

    def __init__(
        self,
        name: str,
        root: Path,
        config: ServingConfig,
        observer: Observer | None = None,
        recent: RecentEvents | None = None,
    ) -> None:
        self.name = name
        self.root = root
        self.config = config
        self.rejected: dict[int | None, str] = {}
        self._observer = observer or Observer()
        self._recent = recent
        self._state = self._on_disk()
        self.answerer = self._opened(config.pins.get(name))
        self._tell_loaded()
        self.batcher: GreedyBatcher[Request, Answer] = GreedyBatcher(
            # The attribute is read at each call: a swap takes effect between two batches.
            lambda requests: self.answerer.answer(requests),
            max_batch=config.max_batch,
            max_waiting=config.max_waiting,
            stuck_seconds=config.stuck_seconds,
            observe=lambda waits, seconds: self._observer.batch(name, waits, seconds),
        )

    @property
    def is_pinned(self) -> bool:
        """Whether it stays at its version, whatever is published."""
        return self.name in self.config.pins

    def refresh(self) -> bool:
        """Serve the version that is current in the directory, if it is another one that can be served.

        It is checked, loaded and warmed beside the served one, which answers meanwhile, and swapped whole. One
        that fails is reported in `rejected` and not tried again until its manifest or its files change.
        Blocks for as long as that takes: not for the thread of an event loop.

        Returns:
            Whether another version is served now.
        """
        state = self._on_disk()
        if self.is_pinned or state == self._state:
            return False
        version = None
        try:
            manifest = read_manifest(self.root)
            version = manifest["version"]
            swap = manifest != self.answerer.release.manifest
            answerer = self._opened(None) if swap else self.answerer
            self._check_successor(answerer)
        # Whatever is wrong with it, MemoryError of a model too large included: the old one serves.
        except Exception as error:
            self._reject(version, error)
            swap = False
        else:
            self.rejected.clear()
            self.answerer = answerer
        self._state = state
        if swap:
            self._tell_loaded()
            collect_garbage()
        return swap

    def describe(self) -> dict[str, Any]:
        """Facts for `GET /v1/releases`."""
        return {
            "name": self.name,
            **facts_of(self.answerer.release),
            "versions": versions(self.root),
            "state": "stuck" if self.batcher.is_stuck else "available",
            "pinned": self.is_pinned,
            "rejected": [
                {"version": version, "error": error} for version, error in self.rejected.items()
            ],
        }

    def _opened(self, version: int | None) -> Answerer:
        """A version, None for the current one, loaded and warm."""
        config = self.config
        answerer = Answerer(
            self.name,
            load(self.root, version, trust=config.trust),
            config.index,
            popular_for_unknown=config.unknown_users == "popular",
            fallback=config.fallback,
            recent=self._recent,
            observer=self._observer,
        )
        answerer.warm()
        return answerer

    def _check_successor(self, answerer: Answerer) -> None:
        """Refuse a version that answers other requests than the served one.

        Raises:
            ReleaseError: if one recommends and the other ranks.
        """
        before, after = (isinstance(one.release, RankerRelease) for one in (self.answerer, answerer))
        if before != after:
            kinds = ("recommends", "ranks given items")
            raise ReleaseError(
                f"Version {answerer.release.version} {kinds[after]}, and the served version "
                f"{self.answerer.release.version} {kinds[before]}. Publish it in a directory of its own."
            )

    def _reject(self, version: int | None, error: Exception) -> None:
        # Answers name no paths of the machine.
        text = str(error) or type(error).__name__
        for root in (self.root.resolve(), self.root):
            text = text.replace(str(root), self.name)
        self.rejected[version] = text
        _LOG.error(
            'Release "%s": version %s is refused, version %s serves on: %s',
            self.name,
            version,
            self.answerer.release.version,
            error,
        )
        self._observer.rejected(self.name, version, text)

    def _tell_loaded(self) -> None:
        release = self.answerer.release
        _LOG.info('Release "%s": version %s is served.', self.name, release.version)
        self._observer.loaded(self.name, release.version, release.manifest.get("sha256") or "")

    def _on_disk(self) -> object:
        """Whatever changes when another version is published, or a file of the current one is mended."""
        try:
            text = (self.root / MANIFEST).read_bytes()
            names = [self.root / name for name in json.loads(text)["files"]]
            return text, [_stamp(file) for file in names]
        except (OSError, ValueError, LookupError, TypeError) as error:
            return repr(error)


def collect_garbage() -> None:
    """Free models that are done with, whose objects refer to each other in circles, and set aside what lives.

    TensorFlow and a release are some 400,000 objects, which Python's collector would look through again and
    again, for a quarter of a second each time.
    """
    gc.unfreeze()
    gc.collect()
    gc.freeze()


def _stamp(file: Path) -> tuple[int, int] | None:
    try:
        facts = file.stat()
    except OSError:
        return None
    return facts.st_size, facts.st_mtime_ns
