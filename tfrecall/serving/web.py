"""HTTP shared by all protocols: what a request brings, errors as answers, JSON."""

import logging
import re
from collections.abc import Iterable, Mapping
from itertools import count
from math import ceil
from os import listdir, urandom
from pathlib import Path
from time import monotonic
from typing import Any, TypeVar

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from tfrecall.errors import (
    DataError,
    DeadlineError,
    FetchError,
    ModelFailedError,
    NotReadyError,
    QueueFullError,
    ReleaseError,
    ServingError,
    TfrecallError,
)
from tfrecall.serving.requests import decode
from tfrecall.serving.service import UnknownReleaseError

# A deadline beyond it is a mistake of units.
MAX_TIMEOUT_MS = 600_000
# Protocols of others, whose errors are a sentence: {"error": "..."}.
SENTENCES = ("/v1/models/", "/v2")
MAX_MESSAGE = 2000
INTERNAL = (
    "The request failed through no fault of its own. The log has the reason under this request id."
)

# The first class that fits an error gives its status and its code.
_STATUS: tuple[tuple[type[Exception], int, str], ...] = (
    (QueueFullError, 429, "queue_full"),
    (NotReadyError, 503, "not_ready"),
    (DeadlineError, 504, "deadline"),
    (ModelFailedError, 500, "model_failed"),
    (UnknownReleaseError, 404, "unknown_release"),
    # Damage on the disk of the service, of which its caller learns nothing.
    (ReleaseError, 500, "internal"),
    (FetchError, 500, "internal"),
    (TfrecallError, 400, "bad_request"),
)
_TRACE = re.compile(rb"[0-9a-f]{2}-([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}")
_REQUEST_ID = re.compile(rb"[A-Za-z0-9._:/+=-]{1,128}")
# Ids of this process have the form of a trace's; the first part is another one after each start.
_PROCESS = urandom(10).hex()
_NUMBERS = count()
_LOG = logging.getLogger("tfrecall.serving")
_ENCODER = msgspec.json.Encoder()

Form = TypeVar("Form")


class HttpError(ServingError):
    """Error with a status of its own.

    Args:
        status: HTTP status.
        code: word for programs.
        message: sentence for people.
        headers: headers of the answer.
    """

    def __init__(
        self, status: int, code: str, message: str, headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.headers = dict(headers or {})


class Exchange:
    """A request on its way through the service, under `scope["tfrecall"]`.

    Attributes:
        headers: headers of the request; of repeated ones the last.
        body: its body.
        request_id: id in the answer and in the log: X-Request-ID, or the trace of traceparent, or a new one.
        traceparent: the header, where it has the form of W3C Trace Context.
        endpoint: path of the route, in which parameters have names.
        status: status of the answer; 0 before there is one.
        facts: more fields for the line in the log.
    """

    __slots__ = ("body", "endpoint", "facts", "headers", "request_id", "status", "traceparent")

    def __init__(self, headers: dict[bytes, bytes]) -> None:
        self.headers = headers
        self.body = b""
        self.endpoint = "other"
        self.status = 0
        self.facts: dict[str, Any] = {}
        trace = _TRACE.fullmatch(headers.get(b"traceparent", b""))
        self.traceparent = None if trace is None else trace[0]
        told = headers.get(b"x-request-id")
        if told is not None and _REQUEST_ID.fullmatch(told):
            self.request_id = told.decode()
        elif trace is not None:
            self.request_id = trace[1].decode()
        else:
            self.request_id = new_request_id()

    def fields(self, method: str, path: str, seconds: float) -> dict[str, Any]:
        """Fields of its line in the log."""
        traced = {} if self.traceparent is None else {"traceparent": self.traceparent.decode()}
        return {
            "request_id": self.request_id,
            **traced,
            "method": method,
            "path": path,
            "status": self.status,
            "milliseconds": round(1000 * seconds, 3),
            **self.facts,
        }


def new_request_id() -> str:
    """An id for a request that brings none."""
    return f"{_PROCESS}{next(_NUMBERS):012x}"


def exchange(request: Request) -> Exchange:
    """What the service knows of a request."""
    return request.scope["tfrecall"]


def read(request: Request, form: type[Form]) -> Form:
    """The body of a request as a form of `requests`.

    Raises:
        HttpError: if the body is said to be something else than JSON.
        DataError: if it does not have the form.
    """
    return form_of(exchange(request), form)


def form_of(one: Exchange, form: type[Form]) -> Form:
    """The body of an exchange as a form of `requests`; as `read`."""
    told = one.headers.get(b"content-type", b"application/json")
    if told != b"application/json" and b"json" not in told.lower():
        # Also what keeps pages of other sites from sending events: a form needs no consent, JSON does.
        raise HttpError(
            415,
            "not_json",
            f"The body is JSON. Received the Content-Type {told[:100].decode('latin-1')!r}: "
            "send application/json.",
        )
    return decode(one.body, form)


def deadline(request: Request) -> float | None:
    """Moment of `time.monotonic` by the header X-Request-Timeout-Ms; None where there is none.

    Raises:
        DataError: if it is no number of milliseconds.
    """
    return deadline_of(exchange(request))


def deadline_of(one: Exchange) -> float | None:
    """The deadline of an exchange; as `deadline`."""
    told = one.headers.get(b"x-request-timeout-ms")
    if told is None:
        return None
    try:
        milliseconds = float(told)
    except ValueError:
        milliseconds = 0.0
    if not 0 < milliseconds <= MAX_TIMEOUT_MS:
        raise DataError(
            f"X-Request-Timeout-Ms is a number of milliseconds up to {MAX_TIMEOUT_MS:,}. Received: "
            f"{told[:100].decode('latin-1')!r}."
        )
    return monotonic() + milliseconds / 1000


def routed(asked: Form, one: Exchange) -> Form:
    """A request with the release of the header X-Release.

    Raises:
        DataError: if header and body name different releases.
    """
    told = one.headers.get(b"x-release")
    if told is not None:
        request: Any = asked
        name = told.decode("latin-1")
        if request.release not in (None, name):
            raise DataError(
                f'Two releases are named: "{name}" by X-Release, "{request.release}" in the body.'
            )
        request.release = name
    return asked


def reply(content: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """An answer in JSON; content is a struct, or what JSON has."""
    return Response(encoded(content), status, headers, media_type="application/json")


def encoded(content: Any) -> bytes:
    """JSON of a struct, or of what JSON has."""
    return _ENCODER.encode(content)


def problem(error: BaseException, request_id: str = "") -> tuple[int, dict[str, Any]]:
    """Status and body of an error; without stack traces and paths of this machine.

    >>> problem(QueueFullError("256 requests wait already."), "7c1f")
    (429, {'error': {'code': 'queue_full', 'message': '256 requests wait already.', 'request_id': '7c1f'}})
    """
    status, code = 500, "internal"
    if isinstance(error, HttpError):
        status, code = error.status, error.code
    else:
        for kind, its_status, its_code in _STATUS:
            if isinstance(error, kind):
                status, code = its_status, its_code
                break
    message = INTERNAL if code == "internal" else without_paths(str(error))
    if len(message) > MAX_MESSAGE:  # what was received may be a megabyte
        message = f"{message[: MAX_MESSAGE - 400]} ... {message[-400:]}"
    return status, {"error": {"code": code, "message": message, "request_id": request_id}}


def refusal(request: Request, error: BaseException) -> Response:
    """The answer to a request that failed, in the form of its protocol; a line in the log if we failed."""
    status, body, headers = refused(exchange(request), error)
    if request.scope["path"].startswith(SENTENCES):
        body = {"error": body["error"]["message"]}
    return reply(body, status, headers)


def refused(one: Exchange, error: BaseException) -> tuple[int, dict[str, Any], dict[str, str]]:
    """Status, body and headers of an error; a line in the log if we failed."""
    status, body = problem(error, one.request_id)
    if status == 500:
        # The batch that failed has its own line, with the stack.
        stack = None if isinstance(error, ModelFailedError) else error
        fields = {"request_id": one.request_id}
        _LOG.error("A request failed: %s", error, exc_info=stack, extra={"fields": fields})
    headers = dict(error.headers) if isinstance(error, HttpError) else {}
    if status in (429, 503):
        headers["Retry-After"] = str(max(1, ceil(getattr(error, "retry_after", 1))))
    return status, body, headers


def without_paths(text: str) -> str:
    """A text with `...` for paths of this machine.

    >>> without_paths("/usr/share/model.pb is damaged: ask /v1/similar instead.")
    '... is damaged: ask /v1/similar instead.'
    """
    return _PATHS.sub("...", text)


def _pattern(top: Iterable[str]) -> re.Pattern[str]:
    # Names at the root of the file system tell its paths from those of the API.
    names = "|".join(sorted(map(re.escape, top), key=len, reverse=True))
    return re.compile(rf"(?<![\w.])/(?:{names})(?![\w-])(?:/[^\s\"'`,;()<>]*)?")


_PATHS = _pattern(listdir(Path("/").anchor))
