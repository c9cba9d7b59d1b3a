"""Calls by gRPC as the service accounts for them: token, errors as status, request ids, log, metrics."""

import asyncio
import hmac
import logging
from collections.abc import Awaitable, Callable
from contextlib import AbstractContextManager, nullcontext
from time import perf_counter
from typing import Any

import grpc

from tfrecall.serving.gate import LEFT, LOG
from tfrecall.serving.web import Exchange, HttpError, problem

CODES = {
    400: grpc.StatusCode.INVALID_ARGUMENT,
    401: grpc.StatusCode.UNAUTHENTICATED,
    404: grpc.StatusCode.NOT_FOUND,
    429: grpc.StatusCode.RESOURCE_EXHAUSTED,
    LEFT: grpc.StatusCode.CANCELLED,
    503: grpc.StatusCode.UNAVAILABLE,
    504: grpc.StatusCode.DEADLINE_EXCEEDED,
}
_LOG = logging.getLogger("tfrecall.serving")

# gRPC has no types.
Context = Any
Call = Callable[[Any, Context], Awaitable[Any]]
Span = Callable[[str, Exchange], AbstractContextManager[None]]


def no_span(path: str, one: Exchange) -> AbstractContextManager[None]:
    """Without tracing a call has no span."""
    return nullcontext()


class Calls:
    """Wraps the methods of a server.

    Args:
        token: token that calls bring in the metadata `authorization: Bearer TOKEN`; None for none.
        observe: called at the end of each call with its path, the status that HTTP would have, and seconds.
        span: makes what is around a call, from its path and its exchange.
    """

    def __init__(
        self, token: str | None, observe: Callable[[str, int, float], None], span: Span = no_span
    ) -> None:
        self._wanted = None if token is None else f"Bearer {token}".encode()
        self._observe = observe
        self._span = span

    def wrapped(self, call: Call, path: str, *, is_open: bool = False) -> Call:
        """A method whose errors end the call with a status, and which leaves a line in the log.

        Args:
            call: the method.
            path: its full name, such as `/inference.GRPCInferenceService/ModelInfer`.
            is_open: whether it needs no token.
        """

        async def wrapped(request: Any, context: Context) -> Any:
            started = perf_counter()
            one = Exchange(_metadata(context))
            one.endpoint = path
            failure, answer = None, None
            # All is noted before the end is sent: who has an answer finds its line and its count.
            with self._span(path, one):
                context.set_trailing_metadata(_told(one))
                try:
                    if not is_open:
                        self._authorize(one)
                    answer = await call(request, context)
                    one.status = 200
                except asyncio.CancelledError:
                    one.status = LEFT
                    raise
                except Exception as error:
                    failure = _failure(one, error)
                finally:
                    self._end(context, one, perf_counter() - started)
            if failure is not None:
                await context.abort(*failure)
            return answer

        return wrapped

    def _authorize(self, one: Exchange) -> None:
        given = one.headers.get(b"authorization", b"")
        if self._wanted is not None and not hmac.compare_digest(given, self._wanted):
            raise HttpError(
                401,
                "unauthorized",
                "The service asks for a token. Send the metadata authorization: Bearer TOKEN.",
            )

    def _end(self, context: Context, one: Exchange, seconds: float) -> None:
        code = "OK" if one.status == 200 else CODES.get(one.status, grpc.StatusCode.INTERNAL).name
        one.facts["grpc_status"] = code
        self._observe(one.endpoint, one.status, seconds)
        if LOG.isEnabledFor(logging.INFO):
            fields = {**one.fields("gRPC", one.endpoint, seconds), "client": context.peer()}
            LOG.info("gRPC %s %s", one.endpoint, code, extra={"fields": fields})


def _metadata(context: Context) -> dict[bytes, bytes]:
    return {
        name.encode(): text if isinstance(text, bytes) else text.encode()
        for name, text in context.invocation_metadata() or ()
    }


def _told(one: Exchange) -> tuple[tuple[str, str], ...]:
    """What the end of a call says beside its status, as the headers of HTTP do."""
    told = [("x-request-id", one.request_id)]
    if one.traceparent is not None:
        told.append(("traceparent", one.traceparent.decode()))
    return tuple(told)


def _failure(one: Exchange, error: Exception) -> tuple[grpc.StatusCode, str]:
    """Code and details of an error; a line in the log if we failed."""
    one.status, body = problem(error)
    code = CODES.get(one.status, grpc.StatusCode.INTERNAL)
    if code is grpc.StatusCode.INTERNAL:
        fields = {"request_id": one.request_id}
        _LOG.error("%s failed: %s", one.endpoint, error, exc_info=error, extra={"fields": fields})
    return code, body["error"]["message"]
