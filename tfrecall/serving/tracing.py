"""Spans for OpenTelemetry: one of each request, and below it the queue and the stages of its call.

Loaded only where tracing is on. The official SDK samples, batches and sends; it reads the variables `OTEL_*`.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.metadata import version as version_of
from time import time_ns
from typing import Any

from opentelemetry import propagate
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import SERVICE_NAME, SERVICE_VERSION, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import Span, SpanKind, StatusCode, get_current_span, set_span_in_context
from starlette.types import ASGIApp, Receive, Scope, Send

from tfrecall.serving.answering import Answer, Request
from tfrecall.serving.config import ServingConfig
from tfrecall.serving.gate import OPEN
from tfrecall.serving.hosting import Hosted
from tfrecall.serving.metrics import Metrics
from tfrecall.serving.requests import RecommendAnswer
from tfrecall.serving.service import Service
from tfrecall.serving.web import Exchange

VERSION = version_of("tfrecall")
# Nobody looks for traces of probes, scrapes and files.
_UNTRACED = (*OPEN, "/openapi.json")


def provider_of_environment() -> TracerProvider:
    """Provider that sends spans by OTLP over HTTP, as the variables `OTEL_*` say; the service is "tfrecall"."""
    resource = Resource.create({SERVICE_VERSION: VERSION})
    if str(resource.attributes[SERVICE_NAME]).startswith("unknown_service"):
        resource = resource.merge(Resource({SERVICE_NAME: "tfrecall"}))
    provider = TracerProvider(resource=resource)
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    return provider


class _Call:
    """A call of the model: its end, its stages in order of time, and its size.

    Attributes:
        told: ids of the spans that have it below them, of which one may have several rows in the call.
    """

    def __init__(self, end: int, seconds: Mapping[str, float], size: int) -> None:
        self.end = end
        self.seconds = seconds
        self.size = size
        self.told: set[int] = set()


class Tracing:
    """Makes the spans of a service.

    Args:
        provider: where spans go.
    """

    def __init__(self, provider: TracerProvider) -> None:
        self._provider = provider
        self._tracer = provider.get_tracer("tfrecall", VERSION)
        # By identity of the request, which its call and its task both have.
        self._calls: dict[int, _Call | None] = {}

    def close(self) -> None:
        """Send what is left."""
        self._provider.shutdown()

    def metrics(self) -> Metrics:
        """Metrics that pass the stages of each call on."""
        return _TracedMetrics(self)

    def service(self, config: ServingConfig, metrics: Metrics) -> Service:
        """A service whose waits for answers have spans."""
        return _TracedService(config, metrics, self)

    def around(self, app: ASGIApp) -> ASGIApp:
        """An application in a span for each request; a trace that begins here gives requests their ids."""

        async def traced(scope: Scope, receive: Receive, send: Send) -> None:
            if scope["type"] != "http" or scope["path"].startswith(_UNTRACED):
                await app(scope, receive, send)
                return
            method = scope["method"]
            facts = {"http.request.method": method, "url.path": scope["path"]}
            carrier = {
                name.decode("latin-1"): text.decode("latin-1") for name, text in scope["headers"]
            }
            with self._server(method, carrier, facts) as span:
                headers = [*scope["headers"], *_begun(span, carrier)]
                inner = {**scope, "headers": headers}
                try:
                    await app(inner, receive, send)
                finally:
                    _end_http(span, method, inner["tfrecall"])

        return traced

    @contextmanager
    def call(self, path: str, one: Exchange) -> Iterator[None]:
        """A span around a call by gRPC; its status is that of the exchange at the end."""
        carrier = {name.decode(): text.decode("latin-1") for name, text in one.headers.items()}
        facts = {"rpc.system.name": "grpc", "rpc.method": path.lstrip("/")}
        with self._server(path.lstrip("/"), carrier, facts) as span:
            for name, made in _begun(span, carrier):
                begun = Exchange({**one.headers, name: made})
                one.traceparent, one.request_id = begun.traceparent, begun.request_id
            try:
                yield
            finally:
                span.set_attribute("rpc.response.status_code", one.facts.get("grpc_status", "OK"))
                _set_status(span, one.status)

    @contextmanager
    def asking(self, release: str, request: Request) -> Iterator[None]:
        """Spans of the queue and of the stages around the wait for an answer."""
        server = get_current_span()
        if not server.is_recording():
            yield
            return
        server.set_attribute("tfrecall.release", release)
        start, failure = time_ns(), None
        self._calls[id(request)] = None
        try:
            yield
        except BaseException as error:
            failure = type(error).__name__
            raise
        finally:
            self._tell(server, start, self._calls.pop(id(request), None), failure)

    def called(self, seconds: Mapping[str, float], requests: Sequence[Request]) -> None:
        """Note the stages of a call that has just ended; in the thread that answers."""
        call = _Call(time_ns(), seconds, len(requests))
        for request in requests:
            if id(request) in self._calls:
                self._calls[id(request)] = call

    @contextmanager
    def _server(
        self, name: str, carrier: Mapping[str, str], facts: Mapping[str, str]
    ) -> Iterator[Span]:
        with self._tracer.start_as_current_span(
            name,
            propagate.extract(carrier),
            SpanKind.SERVER,
            facts,
            # Refusals are answers.
            record_exception=False,
            set_status_on_exception=False,
        ) as span:
            yield span

    def _tell(self, server: Span, start: int, call: _Call | None, failure: str | None) -> None:
        """Make the spans below the one of a request."""
        if call is None:
            # Refused, late, or the call failed: only the wait is known.
            self._child(server, "queue", start, time_ns(), failure=failure)
            return
        parent = server.get_span_context().span_id
        if parent in call.told:
            return
        call.told.add(parent)
        stages = {name: round(1e9 * seconds) for name, seconds in call.seconds.items()}
        begin = max(start, call.end - sum(stages.values()))
        self._child(server, "queue", start, begin, size=call.size)
        for name, duration in stages.items():
            self._child(server, name, begin, begin + duration)
            begin += duration

    def _child(
        self,
        server: Span,
        name: str,
        start: int,
        end: int,
        *,
        size: int | None = None,
        failure: str | None = None,
    ) -> None:
        facts = {} if size is None else {"tfrecall.batch_size": size}
        span = self._tracer.start_span(
            name, set_span_in_context(server), attributes=facts, start_time=start
        )
        if failure is not None:
            span.set_attribute("error.type", failure)
            span.set_status(StatusCode.ERROR)
        span.end(end)


class _TracedMetrics(Metrics):
    def __init__(self, tracing: Tracing) -> None:
        super().__init__()
        self._tracing = tracing

    def stages(
        self, release: str, seconds: Mapping[str, float], requests: Sequence[Request] = ()
    ) -> None:
        super().stages(release, seconds, requests)
        self._tracing.called(seconds, requests)


class _TracedService(Service):
    def __init__(self, config: ServingConfig, metrics: Metrics, tracing: Tracing) -> None:
        super().__init__(config, metrics)
        self._tracing = tracing

    async def recommend(self, *arguments: Any, **options: Any) -> RecommendAnswer:
        answer = await super().recommend(*arguments, **options)
        span = get_current_span()
        span.set_attribute("tfrecall.version", answer.version)
        if answer.fallback is not None:
            span.set_attribute("tfrecall.fallback", answer.fallback)
        return answer

    async def _ask(self, hosted: Hosted, request: Request, deadline: float | None) -> Answer:
        with self._tracing.asking(hosted.name, request):
            return await super()._ask(hosted, request, deadline)


def _begun(span: Span, carrier: Mapping[str, str]) -> list[tuple[bytes, bytes]]:
    """The header of a trace that begins here; nothing where the client's goes on."""
    context = span.get_span_context()
    told = carrier.get("traceparent", "")
    if not context.is_valid or told[3:35] == f"{context.trace_id:032x}":
        return []
    made = f"00-{context.trace_id:032x}-{context.span_id:016x}-{int(context.trace_flags):02x}"
    return [(b"traceparent", made.encode())]


def _end_http(span: Span, method: str, one: Exchange) -> None:
    if one.endpoint != "other":
        span.update_name(f"{method} {one.endpoint}")
        span.set_attribute("http.route", one.endpoint)
    span.set_attribute("http.response.status_code", one.status)
    _set_status(span, one.status)


def _set_status(span: Span, status: int) -> None:
    if status >= 500:
        span.set_status(StatusCode.ERROR)
