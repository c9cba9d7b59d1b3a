"""The gate: limits, token, ids of requests, and errors as answers whatever raises them."""

import asyncio
import json
import logging
import socket
import threading
import time

import pytest
from fastapi import Response
from fastapi.testclient import TestClient

from tests.serving.running import PATIENCE_SECONDS, listening
from tfrecall.errors import DataError, ReleaseError
from tfrecall.serving.app import create_app
from tfrecall.serving.config import ServingConfig
from tfrecall.serving.gate import WATCH_SECONDS

ASK = {"user_id": "u1", "k": 3}
TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
TRACEPARENT = f"00-{TRACE}-00f067aa0ba902b7-01"


@pytest.fixture(scope="module")
def app(item_cf):
    return create_app(ServingConfig({"item_cf": item_cf}, max_body=1000))


@pytest.fixture(scope="module")
def client(app):
    with TestClient(app) as client:
        yield client


@pytest.fixture(scope="module")
def place(item_cf):
    with listening(
        create_app(ServingConfig({"item_cf": item_cf}, max_body=1000, body_seconds=1.5))
    ) as place:
        yield place


def raw(place, *parts, pause=0.0):
    """What the service writes until it closes the connection, for bytes that are sent with pauses."""
    with socket.create_connection(place, timeout=PATIENCE_SECONDS) as connection:
        for part in parts:
            connection.sendall(part)
            time.sleep(pause)
        written = b""
        while part := connection.recv(65536):
            written += part
    return written


def post(body, *headers, path="/v1/recommend"):
    lines = [f"POST {path} HTTP/1.1", "Host: x", "Content-Type: application/json", *headers]
    return "\r\n".join([*lines, "", ""]).encode() + body


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("POST", "/v1/recomend", 404, "not_found"),
        ("GET", "/v1/recommend", 405, "method_not_allowed"),
        ("GET", "/nothing/like/it", 404, "not_found"),
        ("PUT", "/health/live", 405, "method_not_allowed"),
    ],
)
def test_unrouted_requests_have_the_form_of_errors(client, method, path, status, code):
    answer = client.request(method, path)
    error = answer.json()["error"]
    assert (answer.status_code, error["code"]) == (status, code)
    assert error["request_id"] == answer.headers["x-request-id"]


def test_not_found_names_the_nearest_and_not_allowed_what_is(client):
    assert 'Did you mean "/v1/recommend"?' in client.post("/v1/recomend").json()["error"]["message"]
    assert client.get("/v1/rank").headers["allow"] == "POST"


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", ""])
def test_body_of_another_type_is_refused(client, kind):
    answer = client.post("/v1/recommend", content=b"{}", headers={"Content-Type": kind})
    assert (answer.status_code, answer.json()["error"]["code"]) == (415, "not_json")


@pytest.mark.parametrize("kind", ["application/json; charset=utf-8", "application/vnd.x+JSON"])
def test_kinds_of_json_are_taken(client, kind):
    body = json.dumps(ASK).encode()
    answer = client.post("/v1/recommend", content=body, headers={"Content-Type": kind})
    assert answer.status_code == 200


def test_limit_is_that_of_the_body(client):
    # {"history":["x..."]}: 16 bytes around the text.
    for size, status in ((1000, 400), (1001, 413)):
        body = b'{"histori":["' + b"x" * (size - 16) + b'"]}'
        assert len(body) == size
        answer = client.post(
            "/v1/recommend", content=body, headers={"Content-Type": "application/json"}
        )
        assert answer.status_code == status


def test_limit_holds_for_bodies_of_unknown_size(place):
    chunk = b"190\r\n" + b" " * 400 + b"\r\n"
    written = raw(place, post(b"", "Transfer-Encoding: chunked"), chunk, chunk, chunk, pause=0.05)
    assert written.startswith(b"HTTP/1.1 413")
    assert b"connection: close" in written.lower()


@pytest.mark.slow
def test_slow_body_is_refused(place):
    written = raw(place, post(b'{"user', "Content-Length: 20"))
    assert written.startswith(b"HTTP/1.1 408")


def test_body_in_pieces_is_read(place):
    body = json.dumps(ASK).encode()
    head = post(b"", f"Content-Length: {len(body)}", "Connection: close")
    written = raw(place, head, body[:5], body[5:], pause=0.08)
    assert written.startswith(b"HTTP/1.1 200")


def test_client_that_leaves_within_its_body_harms_nobody(place):
    with socket.create_connection(place) as connection:
        connection.sendall(post(b"{", "Content-Length: 20"))
    assert raw(place, post(b"{}", "Content-Length: 2", "Connection: close")).startswith(b"HTTP/1.1 200")


def test_pipelined_requests_are_answered_in_order(place):
    one = post(b'{"user_id":"u1","k":1}', "Content-Length: 22")
    two = post(b'{"user_id":"u1","k":2}', "Content-Length: 22", "Connection: close")
    written = raw(place, one + two)
    bodies = [
        json.loads(part.split(b"\r\n\r\n")[1]) for part in written.split(b"HTTP/1.1 200 OK\r\n")[1:]
    ]
    assert [len(body["items"]) for body in bodies] == [1, 2]


def test_huge_headers_are_refused(place):
    written = raw(place, post(b"{}", "Content-Length: 2", "X-A: " + "a" * 100_000))
    assert written.startswith((b"HTTP/1.1 431", b"HTTP/1.1 400"))


def test_bytes_that_are_no_http_are_refused(place):
    assert raw(place, b"\x16\x03\x01\x02\x00\x01\r\n\r\n").startswith(b"HTTP/1.1 400")


@pytest.mark.parametrize("told", ["0", "-1", "soon", "nan", "inf", "600001", ""])
def test_timeout_is_a_number_of_milliseconds(client, told):
    answer = client.post("/v1/recommend", json=ASK, headers={"X-Request-Timeout-Ms": told})
    assert answer.status_code == 400
    assert "X-Request-Timeout-Ms" in answer.json()["error"]["message"]


def test_request_id_is_told_or_of_the_trace_or_new(client):
    def ids(**headers):
        return client.get("/health/live", headers=headers).headers["x-request-id"]

    assert ids(**{"X-Request-ID": "a-1", "traceparent": TRACEPARENT}) == "a-1"
    assert ids(traceparent=TRACEPARENT) == TRACE
    assert len({ids(), ids(), ids(**{"X-Request-ID": "no spaces"}), ids(traceparent="00-1")}) == 4
    answer = client.get("/health/live", headers={"traceparent": TRACEPARENT})
    assert answer.headers["traceparent"] == TRACEPARENT


def test_answers_forbid_guessing_and_framing(client):
    for path in ("/health/live", "/nothing"):
        headers = client.get(path).headers
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["x-frame-options"] == "DENY"


def test_token_is_asked_for_except_by_probes(item_cf):
    with TestClient(create_app(ServingConfig({"item_cf": item_cf}, token="s3cret"))) as client:
        for header in ({}, {"Authorization": "Bearer s3cre"}, {"Authorization": "s3cret"}):
            answer = client.post("/v1/recommend", json=ASK, headers=header)
            assert (answer.status_code, answer.json()["error"]["code"]) == (401, "unauthorized")
            assert answer.headers["www-authenticate"] == "Bearer"
        header = {"Authorization": "Bearer s3cret"}
        assert client.post("/v1/recommend", json=ASK, headers=header).status_code == 200
        assert client.get("/health/live").status_code == client.get("/health/ready").status_code == 200
        assert client.get("/v1/releases").status_code == 401


def test_release_is_named_by_header_or_body(client):
    def ask(header, **body):
        return client.post("/v1/recommend", json=ASK | body, headers={"X-Release": header})

    assert ask("item_cf").status_code == 200
    assert ask("other").status_code == 404
    assert ask("item_cf", release="other").status_code == 400


@pytest.mark.parametrize(
    "error",
    [
        ReleaseError("/usr/share/a/index is damaged"),
        RuntimeError("no /etc/passwd"),
        OSError(2, "No such file", "/usr/share/a"),
        MemoryError(),
        KeyError("x"),
    ],
)
def test_failure_within_tells_neither_path_nor_stack(item_cf, error, caplog):
    app = create_app(ServingConfig({"item_cf": item_cf}))

    async def fails(_):
        raise error

    app.add_route("/v1/plain", fails)
    app.add_route("/v1/by/{name}", fails)
    with TestClient(app, raise_server_exceptions=False) as client:
        for path in ("/v1/plain", "/v1/by/name"):
            answer = client.get(path)
            assert (answer.status_code, answer.json()["error"]["code"]) == (500, "internal")
            assert "/usr" not in answer.text
            assert "/etc" not in answer.text
            assert "Traceback" not in answer.text
            [line] = [record for record in caplog.records if "failed" in record.message]
            assert line.fields["request_id"] == answer.headers["x-request-id"]
            caplog.clear()


def test_path_in_a_message_to_the_caller_is_left_out(client, app, item_cf, monkeypatch):
    from tfrecall.errors import ConfigError

    async def refused(*_, **__):
        raise ConfigError(f"No index. Build one: tfrecall index {item_cf}. Or ask /v1/similar.")

    monkeypatch.setattr(app.state.service, "recommend", refused)
    message = client.post("/v1/recommend", json=ASK).json()["error"]["message"]
    assert message == "No index. Build one: tfrecall index ... Or ask /v1/similar."
    [answer] = client.post("/v1/recommend:batch", json={"requests": [ASK]}).json()["answers"]
    assert str(item_cf) not in answer["error"]["message"]


def test_work_of_a_client_that_left_is_cancelled(item_cf):
    app = create_app(ServingConfig({"item_cf": item_cf}))
    begun, ended = threading.Event(), []

    async def waits(*_, **__):
        begun.set()
        try:
            await asyncio.sleep(600)
            ended.append("waited")
        except asyncio.CancelledError:
            ended.append("cancelled")
            raise

    with listening(app) as place:
        app.state.service.recommend = waits
        with socket.create_connection(place) as connection:
            connection.sendall(post(b"{}", "Content-Length: 2"))
            assert begun.wait(PATIENCE_SECONDS)
        end = time.monotonic() + PATIENCE_SECONDS
        while not ended and time.monotonic() < end:
            time.sleep(0.02)
    assert ended == ["cancelled"]


@pytest.mark.parametrize("status", [200, 400])
def test_answer_that_its_client_has_read_is_not_cancelled(item_cf, status, caplog):
    """A server reports the end of an answer as `http.disconnect`, before the task of the request ends."""
    app = create_app(ServingConfig({"item_cf": item_cf}))
    sent = []

    async def answers_late(_):
        await asyncio.sleep(3 * WATCH_SECONDS)  # the client is watched from now on
        if status == 400:
            raise DataError("No.")
        return Response(b"late")

    app.add_route("/v1/late", answers_late)

    async def request():
        is_read = asyncio.Event()

        async def receive():
            await is_read.wait()
            return {"type": "http.disconnect"}

        async def send(message):
            sent.append(message["type"])
            if message["type"] == "http.response.body":
                is_read.set()
                await asyncio.sleep(0.01)

        scope = {"type": "http", "method": "GET", "path": "/v1/late", "raw_path": b"/v1/late"}
        await app({**scope, "headers": [], "query_string": b""}, receive, send)

    with caplog.at_level(logging.INFO, "tfrecall.serving.access"):
        asyncio.run(request())
    assert [record.fields["status"] for record in caplog.records] == [status]
    assert sent == ["http.response.start", "http.response.body"]


def test_each_request_is_a_line_in_the_log(client, caplog):
    with caplog.at_level(logging.INFO, "tfrecall.serving.access"):
        client.post("/v1/rank?token=1", json={}, headers={"traceparent": TRACEPARENT})
    [line] = [record.fields for record in caplog.records if record.name == "tfrecall.serving.access"]
    assert (line["method"], line["path"], line["status"]) == ("POST", "/v1/rank", 400)  # no query
    assert line["request_id"] == TRACE
    assert line["milliseconds"] > 0
