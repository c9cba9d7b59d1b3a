"""Calls by gRPC are counted, logged and named like requests by HTTP."""

import logging

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from tests.serving.protocols.test_grpc import USERS, connected
from tests.serving.running import PATIENCE_SECONDS
from tests.serving.test_metrics import samples
from tfrecall.serving.protocols.health import HEALTH
from tfrecall.serving.protocols.messages import METHODS, SERVICE

INFER = f"/{SERVICE}/ModelInfer"
TRACEPARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
ASKED = {"model_name": "item_cf", "inputs": [USERS]}


@pytest.fixture(scope="module")
def channel(client):
    with connected(client) as channel:
        yield channel


def called(channel, metadata=(), **fields):
    """Trailing metadata and status code of an inference."""
    request, response = METHODS["ModelInfer"]
    ask = channel.unary_unary(
        INFER,
        request_serializer=request.SerializeToString,
        response_deserializer=response.FromString,
    )
    try:
        _, end = ask.with_call(request(**fields), timeout=PATIENCE_SECONDS, metadata=metadata)
    except grpc.RpcError as error:
        end = error
    return dict(end.trailing_metadata()), end.code().name


@pytest.fixture
def lines(caplog):
    """Fields of the lines of the log since the test began."""
    with caplog.at_level(logging.INFO, "tfrecall.serving.access"):
        yield lambda: [one.fields for one in caplog.records if "grpc_status" in one.fields]


def counts(client, path):
    told = samples(client.get("/metrics").text)
    name = "tfrecall_requests_total"
    return {
        code: told[name, ("code", code), ("endpoint", path)]
        for code in ("200", "400", "404", "500")
        if (name, ("code", code), ("endpoint", path)) in told
    }


def test_calls_are_counted_under_their_path_with_the_status_of_http(client, channel):
    before = counts(client, INFER)
    for fields in (ASKED, ASKED, {"model_name": "none"}, {"model_name": "item_cf"}):
        called(channel, **fields)
    after = counts(client, INFER)
    assert {code: count - before.get(code, 0) for code, count in after.items()} == {
        "200": 2,
        "404": 1,
        "400": 1,
    }
    name = "tfrecall_request_duration_seconds_count"
    told = samples(client.get("/metrics").text)
    assert told[name, ("endpoint", INFER)] == sum(after.values())


def test_health_checks_are_counted(client, channel):
    path = f"/{HEALTH}/Check"
    before = counts(client, path).get("200", 0)
    health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest())
    assert counts(client, path)["200"] == before + 1


@pytest.mark.parametrize(
    ("metadata", "request_id"),
    [
        ((("x-request-id", "abc-1"), ("traceparent", TRACEPARENT)), "abc-1"),
        ((("traceparent", TRACEPARENT),), "4bf92f3577b34da6a3ce929d0e0e4736"),
        ((("traceparent", "nonsense"),), None),
    ],
)
@pytest.mark.parametrize(
    ("fields", "status", "code"), [(ASKED, 200, "OK"), ({"model_name": "none"}, 404, "NOT_FOUND")]
)
def test_call_is_a_line_in_the_log(channel, lines, metadata, request_id, fields, status, code):
    end, found = called(channel, metadata, **fields)
    [line] = lines()
    assert line["request_id"] == end["x-request-id"]
    # A name that is no trace's is not taken; ours has the form of one.
    assert line["request_id"] == request_id if request_id else len(line["request_id"]) == 32
    assert found == line["grpc_status"] == code
    assert (line["method"], line["path"], line["status"]) == ("gRPC", INFER, status)
    assert line["client"].startswith("ipv4:127.0.0.1:")
    assert line["milliseconds"] > 0
    traced = TRACEPARENT if TRACEPARENT in dict(metadata).values() else None
    assert line.get("traceparent") == end.get("traceparent") == traced


def test_binary_metadata_do_no_harm(channel):
    end, code = called(channel, (("more-bin", b"\xff\x00"),), **ASKED)
    assert (code, len(end["x-request-id"])) == ("OK", 32)


def test_failure_has_its_request_id_in_the_log(channel, monkeypatch, caplog):
    def broken(*_):
        raise OSError("broken")

    monkeypatch.setattr("tfrecall.serving.protocols.inference.arrays", broken)
    end, code = called(channel, **ASKED)
    [line] = [one for one in caplog.records if "failed" in one.message]
    assert (code, line.fields["request_id"]) == ("INTERNAL", end["x-request-id"])
