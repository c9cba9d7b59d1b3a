"""Connections: how many there may be, and how long the head of a request may take."""

from asyncio import TimerHandle
from collections.abc import Callable
from typing import Any

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from tfrecall.serving.config import ServingConfig
from tfrecall.serving.web import HttpError, encoded, problem

# Time in which a connection that is one too many may send the request that is answered 503.
SURPLUS_SECONDS = 1.0
ENDPOINT = "other"


def _last_words(error: HttpError, *more: bytes) -> bytes:
    """An answer before which nothing of the request was read, and after which the connection ends."""
    body = encoded(problem(error)[1])
    head = [
        b"content-type: application/json",
        b"connection: close",
        *more,
        b"content-length: %d" % len(body),
    ]
    return STATUS_LINE[error.status] + b"\r\n".join((*head, b"", body))


class LimitedProtocol(HttpToolsProtocol):
    """HTTP of uvicorn for a bounded number of connections, each of which must send heads in time.

    A head is the request line and its headers. Its time runs from its first byte, so that a client which sends
    some bytes now and then keeps no connection. One that sends nothing is closed like an idle one.

    Args:
        limits: settings of the service: `max_connections` and `header_seconds`.
        observe: called with route, status and seconds of each request that is refused here.
        options: arguments of the base class.
    """

    def __init__(
        self, limits: ServingConfig, observe: Callable[[str, int, float], None], **options: Any
    ) -> None:
        super().__init__(**options)
        self._limits = limits
        self._observe = observe
        self._is_surplus = False
        # Whether the head of the request that is being read is there.
        self._has_head = False
        self._head_timer: TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self._is_surplus = len(self.connections) > self._limits.max_connections
        seconds = SURPLUS_SECONDS if self._is_surplus else self.timeout_keep_alive
        # The first byte cancels it.
        self.timeout_keep_alive_task = self.loop.call_later(seconds, self.timeout_keep_alive_handler)

    def connection_lost(self, exc: Exception | None) -> None:
        self._unset_keepalive_if_required()
        self._stop_head_timer()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._is_surplus:
            # Answered after a byte of the request was read: a socket that closes with unread bytes is reset,
            # and the client would not see the answer.
            self._end(503, "too_many_connections", "There are too many connections. Try again later.")
            return
        super().data_received(data)
        if self._waits_for_head():
            self._head_timer = self.loop.call_later(self._limits.header_seconds, self._slow_head)

    def on_message_begin(self) -> None:
        self._has_head = False
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        self._note_head()
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        self._has_head = False
        super().on_message_complete()

    def _note_head(self) -> None:
        self._has_head = True
        self._stop_head_timer()

    def _stop_head_timer(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _waits_for_head(self) -> bool:
        """Whether bytes came and nothing else watches the connection: no answer, no body, no idle time."""
        return (
            not self._has_head
            and self._head_timer is None
            and self.timeout_keep_alive_task is None
            and (self.cycle is None or self.cycle.response_complete)
            and not self.transport.is_closing()
        )

    def _slow_head(self) -> None:
        self._head_timer = None
        seconds = self._limits.header_seconds
        self._end(408, "slow_headers", f"The headers took more than {seconds:g} seconds.")

    def _end(self, status: int, code: str, message: str) -> None:
        """Answer without a request, and close the connection."""
        if self.transport.is_closing():
            return
        more = (b"retry-after: 1",) if status == 503 else ()
        self.transport.write(_last_words(HttpError(status, code, message), *more))
        self.transport.close()
        self._observe(ENDPOINT, status, 0.0)
