"""gRPC of TF Serving, for the client. Importing this imports TensorFlow, whose tensors are sent."""

from collections.abc import Callable
from typing import Any

import numpy as np

from tfrecall._tensorflow import tf
from tfrecall.errors import ConfigError, DeadlineError, NotReadyError, QueueFullError, ServingError
from tfrecall.serving.retries import TransientError

try:
    import grpc
    from google.protobuf.json_format import MessageToDict
    from tensorflow_serving.apis import (
        get_model_metadata_pb2,
        get_model_status_pb2,
        model_service_pb2_grpc,
        predict_pb2,
        prediction_service_pb2_grpc,
    )
except ImportError as error:
    raise ConfigError(
        f"gRPC of TF Serving needs another package: {error}. Install it: pip install "
        "tensorflow-serving-api. Or give the address of the REST port: http://HOST:8501."
    ) from error

_SIGNATURES = "signature_def"
_AVAILABLE = get_model_status_pb2.ModelVersionStatus.AVAILABLE


class Grpc:
    """A channel to one server.

    Args:
        target: `HOST:PORT`.
        token: sent as a bearer token.
    """

    def __init__(self, target: str, token: str | None) -> None:
        self._target = target
        self._metadata = [] if token is None else [("authorization", f"Bearer {token}")]
        self._channel = grpc.insecure_channel(target)
        self._predictions = prediction_service_pb2_grpc.PredictionServiceStub(self._channel)
        self._models = model_service_pb2_grpc.ModelServiceStub(self._channel)

    def close(self) -> None:
        self._channel.close()

    def predict(
        self,
        model: str,
        version: int | None,
        signature: str,
        inputs: dict[str, np.ndarray],
        left: float,
    ) -> dict[str, np.ndarray]:
        request = _for(predict_pb2.PredictRequest(), model, version)
        request.model_spec.signature_name = signature
        for name, values in inputs.items():
            request.inputs[name].CopyFrom(tf.make_tensor_proto(values))
        outputs = self._call(self._predictions.Predict, request, left).outputs
        return {name: _plain(tf.make_ndarray(tensor)) for name, tensor in outputs.items()}

    def signatures(self, model: str, version: int | None, left: float) -> dict[str, Any]:
        """Each `SignatureDef` as JSON has it."""
        request = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=[_SIGNATURES])
        answer = self._call(self._predictions.GetModelMetadata, _for(request, model, version), left)
        found = get_model_metadata_pb2.SignatureDefMap()
        answer.metadata[_SIGNATURES].Unpack(found)
        plain = MessageToDict(found, preserving_proto_field_name=True)
        return dict(plain.get(_SIGNATURES, {}))

    def versions(self, model: str, left: float) -> list[int]:
        request = _for(get_model_status_pb2.GetModelStatusRequest(), model, None)
        status = self._call(self._models.GetModelStatus, request, left).model_version_status
        return [one.version for one in status if one.state == _AVAILABLE]

    def _call(self, method: Callable[..., Any], request: Any, left: float) -> Any:
        # The deadline goes with the call, so the server knows how long it is awaited.
        try:
            return method(request, timeout=max(left, 0.001), metadata=self._metadata)
        except grpc.RpcError as error:
            raise _translated(f"grpc://{self._target}", error) from error


def _translated(address: str, error: Any) -> Exception:
    code, message = error.code(), f"{address} answered {error.code().name}: {error.details()}"
    if code == grpc.StatusCode.UNAVAILABLE:
        return TransientError(NotReadyError(f"{message}. Check the address, and that it runs."))
    if code == grpc.StatusCode.RESOURCE_EXHAUSTED:
        return TransientError(QueueFullError(message))
    if code == grpc.StatusCode.DEADLINE_EXCEEDED:
        return DeadlineError(f"{message}. Give more `timeout_seconds`, or ask for less.")
    return ServingError(message)


def _for(request: Any, model: str, version: int | None) -> Any:
    request.model_spec.name = model
    if version is not None:
        request.model_spec.version.value = version
    return request


def _plain(values: np.ndarray) -> np.ndarray:
    """Texts as `str`."""
    if values.dtype != object:
        return values
    flat = np.array([one.decode() for one in values.ravel()], object)
    return flat.reshape(values.shape)
