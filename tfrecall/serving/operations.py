"""The routes of the service as its OpenAPI document tells them: forms, examples, errors."""

from typing import Any, NamedTuple

import msgspec

from tfrecall.serving.events import EventsAnswer, EventsRequest
from tfrecall.serving.protocols.v2 import InferRequest
from tfrecall.serving.requests import (
    BatchRequest,
    ItemsAnswer,
    RankRequest,
    RecommendAnswer,
    RecommendRequest,
    SimilarRequest,
)


class ErrorFacts(msgspec.Struct):
    """What went wrong.

    Attributes:
        code: a word for programs, such as `bad_request` or `queue_full`.
        message: a sentence for people, with what was received and what to do.
        request_id: id of the request in the log of the service.
    """

    code: str
    message: str
    request_id: str


class Problem(msgspec.Struct):
    """The answer to a request that failed."""

    error: ErrorFacts


class Sentence(msgspec.Struct):
    """The answer to a request that failed, as TF Serving and the Open Inference Protocol write it."""

    error: str


class BatchAnswer(msgspec.Struct):
    """Answers in the order of the requests: each a `RecommendAnswer`, or a `Problem` if that request failed."""

    answers: list[dict[str, Any]]


class Operation(NamedTuple):
    """A route.

    Attributes:
        method, path: as requests have them; parameters in braces.
        tag: heading under which it is listed.
        summary: a sentence.
        asked: form of the body; None without one.
        example: a body.
        answered: form of the answer; None for any JSON object.
        answer: an answer.
        errors: statuses beside those of all routes.
        query: names and summaries of parameters after the question mark.
    """

    method: str
    path: str
    tag: str
    summary: str
    asked: Any = None
    example: Any = None
    answered: Any = None
    answer: Any = None
    errors: tuple[int, ...] = ()
    query: tuple[tuple[str, str], ...] = ()


_ALIEN = {"item_id": "183", "score": 3.27, "columns": {"movie_title": "Alien (1979)"}}
_LIST = {
    "release": "two_tower",
    "version": 3,
    "user_id": "42",
    "known": True,
    "fallback": None,
    "items": [_ALIEN, {"item_id": "176", "score": 2.91, "columns": {"movie_title": "Aliens (1986)"}}],
}
_RELEASE = ("release", "Name of the release; the first one without it.")
_SEARCH = (("query", "Part of an id or a title."), ("k", "Length of the list."), _RELEASE)
_TENSOR = {"name": "user_id", "datatype": "BYTES", "shape": [1], "data": ["42"]}
_ASKED = (400, 404, 408, 413, 415, 429, 503, 504)
_TENSORS = (400, 404, 408, 413, 429, 503, 504)

OPERATIONS = (
    Operation(
        "POST",
        "/v1/recommend",
        "Recommendations",
        "The best items for one query.",
        RecommendRequest,
        {"user_id": "42", "k": 2, "columns": ["movie_title"]},
        RecommendAnswer,
        _LIST,
        _ASKED,
    ),
    Operation(
        "POST",
        "/v1/recommend:batch",
        "Recommendations",
        "The best items for several queries, which succeed and fail independently.",
        BatchRequest,
        {"requests": [{"user_id": "42", "k": 2}, {"history": ["Alien (1979)"], "k": 2}]},
        BatchAnswer,
        {
            "answers": [
                _LIST,
                {
                    "error": {
                        "code": "bad_request",
                        "message": 'The model of "item_cf" reads no history. Give `user_id` or `features`.',
                        "request_id": "4bf92f3577b34da6a3ce929d0e0e4736",
                    }
                },
            ]
        },
        _ASKED,
    ),
    Operation(
        "POST",
        "/v1/similar",
        "Recommendations",
        "The items most similar to one, which is given by id or title.",
        SimilarRequest,
        {"title": "Alien (1979)", "k": 1, "columns": ["movie_title"]},
        ItemsAnswer,
        {
            "release": "two_tower",
            "version": 3,
            "items": [{"item_id": "176", "score": 0.93, "columns": {"movie_title": "Aliens (1986)"}}],
            "item_id": "183",
        },
        _ASKED,
    ),
    Operation(
        "POST",
        "/v1/rank",
        "Recommendations",
        "Given items in the order of a ranker's scores.",
        RankRequest,
        {"user_id": "42", "items": ["50", "183"]},
        ItemsAnswer,
        {
            "release": "ranker",
            "version": 1,
            "items": [{"item_id": "183", "score": 4.1}, {"item_id": "50", "score": 3.8}],
            "user_id": "42",
        },
        _ASKED,
    ),
    Operation(
        "POST",
        "/v1/events",
        "Feedback",
        "What users did; answered when it is on disk.",
        EventsRequest,
        {"events": [{"user_id": "42", "item_id": "183", "timestamp": 889237269}]},
        EventsAnswer,
        {"accepted": 1},
        _ASKED,
    ),
    Operation("GET", "/v1/releases", "Releases", "The served releases with their versions."),
    Operation(
        "GET",
        "/v1/releases/{name}",
        "Releases",
        "Abilities and columns of a release.",
        errors=(404, 503),
    ),
    Operation(
        "GET",
        "/v1/items",
        "Views",
        "Items by a part of a title or id.",
        errors=(400, 404, 503),
        query=_SEARCH,
    ),
    Operation(
        "GET",
        "/v1/items/{item_id}",
        "Views",
        "All columns of an item.",
        errors=(400, 404, 503),
        query=(_RELEASE,),
    ),
    Operation(
        "GET", "/v1/users", "Views", "Users by a part of an id.", errors=(400, 404, 503), query=_SEARCH
    ),
    Operation(
        "GET",
        "/v1/users/{user_id}",
        "Views",
        "Features of a user, and the newest items of the history.",
        errors=(400, 404, 503),
        query=(("k", "Length of the history."), _RELEASE),
    ),
    Operation(
        "GET",
        "/v1/map",
        "Views",
        "Places of the most popular items in the plane of their vectors.",
        errors=(400, 404, 503),
        query=(("k", "Number of items."), _RELEASE),
    ),
    Operation(
        "GET",
        "/v1/evaluation",
        "Views",
        "Figures of the run beside its baselines, and recall and latency of the index.",
        errors=(400, 404, 503),
        query=(_RELEASE,),
    ),
    Operation(
        "GET", "/health/live", "Operation", "Whether the process answers.", answer={"live": True}
    ),
    Operation(
        "GET",
        "/health/ready",
        "Operation",
        "Whether requests should be sent here; 503 while it starts or ends.",
        answer={"ready": True},
        errors=(503,),
    ),
    Operation("GET", "/metrics", "Operation", "Metrics in the text format of Prometheus."),
    Operation("GET", "/openapi.json", "Operation", "This document."),
    *(
        operation
        for path in ("/v1/models/{name}", "/v1/models/{name}/versions/{version}")
        for operation in (
            Operation(
                "GET", path, "TF Serving", "State of the served version.", errors=(400, 404, 503)
            ),
            Operation("GET", f"{path}/metadata", "TF Serving", "Signatures.", errors=(400, 404, 503)),
            Operation(
                "POST",
                f"{path}:predict",
                "TF Serving",
                "Answers of the exported SavedModel, by rows or by columns.",
                dict[str, Any],
                {"instances": [{"user_id": "42"}]},
                answer={"predictions": [{"candidate_ids": ["183"], "scores": [3.27]}]},
                errors=_TENSORS,
            ),
        )
    ),
    Operation("GET", "/v2", "Open Inference Protocol", "Name and extensions of the server."),
    Operation(
        "GET",
        "/v2/health/live",
        "Open Inference Protocol",
        "Whether the process answers.",
        answer={"live": True},
    ),
    Operation(
        "GET",
        "/v2/health/ready",
        "Open Inference Protocol",
        "Whether requests should be sent here.",
        answer={"ready": True},
        errors=(503,),
    ),
    *(
        operation
        for path in ("/v2/models/{name}", "/v2/models/{name}/versions/{version}")
        for operation in (
            Operation(
                "GET", path, "Open Inference Protocol", "Inputs and outputs.", errors=(400, 404, 503)
            ),
            Operation(
                "GET",
                f"{path}/ready",
                "Open Inference Protocol",
                "Whether the release answers.",
                errors=(400, 404, 503),
            ),
            Operation(
                "POST",
                f"{path}/infer",
                "Open Inference Protocol",
                "Lists for a batch of tensors.",
                InferRequest,
                {"inputs": [_TENSOR]},
                answer={
                    "model_name": "two_tower",
                    "model_version": "3",
                    "outputs": [
                        {
                            "name": "candidate_ids",
                            "datatype": "BYTES",
                            "shape": [1, 1],
                            "data": ["183"],
                        },
                        {"name": "scores", "datatype": "FP32", "shape": [1, 1], "data": [3.27]},
                    ],
                },
                errors=_TENSORS,
            ),
        )
    ),
)
