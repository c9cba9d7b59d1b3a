"""The gate in front of all routes: request ids, token, limits, errors, log, metrics.

It dispatches to endpoints itself, by a dictionary where paths have no parameters: the stack and the router of
FastAPI cost 30 us a request, as much as a query in a full batch.
"""

import asyncio
import hmac
import logging
from collections.abc import Callable, Collection, Sequence
from time import perf_counter

from starlette.requests import Request
from starlette.routing import Match, Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tfrecall.serving.hosts import accepts
from tfrecall.serving.service import Service
from tfrecall.serving.web import Exchange, HttpError, refusal

# Open without a token: probes and scrapers have none, and browsers ask for the page before its user can
# give one. The page has no data of its own.
OPEN = ("/health/", "/v2/health/", "/metrics", "/page/")
# Most headers of a request, and their bytes; the defaults of Apache and nginx.
MAX_NUMBER, MAX_BYTES = 100, 32_768
# An answer that takes longer is watched for its client; quicker ones pay for a timer alone.
WATCH_SECONDS = 0.02
# Status of requests whose client left, as nginx counts them.
LEFT = 499

LOG = logging.getLogger("tfrecall.serving.access")
SECURITY = (
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
)
# What is left of a body that was refused is not read.
CLOSE = {"Connection": "close"}


class Gate:
    """ASGI application around another one.

    Args:
        app: what answers requests that fit none of `routes`.
        routes: routes with an `async` endpoint, the first that fits answers.
        service: the service, for its settings and its state.
        observe: called at the end of each request with its route, status and seconds.
    """

    def __init__(
        self,
        app: ASGIApp,
        routes: Sequence[Route],
        service: Service,
        observe: Callable[[str, int, float], None],
    ) -> None:
        self._app = app
        self._others = [route for route in routes if route.param_convertors]
        self._fixed = {
            (method, route.path): route
            for route in reversed(routes)
            for method in route.methods or ()
            if not route.param_convertors
        }
        self._service = service
        self._observe = observe
        config = service.config
        self._max_body = config.max_body
        self._body_seconds = config.body_seconds
        self._accepts = None if config.hosts is None else accepts(config.hosts)
        self._token = None if config.token is None else f"Bearer {config.token}".encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = perf_counter()
        one = scope["tfrecall"] = Exchange(dict(scope["headers"]))
        try:
            await self._answer(scope, one, receive, self._sender(one, send))
        finally:
            seconds = perf_counter() - started
            self._observe(one.endpoint, one.status or 500, seconds)
            if LOG.isEnabledFor(logging.INFO):
                path = scope["raw_path"].decode("ascii", "replace")
                log_request(one, scope["method"], path, scope.get("client"), seconds)

    async def _answer(self, scope: Scope, one: Exchange, receive: Receive, send: Send) -> None:
        """Answer a request; an error is answered, too."""
        guard = _Guard(one, receive, self._body_seconds)
        try:
            self._check(scope, one)
            one.body = await self._body(one, receive)
            guard.has_body()
            await self._dispatch(scope, one, _replay(one.body, receive), send)
        except asyncio.CancelledError:
            if guard.found is None:
                raise
            await _refuse(scope, one, guard.found, send)
        except Exception as error:
            if one.status:
                raise  # the answer has begun
            await _refuse(scope, one, error, send)
        finally:
            guard.end()

    async def _dispatch(self, scope: Scope, one: Exchange, receive: Receive, send: Send) -> None:
        found = self._fixed.get((scope["method"], scope["path"])) or self._matching(scope)
        if found is None:
            await self._app(scope, receive, send)
            return
        one.endpoint = found.path
        response = await found.endpoint(Request(scope, receive))
        await response(scope, receive, send)

    def _matching(self, scope: Scope) -> Route | None:
        """The route with parameters that takes a request."""
        for route in self._others:
            match, more = route.matches(scope)
            if match is Match.FULL:
                scope.update(more)
                return route
        return None

    def _check(self, scope: Scope, one: Exchange) -> None:
        if has_long_head(scope["headers"]):
            raise HttpError(
                431,
                "too_large",
                f"The headers are more than {MAX_NUMBER}, or more than {MAX_BYTES:,} bytes.",
                CLOSE,
            )
        if self._accepts is not None and not self._accepts(one.headers.get(b"host", b"")):
            raise _misdirected(one)
        if self._token is None or scope["path"].startswith(OPEN) or scope["path"] == "/":
            return
        if not hmac.compare_digest(one.headers.get(b"authorization", b""), self._token):
            raise unauthorized()

    async def _body(self, one: Exchange, receive: Receive) -> bytes:
        headers = one.headers
        if b"content-length" not in headers and b"transfer-encoding" not in headers:
            return b""
        # A size that is told is believed when it is too large; the parts are counted in any case.
        size = int(headers.get(b"content-length", b"0"))
        parts: list[bytes] = []
        more = True
        while more and size <= self._max_body:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise _left()
            parts.append(message.get("body", b""))
            more = message.get("more_body", False)
            size = max(size, sum(map(len, parts)))
        if size > self._max_body:
            raise HttpError(
                413,
                "too_large",
                f"The body has more than {self._max_body:,} bytes, the limit of this service.",
                CLOSE,
            )
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def _sender(self, one: Exchange, send: Send) -> Send:
        """Adds the headers that all answers have."""

        async def sending(message: Message) -> None:
            if message["type"] == "http.response.start":
                one.status = message["status"]
                added = [*SECURITY, (b"x-request-id", one.request_id.encode())]
                if one.traceparent is not None:
                    added.append((b"traceparent", one.traceparent))
                if self._service.is_open and not self._service.ready:
                    # The service ends: clients open their next connection elsewhere.
                    added.append((b"connection", b"close"))
                message["headers"] = [*message["headers"], *added]
            await send(message)

        return sending


class _Guard:
    """Ends a request whose body is slow, or whose client has left; for the price of one timer.

    Attributes:
        found: the error that has ended the request; None while nothing is wrong.
    """

    def __init__(self, one: Exchange, receive: Receive, body_seconds: float) -> None:
        self.found: HttpError | None = None
        self._one = one
        self._receive = receive
        self._body_seconds = body_seconds
        self._reads_body = True
        self._has_looked = False
        self._loop = asyncio.get_running_loop()
        self._task = asyncio.current_task(self._loop)
        self._watcher: asyncio.Task[None] | None = None
        self._timer = self._loop.call_later(WATCH_SECONDS, self._look)

    def has_body(self) -> None:
        self._reads_body = False
        if self._has_looked:
            self._timer.cancel()
            self._timer = self._loop.call_later(WATCH_SECONDS, self._look)

    def end(self) -> None:
        self._timer.cancel()
        if self._watcher is not None:
            self._watcher.cancel()

    def _look(self) -> None:
        if self._reads_body:
            self._has_looked = True
            self._timer = self._loop.call_later(self._body_seconds, self._slow)
        else:
            self._watcher = self._loop.create_task(self._watch())

    def _slow(self) -> None:
        self._stop(
            HttpError(
                408, "slow_body", f"The body took more than {self._body_seconds:g} seconds.", CLOSE
            )
        )

    async def _watch(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        # Servers say so after an answer as well, which may come before its task has ended.
        if not self._one.status:
            self._stop(_left())

    def _stop(self, error: HttpError) -> None:
        self.found = error
        if self._task is not None:
            self._task.cancel()


def _misdirected(one: Exchange) -> HttpError:
    host = one.headers[b"host"][:200].decode("latin-1")
    return HttpError(
        421,
        "misdirected",
        f"This service is not called {host!r}. Ask under its address, or start it with --allowed-host.",
        CLOSE,
    )


def _left() -> HttpError:
    return HttpError(LEFT, "left", "The client left.")


def _replay(body: bytes, receive: Receive) -> Receive:
    """What gives a body that was received, then what comes after it."""
    given = False

    async def replay() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return replay


async def _refuse(scope: Scope, one: Exchange, error: Exception, send: Send) -> None:
    if isinstance(error, HttpError) and error.status == LEFT:
        one.status = LEFT
        return
    response = refusal(Request(scope), error)
    await response(scope, _nothing, send)


async def _nothing() -> Message:
    return {"type": "http.disconnect"}


def has_long_head(headers: Collection[tuple[bytes, bytes]]) -> bool:
    """Whether the headers of a request are more than are taken, or too long."""
    return (
        len(headers) > MAX_NUMBER or sum(len(name) + len(value) for name, value in headers) > MAX_BYTES
    )


def unauthorized() -> HttpError:
    """The refusal of a request without the token."""
    return HttpError(
        401,
        "unauthorized",
        "The service asks for a token. Send it as: Authorization: Bearer TOKEN.",
        {"WWW-Authenticate": "Bearer"},
    )


def log_request(
    one: Exchange, method: str, path: str, client: tuple[str, int] | None, seconds: float
) -> None:
    """Write the line of a request that has ended."""
    fields = {**one.fields(method, path, seconds), "client": (client or ("",))[0]}
    LOG.info("%s %s %d", method, path, one.status, extra={"fields": fields})
