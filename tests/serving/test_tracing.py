"""Spans of requests: their names, parents and times, and none where tracing is off."""

import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
from fastapi.testclient import TestClient
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from tests.serving.protocols.test_calls import ASKED, called
from tests.serving.protocols.test_grpc import connected
from tests.serving.running import running
from tfrecall.serving import tracing
from tfrecall.serving.answering import Answerer
from tfrecall.serving.app import create_app
from tfrecall.serving.config import ServingConfig

TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
HEADERS = {"traceparent": f"00-{TRACE}-{PARENT}-01"}
# Of a list, in order of time.
STAGES = ["queue", "query", "retrieval", "answer"]


@pytest.fixture(scope="module")
def spans():
    return InMemorySpanExporter()


@pytest.fixture(scope="module")
def client(item_cf, spans):
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(spans))
    config = ServingConfig({"item_cf": item_cf}, otel=True, grpc_address="127.0.0.1:0")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tracing, "provider_of_environment", lambda: provider)
        app = create_app(config)
    with TestClient(app) as client:
        yield client


@pytest.fixture
def told(client, spans):
    """The spans since the test began: the one of the server, and those below it in order of time."""
    spans.clear()

    def told():
        found = spans.get_finished_spans()
        (server,) = [span for span in found if span.kind is SpanKind.SERVER]
        below = [span for span in found if span is not server]
        assert all(span.parent.span_id == server.context.span_id for span in below)
        assert {span.context.trace_id for span in found} == {server.context.trace_id}
        return server, sorted(below, key=lambda span: span.start_time)

    return told


def names(spans):
    return [span.name for span in spans]


def test_trace_of_a_client_goes_on(client, told):
    answer = client.post("/v1/recommend", json={"user_id": "u1"}, headers=HEADERS)
    server, below = told()
    assert f"{server.context.trace_id:032x}" == TRACE == answer.headers["x-request-id"]
    assert f"{server.parent.span_id:016x}" == PARENT
    assert answer.headers["traceparent"] == HEADERS["traceparent"]
    assert server.name == "POST /v1/recommend"
    facts = dict(server.attributes)
    assert facts["http.route"] == "/v1/recommend"
    assert facts["http.response.status_code"] == 200
    assert (facts["tfrecall.release"], facts["tfrecall.version"]) == ("item_cf", 1)
    assert "tfrecall.fallback" not in facts
    assert names(below) == STAGES


def test_stages_follow_each_other_within_the_request(client, told):
    client.post("/v1/recommend", json={"user_id": "u1"})
    server, below = told()
    times = [server.start_time]
    for span in below:
        times += [span.start_time, span.end_time]
    # The clock of spans ticks apart from that of stages, which is finer.
    assert times == sorted(times)
    assert times[-1] <= server.end_time
    assert [span.end_time for span in below[:-1]] == [span.start_time for span in below[1:]]
    assert below[0].attributes["tfrecall.batch_size"] == 1


def test_trace_that_begins_here_is_the_id_of_the_request(client, told):
    answer = client.post("/v1/recommend", json={"user_id": "nobody"})
    server, _ = told()
    trace = f"{server.context.trace_id:032x}"
    assert answer.headers["x-request-id"] == trace
    assert answer.headers["traceparent"].split("-")[1] == trace
    assert server.parent is None
    assert server.attributes["tfrecall.fallback"] == "unknown_user"


def test_rows_of_one_call_have_its_stages_once(client, told):
    requests = [{"user_id": f"u{i}"} for i in range(5)]
    client.post("/v1/recommend:batch", json={"requests": requests})
    _, below = told()
    # The first row goes alone, the others collect meanwhile: two calls at most by the greedy rule.
    assert names(below).count("retrieval") in (1, 2)
    sizes = [span.attributes["tfrecall.batch_size"] for span in below if span.name == "queue"]
    assert sum(sizes) == 5


def test_similar_items_have_a_stage(client, told):
    client.post("/v1/similar", json={"item_id": "i1"})
    assert names(told()[1]) == ["queue", "similar"]


def test_refusal_is_no_failure(client, told):
    assert client.post("/v1/recommend", json={"usr_id": "u1"}).status_code == 400
    server, below = told()
    assert server.attributes["http.response.status_code"] == 400
    assert server.status.status_code is StatusCode.UNSET
    assert below == []


def test_failed_model_marks_its_wait(client, told, monkeypatch):
    def broken(self, requests):
        raise RuntimeError("broken")

    monkeypatch.setattr(Answerer, "answer", broken)
    assert client.post("/v1/similar", json={"item_id": "i1"}).status_code == 500
    server, (queue,) = told()
    assert server.status.status_code is StatusCode.ERROR
    assert (queue.name, queue.attributes["error.type"]) == ("queue", "ModelFailedError")
    assert queue.status.status_code is StatusCode.ERROR


def test_probes_scrapes_and_files_have_none(client, told, spans):
    for path in ("/health/live", "/v2/health/ready", "/metrics", "/page/page.js"):
        assert client.get(path).status_code == 200
    assert spans.get_finished_spans() == ()


def test_calls_by_grpc_have_spans(client, told):
    with connected(client) as channel:
        called(channel, tuple(HEADERS.items()), **ASKED)
    server, below = told()
    assert server.name == "inference.GRPCInferenceService/ModelInfer"
    assert f"{server.context.trace_id:032x}" == TRACE
    assert server.attributes["rpc.response.status_code"] == "OK"
    assert {"queue", "retrieval"} <= set(names(below))


def test_trace_that_begins_with_a_call_by_grpc_is_its_id(client, told):
    with connected(client) as channel:
        end, _ = called(channel, **ASKED)
    assert end["x-request-id"] == f"{told()[0].context.trace_id:032x}"


def test_refused_call_by_grpc_tells_its_status(client, told):
    with connected(client) as channel:
        called(channel, model_name="none")
    assert told()[0].attributes["rpc.response.status_code"] == "NOT_FOUND"


@pytest.mark.slow
def test_off_loads_nothing(item_cf):
    program = (
        "import sys; from pathlib import Path; from tfrecall.serving.app import create_app;"
        "from tfrecall.serving.config import ServingConfig;"
        f"create_app(ServingConfig({{'a': Path({str(item_cf)!r})}}));"
        "print([name for name in sys.modules if name.startswith('opentelemetry.sdk')],"
        "'tfrecall.serving.tracing' in sys.modules)"
    )
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "[] False"


class _Collector(BaseHTTPRequestHandler):
    """Takes what an exporter posts."""

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.took.append((self.path, ExportTraceServiceRequest.FromString(body)))
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_):
        pass


@pytest.mark.slow
def test_command_sends_spans_where_the_environment_says(item_cf):
    with HTTPServer(("127.0.0.1", 0), _Collector) as collector:
        collector.took = []
        thread = threading.Thread(target=collector.serve_forever)
        thread.start()
        environment = {"OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{collector.server_port}"}
        # What is left is sent when the service ends.
        with running(item_cf, "--otel", environment=environment) as service:
            assert service.post("/v1/recommend", {"user_id": "u1"}).status == 200
        collector.shutdown()
        thread.join()
    sent = [
        (resource, span)
        for path, request in collector.took
        if path == "/v1/traces"
        for resource in request.resource_spans
        for scope in resource.scope_spans
        for span in scope.spans
    ]
    assert {span.name for _, span in sent} == {"POST /v1/recommend", *STAGES}
    facts = {one.key: one.value.string_value for one in sent[0][0].resource.attributes}
    assert facts["service.name"] == "tfrecall"
