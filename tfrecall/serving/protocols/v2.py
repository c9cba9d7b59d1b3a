"""The Open Inference Protocol, version 2, over HTTP, with the extension for binary tensors."""

from collections.abc import Iterable
from typing import Any

import msgspec
import numpy as np
from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import Response

from tfrecall.errors import DataError
from tfrecall.serving.protocols.contents import datatype, from_flat, from_raw, to_raw
from tfrecall.serving.protocols.inference import (
    Answered,
    Asked,
    infer,
    metadata,
    server,
)
from tfrecall.serving.protocols.tensors import hosted
from tfrecall.serving.requests import decode
from tfrecall.serving.service import Service
from tfrecall.serving.web import deadline, exchange, reply

# Size of the JSON of a body that goes on with binary tensors.
HEADER = "Inference-Header-Content-Length"


class Output(msgspec.Struct):
    """An output that is wanted."""

    name: str
    parameters: dict[str, Any] = {}


class Input(msgspec.Struct):
    """A tensor: its values, nested or flat, or the size of its bytes after the JSON."""

    name: str
    datatype: str
    shape: list[int]
    data: list[Any] | None = None
    parameters: dict[str, Any] = {}


class InferRequest(msgspec.Struct):
    """A request for inference."""

    inputs: list[Input]
    id: str | None = None
    outputs: list[Output] = []
    parameters: dict[str, Any] = {}


def add_routes(app: FastAPI, service: Service) -> None:
    """Add the routes of the protocol to an application."""

    async def about(request: Request) -> Response:
        return reply(server())

    async def live(request: Request) -> Response:
        return reply({"live": True})

    async def ready(request: Request) -> Response:
        return reply({"ready": service.ready}, 200 if service.ready else 503)

    async def model(request: Request) -> Response:
        return reply(metadata(service, *_model(request)))

    async def model_ready(request: Request) -> Response:
        name, version = _model(request)
        hosted(service, name, version)
        return reply({"name": name, "ready": service.ready}, 200 if service.ready else 503)

    async def inferred(request: Request) -> Response:
        name, version = _model(request)
        asked = read(exchange(request).body, exchange(request).headers.get(HEADER.lower().encode()))
        inputs, outputs = _inputs(*asked), [one.name for one in asked[0].outputs]
        wanted = Asked(name, version, inputs, outputs, asked[0].parameters)
        return written(name, asked[0], await infer(service, wanted, deadline(request)))

    app.add_route("/v2", about, ["GET"])
    app.add_route("/v2/health/live", live, ["GET"])
    app.add_route("/v2/health/ready", ready, ["GET"])
    for path in ("/v2/models/{name}", "/v2/models/{name}/versions/{version}"):
        app.add_route(path, model, ["GET"])
        app.add_route(f"{path}/ready", model_ready, ["GET"])
        app.add_route(f"{path}/infer", inferred, ["POST"])


def _model(request: Request) -> tuple[str, str | None]:
    return request.path_params["name"], request.path_params.get("version")


def read(body: bytes, header: bytes | None) -> tuple[InferRequest, bytes]:
    """The request of a body, and the bytes after its JSON.

    Args:
        body: of the request.
        header: the value of `HEADER`; None without binary tensors.

    Raises:
        DataError: if the body is no such request.
    """
    if header is None:
        return decode(body, InferRequest), b""
    if not header.isdigit() or int(header) > len(body):
        raise DataError(
            f"{HEADER} is the size of the JSON at the start of the body, which has {len(body):,} bytes. "
            f"Received: {header[:100]!r}."
        )
    size = int(header)
    return decode(body[:size], InferRequest), body[size:]


def _inputs(asked: InferRequest, binary: bytes) -> dict[str, np.ndarray]:
    found: dict[str, np.ndarray] = {}
    for one in asked.inputs:
        if one.name in found:
            raise DataError(f'The input "{one.name}" is given twice.')
        size = one.parameters.get("binary_data_size")
        if size is None:
            values = list(_flat(one.data or []))
            found[one.name] = from_flat(one.name, one.datatype, one.shape, values)
            continue
        if type(size) is not int or not 0 <= size <= len(binary) or one.data is not None:
            raise DataError(
                f'`binary_data_size` of "{one.name}" is its size in the {len(binary):,} bytes that are left '
                f"after the JSON, in place of `data`. Received: {size!r:.100}."
            )
        found[one.name] = from_raw(one.name, one.datatype, one.shape, binary[:size])
        binary = binary[size:]
    if binary:
        raise DataError(f"{len(binary):,} bytes after the JSON belong to no input.")
    return found


def _flat(values: Iterable[Any]) -> Iterable[Any]:
    for one in values:
        if isinstance(one, list):
            yield from _flat(one)
        else:
            yield one


def written(name: str, asked: InferRequest, answered: Answered) -> Response:
    """An answer, with the tensors in binary that are wanted so."""
    by_default = asked.parameters.get("binary_data_output", False)
    told = {one.name: one.parameters.get("binary_data", by_default) for one in asked.outputs}
    outputs, parts = [], []
    for key, values in answered.outputs.items():
        output: dict[str, Any] = {
            "name": key,
            "datatype": datatype(values),
            "shape": list(values.shape),
        }
        if told.get(key, by_default):
            parts.append(to_raw(values))
            output["parameters"] = {"binary_data_size": len(parts[-1])}
        else:
            output["data"] = values.ravel().tolist()
        outputs.append(output)
    content = {
        "model_name": name,
        "model_version": answered.version,
        **({} if asked.id is None else {"id": asked.id}),
        **({"parameters": answered.parameters} if answered.parameters else {}),
        "outputs": outputs,
    }
    if not parts:
        return reply(content)
    head = msgspec.json.encode(content)
    return Response(
        b"".join([head, *parts]),
        headers={HEADER: str(len(head))},
        media_type="application/octet-stream",
    )
