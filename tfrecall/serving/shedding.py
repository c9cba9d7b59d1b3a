"""Refusals at the socket: while the queue is full, requests for lists cost next to nothing.

The way through the application costs as much for a request that is refused as for one that is answered, so at
a multiple of its capacity a service that refuses there has little time left for the requests it accepts. Here
the head of the request is read and the refusal written: no task, no body, no line in the log.
"""

from collections.abc import Callable
from typing import Any

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from tfrecall.errors import QueueFullError
from tfrecall.serving.gate import SECURITY
from tfrecall.serving.service import Service
from tfrecall.serving.web import Exchange, encoded, problem

# The route that load is about; the queue itself refuses requests of others.
PATH = b"/v1/recommend"
STATUS = 429
_HEAD = STATUS_LINE[STATUS] + b"".join(
    name + b": " + value + b"\r\n"
    for name, value in (*SECURITY, (b"content-type", b"application/json"), (b"retry-after", b"1"))
)


class SheddingProtocol(HttpToolsProtocol):
    """HTTP of uvicorn, with refusals of its own.

    Args:
        service: the service, which knows whether its queue is full.
        observe: called with route, status and seconds of each refusal.
        options: arguments of the base class.
    """

    def __init__(
        self, service: Service, observe: Callable[[str, int, float], None], **options: Any
    ) -> None:
        super().__init__(**options)
        self._service = service
        self._observe = observe
        # Whether the request that is being read has been refused.
        self._has_refused = False

    def on_headers_complete(self) -> None:
        if self._is_refused():
            self._refuse()
        else:
            super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        if not self._has_refused:
            super().on_body(body)

    def on_message_complete(self) -> None:
        if self._has_refused:
            self._has_refused = False
            self.on_response_complete()
        else:
            super().on_message_complete()

    def _is_refused(self) -> bool:
        """Whether this is a request for a list that would find the queue full; odd ones go the usual way."""
        return (
            self.url == PATH
            and self._service.is_full(len(self.tasks))
            and self.parser.get_method() == b"POST"
            and self.parser.should_keep_alive()
            and not self.parser.should_upgrade()
            and not self.expect_100_continue
            and (self.cycle is None or self.cycle.response_complete)
        )

    def _refuse(self) -> None:
        self._has_refused = True
        one = Exchange(dict(self.headers))
        error = QueueFullError("The queue is full. Try again later, or start more workers.")
        body = encoded(problem(error, one.request_id)[1])
        head = f"x-request-id: {one.request_id}\r\ncontent-length: {len(body)}\r\n\r\n"
        self.transport.write(_HEAD + head.encode() + body)
        self._observe(PATH.decode(), STATUS, 0.0)
