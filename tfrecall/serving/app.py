"""The REST API: routes that decode a request, ask the service and encode its answer."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from inspect import iscoroutinefunction
from typing import Any

from fastapi import FastAPI, Request, Response
from starlette.exceptions import HTTPException
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from tfrecall.errors import ConfigError, TfrecallError, nearest
from tfrecall.serving.config import ServingConfig
from tfrecall.serving.events import EventsRequest
from tfrecall.serving.gate import Gate
from tfrecall.serving.metrics import Metrics
from tfrecall.serving.openapi import document
from tfrecall.serving.page_routes import add_page
from tfrecall.serving.protocols import grpc, predict, v2
from tfrecall.serving.protocols.calls import Calls, no_span
from tfrecall.serving.requests import (
    BatchRequest,
    RankRequest,
    RecommendRequest,
    SimilarRequest,
)
from tfrecall.serving.service import Service
from tfrecall.serving.web import HttpError, deadline, exchange, problem, read, refusal, reply, routed


def create_app(config: ServingConfig, *, wait: bool = True) -> FastAPI:
    """Make the application of a service; releases are loaded when it starts.

    Args:
        config: settings.
        wait: whether the start ends when releases are loaded. Otherwise the application is alive and not
            ready meanwhile, and `app.state.failure` has the error of a release that cannot be loaded.
    """
    tracing = _tracing() if config.otel else None
    service, metrics = _data_plane(config, tracing)
    calls = Calls(config.token, metrics.request, no_span if tracing is None else tracing.call)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        start = asyncio.create_task(service.start())
        start.add_done_callback(lambda done: _note_failure(app, done))
        if wait:
            await start
        async with AsyncExitStack() as stack:
            try:
                port = await stack.enter_async_context(
                    grpc.serving(service, config.grpc_address, calls)
                )
                app.state.grpc_port = port
            except ConfigError as error:
                app.state.failure = error
            yield
        start.cancel()
        await service.stop()
        if tracing is not None:
            await asyncio.to_thread(tracing.close)

    app = _Application(
        service, metrics, lifespan=lifespan, openapi_url=None, docs_url=None, redoc_url=None
    )
    app.state.service = service
    app.state.metrics = metrics
    app.state.tracing = tracing
    app.state.failure = None
    _add_routes(app, service)
    _add_operations(app, service, metrics)
    add_page(app, service)
    predict.add_routes(app, service)
    v2.add_routes(app, service)
    return app


def _tracing() -> Any:
    """What makes spans.

    Raises:
        ConfigError: if OpenTelemetry is not installed.
    """
    try:
        # An extra, which costs nothing where tracing is off.
        from tfrecall.serving import tracing
    except ImportError as error:
        raise ConfigError(
            f"Tracing needs {error.name}. Install it: pip install 'tfrecall[otel]'."
        ) from error
    return tracing.Tracing(tracing.provider_of_environment())


def _data_plane(config: ServingConfig, tracing: Any) -> tuple[Service, Metrics]:
    metrics = Metrics() if tracing is None else tracing.metrics()
    service = Service(config, metrics) if tracing is None else tracing.service(config, metrics)
    metrics.hosted = service.hosted
    return service, metrics


def _note_failure(app: FastAPI, start: "asyncio.Task[None]") -> None:
    if not start.cancelled() and start.exception() is not None:
        app.state.failure = start.exception()


class _Application(FastAPI):
    """FastAPI behind the gate, which is the outermost: it answers what any other part raises."""

    def __init__(self, service: Service, metrics: Metrics, **options: Any) -> None:
        super().__init__(title="tfrecall", **options)
        self._service = service
        self._metrics = metrics
        for kind in (HTTPException, TfrecallError, Exception):
            self.add_exception_handler(kind, self._refused)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        # FastAPI's own looks for telemetry at each request, which takes a fifth of all time outside the model.
        if self.middleware_stack is None:
            self.middleware_stack = self.build_middleware_stack()
        scope["app"] = self
        await self.middleware_stack(scope, receive, send)

    def build_middleware_stack(self) -> ASGIApp:
        routes = [
            route
            for route in self.routes
            if type(route) is Route and iscoroutinefunction(route.endpoint)
        ]
        gate = Gate(super().build_middleware_stack(), routes, self._service, self._metrics.request)
        tracing = self.state.tracing
        return gate if tracing is None else tracing.around(gate)

    async def _refused(self, request: Request, error: Exception) -> Response:
        if isinstance(error, HTTPException):
            error = self._unrouted(request, error)
        return refusal(request, error)

    def _unrouted(self, request: Request, error: HTTPException) -> HttpError:
        path, method = request.scope["path"], request.scope["method"]
        headers = dict(error.headers or {})
        if error.status_code == 404:
            paths = [route.path for route in self.routes if isinstance(route, Route)]
            message = f"There is nothing at {path}.{nearest(path, paths)} See /openapi.json."
            return HttpError(404, "not_found", message, headers)
        if error.status_code == 405:
            message = f"{path} does not take {method}. It takes: {headers.get('Allow', '')}."
            return HttpError(405, "method_not_allowed", message, headers)
        return HttpError(error.status_code, "bad_request", str(error.detail), headers)


def _add_routes(app: FastAPI, service: Service) -> None:
    async def recommend(request: Request) -> Response:
        asked = routed(read(request, RecommendRequest), exchange(request))
        # Users without an id go to a release by the id of the request.
        caller = exchange(request).request_id
        return reply(await service.recommend(asked, deadline(request), caller=caller))

    async def recommend_batch(request: Request) -> Response:
        batch = read(request, BatchRequest)
        asked = [routed(one, exchange(request)) for one in batch.requests]
        request_id = exchange(request).request_id
        answers = await service.recommend_batch(asked, deadline(request), caller=request_id)
        return reply(
            {
                "answers": [
                    problem(answer, request_id)[1] if isinstance(answer, BaseException) else answer
                    for answer in answers
                ]
            }
        )

    async def similar(request: Request) -> Response:
        asked = routed(read(request, SimilarRequest), exchange(request))
        return reply(await service.similar(asked, deadline(request)))

    async def rank(request: Request) -> Response:
        asked = routed(read(request, RankRequest), exchange(request))
        caller = exchange(request).request_id
        return reply(await service.rank(asked, deadline(request), caller=caller))

    async def events(request: Request) -> Response:
        return reply(await service.add_events(read(request, EventsRequest), deadline(request)))

    # Routes of Starlette: FastAPI's own cost 60 us more a request for dependencies that none has.
    app.add_route("/v1/recommend", recommend, ["POST"])
    app.add_route("/v1/recommend:batch", recommend_batch, ["POST"])
    app.add_route("/v1/similar", similar, ["POST"])
    app.add_route("/v1/rank", rank, ["POST"])
    app.add_route("/v1/events", events, ["POST"])


def _add_operations(app: FastAPI, service: Service, metrics: Metrics) -> None:
    async def releases(request: Request) -> Response:
        return reply({"releases": service.describe()})

    async def live(request: Request) -> Response:
        return reply({"live": True})

    async def ready(request: Request) -> Response:
        return reply({"ready": service.ready}, 200 if service.ready else 503)

    async def measured(request: Request) -> Response:
        told = exchange(request).headers.get(b"accept", b"").decode("latin-1")
        # With several workers it reads files.
        text, kind = await asyncio.to_thread(metrics.text, told)
        return Response(text, headers={"Content-Type": kind})

    async def described(request: Request) -> Response:
        return reply(document())

    app.add_route("/openapi.json", described, ["GET"])
    app.add_route("/v1/releases", releases, ["GET"])
    app.add_route("/health/live", live, ["GET"])
    app.add_route("/health/ready", ready, ["GET"])
    app.add_route("/metrics", measured, ["GET"])
