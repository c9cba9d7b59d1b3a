"""The direct way of requests for lists: from the socket to the queue, and from the batch to the socket.

The way through the application costs a request more than its list does: a task, two writes, requests and
responses of a framework. The route that load is about takes this one instead, without a task and with one
write; whatever is not plain about a request (a slow body, a limit, a form that is wrong) goes to the
application, which answers it. While the queue is full, a request that came in one piece is refused before
it is parsed (`refusals`).
"""

import hmac
import logging
from collections.abc import Callable
from time import perf_counter
from types import SimpleNamespace
from typing import Any

from uvicorn.protocols.http.httptools_impl import STATUS_LINE

from tfrecall.errors import QueueFullError, TfrecallError
from tfrecall.serving.connections import LimitedProtocol
from tfrecall.serving.gate import LEFT, LOG, SECURITY, has_long_head, log_request, unauthorized
from tfrecall.serving.hosts import accepts
from tfrecall.serving.refusals import ENDPOINT, PATH, Refusals
from tfrecall.serving.requests import RecommendAnswer, RecommendRequest
from tfrecall.serving.service import Service
from tfrecall.serving.web import Exchange, deadline_of, encoded, form_of, refused, routed

_SAME = b"".join(
    name + b": " + value + b"\r\n"
    for name, value in (*SECURITY, (b"content-type", b"application/json"))
)


class Front:
    """What the connections of a process share.

    Args:
        service: the service that answers.
        observe: called at the end of each request with its route, status and seconds.
        count: called with route, status and number of requests that a full queue refused.

    Attributes:
        refusals: the answers of a full queue.
    """

    def __init__(
        self,
        service: Service,
        observe: Callable[[str, int, float], None],
        count: Callable[[str, int, int], None],
    ) -> None:
        self.service = service
        self.observe = observe
        token = service.config.token
        self._token = None if token is None else f"Bearer {token}".encode()
        hosts = service.config.hosts
        self._accepts = None if hosts is None else accepts(hosts)
        self.refusals = Refusals(service.let_calls_run, self.may_ask, self.head, count)
        self._default: list[tuple[bytes, bytes]] = []
        self._head = _SAME

    def may_ask(self, one: Exchange) -> bool:
        """Whether a request brings the token, if there is one."""
        return self._token is None or hmac.compare_digest(
            one.headers.get(b"authorization", b""), self._token
        )

    def is_plain(self, one: Exchange, headers: list[tuple[bytes, bytes]]) -> bool:
        """Whether nothing about a request needs the application, as far as head and size tell."""
        return (
            len(one.body) <= self.service.config.max_body
            and not has_long_head(headers)
            and (self._accepts is None or self._accepts(one.headers.get(b"host", b"")))
            and self.may_ask(one)
            # The line in the log names the client by it, under rules that are the server's.
            and not (b"x-forwarded-for" in one.headers and LOG.isEnabledFor(logging.INFO))
        )

    def head(self, default: list[tuple[bytes, bytes]]) -> bytes:
        """Headers of all answers, among them those of the server, which change each second (the date)."""
        if default is not self._default:
            self._default = default
            self._head = b"".join(name + b": " + value + b"\r\n" for name, value in default) + _SAME
        return self._head


class _Asked:
    """A request that was accepted; for the base class, the cycle of a request and its response."""

    __slots__ = ("disconnected", "keep_alive", "one", "response_complete", "started", "withdraw")

    # The base class tells it that a connection is lost.
    message_event = SimpleNamespace(set=lambda: None)

    def __init__(self, one: Exchange) -> None:
        self.one = one
        self.started = perf_counter()
        self.withdraw: Callable[[], None] | None = None
        self.keep_alive = True
        self.disconnected = self.response_complete = False


class DirectProtocol(LimitedProtocol):
    """HTTP of uvicorn, with a direct way for requests for lists.

    Args:
        front: what all connections share.
        options: arguments of the base class.
    """

    def __init__(self, front: Front, **options: Any) -> None:
        super().__init__(front.service.config, front.observe, **options)
        self._front = front
        self._service = front.service
        # Body of a request that may go the direct way; None for others.
        self._parts: list[bytes] | None = None
        # Whether the request that is being read has been refused.
        self._has_refused = False
        # Whether the next byte begins a request.
        self._is_between = True
        # When a request was last refused before it was parsed, by the clock of the loop.
        self._refused_at = 0.0

    def connection_lost(self, exc: Exception | None) -> None:
        asked: Any = self.cycle
        if isinstance(asked, _Asked) and asked.withdraw is not None:
            asked.withdraw()
            self._ended(asked, LEFT)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if (
            self._is_between
            and (self._front.refusals.is_on or self._is_full())
            and self._refuse_unparsed(data)
        ):
            return
        super().data_received(data)
        if self._parts is not None:  # the rest of the body comes later, if at all
            self._take_usual_way()

    def timeout_keep_alive_handler(self) -> None:
        # Refusals do not set the timer anew, which would cost a fifth of them.
        left = self._refused_at + self.timeout_keep_alive - self.loop.time()
        if self._refused_at and left > 0:
            self.timeout_keep_alive_task = self.loop.call_later(left, self.timeout_keep_alive_handler)
        else:
            super().timeout_keep_alive_handler()

    def on_message_begin(self) -> None:
        self._is_between = False
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        if not self._may_be_direct():
            super().on_headers_complete()
            return
        self._note_head()
        if self._is_full():
            self._has_refused = True
            self._refuse(Exchange(dict(self.headers)))
        elif self._service.config.otel:  # spans are around the application
            super().on_headers_complete()
        else:
            self._parts = []

    def on_body(self, body: bytes) -> None:
        if self._parts is not None:
            self._parts.append(body)
        elif not self._has_refused:
            super().on_body(body)

    def on_message_complete(self) -> None:
        self._is_between = True
        if self._has_refused:
            self._has_refused = self._has_head = False
            self.on_response_complete()
        elif self._parts is None:
            super().on_message_complete()
        elif self._ask(b"".join(self._parts)):
            self._parts, self._has_head = None, False
        else:
            self._take_usual_way()
            super().on_message_complete()

    def _may_be_direct(self) -> bool:
        """Whether this is a request for a list, alone on its connection; odd ones go the usual way."""
        return (
            self.url == PATH
            and self.parser.get_method() == b"POST"
            and self._service.ready
            and self.parser.should_keep_alive()
            and not self.parser.should_upgrade()
            and not self.expect_100_continue
            and self._is_alone()
        )

    def _is_alone(self) -> bool:
        """Whether nothing else is to be written first."""
        return (self.cycle is None or self.cycle.response_complete) and not self.flow.write_paused

    def _is_full(self) -> bool:
        return self._service.is_full(len(self.tasks))

    def _refuse_unparsed(self, data: bytes) -> bool:
        """Refuse a request that is there as a whole and has nothing odd; others are parsed."""
        if self._is_surplus or not self._is_alone() or self.transport.is_closing():
            return False
        answer = self._front.refusals.unparsed(data, self.server_state)
        if answer is None:
            return False
        self._refused_at = self.loop.time()
        self.transport.write(answer)
        return True

    def _take_usual_way(self) -> None:
        """Give what was held back to the application."""
        parts, self._parts = self._parts or [], None
        if not self.transport.is_closing():
            super().on_headers_complete()
            for part in parts:
                super().on_body(part)

    def _ask(self, body: bytes) -> bool:
        """Put a request in the queue, or refuse it; otherwise it is for the application."""
        one = Exchange(dict(self.headers))
        one.body, one.endpoint = body, ENDPOINT
        if not self._front.is_plain(one, self.headers):
            return False
        asked = _Asked(one)
        try:
            asked.withdraw = self._service.submit(
                routed(form_of(one, RecommendRequest), one),
                lambda answer: self._answer(asked, answer),
                deadline_of(one),
                caller=one.request_id,
            )
        except QueueFullError:  # of one release among several
            self._refuse(one)
            self.on_response_complete()
            return True
        except TfrecallError:
            return False
        self.cycle = asked  # type: ignore[assignment]
        return True

    def _answer(self, asked: _Asked, answer: RecommendAnswer | Exception) -> None:
        """Write an answer, or the error in place of one."""
        one, status = asked.one, 200
        content: Any = answer
        headers: dict[str, str] = {}
        if isinstance(answer, Exception):
            status, content, headers = refused(one, answer)
        try:
            body = encoded(content)
        except Exception as error:
            status, content, headers = refused(one, error)
            body = encoded(content)
        if not asked.keep_alive or not self._service.ready:
            # The service ends: clients open their next connection elsewhere.
            headers["Connection"], asked.keep_alive = "close", False
        self._write(one, status, body, headers)
        asked.response_complete = True
        if not asked.keep_alive:
            self.transport.close()
        self.on_response_complete()
        self._ended(asked, status)

    def _write(self, one: Exchange, status: int, body: bytes, headers: dict[str, str]) -> None:
        if self.transport.is_closing():
            return
        head = f"x-request-id: {one.request_id}\r\ncontent-length: {len(body)}\r\n"
        for name, value in headers.items():
            head += f"{name.lower()}: {value}\r\n"
        trace = b"" if one.traceparent is None else b"traceparent: " + one.traceparent + b"\r\n"
        same = self._front.head(self.server_state.default_headers)
        self.transport.write(b"".join((STATUS_LINE[status], same, head.encode(), trace, b"\r\n", body)))

    def _refuse(self, one: Exchange) -> None:
        """Refuse a request because the queue is full; without the token not even that is told."""
        if self._front.may_ask(one):
            answer = self._front.refusals.parsed(one, self.server_state.default_headers)
            if not self.transport.is_closing():
                self.transport.write(answer)
        else:
            status, content, headers = refused(one, unauthorized())
            self._write(one, status, encoded(content), headers)
            self._front.refusals.note(status, 1)

    def _ended(self, asked: _Asked, status: int) -> None:
        asked.withdraw, asked.one.status = None, status
        seconds = perf_counter() - asked.started
        self._front.observe(ENDPOINT, status, seconds)
        if LOG.isEnabledFor(logging.INFO):
            log_request(asked.one, "POST", ENDPOINT, self.client, seconds)
