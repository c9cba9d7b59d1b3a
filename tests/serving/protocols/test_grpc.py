"""The Open Inference Protocol over gRPC, asked by a plain client."""

import struct
import subprocess
import sys
import threading
from contextlib import contextmanager
from importlib.util import find_spec

import grpc
import numpy as np
import pytest
from fastapi.testclient import TestClient
from google.protobuf.descriptor_pb2 import FileDescriptorSet
from grpc_health.v1 import health_pb2, health_pb2_grpc

import tfrecall as tr
from tests.serving.running import PATIENCE_SECONDS, running
from tfrecall.errors import ConfigError
from tfrecall.serving.app import create_app
from tfrecall.serving.config import ServingConfig
from tfrecall.serving.protocols.health import HEALTH
from tfrecall.serving.protocols.messages import DESCRIPTORS, METHODS, SERVICE, InferParameter

USERS = {
    "name": "user_id",
    "datatype": "BYTES",
    "shape": [2],
    "contents": {"bytes_contents": [b"u1", b"u2"]},
}


def connected(client):
    return grpc.insecure_channel(f"127.0.0.1:{client.app.state.grpc_port}")


@pytest.fixture(scope="module")
def channel(client):
    with connected(client) as channel:
        yield channel


def call(channel, method, metadata=None, timeout=PATIENCE_SECONDS, **fields):
    request, response = METHODS[method]
    ask = channel.unary_unary(
        f"/{SERVICE}/{method}",
        request_serializer=request.SerializeToString,
        response_deserializer=response.FromString,
    )
    return ask(request(**fields), timeout=timeout, metadata=metadata)


def refused(channel, method, **fields):
    """Code and details of a call that fails; `timeout` is that of the client."""
    with pytest.raises(grpc.RpcError) as caught:
        call(channel, method, **fields)
    return caught.value.code(), caught.value.details()


def infer(channel, *inputs, **more):
    return call(channel, "ModelInfer", model_name="item_cf", inputs=inputs, **more)


def test_lists_are_those_of_the_release(channel, item_cf):
    expected = tr.load(item_cf).recommend(["u1", "u2"], k=4)
    answer = infer(channel, USERS, id="7", parameters={"k": InferParameter(int64_param=4)})
    assert (answer.model_name, answer.model_version, answer.id) == ("item_cf", "1", "7")
    ids, scores, known = answer.outputs
    assert [one.name for one in answer.outputs] == ["candidate_ids", "scores", "known"]
    assert [one.datatype for one in answer.outputs] == ["BYTES", "FP32", "BOOL"]
    assert [list(one.shape) for one in answer.outputs] == [[2, 4], [2, 4], [2]]
    assert [one.decode() for one in ids.contents.bytes_contents] == [
        item for one in expected for item in one.item_ids
    ]
    np.testing.assert_array_equal(
        np.float32(scores.contents.fp32_contents),
        np.float32([score for one in expected for score in one.scores]),
    )
    assert list(known.contents.bool_contents) == [True, True]


def test_raw_contents_are_answered_with_raw_contents(channel):
    user = {key: value for key, value in USERS.items() if key != "contents"}
    raw = b"".join(struct.pack("<I", 2) + user for user in (b"u1", b"u2"))
    answer = infer(channel, user, raw_input_contents=[raw], outputs=[{"name": "scores"}])
    assert not answer.outputs[0].HasField("contents")
    (found,) = answer.raw_output_contents
    plain = infer(channel, USERS, outputs=[{"name": "scores"}])
    assert np.frombuffer(found, "<f4").tolist() == list(plain.outputs[0].contents.fp32_contents)


def test_fallbacks_are_marked(channel):
    user = {**USERS, "contents": {"bytes_contents": [b"u1", b"nobody"]}}
    assert infer(channel, user).parameters["fallback"].string_param == "unknown_user"
    assert not infer(channel, USERS).parameters


def test_server_and_models_are_described(channel):
    assert call(channel, "ServerLive").live
    assert call(channel, "ServerReady").ready
    assert call(channel, "ServerMetadata").name == "tfrecall"
    assert call(channel, "ModelReady", name="item_cf", version="1").ready
    found = call(channel, "ModelMetadata", name="item_cf")
    assert (list(found.versions), found.platform) == (["1"], "tfrecall")
    assert {one.name: list(one.shape) for one in found.inputs}["history"] == [-1, -1]


CODE = grpc.StatusCode


@pytest.mark.parametrize(
    ("method", "fields", "code", "message"),
    [
        ("ModelInfer", {"model_name": "item_c"}, CODE.NOT_FOUND, 'Did you mean "item_cf"?'),
        ("ModelReady", {"name": "item_cf", "version": "2"}, CODE.NOT_FOUND, "Version 2"),
        ("ModelMetadata", {"name": ""}, CODE.NOT_FOUND, "no release"),
        ("ModelInfer", {"model_name": "item_cf"}, CODE.INVALID_ARGUMENT, "No column"),
        (
            "ModelInfer",
            {"model_name": "item_cf", "inputs": [USERS, USERS]},
            CODE.INVALID_ARGUMENT,
            "given twice",
        ),
        (
            "ModelInfer",
            {"model_name": "item_cf", "inputs": [{**USERS, "datatype": "FP64"}]},
            CODE.INVALID_ARGUMENT,
            "0 values",
        ),
        (
            "ModelInfer",
            {"model_name": "item_cf", "inputs": [USERS], "raw_input_contents": [b"", b""]},
            CODE.INVALID_ARGUMENT,
            "2 contents of 1 inputs",
        ),
        (
            "ModelInfer",
            {"model_name": "item_cf", "inputs": [USERS], "parameters": {"k": InferParameter()}},
            CODE.INVALID_ARGUMENT,
            "`k` is of type int",
        ),
    ],
)
def test_errors_have_the_codes_of_grpc(channel, method, fields, code, message):
    found, details = refused(channel, method, **fields)
    assert found == code
    assert message in details


@pytest.mark.slow
def test_health_follows_the_service(client, channel):
    stub, service = health_pb2_grpc.HealthStub(channel), client.app.state.service
    kinds = health_pb2.HealthCheckResponse
    for name in ("", SERVICE, HEALTH, "item_cf"):
        assert stub.Check(health_pb2.HealthCheckRequest(service=name)).status == kinds.SERVING
    with pytest.raises(grpc.RpcError) as caught:
        stub.Check(health_pb2.HealthCheckRequest(service="nothing"))
    assert caught.value.code() == CODE.NOT_FOUND
    watch = stub.Watch(health_pb2.HealthCheckRequest())
    assert next(watch).status == kinds.SERVING
    service.ready = False
    try:
        assert next(watch).status == kinds.NOT_SERVING
        assert not call(channel, "ServerReady").ready
        assert not call(channel, "ModelReady", name="item_cf").ready
    finally:
        service.ready = True
    assert next(watch).status == kinds.SERVING
    watch.cancel()


@contextmanager
def serving(root, **settings):
    """A service of its own, and a channel to it."""
    config = ServingConfig({"item_cf": root}, grpc_address="127.0.0.1:0", **settings)
    with TestClient(create_app(config)) as client, connected(client) as channel:
        yield client.app.state.service, channel


def test_a_token_guards_all_but_probes(item_cf):
    with serving(item_cf, token="secret") as (_, channel):
        assert call(channel, "ServerReady").ready
        health = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest())
        assert health.status == health_pb2.HealthCheckResponse.SERVING
        code, details = refused(channel, "ModelMetadata", name="item_cf")
        assert (code, "token" in details) == (CODE.UNAUTHENTICATED, True)
        token = (("authorization", "Bearer secret"),)
        assert call(channel, "ModelMetadata", token, name="item_cf").name == "item_cf"


ONE = {"model_name": "item_cf", "inputs": [USERS]}


def test_a_full_queue_has_its_code(item_cf):
    many = {**USERS, "shape": [50], "contents": {"bytes_contents": [b"u1"] * 50}}
    with serving(item_cf, max_waiting=2) as (_, channel):
        code, details = refused(channel, "ModelInfer", model_name="item_cf", inputs=[many])
    assert (code, "wait already" in details) == (CODE.RESOURCE_EXHAUSTED, True)


def test_deadlines_of_client_and_service_have_their_code(item_cf, monkeypatch):
    release = threading.Event()
    with serving(item_cf, timeout_ms=200, fallback=False) as (service, channel):
        monkeypatch.setattr(
            service.hosted["item_cf"].answerer, "answer", lambda asked: release.wait(PATIENCE_SECONDS)
        )
        try:
            # The client's own deadline, and without one the service's.
            for timeout in (0.1, None):
                code, _ = refused(channel, "ModelInfer", timeout=timeout, **ONE)
                assert code == CODE.DEADLINE_EXCEEDED
        finally:
            release.set()


def test_a_fault_tells_nothing_of_the_machine(channel, monkeypatch):
    def broken(*_):
        raise OSError("/etc/secret cannot be read")

    monkeypatch.setattr("tfrecall.serving.protocols.inference.arrays", broken)
    code, details = refused(channel, "ModelInfer", **ONE)
    assert (code, "secret" in details) == (CODE.INTERNAL, False)


def test_calls_before_and_after_are_unavailable(item_cf):
    with serving(item_cf) as (service, channel):
        service.is_open = False
        assert refused(channel, "ModelInfer", **ONE)[0] == CODE.UNAVAILABLE
        service.is_open = True


def test_an_address_of_another_machine_is_refused(item_cf):
    config = ServingConfig({"item_cf": item_cf}, grpc_address="192.0.2.1:1")
    with TestClient(create_app(config)) as client:
        assert isinstance(client.app.state.failure, ConfigError)
        assert "192.0.2.1:1" in str(client.app.state.failure)


def test_descriptors_are_those_of_the_proto(tmp_path):
    """And so are the messages, whose names and numbers are checked against the standard's below."""
    if find_spec("grpc_tools") is None:
        pytest.skip("no grpcio-tools")
    source, made = DESCRIPTORS.with_suffix(".proto"), tmp_path / "made"
    # In a process of its own: its protobuf and TensorFlow's do not live in one.
    command = [sys.executable, "-m", "grpc_tools.protoc", f"-I{source.parent}"]
    subprocess.run(
        [*command, f"--descriptor_set_out={made}", str(source)], check=True, timeout=PATIENCE_SECONDS
    )
    assert FileDescriptorSet.FromString(made.read_bytes()) == FileDescriptorSet.FromString(
        DESCRIPTORS.read_bytes()
    )


def test_bytes_on_the_wire_are_the_standards():
    """Tag = number * 8 + type: model_name 1, inputs 5, name 1, datatype 2, contents 5, bytes_contents 8."""
    request, _ = METHODS["ModelInfer"]
    tensor = b"\x0a\x01a" + b"\x12\x05BYTES" + b"\x1a\x01\x01" + b"\x2a\x03" + b"\x42\x01z"
    wire = b"\x0a\x01m" + b"\x2a" + bytes([len(tensor)]) + tensor
    message = request.FromString(wire)
    assert message.model_name == "m"
    assert message.inputs[0].contents.bytes_contents[0] == b"z"
    assert list(message.inputs[0].shape) == [1]
    assert message.SerializeToString(deterministic=True) == wire


@pytest.mark.slow
def test_a_process_answers_by_grpc_and_refuses_a_port_in_use(item_cf):
    with running(item_cf, "--grpc-port", 0, "--workers", 2) as service:
        port = service.first_line.split("grpc://127.0.0.1:")[1].strip()
        with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
            request = health_pb2.HealthCheckRequest(service="item_cf")
            watch = health_pb2_grpc.HealthStub(channel).Watch(
                request, wait_for_ready=True, timeout=PATIENCE_SECONDS
            )
            serving = health_pb2.HealthCheckResponse.SERVING
            assert any(answer.status == serving for answer in watch)
            assert infer(channel, USERS).model_version == "1"
        arguments = ["serve", str(item_cf), "--port", "0", "--grpc-port", port]
        other = subprocess.run(
            [sys.executable, "-m", "tfrecall.cli", *arguments],
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert other.returncode == 1
        assert f"port {port}" in other.stderr
