"""The REST API: routes that decode a request, ask the service and encode its answer."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from time import monotonic
from typing import Any

import msgspec
from fastapi import FastAPI, Request, Response

from tfrecall.errors import (
    DeadlineError,
    ModelFailedError,
    NotReadyError,
    QueueFullError,
    TfrecallError,
)
from tfrecall.serving.config import ServingConfig
from tfrecall.serving.requests import (
    BatchRequest,
    RankRequest,
    RecommendRequest,
    SimilarRequest,
    decode,
)
from tfrecall.serving.service import Service, UnknownReleaseError

# The first class that fits an error gives its status and its code.
_STATUS: tuple[tuple[type[Exception], int, str], ...] = (
    (QueueFullError, 429, "queue_full"),
    (NotReadyError, 503, "not_ready"),
    (DeadlineError, 504, "deadline"),
    (ModelFailedError, 500, "model_failed"),
    (UnknownReleaseError, 404, "unknown_release"),
    (TfrecallError, 400, "bad_request"),
)
_ENCODER = msgspec.json.Encoder()


def create_app(config: ServingConfig, *, wait: bool = True) -> FastAPI:
    """Make the application of a service; releases are loaded when it starts.

    Args:
        config: settings.
        wait: whether the start ends when releases are loaded. Otherwise the application is alive and not
            ready meanwhile, and `app.state.failure` has the error of a release that cannot be loaded.
    """
    service = Service(config)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        start = asyncio.create_task(service.start())
        if wait:
            await start
        start.add_done_callback(lambda done: _note_failure(app, done))
        yield
        start.cancel()
        await service.stop()

    app = FastAPI(title="tfrecall", lifespan=lifespan, openapi_url=None, docs_url=None, redoc_url=None)
    app.state.service = service
    app.state.failure = None
    _add_routes(app, service)
    return app


def _note_failure(app: FastAPI, start: "asyncio.Task[None]") -> None:
    if not start.cancelled():
        app.state.failure = start.exception()


def _add_routes(app: FastAPI, service: Service) -> None:
    @app.exception_handler(TfrecallError)
    async def told(_: Request, error: TfrecallError) -> Response:
        status, body = problem(error)
        return _json(body, status)

    @app.post("/v1/recommend")
    async def recommend(request: Request) -> Response:
        asked = decode(await request.body(), RecommendRequest)
        return _json(await service.recommend(asked, _deadline(request)))

    @app.post("/v1/recommend:batch")
    async def recommend_batch(request: Request) -> Response:
        asked = decode(await request.body(), BatchRequest)
        answers = await service.recommend_batch(asked.requests, _deadline(request))
        return _json(
            {"answers": [problem(a)[1] if isinstance(a, BaseException) else a for a in answers]}
        )

    @app.post("/v1/similar")
    async def similar(request: Request) -> Response:
        return _json(await service.similar(decode(await request.body(), SimilarRequest)))

    @app.post("/v1/rank")
    async def rank(request: Request) -> Response:
        return _json(await service.rank(decode(await request.body(), RankRequest)))

    @app.get("/v1/releases")
    async def releases() -> Response:
        return _json({"releases": service.describe()})

    @app.get("/health/live")
    async def live() -> Response:
        return _json({"live": True})

    @app.get("/health/ready")
    async def ready() -> Response:
        return _json({"ready": service.ready}, 200 if service.ready else 503)


def problem(error: BaseException) -> tuple[int, dict[str, Any]]:
    """Status and body of an error."""
    for kind, status, code in _STATUS:
        if isinstance(error, kind):
            return status, {"error": {"code": code, "message": str(error)}}
    return 500, {
        "error": {"code": "internal", "message": "The request failed. The log has the reason."}
    }


def _deadline(request: Request) -> float | None:
    told = request.headers.get("x-request-timeout-ms")
    return None if told is None else monotonic() + float(told) / 1000


def _json(content: Any, status: int = 200) -> Response:
    return Response(_ENCODER.encode(content), status, media_type="application/json")
