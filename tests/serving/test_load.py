"""The service under load, in short: what becomes of each request, counted. `make bench` measures times."""

import asyncio
import http.client
import json
import signal
import threading

import pytest

from benchmarks.http_load import Load
from tests.serving.running import running

pytestmark = pytest.mark.slow
BODIES = [json.dumps({"user_id": f"u{i}", "k": 5}).encode() for i in range(50)]


@pytest.fixture(scope="module")
def service(item_cf):
    with running(item_cf, "--queue", 16, "--max-batch", 8) as service:
        yield service


def load(service):
    return Load(service.url + "/v1/recommend", BODIES)


def total(service, code):
    """Requests of that status, as the metrics count them."""
    line = f'tfrecall_requests_total{{code="{code}",endpoint="/v1/recommend"}} '
    found = [each for each in service.get("/metrics").body.splitlines() if each.startswith(line)]
    return float(found[0].split()[-1]) if found else 0.0


@pytest.mark.parametrize("clients", [1, 8])
def test_clients_that_the_queue_holds_are_all_answered(service, clients):
    asked = load(service)
    asyncio.run(asked.closed(clients, 30, most=400))
    assert dict(asked.counts) == {200: asked.sent}
    assert asked.sent >= 400


def test_both_ways_of_a_request_give_the_same_answer(service):
    """From the socket to the queue, and through the application, which takes requests that end a connection."""
    host = service.url.removeprefix("http://")
    answers = []
    for more in ({}, {"Connection": "close"}):
        connection = http.client.HTTPConnection(host)
        headers = {"Content-Type": "application/json", "X-Request-ID": "mine", **more}
        connection.request("POST", "/v1/recommend", BODIES[1], headers)
        answer = connection.getresponse()
        kept = {k.lower(): v for k, v in answer.getheaders() if k.lower() not in ("date", "connection")}
        answers.append((answer.status, kept, answer.read()))
        assert answer.headers["date"]
        connection.close()
    assert answers[0] == answers[1]
    assert answers[0][0] == 200


def test_beyond_the_queue_requests_are_refused_and_none_is_lost(service):
    answered, refused = total(service, 200), total(service, 429)
    asked = load(service)
    asyncio.run(asked.closed(200, 60, most=5000))
    # Clients send the next request when they have an answer, of whatever kind: each gets one.
    assert set(asked.counts) == {200, 429}
    assert asked.counts.total() == asked.sent
    # At the socket or at the queue, each refusal is counted once.
    assert total(service, 200) - answered == asked.counts[200]
    assert total(service, 429) - refused == asked.counts[429]
    assert service.post("/v1/recommend", {"user_id": "u1"}).status == 200


def test_sigterm_under_load_loses_no_request(item_cf):
    with running(item_cf) as service:
        asked = load(service)
        timer = threading.Timer(1, service.process.send_signal, [signal.SIGTERM])
        timer.start()
        asyncio.run(asked.closed(16, 60))
        assert service.process.wait(60) == 0
        # A request that was read is answered; a connection closes between requests, at most one each.
        assert asked.counts[200] > 0
        assert set(asked.counts) <= {200, 503, 0}
        assert asked.counts[0] + asked.counts[503] <= 16
