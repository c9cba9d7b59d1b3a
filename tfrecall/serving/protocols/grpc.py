"""The Open Inference Protocol, version 2, over gRPC, with the health protocol of gRPC."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from time import monotonic
from typing import Any

import grpc
import numpy as np

from tfrecall.errors import ConfigError, DataError, NotReadyError
from tfrecall.serving.protocols.calls import Calls, Context
from tfrecall.serving.protocols.contents import datatype, from_flat, from_raw, to_raw
from tfrecall.serving.protocols.health import health_handler
from tfrecall.serving.protocols.inference import (
    Asked,
    infer,
    metadata,
    server,
)
from tfrecall.serving.protocols.messages import METHODS, SERVICE, InferParameter
from tfrecall.serving.protocols.tensors import hosted
from tfrecall.serving.service import Service

# Probes need no token.
_OPEN = ("ServerLive", "ServerReady")
_CONTENTS = {
    "BOOL": "bool_contents",
    **dict.fromkeys(("INT8", "INT16", "INT32"), "int_contents"),
    "INT64": "int64_contents",
    **dict.fromkeys(("UINT8", "UINT16", "UINT32"), "uint_contents"),
    "UINT64": "uint64_contents",
    "FP32": "fp32_contents",
    "FP64": "fp64_contents",
    "BYTES": "bytes_contents",
}


@asynccontextmanager
async def serving(service: Service, address: str | None, calls: Calls) -> AsyncIterator[int | None]:
    """Serve by gRPC inside the block; at its end no call is taken any more, and those taken are answered.

    Args:
        service: the service; until it is ready, calls end with UNAVAILABLE.
        address: host and port, such as 127.0.0.1:8501; port 0 takes a free one; None for no server.
        calls: accounts for the calls.

    Returns:
        The port.

    Raises:
        ConfigError: if the address is in use, or none of this machine.
    """
    if address is None:
        yield None
        return
    running = grpc.aio.server(
        options=[("grpc.max_receive_message_length", service.config.max_body)],
    )
    running.add_generic_rpc_handlers(_handlers(service, calls))
    try:
        port = running.add_insecure_port(address)
    except RuntimeError as error:
        raise ConfigError(f"No service can listen on {address}: {error}. Choose another.") from error
    await running.start()
    try:
        yield port
    finally:
        await running.stop(service.config.timeout_ms / 1000)


def _handlers(service: Service, calls: Calls) -> tuple[grpc.GenericRpcHandler, ...]:
    methods = _Methods(service)
    handlers = {
        name: grpc.unary_unary_rpc_method_handler(
            calls.wrapped(getattr(methods, name), f"/{SERVICE}/{name}", is_open=name in _OPEN),
            request_deserializer=request.FromString,
            response_serializer=response.SerializeToString,
        )
        for name, (request, response) in METHODS.items()
    }
    return (
        grpc.method_handlers_generic_handler(SERVICE, handlers),
        health_handler(service, calls),
    )


class _Methods:
    """The methods of the protocol, by their names in it."""

    def __init__(self, service: Service) -> None:
        self._service = service

    async def ServerLive(self, request: Any, context: Context) -> Any:  # noqa: N802
        return _response("ServerLive", live=True)

    async def ServerReady(self, request: Any, context: Context) -> Any:  # noqa: N802
        return _response("ServerReady", ready=self._service.ready)

    async def ModelReady(self, request: Any, context: Context) -> Any:  # noqa: N802
        try:
            hosted(self._service, request.name, request.version)
        except NotReadyError:
            return _response("ModelReady", ready=False)
        return _response("ModelReady", ready=self._service.ready)

    async def ServerMetadata(self, request: Any, context: Context) -> Any:  # noqa: N802
        return _response("ServerMetadata", **server())

    async def ModelMetadata(self, request: Any, context: Context) -> Any:  # noqa: N802
        return _response("ModelMetadata", **metadata(self._service, request.name, request.version))

    async def ModelInfer(self, request: Any, context: Context) -> Any:  # noqa: N802
        left = context.time_remaining()
        asked = Asked(
            request.model_name,
            request.model_version,
            _inputs(request),
            [output.name for output in request.outputs],
            {name: _value(one) for name, one in request.parameters.items()},
        )
        answered = await infer(self._service, asked, None if left is None else monotonic() + left)
        is_raw = bool(request.raw_input_contents)
        return _response(
            "ModelInfer",
            model_name=request.model_name,
            model_version=answered.version,
            id=request.id,
            parameters={
                name: InferParameter(string_param=value) for name, value in answered.parameters.items()
            },
            outputs=[_output(name, values, not is_raw) for name, values in answered.outputs.items()],
            # In the form of the inputs.
            raw_output_contents=map(to_raw, answered.outputs.values()) if is_raw else (),
        )


def _response(method: str, **fields: Any) -> Any:
    return METHODS[method][1](**fields)


def _value(parameter: Any) -> Any:
    choice = parameter.WhichOneof("parameter_choice")
    return None if choice is None else getattr(parameter, choice)


def _inputs(request: Any) -> dict[str, np.ndarray]:
    raw = request.raw_input_contents
    if raw and len(raw) != len(request.inputs):
        raise DataError(
            f"`raw_input_contents` has the contents of all inputs or of none. Received: {len(raw)} contents of "
            f"{len(request.inputs)} inputs."
        )
    found: dict[str, np.ndarray] = {}
    for place, one in enumerate(request.inputs):
        if one.name in found:
            raise DataError(f'The input "{one.name}" is given twice.')
        if raw:
            found[one.name] = from_raw(one.name, one.datatype, one.shape, raw[place])
        else:
            values = getattr(one.contents, _CONTENTS.get(one.datatype, "bytes_contents"))
            found[one.name] = from_flat(one.name, one.datatype, one.shape, values)
    return found


def _output(name: str, values: np.ndarray, with_contents: bool) -> dict[str, Any]:
    output: dict[str, Any] = {"name": name, "datatype": datatype(values), "shape": values.shape}
    if with_contents:
        flat = values.ravel().tolist()
        if values.dtype == object:
            flat = [text.encode() for text in flat]
        output["contents"] = {_CONTENTS[output["datatype"]]: flat}
    return output
