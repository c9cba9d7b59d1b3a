"""Hooks of the data plane, for metrics."""

from collections.abc import Mapping, Sequence
from typing import Any


class Observer:
    """Hears of what the service does. Here all methods do nothing; metrics override them.

    `stages` and `index_recall` are called in the thread that answers, the others in that of the event loop or
    of a reload; all must be quick.
    """

    def batch(self, release: str, waits: Sequence[float], seconds: float) -> None:
        """A call returned: seconds that each of its requests had waited, and seconds of the call."""

    def stages(self, release: str, seconds: Mapping[str, float], requests: Sequence[Any] = ()) -> None:
        """Stages of a call in order of time, and the requests that it answered.

        Lists have `query`, `retrieval`, of pipelines `ranking` and `rules`, and `answer`; others `similar` or
        `rank`.
        """

    def index_recall(self, release: str, recall: float) -> None:
        """Share of the best items that an approximate index found for one query."""

    def fallback(self, release: str, reason: str) -> None:
        """Popular items stood in for the model's: `unknown_user`, `timeout` or `failed`."""

    def loaded(self, release: str, version: int, checksum: str) -> None:
        """A version is served now, in place of any other."""

    def rejected(self, release: str, version: int | None, error: str) -> None:
        """A published version cannot be served."""

    def events(self, accepted: int) -> None:
        """Events of users are on disk."""
