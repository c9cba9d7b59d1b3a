"""The client: attempts within a time, connections, answers of the service, refusals."""

import json
import socket
import threading
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from time import monotonic, sleep

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tfrecall.baselines.popularity import Popularity
from tfrecall.data import synthetic
from tfrecall.errors import ConfigError, DeadlineError, NotReadyError, QueueFullError, ServingError
from tfrecall.exporting.export import export
from tfrecall.serving import retries
from tfrecall.serving.client import Client
from tfrecall.serving.retries import LONGEST_PAUSE_SECONDS, Retries, TransientError
from tfrecall.serving.tensors import Signature, cast, columns

OK = (200, {}, {"items": [{"item_id": "i1", "score": 2.0}], "user_id": "u1", "known": True})


class Script(BaseHTTPRequestHandler):
    """Answers with the next of `answers`, and notes requests."""

    protocol_version = "HTTP/1.1"

    def __init__(self, answers, seen, *rest):
        self.answers, self.seen = answers, seen
        super().__init__(*rest)

    def log_message(self, *_):
        pass

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.seen.append((self.client_address, dict(self.headers), json.loads(body)))
        status, headers, content = self.answers.pop(0)
        if status is None:  # the connection ends without an answer
            self.close_connection = True
            return
        text = json.dumps(content).encode() if not isinstance(content, bytes) else content
        self.send_response(status)
        for name, value in {"Content-Length": str(len(text)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(text)


@pytest.fixture
def scripted():
    """A server for a list of answers; gives its address and what it saw."""
    servers = []

    def start(*answers):
        seen = []
        server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Script, list(answers), seen))
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        servers.append(server)
        return f"http://127.0.0.1:{server.server_port}", seen

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.fixture
def pauses(monkeypatch):
    """Pauses between attempts, which end at once."""
    found = []
    monkeypatch.setattr(retries, "sleep", found.append)
    return found


def refusal(status, **headers):
    return status, headers, {"error": {"code": "busy", "message": "try later"}}


# Attempts


@pytest.mark.parametrize("first", [refusal(429), refusal(503), (None, {}, b"")])
def test_a_request_is_sent_again_when_the_server_is_busy_or_gone(scripted, pauses, first):
    address, seen = scripted(first, OK)
    with Client(address) as client:
        (answer,) = client.recommend(["u1"], k=1)
    assert (answer.item_ids, answer.scores, answer.user_id, answer.known) == (["i1"], [2.0], "u1", True)
    assert len(seen) == 2
    assert len(pauses) == 1


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (400, ServingError),
        (404, ServingError),
        (413, ServingError),
        (500, ServingError),
        (504, DeadlineError),
    ],
)
def test_other_refusals_are_not_sent_again(scripted, pauses, status, error):
    address, seen = scripted(refusal(status), OK)
    with Client(address) as client, pytest.raises(error, match=f"answered {status}: try later") as told:
        client.recommend(["u1"])
    assert type(told.value) is error
    assert address in str(told.value)
    assert (len(seen), pauses) == (1, [])


@pytest.mark.parametrize(("status", "error"), [(429, QueueFullError), (503, NotReadyError)])
def test_the_last_refusal_is_raised(scripted, pauses, status, error):
    address, seen = scripted(*[refusal(status)] * 3)
    with Client(address, attempts=3) as client, pytest.raises(error, match="try later"):
        client.recommend(["u1"])
    assert (len(seen), len(pauses)) == (3, 2)


def test_retry_after_is_what_the_client_waits(scripted, pauses):
    address, _ = scripted(refusal(429, **{"Retry-After": "2"}), OK)
    with Client(address) as client:
        client.recommend(["u1"])
    assert pauses == [2.0]


def test_a_pause_beyond_the_time_is_not_begun(scripted, pauses):
    address, seen = scripted(refusal(503, **{"Retry-After": "60"}), OK)
    with Client(address, timeout_seconds=5) as client, pytest.raises(NotReadyError):
        client.recommend(["u1"])
    assert (len(seen), pauses) == (1, [])


@given(attempts=st.integers(1, 9))
def test_pauses_grow_and_stay_below_the_longest(attempts):
    slept = []

    def fails(_):
        raise TransientError(ServingError("busy"))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(retries, "sleep", slept.append)
        # The largest draw: 0.1, 0.2, 0.4 ... up to the longest.
        patch.setattr(retries.random, "uniform", lambda low, high: high)
        with pytest.raises(ServingError, match="busy"):
            Retries(timeout_seconds=3600, attempts=attempts).run(fails)
    assert slept == [min(LONGEST_PAUSE_SECONDS, 0.1 * 2**n) for n in range(attempts - 1)]


def test_each_attempt_is_told_the_time_that_is_left(scripted, monkeypatch):
    clock = [100.0]
    monkeypatch.setattr(retries, "monotonic", lambda: clock[0])
    monkeypatch.setattr(retries, "sleep", lambda seconds: clock.__setitem__(0, clock[0] + seconds))
    address, seen = scripted(refusal(503, **{"Retry-After": "3"}), OK)
    with Client(address, timeout_seconds=5) as client:
        client.recommend(["u1"])
    # 5 seconds at first, and 2 after the pause of 3.
    assert [headers["X-Request-Timeout-Ms"] for _, headers, _ in seen] == ["5000", "2000"]


def test_a_server_that_hangs_ends_with_the_time(monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"http://127.0.0.1:{silent.getsockname()[1]}"
        with (
            Client(address, timeout_seconds=0.2) as client,
            pytest.raises(DeadlineError, match=address),
        ):
            client.recommend(["u1"])


def test_nobody_at_the_address_is_said_so(pauses):
    with socket.create_server(("127.0.0.1", 0)) as closed:
        address = f"http://127.0.0.1:{closed.getsockname()[1]}"
    with Client(address, attempts=2) as client, pytest.raises(ServingError, match="cannot be reached"):
        client.recommend(["u1"])
    assert len(pauses) == 1


def test_connections_are_kept_and_the_token_is_sent(scripted):
    address, seen = scripted(OK, OK, OK)
    with Client(address, token="secret") as client:
        for _ in range(3):
            client.recommend(["u1"])
    assert len({port for port, _, _ in seen}) == 1
    assert {headers["Authorization"] for _, headers, _ in seen} == {"Bearer secret"}


def test_an_answer_that_is_no_json_is_quoted(scripted):
    address, _ = scripted((502, {}, b"<html>Bad gateway"))
    with Client(address) as client, pytest.raises(ServingError, match="502: <html>Bad gateway"):
        client.recommend(["u1"])


# The service


@pytest.fixture(scope="module")
def service(tmp_path_factory):
    """A service of a baseline, and its release."""
    pytest.importorskip("fastapi")
    import uvicorn

    from tfrecall.serving.app import create_app
    from tfrecall.serving.config import ServingConfig

    root = tmp_path_factory.mktemp("service") / "popular"
    release = export(Popularity().fit(synthetic(20, 15, 200, seed=1)), root)
    app = create_app(ServingConfig({"popular": root}))
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="error"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    began = monotonic()
    while not server.started:
        assert thread.is_alive()
        assert monotonic() < began + 60
        sleep(0.01)
    port = server.servers[0].sockets[0].getsockname()[1]
    yield f"http://127.0.0.1:{port}", release
    server.should_exit = True
    thread.join()


def test_the_service_answers_as_the_release_does(service):
    address, release = service
    queries = ["u1", "nobody", {"user_id": "u2"}]
    with Client(address, timeout_seconds=30) as client:
        many = client.recommend(queries, k=4, exclude=["i3"], exclude_seen=False)
        (one,) = client.recommend(["u1"], k=4, release="popular")
    expected = release.recommend(queries, k=4, exclude=["i3"], exclude_seen=False)
    assert [answer.item_ids for answer in many] == [answer.item_ids for answer in expected]
    assert [answer.known for answer in many] == [True, False, True]
    assert one.item_ids == release.recommend(["u1"], k=4)[0].item_ids
    assert one.scores == pytest.approx(release.recommend(["u1"], k=4)[0].scores)


def test_a_query_of_a_batch_that_is_refused_is_an_error(service):
    with Client(service[0], timeout_seconds=30) as client, pytest.raises(ServingError, match="popular"):
        client.recommend(["u1", "u2"], release="popularr")


def test_the_service_answers_a_client_of_tf_serving(service):
    address, release = service
    with Client(address, server="tf_serving", timeout_seconds=30) as client:
        assert client.versions("popular") == [1]
        names = client.signatures("popular")["recommend"].inputs
        lists = {name: [] for name in names if name not in ("k", "exclude", "user_id")}
        (answer,) = client.recommend([{"user_id": "u1", **lists}], 3, release="popular", exclude=["i3"])
    (expected,) = release.recommend([{"user_id": "u1", **lists}], 3, exclude=["i3"], exclude_seen=False)
    assert answer.item_ids == expected.item_ids
    assert answer.scores == pytest.approx(expected.scores)


def test_nobody_to_recommend_to_asks_nobody():
    with Client("http://127.0.0.1:1") as client:
        assert client.recommend([]) == []


# Refusals before anything is sent


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"address": "127.0.0.1:8500"}, "has an address such as"),
        ({"address": "ftp://127.0.0.1"}, "has an address such as"),
        ({"address": "http://a", "server": "other"}, '"tfrecall" or "tf_serving"'),
        ({"address": "http://a", "timeout_seconds": 0}, "needs time"),
        ({"address": "http://a", "timeout_seconds": float("nan")}, "needs time"),
        ({"address": "http://a", "attempts": 0}, "needs time and an attempt"),
    ],
)
def test_impossible_clients_are_refused(arguments, message):
    with pytest.raises(ConfigError, match=message):
        Client(**arguments)


@pytest.mark.parametrize(
    ("queries", "options", "message"),
    [
        ("u1", {}, "put a single one into a list"),
        ([{"age": float("nan")}], {}, "cannot be written as JSON"),
        ([{"age": object()}], {}, "cannot be written as JSON"),
    ],
)
def test_queries_that_cannot_be_sent_are_refused(queries, options, message):
    with Client("http://127.0.0.1:1") as client, pytest.raises(ConfigError, match=message):
        client.recommend(queries, **options)


@pytest.mark.parametrize(
    ("queries", "options", "message"),
    [
        (["u1"], {}, "knows no users"),
        ([{"a": "1"}, {"b": "1"}], {}, "the same raw columns"),
        ([{"a": "1"}], {"explain": True}, "no option explain"),
    ],
)
def test_tf_serving_takes_columns_alone(queries, options, message):
    client = Client("http://127.0.0.1:1", server="tf_serving")
    with pytest.raises(ConfigError, match=message):
        client.recommend(queries, **options)


# Tensors

SIGNATURE = Signature({"user_id": object, "age": np.float32, "k": np.int32}, {"scores": np.float32})


@given(st.lists(st.lists(st.text("ab ", max_size=3), max_size=4), min_size=1, max_size=4))
def test_lists_of_texts_are_padded_on_the_right(lists):
    padded = columns({"history": lists})["history"]
    width = max(1, *(len(row) for row in lists)) if len(lists) > 1 else max(1, len(lists[0]))
    assert padded.shape == (len(lists), width)
    assert padded.tolist() == [[*row, *[""] * (width - len(row))] for row in lists]


def test_inputs_take_the_types_of_the_signature():
    found = cast(columns({"user_id": ["u1"], "age": [30], "k": 3}), SIGNATURE, "m:s")
    assert [found[name].dtype for name in ("user_id", "age", "k")] == [object, np.float32, np.int32]
    assert found["k"].shape == ()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"k": None}, "Missing: k"),
        ({"agee": [1]}, r'Not taken: agee\. Did you mean "age"'),
        ({"age": ["old"]}, "age is numbers"),
        ({"user_id": [42]}, "user_id is text"),
        ({"k": 2.5}, "whole numbers"),
    ],
)
def test_inputs_of_another_type_are_refused(changes, message):
    inputs = {"user_id": ["u1"], "age": [30.0], "k": 3, **changes}
    inputs = {name: value for name, value in inputs.items() if value is not None}
    with pytest.raises(ConfigError, match=message):
        cast(columns(inputs), SIGNATURE, "m:s")


def test_numbers_that_are_not_rectangular_are_refused():
    with pytest.raises(ConfigError, match="vector is not rectangular"):
        columns({"vector": [[1.0, 2.0], [1.0]]})
