"""Settings of the service."""

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from math import inf
from pathlib import Path
from typing import Literal

from tfrecall.errors import ConfigError
from tfrecall.serving.logs import FORMATS, LEVELS

_CHOICES = {
    "log_level": LEVELS,
    "log_format": FORMATS,
    "unknown_users": ("model", "popular"),
}
# Part of paths, headers and labels.
_NAME = re.compile(r"[A-Za-z0-9_.-]+")


@dataclass(frozen=True)
class ServingConfig:
    """Settings of the service, checked when made.

    Attributes:
        releases: name -> release directory; the first one answers requests that name none.
        index: exact, annoy, faiss or scann; None for what each release prefers.
        pins: name -> version that stays served whatever is published.
        shares: name -> share of users, by a stable hash of the user id, whose requests without a name go
            there; the rest goes to the first release.
        max_batch: largest number of requests of one call of a model.
        max_waiting: largest number of requests that wait for a release; more are refused with status 429.
        stuck_seconds: time after which a call of a model counts as hanging.
        timeout_ms: time for the model's answer, in milliseconds, after which popular items stand in; without
            `fallback`, and where none stand in, the deadline of requests that name none.
        max_body: largest body of a request, in bytes.
        body_seconds: time for a body to arrive.
        header_seconds: time for the headers of a request to arrive.
        max_connections: largest number of open connections; more are answered with status 503.
        reload_seconds: time between two looks for a new version; 0 for none.
        drain_seconds: time after SIGTERM during which the service says that it is not ready and still answers.
        grpc_address: host and port of the gRPC server, such as 127.0.0.1:8501; None for none.
        token: bearer token that requests must bring; None for none.
        hosts: names that the header Host may have, beside localhost and addresses; None for any.
        events: directory of the feedback log; None to refuse feedback.
        unknown_users: `model`, or `popular` for popular items to unknown users who give nothing of themselves.
        fallback: whether popular items, marked as such, stand in where a model has no item for an unknown user,
            fails, or has no answer in `timeout_ms`; otherwise the list is empty, or an error.
        threads: threads of the libraries that compute, BLAS and TensorFlow; more than cores that are idle cost
            time instead of saving it.
        log_level: `debug`, `info`, `warning` or `error`; below `info` nothing is written of each request.
        log_format: `json` or `text`.
        trust: whether to load models that may touch files or run Python.
        otel: whether requests have spans, sent by OTLP over HTTP as the variables `OTEL_*` say.

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
    header_seconds: float = 10.0
    max_connections: int = 4096
    reload_seconds: float = 10.0
    drain_seconds: float = 1.0
    grpc_address: str | None = None
    token: str | None = None
    hosts: Collection[str] | None = None
    events: Path | None = None
    unknown_users: Literal["model", "popular"] = "model"
    fallback: bool = True
    threads: int = 1
    log_level: str = "info"
    log_format: str = "json"
    trust: bool = False
    otel: bool = False

    def __post_init__(self) -> None:
        self._check_names()
        self._check_numbers()
        for setting, values in _CHOICES.items():
            if getattr(self, setting) not in values:
                raise ConfigError(
                    f"`{setting}` is {' or '.join(values)}. Received: {getattr(self, setting)!r}."
                )

    def _check_names(self) -> None:
        if not self.releases:
            raise ConfigError("A service needs a release. Give one: `tfrecall serve RELEASE`.")
        for name in self.releases:
            if not _NAME.fullmatch(name):
                raise ConfigError(
                    f"A release is called by letters, digits, points, dashes and underscores. Received: "
                    f'"{name}". Give it a name: NAME=DIRECTORY.'
                )
        for host in self.hosts or ():
            if not _NAME.fullmatch(host):
                raise ConfigError(
                    f'A host is a name without scheme and port, such as shop.example. Received: "{host}".'
                )
        for name in (*self.pins, *self.shares):
            if name not in self.releases:
                raise ConfigError(
                    f'No release is called "{name}". There are: {", ".join(self.releases)}.'
                )

    def _check_numbers(self) -> None:
        for setting in (
            "max_batch",
            "max_waiting",
            "timeout_ms",
            "max_body",
            "max_connections",
            "threads",
        ):
            if getattr(self, setting) < 1:
                raise ConfigError(
                    f"`{setting}` is a number from 1. Received: {getattr(self, setting)!r}."
                )
        # Written so that NaN is refused.
        for setting in ("drain_seconds", "reload_seconds"):
            if not 0 <= getattr(self, setting) < inf:
                raise ConfigError(
                    f"`{setting}` is a number from 0. Received: {getattr(self, setting)!r}."
                )
        for setting in ("stuck_seconds", "body_seconds", "header_seconds"):
            if not 0 < getattr(self, setting) < inf:
                raise ConfigError(
                    f"`{setting}` is a number above 0. Received: {getattr(self, setting)!r}."
                )
        shares = self.shares.values()
        # 0.7 + 0.2 + 0.1 is more than 1 by a rounding error.
        if not all(0 <= share <= 1 for share in shares) or sum(shares) > 1 + 1e-9:
            raise ConfigError(
                f"Shares of users lie between 0 and 1, and so does their sum. Received: {dict(self.shares)}."
            )
