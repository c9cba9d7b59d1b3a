"""Refusals at the socket, of a protocol without a server."""

import asyncio
import json

import pytest
import uvicorn
from uvicorn.server import ServerState

from tfrecall.serving.shedding import SheddingProtocol

BODY = b'{"user_id": "u1"}'


def request(line=b"POST /v1/recommend HTTP/1.1", *headers):
    head = [line, b"Host: here", b"Content-Length: %d" % len(BODY), *headers, b"", b""]
    return b"\r\n".join(head) + BODY


class Transport:
    """A socket that keeps what is written."""

    def __init__(self):
        self.written = b""

    def write(self, data):
        self.written += data

    def get_extra_info(self, name):
        return None

    def is_closing(self):
        return False

    def resume_reading(self):
        pass


class Service:
    """A service whose queue is full, or not."""

    def __init__(self):
        self.full = True

    def is_full(self, under_way):
        return self.full


class Connection:
    """A connection, its service, and the requests that got as far as the application."""

    def __init__(self):
        self.passed, self.seen, self.transport = [], [], Transport()
        self.service = Service()

        async def app(scope, receive, send):
            self.passed.append((scope["path"], (await receive())["body"]))
            await send({"type": "http.response.start", "status": 204, "headers": []})
            await send({"type": "http.response.body"})

        settings = uvicorn.Config(app, log_config=None, proxy_headers=False)
        self.protocol = SheddingProtocol(
            self.service,
            lambda *what: self.seen.append(what[:2]),
            config=settings,
            server_state=ServerState(),
            app_state={},
        )
        self.protocol.connection_made(self.transport)

    async def send(self, *parts):
        for part in parts:
            self.protocol.data_received(part)
        for _ in range(5):
            await asyncio.sleep(0)


def run(test):
    """A coroutine with a connection, in a loop of its own."""

    async def whole():
        connection = Connection()
        await test(connection)
        connection.protocol._unset_keepalive_if_required()

    asyncio.run(whole())


def test_a_full_queue_is_told_with_status_and_id():
    async def test(connection):
        await connection.send(request(b"POST /v1/recommend HTTP/1.1", b"X-Request-ID: mine"))
        head, body = connection.transport.written.split(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 429 ")
        assert b"\r\nretry-after: 1\r\n" in head
        assert b"\r\ncontent-length: %d" % len(body) in head
        error = json.loads(body)["error"]
        assert (error["code"], error["request_id"]) == ("queue_full", "mine")
        assert connection.passed == []
        assert connection.seen == [("/v1/recommend", 429)]

    run(test)


def test_a_connection_lives_on_after_refusals():
    async def test(connection):
        whole = request()
        # The body of a refused request comes late, and is no beginning of the next one.
        await connection.send(whole[:-10], whole[-10:], whole)
        assert connection.transport.written.count(b"HTTP/1.1 429 ") == 2
        connection.service.full = False
        await connection.send(whole)
        assert connection.passed == [("/v1/recommend", BODY)]
        assert b"HTTP/1.1 204 " in connection.transport.written

    run(test)


@pytest.mark.parametrize(
    "asked",
    [
        request(b"POST /v1/similar HTTP/1.1"),
        request(b"GET /v1/recommend HTTP/1.1"),
        request(b"POST /v1/recommend?k=3 HTTP/1.1"),
        request(b"POST /v1/recommend HTTP/1.0"),
        request(b"POST /v1/recommend HTTP/1.1", b"Connection: close"),
    ],
    ids=["another route", "another method", "a query", "HTTP 1.0", "a last request"],
)
def test_other_requests_go_to_the_application(asked):
    async def test(connection):
        connection.transport.close = lambda: None
        await connection.send(asked)
        assert len(connection.passed) == 1
        assert connection.seen == []

    run(test)
