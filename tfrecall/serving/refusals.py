"""Refusals of a full queue at the socket: at a multiple of the capacity they are most of the work.

A refusal costs what the kernel takes to read and to write, and little more. That a request is whole and may
ask is remembered by its head, which clients send again and again. Once in a round of the event loop is looked
whether the queue is full, since calls start between two rounds, and refusals are counted.
"""

import asyncio
import logging
from collections.abc import Callable
from typing import Any

from uvicorn.protocols.http.httptools_impl import STATUS_LINE

from tfrecall.errors import QueueFullError
from tfrecall.serving.web import Exchange, encoded, new_request_id, problem

PATH = b"/v1/recommend"
ENDPOINT = PATH.decode()
# Between two lines about refusals: one for each would cost more than the refusals.
LOG_SECONDS = 1.0
_LINE = b"POST " + PATH + b" HTTP/1.1\r\n"
_END = b"\r\n\r\n"
# Headers that change where a request ends, or how it is answered.
_ODD = (b"transfer-encoding", b"expect", b"upgrade")
# Headers that are new with each request: heads with them are not remembered, nor are long ones.
_NEW = (b"x-request-id", b"traceparent")
_MOST_HEADS, _LONGEST_HEAD = 1024, 2048
# More digits than a body may have.
_MOST_DIGITS = 18
# An id of a request has no sign that JSON would escape.
_START, _REST = encoded(
    problem(QueueFullError("The queue is full. Try again later, or start more workers."), "{id}")[1]
).split(b"{id}")
_LOG = logging.getLogger("tfrecall.serving")


class Refusals:
    """What a process tells while its queue is full.

    Args:
        pause: called before the first refusal of a round: refusals may wait, the running call goes first.
        may_ask: whether a request brings the token; others are not told that the queue is full.
        head: headers of all answers, from those of the server.
        count: called with route, status and number of requests that were refused.

    Attributes:
        is_on: whether requests are refused until this round of the event loop ends.
    """

    def __init__(
        self,
        pause: Callable[[], None],
        may_ask: Callable[[Exchange], bool],
        head: Callable[[list[tuple[bytes, bytes]]], bytes],
        count: Callable[[str, int, int], None],
    ) -> None:
        self.is_on = False
        self._pause = pause
        self._may_ask = may_ask
        self._head_of_all = head
        self._count = count
        self._number = 0
        self._unlogged = 0
        # Head of a request that may ask -> bytes from its end to that of the request.
        self._heads: dict[bytes, int] = {}
        self._head = b""

    def unparsed(self, data: bytes, state: Any) -> bytes | None:
        """The answer to the one request that bytes are, from its first to its last.

        Args:
            data: bytes that came at once, between two requests of a connection.
            state: that of the server; its requests are counted, too.

        Returns:
            The answer; None for a request that is odd, in pieces or without the token, and has to be parsed.
        """
        end = data.find(_END)
        one = None
        # A head in pieces has no end: all of it but a byte could be a head that came before.
        if end < 0 or self._heads.get(data[:end]) != len(data) - end:
            headers = _headers_of(data)
            if headers is None or not self._may_ask(one := Exchange(headers)):
                return None
            self._remember(data[:end], len(data) - end, headers)
        if not self.is_on:
            self._begin(state)
        self._number += 1
        return self._told(new_request_id().encode(), b"") if one is None else self._of(one)

    def parsed(self, one: Exchange, default: list[tuple[bytes, bytes]]) -> bytes:
        """The answer to a request that was parsed; `default` has the headers of the server."""
        self._renew(default)
        self.note(429, 1)
        return self._of(one)

    def note(self, status: int, number: int) -> None:
        """Count requests that were refused, and have a line in the log for all of the next second."""
        self._count(ENDPOINT, status, number)
        if not self._unlogged:
            asyncio.get_running_loop().call_later(LOG_SECONDS, self._write_line)
        self._unlogged += number

    def _begin(self, state: Any) -> None:
        """Refuse until the round of the loop ends."""
        self._pause()
        self._renew(state.default_headers)
        self.is_on = True
        asyncio.get_running_loop().call_soon(self._end, state)

    def _end(self, state: Any) -> None:
        number, self._number, self.is_on = self._number, 0, False
        state.total_requests += number
        self.note(429, number)

    def _renew(self, default: list[tuple[bytes, bytes]]) -> None:
        self._head = STATUS_LINE[429] + self._head_of_all(default) + b"retry-after: 1\r\nx-request-id: "

    def _of(self, one: Exchange) -> bytes:
        trace = b"" if one.traceparent is None else b"\r\ntraceparent: " + one.traceparent
        return self._told(one.request_id.encode(), trace)

    def _told(self, known: bytes, trace: bytes) -> bytes:
        length = len(_START) + len(known) + len(_REST)
        return b"%b%b%b\r\ncontent-length: %d\r\n\r\n%b%b%b" % (
            *(self._head, known, trace, length),
            *(_START, known, _REST),
        )

    def _remember(self, head: bytes, rest: int, headers: dict[bytes, bytes]) -> None:
        if len(head) > _LONGEST_HEAD or any(name in headers for name in _NEW):
            return
        if len(self._heads) >= _MOST_HEADS:
            self._heads.clear()
        self._heads[head] = rest

    def _write_line(self) -> None:
        number, self._unlogged = self._unlogged, 0
        _LOG.warning(
            "%d requests were refused while the queue was full.",
            number,
            extra={"fields": {"refused": number, "seconds": LOG_SECONDS, "path": ENDPOINT}},
        )


def _headers_of(data: bytes) -> dict[bytes, bytes] | None:
    """Headers of the one request for a list that bytes are as a whole; None for anything else or odd."""
    if not data.startswith(_LINE):
        return None
    end = data.find(_END)
    headers: dict[bytes, bytes] = {}
    for line in data[len(_LINE) : end].split(b"\r\n"):
        name, colon, value = line.partition(b":")
        name = name.lower()
        if not colon or not name or name in headers or name.strip() != name:
            return None
        headers[name] = value.strip(b" \t")
    length = headers.get(b"content-length", b"")
    if (
        end < 0
        or not (length.isdigit() and len(length) <= _MOST_DIGITS)
        or int(length) != len(data) - end - len(_END)
        or headers.get(b"connection", b"keep-alive").lower() != b"keep-alive"
        or any(name in headers for name in _ODD)
    ):
        return None
    return headers
