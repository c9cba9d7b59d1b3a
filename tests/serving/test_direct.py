"""The direct way of requests for lists, and refusals at the socket: of a protocol without a server."""

import asyncio
import json
from time import monotonic

import pytest
import uvicorn
from hypothesis import example, given
from hypothesis import strategies as st
from uvicorn.server import ServerState

from tfrecall.errors import DeadlineError, QueueFullError
from tfrecall.serving import connections, refusals
from tfrecall.serving.config import ServingConfig
from tfrecall.serving.direct import DirectProtocol, Front
from tfrecall.serving.requests import Item, RecommendAnswer

BODY = b'{"user_id": "u1"}'


def request(line=b"POST /v1/recommend HTTP/1.1", *headers):
    head = [line, b"Host: here", b"Content-Length: %d" % len(BODY), *headers, b"", b""]
    return b"\r\n".join(head) + BODY


class Transport:
    """A socket that keeps what is written."""

    def __init__(self):
        self.written, self.closed = b"", False

    def write(self, data):
        assert not self.closed
        self.written += data

    def get_extra_info(self, name):
        return None

    def is_closing(self):
        return self.closed

    def close(self):
        self.closed = True

    def pause_reading(self):
        pass

    def resume_reading(self):
        pass


class Service:
    """A service whose queue is full, or not, and that answers when it is told to."""

    def __init__(self, **settings):
        self.config = ServingConfig({"shop": "."}, **settings)
        self.full, self.ready, self.refuses = True, True, False
        self.asked, self.withdrawn = [], []
        self.pauses = 0

    def let_calls_run(self):
        self.pauses += 1

    def is_full(self, under_way):
        return self.full

    def submit(self, request, tell, deadline=None, *, caller=None):
        if self.refuses:
            raise QueueFullError("256 requests wait already.")
        self.asked.append((request, tell, deadline))
        return lambda: self.withdrawn.append(request)

    def answer(self, which=-1):
        request, tell, _ = self.asked[which]
        items = [Item("a", 0.5)]
        tell(
            RecommendAnswer(release="shop", version=1, user_id=request.user_id, known=True, items=items)
        )


class Connection:
    """A connection, its service, and the requests that got as far as the application."""

    def __init__(self, **settings):
        self.passed, self.seen, self.transport = [], [], Transport()
        self.service = Service(**settings)

        async def app(scope, receive, send):
            body, more = b"", True
            while more:
                message = await receive()
                body, more = body + message["body"], message["more_body"]
            self.passed.append((scope["path"], body))
            await send({"type": "http.response.start", "status": 204, "headers": []})
            await send({"type": "http.response.body"})

        self._app = app
        self.front = Front(
            self.service,
            lambda *what: self.seen.append(what[:2]),
            lambda endpoint, status, number: self.seen.extend([(endpoint, status)] * number),
        )
        self.state = ServerState()
        self.state.default_headers = [(b"date", b"today")]
        self.protocol = self.another()

    def another(self):
        """One more connection to the same service, on the same transport."""
        settings = uvicorn.Config(self._app, log_config=None, proxy_headers=False)
        protocol = DirectProtocol(self.front, config=settings, server_state=self.state, app_state={})
        protocol.connection_made(self.transport)
        return protocol

    async def send(self, *parts):
        for part in parts:
            self.protocol.data_received(part)
        for _ in range(5):
            await asyncio.sleep(0)

    def answers(self):
        """Status, headers and body of each answer so far."""
        found, rest = [], self.transport.written
        while rest:
            head, rest = rest.split(b"\r\n\r\n", 1)
            first, *lines = head.decode().split("\r\n")
            headers = dict(line.split(": ", 1) for line in lines)
            length = int(headers.get("content-length", 0))
            found.append((int(first.split()[1]), headers, rest[:length]))
            rest = rest[length:]
        return found


def run(test, **settings):
    """A coroutine with a connection, in a loop of its own."""

    async def whole():
        connection = Connection(**settings)
        await test(connection)
        connection.protocol.connection_lost(None)

    asyncio.run(whole())


def test_a_full_queue_is_told_with_status_and_id():
    async def test(connection):
        await connection.send(request(b"POST /v1/recommend HTTP/1.1", b"X-Request-ID: mine"))
        ((status, headers, body),) = connection.answers()
        assert (status, headers["retry-after"]) == (429, "1")
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
        connection.service.answer()
        assert [status for status, _, _ in connection.answers()] == [429, 429, 200]
        assert connection.passed == []

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


def test_a_request_is_answered_in_one_write_without_the_application():
    async def test(connection):
        connection.service.full = False
        trace = b"00-" + b"4b" * 16 + b"-00f067aa0ba902b7-01"
        await connection.send(
            request(b"POST /v1/recommend HTTP/1.1", b"traceparent: " + trace, b"X-Release: shop")
        )
        assert connection.transport.written == b""
        ((asked, _, deadline),) = connection.service.asked
        assert (asked.user_id, asked.release, deadline) == ("u1", "shop", None)
        connection.service.answer()
        ((status, headers, body),) = connection.answers()
        assert status == 200
        assert json.loads(body)["items"] == [{"item_id": "a", "score": 0.5}]
        assert headers["x-request-id"] == "4b" * 16
        assert headers["traceparent"] == trace.decode()
        assert headers["date"] == "today"
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["content-type"] == "application/json"
        assert (connection.passed, connection.seen) == ([], [("/v1/recommend", 200)])

    run(test)


@pytest.mark.parametrize(
    "asked",
    [
        request(b"POST /v1/recommend HTTP/1.1", b"Content-Type: text/plain"),
        request(b"POST /v1/recommend HTTP/1.1", b"X-Request-Timeout-Ms: soon"),
        request(b"POST /v1/recommend HTTP/1.1", *(b"X-%d: 1" % n for n in range(120))),
        request().replace(b"user_id", b"user_ib"),
        request(b"POST /v1/recommend HTTP/1.1", b"Expect: 100-continue"),
    ],
    ids=["a type", "a time", "many headers", "a form", "a question first"],
)
def test_what_is_wrong_goes_to_the_application_with_its_body(asked):
    async def test(connection):
        connection.service.full = False
        await connection.send(asked)
        assert connection.service.asked == []
        assert connection.passed == [("/v1/recommend", asked[asked.index(b"{") :])]

    run(test)


def test_a_body_over_the_limit_and_one_in_pieces_go_to_the_application():
    async def test(connection):
        connection.service.full = False
        await connection.send(request())
        whole = request().replace(BODY, b"").replace(b"17", b"5")
        await connection.send(whole, b"[1", b",2]")
        assert connection.passed == [("/v1/recommend", BODY), ("/v1/recommend", b"[1,2]")]

    run(test, max_body=16)


@pytest.mark.parametrize("settings", [{"hosts": ["shop.example"]}, {"otel": True}])
def test_foreign_hosts_and_requests_with_spans_go_to_the_application(settings):
    async def test(connection):
        connection.service.full = False
        await connection.send(request())
        assert connection.service.asked == []
        assert connection.passed == [("/v1/recommend", BODY)]

    run(test, **settings)


def test_requests_in_one_packet_are_answered_in_order():
    """Also where the second one is quick: it waits for the first."""

    async def test(connection):
        connection.service.full = False
        await connection.send(request() + request(b"GET /health/live HTTP/1.1"))
        assert connection.passed == []
        connection.service.answer()
        await connection.send()
        assert [status for status, _, _ in connection.answers()] == [200, 204]

    run(test)


def test_a_client_that_leaves_takes_its_request_back():
    async def test(connection):
        connection.service.full = False
        await connection.send(request())
        connection.protocol.connection_lost(None)
        assert len(connection.service.withdrawn) == 1
        assert connection.seen == [("/v1/recommend", 499)]

    run(test)


def test_an_error_of_the_model_is_answered_with_its_status():
    async def test(connection):
        connection.service.full = False
        await connection.send(request())
        connection.service.asked[0][1](DeadlineError("too late"))
        ((status, _, body),) = connection.answers()
        assert (status, json.loads(body)["error"]["code"]) == (504, "deadline")

    run(test)


def test_a_service_that_ends_answers_and_closes():
    async def test(connection):
        connection.service.full = False
        await connection.send(request())
        connection.protocol.shutdown()
        connection.service.answer()
        ((status, headers, _),) = connection.answers()
        assert (status, headers["connection"]) == (200, "close")
        assert connection.transport.closed

    run(test)


def test_a_full_queue_of_one_release_refuses_its_request():
    async def test(connection):
        connection.service.full, connection.service.refuses = False, True
        await connection.send(request(), request())
        assert [status for status, _, _ in connection.answers()] == [429, 429]
        assert connection.passed == []

    run(test)


ODD_OR_NOT = [
    b"X-Request-ID: mine",
    b"X-Request-ID: no id",
    b"traceparent: 00-" + b"a" * 32 + b"-" + b"b" * 16 + b"-01",
    b"Connection: keep-alive",
    b"Connection: Close",
    b"Expect: 100-continue",
    b"Upgrade: other",
    b"Transfer-Encoding: identity",
    b"Content-Length: 3",
    b"Content-Length: 17",
    b"Host: there",
    b"Broken",
    b" Folded: line",
    b"Spaced : name",
    b": none",
    b"Authorization:Bearer key",
    b"Authorization: Bearer kez",
    b"Accept:\t*/*",
]


@example([b"Content-Length: 17"], False, 1)
@given(st.lists(st.sampled_from(ODD_OR_NOT), max_size=3), st.booleans(), st.integers(1, 80))
def test_a_full_queue_says_the_same_of_whole_requests_and_of_those_in_pieces(headers, more, cut):
    sent = request(b"POST /v1/recommend HTTP/1.1", *headers) + b"{" * more
    said = []
    for parts in ([sent], [sent[:cut], sent[cut:]]):

        async def test(connection, parts=parts):
            for part in parts:
                if not connection.transport.closed:  # of what was broken already
                    await connection.send(part)
            said.append([(s, h.get("x-request-id"), b) for s, h, b in connection.answers()])
            said[-1] += connection.passed + connection.seen + [connection.transport.closed]

        run(test, token="key")
    whole, in_pieces = (
        [(one[0], len(one[2])) if isinstance(one, tuple) and len(one) == 3 else one for one in s]
        for s in said
    )
    assert whole == in_pieces


def test_the_loop_stands_back_for_the_call_once_in_a_round_of_refusals():
    async def test(connection):
        other = connection.another()
        other.data_received(request())
        # The first of the next two is not known as a whole; all are of one round.
        await connection.send(request()[:40], request()[40:], request())
        assert [status for status, _, _ in connection.answers()] == [429, 429, 429]
        assert connection.service.pauses == 1
        await connection.send(request())
        assert connection.service.pauses == 2
        assert connection.seen == [("/v1/recommend", 429)] * 4
        other.connection_lost(None)

    run(test)


def test_each_refusal_has_its_own_id_or_that_of_its_request():
    async def test(connection):
        mine = request(b"POST /v1/recommend HTTP/1.1", b"X-Request-ID: mine")
        await connection.send(request(), request(), mine, mine, request())
        ids = [headers["x-request-id"] for _, headers, _ in connection.answers()]
        assert ids == [json.loads(body)["error"]["request_id"] for _, _, body in connection.answers()]
        assert ids[2:4] == ["mine", "mine"]
        assert len({ids[0], ids[1], ids[4]}) == 3

    run(test)


def test_a_head_that_was_refused_before_tells_no_longer_where_a_request_ends():
    """A head is remembered with the length of its body: fewer bytes or more are parsed."""

    async def test(connection):
        whole = request()
        await connection.send(whole, whole[:-3], whole[-3:], whole + whole[:5], whole[5:])
        assert [status for status, _, _ in connection.answers()] == [429, 429, 429, 429]
        assert connection.passed == []

    run(test)


def test_a_head_whose_end_has_not_come_is_not_taken_for_the_whole_request():
    # Nothing ends the first piece, so `find` gives -1. Its bytes but the last are a head that came before, and
    # len + 1 is what was left behind that head: 4 bytes of its end, and a body 2 bytes shorter than the head.
    head = b"POST /v1/recommend HTTP/1.1\r\nHost: here\r\nContent-Length: "
    length = len(head)  # of two digits, so that the head has two bytes more
    whole = head + b"%d\r\n\r\n" % length + b" " * length

    async def test(connection):
        await connection.send(whole)
        await connection.send(whole[: length + 3])
        assert [status for status, _, _ in connection.answers()] == [429]
        await connection.send(whole[length + 3 :])
        assert [status for status, _, _ in connection.answers()] == [429, 429]
        assert not connection.transport.closed

    run(test)


def test_after_the_round_requests_are_accepted_as_soon_as_there_is_room():
    async def test(connection):
        await connection.send(request())
        connection.service.full = False
        await connection.send(request())
        connection.service.answer()
        assert [status for status, _, _ in connection.answers()] == [429, 200]

    run(test)


def test_few_heads_are_remembered_and_no_long_ones(monkeypatch):
    monkeypatch.setattr(refusals, "_MOST_HEADS", 3)

    async def test(connection):
        for number in range(5):
            await connection.send(request(b"POST /v1/recommend HTTP/1.1", b"X-A: %d" % number))
        long = request(b"POST /v1/recommend HTTP/1.1", b"X-A: " + b"a" * refusals._LONGEST_HEAD)
        await connection.send(long, long)
        assert {status for status, _, _ in connection.answers()} == {429}
        assert len(connection.front.refusals._heads) == 2

    run(test)


@pytest.mark.slow
def test_a_connection_that_is_refused_again_and_again_is_not_idle():
    async def test(connection):
        protocol = connection.protocol
        protocol.timeout_keep_alive = 0.2
        end = monotonic() + 1
        protocol.timeout_keep_alive_task.cancel()
        protocol.timeout_keep_alive_task = protocol.loop.call_later(
            0.2, protocol.timeout_keep_alive_handler
        )
        while monotonic() < end:
            await connection.send(request())
        assert not connection.transport.closed
        await until_closed(connection)

    run(test)


@pytest.mark.parametrize("full", [True, False])
def test_a_token_is_asked_for_before_anything_is_told(full):
    async def test(connection):
        connection.service.full = full
        right = request(b"POST /v1/recommend HTTP/1.1", b"Authorization: Bearer key")
        await connection.send(right, request(), right.replace(b"key", b"kez"))
        if full:
            assert [status for status, _, _ in connection.answers()] == [429, 401, 401]
            assert connection.answers()[1][1]["www-authenticate"] == "Bearer"
            assert len(connection.service.asked) == 0
        else:  # the application refuses the others, which stand behind the first
            assert len(connection.service.asked) == 1

    run(test, token="key")


def test_refusals_leave_one_line_with_their_number(monkeypatch, caplog):
    monkeypatch.setattr(refusals, "LOG_SECONDS", 0.01)

    async def test(connection):
        for _ in range(2):
            await connection.send(request(), request(), request())
            lines = len(caplog.records)
            while len(caplog.records) == lines:
                await asyncio.sleep(0.005)

    with caplog.at_level("WARNING", "tfrecall.serving"):
        run(test)
    lines = [record.getMessage() for record in caplog.records]
    assert lines == ["3 requests were refused while the queue was full."] * 2


async def until_closed(connection):
    end = monotonic() + 30
    while not connection.transport.closed:
        assert monotonic() < end
        await asyncio.sleep(0.005)


def test_headers_that_come_byte_by_byte_end_with_408():
    async def test(connection):
        end = monotonic() + 30
        for byte in b"\r\n" * 3 + request() * 1000:
            if connection.transport.closed or monotonic() > end:
                break
            connection.protocol.data_received(bytes([byte]))
            await asyncio.sleep(0.01)
        ((status, headers, body),) = connection.answers()
        assert (status, json.loads(body)["error"]["code"]) == (408, "slow_headers")
        assert headers["connection"] == "close"
        assert connection.seen == [("other", 408)]

    run(test, header_seconds=0.1)


def test_headers_of_a_later_request_are_timed_too_and_complete_ones_are_not():
    async def test(connection):
        await connection.send(request())  # refused: the connection is idle now
        assert connection.protocol._head_timer is None
        connection.service.full = False
        await connection.send(request())  # waits for its answer
        assert connection.protocol._head_timer is None
        connection.service.answer()
        await connection.send(request()[:30])
        await until_closed(connection)
        assert [status for status, _, _ in connection.answers()] == [429, 200, 408]

    run(test, header_seconds=0.05)


def test_a_connection_too_many_is_told_so():
    async def test(connection):
        surplus = connection.another()
        surplus.data_received(request())
        ((status, headers, body),) = connection.answers()
        assert (status, json.loads(body)["error"]["code"]) == (503, "too_many_connections")
        assert (headers["connection"], headers["retry-after"]) == ("close", "1")
        assert connection.transport.closed
        surplus.connection_lost(None)

    run(test, max_connections=1)


def test_a_silent_connection_too_many_is_closed(monkeypatch):
    monkeypatch.setattr(connections, "SURPLUS_SECONDS", 0.01)

    async def test(connection):
        surplus = connection.another()
        await until_closed(connection)
        assert connection.answers() == []
        surplus.connection_lost(None)

    run(test, max_connections=1)
