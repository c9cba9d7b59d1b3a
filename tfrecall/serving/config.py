"""Settings of the service."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from tfrecall.errors import ConfigError


@dataclass(frozen=True)
class ServingConfig:
    """Settings of the service, checked when made.

    Attributes:
        releases: name -> release directory; the first one answers requests that name none.
        index: exact or annoy; None for what each release prefers.
        pins: name -> version that stays served whatever is published.
        shares: name -> share of users, by a stable hash of the user id, whose requests without a name go
            there; the rest goes to the first release.
        max_batch: largest number of requests of one call of a model.
        max_waiting: largest number of requests that wait for a release; more are refused with status 429.
        stuck_seconds: time after which a call of a model counts as hanging.
        timeout_ms: deadline of requests that name none, in milliseconds.
        max_body: largest body of a request, in bytes.
        body_seconds: time for a body to arrive.
        reload_seconds: time between two looks for a new version; 0 for none.
        drain_seconds: time after SIGTERM during which the service says that it is not ready and still answers.
        grpc_address: host and port of the gRPC server, such as 127.0.0.1:8501; None for none.
        token: bearer token that requests must bring; None for none.
        events: directory of the feedback log; None to refuse feedback.
        unknown_users: `model`, or `popular` for popular items to unknown users who give nothing of themselves.
        fallback: whether popular items, marked as such, stand in where a model has no item for an unknown user,
            fails, or has no answer before the deadline; otherwise the list is empty, or an error.
        trust: whether to load models that may touch files or run Python.

    Raises:
        ConfigError: if a value is impossible.
    """

    releases: Mapping[str, Path]
    index: str | None = None
    pins: Mapping[str, int] = field(default_factory=dict)
    shares: Mapping[str, float] = field(default_factory=dict)
    max_batch: int = 64
    max_waiting: int = 256
    stuck_seconds: float = 30.0
    timeout_ms: int = 10_000
    max_body: int = 1 << 20
    body_seconds: float = 10.0
    reload_seconds: float = 10.0
    drain_seconds: float = 1.0
    grpc_address: str | None = None
    token: str | None = None
    events: Path | None = None
    unknown_users: Literal["model", "popular"] = "model"
    fallback: bool = True
    trust: bool = False

    def __post_init__(self) -> None:
        if not self.releases:
            raise ConfigError("A service needs a release. Give one: `tfrecall serve RELEASE`.")
        for name in (*self.pins, *self.shares):
            if name not in self.releases:
                raise ConfigError(
                    f'No release is called "{name}". There are: {", ".join(self.releases)}.'
                )
        for setting in ("max_batch", "max_waiting", "timeout_ms", "max_body"):
            if getattr(self, setting) < 1:
                raise ConfigError(
                    f"`{setting}` is a number from 1. Received: {getattr(self, setting)!r}."
                )
        if self.drain_seconds < 0 or self.reload_seconds < 0:
            raise ConfigError("`drain_seconds` and `reload_seconds` are numbers from 0.")
        if self.stuck_seconds <= 0:
            raise ConfigError(f"`stuck_seconds` is a number above 0. Received: {self.stuck_seconds!r}.")
        if self.unknown_users not in ("model", "popular"):
            raise ConfigError(f"`unknown_users` is model or popular. Received: {self.unknown_users!r}.")
        if any(share < 0 for share in self.shares.values()) or sum(self.shares.values()) > 1:
            raise ConfigError(
                f"Shares of users lie between 0 and 1, and so does their sum. Received: {dict(self.shares)}."
            )
