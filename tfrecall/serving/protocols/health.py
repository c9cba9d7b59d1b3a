"""The health protocol of gRPC, for probes of Kubernetes and for clients that balance load."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import grpc
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse

from tfrecall.serving.protocols.calls import Calls
from tfrecall.serving.protocols.messages import SERVICE
from tfrecall.serving.service import Service, UnknownReleaseError

HEALTH = "grpc.health.v1.Health"
# Time between two looks of `Watch` at the state of the service.
WATCH_SECONDS = 0.5


def health_handler(service: Service, calls: Calls) -> grpc.GenericRpcHandler:
    """Handler of `Check` and `Watch`, which no token guards."""
    health = _Health(service)
    forms = {
        "request_deserializer": HealthCheckRequest.FromString,
        "response_serializer": HealthCheckResponse.SerializeToString,
    }
    methods = {
        "Check": grpc.unary_unary_rpc_method_handler(
            calls.wrapped(health.check, f"/{HEALTH}/Check", is_open=True), **forms
        ),
        "Watch": grpc.unary_stream_rpc_method_handler(health.watch, **forms),
    }
    return grpc.method_handlers_generic_handler(HEALTH, methods)


class _Health:
    """The health protocol of gRPC: of the server "", of the protocol, and of each release by its name."""

    def __init__(self, service: Service) -> None:
        self._service = service

    def _status(self, name: str) -> int:
        if name not in ("", SERVICE, HEALTH) and name not in self._service.config.releases:
            return HealthCheckResponse.SERVICE_UNKNOWN
        if self._service.ready:
            return HealthCheckResponse.SERVING
        return HealthCheckResponse.NOT_SERVING

    async def check(self, request: Any, context: Any) -> Any:
        status = self._status(request.service)
        if status == HealthCheckResponse.SERVICE_UNKNOWN:
            raise UnknownReleaseError(f'There is no service "{request.service}".')
        return HealthCheckResponse(status=status)

    async def watch(self, request: Any, context: Any) -> AsyncIterator[Any]:
        told = None
        while True:
            status = self._status(request.service)
            if status != told:
                yield HealthCheckResponse(status=status)
                told = status
            await asyncio.sleep(WATCH_SECONDS)
