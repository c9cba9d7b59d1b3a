"""A stand-in for TF Serving where there is no server: its gRPC and REST API over v1 sessions.

It is not TF Serving: it is written after the server's source, on its real protocol buffers, so that clients
and deployments can be tested. Only the suite run with `TFRECALL_TF_SERVING_URL` asks the real one.

Of the server it keeps: models of a `ModelServerConfig`, the largest version or pinned ones, labels, the
signature's tensor names, types without conversion, the rules of batching, error codes and texts. Faults for
clients can be queued.
"""

import json
import re
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import grpc
import numpy as np
from google.protobuf.json_format import MessageToDict
from tensorflow_serving.apis import (
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
)
from tensorflow_serving.config import model_server_config_pb2

from tests.serving import double_json
from tests.serving.session import Served
from tfrecall._tensorflow import tf

Code = grpc.StatusCode
HTTP_STATUS = {
    Code.INVALID_ARGUMENT: 400,
    Code.NOT_FOUND: 404,
    Code.FAILED_PRECONDITION: 412,
    Code.RESOURCE_EXHAUSTED: 429,
    Code.UNAVAILABLE: 503,
    Code.DEADLINE_EXCEEDED: 504,
}
_PATH = re.compile(r"/v1/models/([^/:]+)(?:/(versions|labels)/([^/:]+))?(?::(predict)|(/metadata))?")


class ServerError(Exception):
    """An answer that is not OK."""

    def __init__(self, code: Code, message: str) -> None:
        super().__init__(message)
        self.code, self.message = code, message


@dataclass
class Double:
    """The models of a configuration, and servers on free ports of this machine.

    Attributes:
        config: which models, where, and which versions.
        is_batching: whether requests must be fit for the server's batching.
        faults: answered in place of the next requests, oldest first, with `Retry-After` seconds for REST.
        seen: what clients sent: paths of REST or names of gRPC methods, and their headers.
    """

    config: model_server_config_pb2.ModelServerConfig
    is_batching: bool = False
    faults: list[tuple[ServerError, str | None]] = field(default_factory=list)
    seen: list[tuple[str, dict[str, str]]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._loaded: dict[Path, Served] = {}
        self._lock = threading.Lock()
        self._grpc = grpc.server(ThreadPoolExecutor(4))
        prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(
            _Predictions(self), self._grpc
        )
        model_service_pb2_grpc.add_ModelServiceServicer_to_server(_Models(self), self._grpc)
        self.address = f"127.0.0.1:{self._grpc.add_insecure_port('127.0.0.1:0')}"
        self._grpc.start()
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Rest, self))
        self._http.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._http.server_port}"
        threading.Thread(target=self._http.serve_forever, args=(0.01,), daemon=True).start()

    def close(self) -> None:
        self._grpc.stop(None)
        self._http.shutdown()
        self._http.server_close()

    def arrived(self, name: str, headers: dict[str, str]) -> str | None:
        """Note a request; raise the next fault, if one is queued."""
        self.seen.append((name, headers))
        if self.faults:
            error, self.retry_after = self.faults.pop(0)
            raise error
        return None

    def versions(self, name: str) -> list[int]:
        """What is served of a model, by its version policy: the largest integer, or the pinned ones."""
        for model in self.config.model_config_list.config:
            if model.name == name:
                names = [path.name for path in Path(model.base_path).iterdir()]
                there = sorted(int(one) for one in names if one.isdecimal())
                pinned = model.model_version_policy.specific.versions
                return [one for one in there if one in pinned] if pinned else there[-1:]
        return []

    def model(self, spec: Any) -> tuple[int, Served]:
        """Version and SavedModel of a `ModelSpec`."""
        wanted = f"Latest({spec.name})"
        version = max(self.versions(spec.name), default=None)
        if spec.WhichOneof("version_choice") == "version_label":
            version = self._labelled(spec)
        if spec.HasField("version"):
            wanted = f"Specific({spec.name}, {spec.version.value})"
            version = spec.version.value if spec.version.value in self.versions(spec.name) else None
        if version is None:
            raise ServerError(Code.NOT_FOUND, f"Servable not found for request: {wanted}")
        (base,) = (
            one.base_path for one in self.config.model_config_list.config if one.name == spec.name
        )
        path = Path(base) / str(version)
        with self._lock:
            if path not in self._loaded:
                self._loaded[path] = Served(path)
        return version, self._loaded[path]

    def _labelled(self, spec: Any) -> int:
        for model in self.config.model_config_list.config:
            if model.name == spec.name and spec.version_label in model.version_labels:
                return int(model.version_labels[spec.version_label])
        raise ServerError(
            Code.INVALID_ARGUMENT, f"Unrecognized servable version label: {spec.version_label}"
        )

    def predict(self, request: predict_pb2.PredictRequest) -> predict_pb2.PredictResponse:
        version, served = self.model(request.model_spec)
        name = request.model_spec.signature_name or "serving_default"
        signature = served.signatures.get(name)
        if signature is None:
            raise ServerError(Code.FAILED_PRECONDITION, f'Serving signature key "{name}" not found.')
        inputs = {key: tf.make_ndarray(value) for key, value in request.inputs.items()}
        _check_inputs(signature, request.inputs)
        if self.is_batching:
            check_batchable(inputs)
        try:
            outputs = served.ask(name, **inputs)
        except (tf.errors.OpError, ValueError) as error:
            raise ServerError(Code.INVALID_ARGUMENT, str(error)) from None
        response = predict_pb2.PredictResponse()
        response.model_spec.name = request.model_spec.name
        response.model_spec.signature_name = name
        response.model_spec.version.value = version
        for key, value in outputs.items():
            response.outputs[key].CopyFrom(tf.make_tensor_proto(value))
        return response

    def status(self, spec: Any) -> get_model_status_pb2.GetModelStatusResponse:
        response = get_model_status_pb2.GetModelStatusResponse()
        wanted = [spec.version.value] if spec.HasField("version") else self.versions(spec.name)
        found = [version for version in wanted if version in self.versions(spec.name)]
        if not found:
            raise ServerError(Code.NOT_FOUND, f"Could not find any versions of model {spec.name}")
        for version in found:
            one = response.model_version_status.add(version=version, state="AVAILABLE")
            one.status.SetInParent()  # the server writes its OK
        return response

    def metadata(self, request: Any) -> get_model_metadata_pb2.GetModelMetadataResponse:
        if list(request.metadata_field) != ["signature_def"]:
            raise ServerError(
                Code.INVALID_ARGUMENT,
                "GetModelMetadataRequest must specify at least one metadata_field"
                if not request.metadata_field
                else f"Metadata field {request.metadata_field[0]} is not supported",
            )
        version, served = self.model(request.model_spec)
        response = get_model_metadata_pb2.GetModelMetadataResponse()
        response.model_spec.name = request.model_spec.name
        response.model_spec.version.value = version
        signatures = get_model_metadata_pb2.SignatureDefMap()
        for name, signature in served.signatures.items():
            signatures.signature_def[name].CopyFrom(signature)
        response.metadata["signature_def"].Pack(signatures)
        return response


def _check_inputs(signature: Any, inputs: Any) -> None:
    """Names in full, and types without any conversion."""
    given, wanted = set(inputs), set(signature.inputs)
    if given != wanted:
        raise ServerError(
            Code.INVALID_ARGUMENT,
            f"input size does not match signature: {len(given)}!={len(wanted)} "
            f"len({{{','.join(sorted(given))}}}) != len({{{','.join(sorted(wanted))}}}). "
            f"Sent extra: {{{','.join(sorted(given - wanted))}}}. "
            f"Missing but required: {{{','.join(sorted(wanted - given))}}}.",
        )
    for name, info in signature.inputs.items():
        types = [tf.dtypes.as_dtype(one.dtype).name for one in (info, inputs[name])]
        if types[0] != types[1]:
            raise ServerError(
                Code.INVALID_ARGUMENT, f"Expects arg[0] to be {types[0]} but {types[1]} is provided"
            )


def check_batchable(inputs: dict[str, np.ndarray]) -> None:
    """The rules of the server's batching, of `batching_session.cc`.

    Raises:
        ServerError: if an input is a scalar, or two differ in their first dimension.
    """
    if any(np.ndim(value) == 0 for value in inputs.values()):
        raise ServerError(
            Code.INVALID_ARGUMENT, "Batching Run() input tensors must have at least one dimension"
        )
    if len({np.shape(value)[0] for value in inputs.values()}) > 1:
        raise ServerError(
            Code.INVALID_ARGUMENT, "Batching Run() input tensors must have equal 0th-dimension size"
        )


class _Servicer:
    def __init__(self, double: Double) -> None:
        self.double = double

    def answer(self, name: str, context: Any, call: Any) -> Any:
        try:
            self.double.arrived(name, {key: str(value) for key, value in context.invocation_metadata()})
            return call()
        except ServerError as error:
            context.abort(error.code, error.message)


class _Predictions(_Servicer, prediction_service_pb2_grpc.PredictionServiceServicer):
    def Predict(self, request: Any, context: Any) -> Any:
        return self.answer("Predict", context, lambda: self.double.predict(request))

    def GetModelMetadata(self, request: Any, context: Any) -> Any:
        return self.answer("GetModelMetadata", context, lambda: self.double.metadata(request))


class _Models(_Servicer, model_service_pb2_grpc.ModelServiceServicer):
    def GetModelStatus(self, request: Any, context: Any) -> Any:
        return self.answer("GetModelStatus", context, lambda: self.double.status(request.model_spec))


class _Rest(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def __init__(self, double: Double, *rest: Any) -> None:
        self.double = double
        super().__init__(*rest)

    def log_message(self, *_: Any) -> None:
        pass

    def do_GET(self) -> None:
        self._answer(self._status)

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self._answer(lambda: self._predict(body))

    def _answer(self, call: Any) -> None:
        status, retry_after = 200, None
        try:
            self.double.retry_after = None
            self.double.arrived(self.path, dict(self.headers))
            content = call()
        except double_json.JsonError as error:
            status, content = 400, json.dumps({"error": str(error)}).encode()
        except ServerError as error:
            status, content = HTTP_STATUS[error.code], json.dumps({"error": error.message}).encode()
            retry_after = self.double.retry_after
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        if retry_after is not None:
            self.send_header("Retry-After", retry_after)
        self.end_headers()
        self.wfile.write(content)

    def _request(self, message: Any, *, predicts: bool) -> tuple[Any, bool]:
        """`message` with the model of the path, and whether metadata is wanted."""
        match = _PATH.fullmatch(self.path)
        if match is None or bool(match[4]) != predicts:
            raise ServerError(Code.INVALID_ARGUMENT, f"Malformed request: {self.command} {self.path}")
        message.model_spec.name = match[1]
        if match[2] == "versions":
            message.model_spec.version.value = int(match[3])
        elif match[2]:
            message.model_spec.version_label = match[3]
        return message, bool(match[5])

    def _predict(self, body: bytes) -> bytes:
        request, _ = self._request(predict_pb2.PredictRequest(), predicts=True)
        document = double_json.parse(body)
        name = document.get("signature_name", "serving_default")
        _, served = self.double.model(request.model_spec)
        if name not in served.signatures:
            raise ServerError(
                Code.INVALID_ARGUMENT, f'Serving signature name: "{name}" not found in signature def'
            )
        inputs, as_rows = double_json.tensors(document, dict(served.signatures[name].inputs))
        request.model_spec.signature_name = name
        for key, value in inputs.items():
            request.inputs[key].CopyFrom(tf.make_tensor_proto(value))
        outputs = self.double.predict(request).outputs
        return double_json.response(
            {key: tf.make_ndarray(value) for key, value in outputs.items()}, as_rows
        )

    def _status(self) -> bytes:
        request, wants_metadata = self._request(
            get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=["signature_def"]),
            predicts=False,
        )
        if not wants_metadata:
            response = self.double.status(request.model_spec)
            return json.dumps(_plain(response)).encode()
        response = self.double.metadata(request)
        signatures = get_model_metadata_pb2.SignatureDefMap()
        response.metadata["signature_def"].Unpack(signatures)
        spec = {"name": response.model_spec.name, "version": str(response.model_spec.version.value)}
        metadata = {"model_spec": spec, "metadata": {"signature_def": _plain(signatures)}}
        return json.dumps(metadata).encode()


def _plain(message: Any) -> dict[str, Any]:
    return MessageToDict(
        message, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
    )


def config_of(root: Path) -> model_server_config_pb2.ModelServerConfig:
    """All SavedModels of a release, each by the name of its directory."""
    config = model_server_config_pb2.ModelServerConfig()
    for base in sorted({path.parents[1] for path in root.glob("*/[0-9]*/saved_model.pb")}):
        config.model_config_list.config.add(
            name=base.name, base_path=str(base), model_platform="tensorflow"
        )
    return config
