"""One client for the service of `tfrecall serve` and for TF Serving, by REST or gRPC.

Requests only read, so each may be sent again: when nobody listens, when the server is busy (429) or not
ready (503), and as long as the caller's time lasts. Importing this needs neither TensorFlow nor gRPC.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any, Literal
from urllib.parse import urlsplit

import numpy as np
import urllib3

from tfrecall.core.results import Recommendation, Recommendations
from tfrecall.errors import ConfigError, DeadlineError, NotReadyError, QueueFullError, ServingError
from tfrecall.serving.retries import Retries, TransientError
from tfrecall.serving.tensors import Signature, arrays, cast, columns

Query = str | Mapping[str, Any]

_BUSY = {429: QueueFullError, 503: NotReadyError}


class Client:
    """Asks a service for recommendations, or a model for its tensors.

    Safe to share among threads; connections are kept alive. A `with` block, or `close`, ends them.

    Args:
        address: `http://HOST:PORT` or `https://...`, or `grpc://HOST:PORT` for TF Serving's gRPC, which needs
            the package `tensorflow-serving-api`.
        server: `tfrecall`, the service of `tfrecall serve`, or `tf_serving`; gRPC is always the latter.
        timeout_seconds: for all attempts of a request together. The service is told what is left of it, and
            does not work for nobody.
        attempts: at most so many, with pauses between them that grow and are drawn by chance.
        token: sent as a bearer token.
        connections: kept open at most.

    Raises:
        ConfigError: if the address or the limits are impossible, or gRPC is not there.

    Example:

    >>> client = Client("http://127.0.0.1:8500", timeout_seconds=0.5)
    >>> client.recommend(["42"], k=3)  # doctest: +SKIP
    [Recommendation(user_id='42', known=True, item_ids=['121', '117', '313'], ...)]
    """

    def __init__(
        self,
        address: str,
        *,
        server: Literal["tfrecall", "tf_serving"] = "tfrecall",
        timeout_seconds: float = 5.0,
        attempts: int = 4,
        token: str | None = None,
        connections: int = 8,
    ) -> None:
        parts = urlsplit(address)
        if parts.scheme not in ("http", "https", "grpc") or not parts.netloc:
            raise ConfigError(
                f"A service has an address such as http://127.0.0.1:8500 or grpc://127.0.0.1:8500. "
                f"Received: {address!r}."
            )
        if server not in ("tfrecall", "tf_serving"):
            raise ConfigError(f'`server` is "tfrecall" or "tf_serving". Received: {server!r}.')
        self.address = address.rstrip("/")
        self.server = "tf_serving" if parts.scheme == "grpc" else server
        self.retries = Retries(timeout_seconds, attempts)
        self._headers = {"Content-Type": "application/json"}
        if token is not None:
            self._headers["Authorization"] = f"Bearer {token}"
        self._signatures: dict[tuple[str, int | None], dict[str, Signature]] = {}
        self._grpc: Any = None
        if parts.scheme == "grpc":
            from tfrecall.serving.tf_serving_grpc import Grpc

            self._grpc = Grpc(parts.netloc, token)
        self._pool = urllib3.PoolManager(maxsize=connections, retries=False)

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End all connections."""
        self._pool.clear()
        if self._grpc is not None:
            self._grpc.close()

    def recommend(
        self,
        queries: Sequence[Query],
        k: int = 10,
        *,
        release: str | None = None,
        exclude: Sequence[str] = (),
        n_candidates: int | None = None,
        **options: Any,
    ) -> Recommendations:
        """The best items for queries.

        Args:
            queries: user ids, or mappings of features and histories. TF Serving knows no users: it takes
                mappings with every raw column of the model (`Release.users.build_queries` makes them).
            k: length of the lists.
            release: name of a release of the service; of a model of TF Serving, by default `retrieval`.
            exclude: ids not wanted.
            n_candidates: of a `pipeline` in TF Serving, how many items it ranks.
            options: further keys of the service's requests, such as `exclude_seen` and `columns`; none for
                TF Serving.

        Raises:
            ConfigError: if the queries cannot be sent.
            ServingError: if the service refuses or cannot be reached in time.
        """
        if isinstance(queries, str | Mapping):
            raise ConfigError("`queries` is a list: put a single one into a list.")
        if not queries:
            return Recommendations()
        if self.server == "tf_serving":
            if options:
                raise ConfigError(f"TF Serving has no option {', '.join(options)}. Leave it out.")
            return self._of_tensors(queries, k, release or "retrieval", exclude, n_candidates)
        common = {"k": k, "release": release, "exclude": list(exclude), **options}
        bodies = [
            {"user_id": query, **common} if isinstance(query, str) else {"features": query, **common}
            for query in queries
        ]
        if len(bodies) == 1:
            return Recommendations([_recommendation(self._call("/v1/recommend", bodies[0]))])
        answers = self._call("/v1/recommend:batch", {"requests": bodies})["answers"]
        return Recommendations([_recommendation(answer) for answer in answers])

    def predict(
        self,
        model: str,
        inputs: Mapping[str, Any],
        *,
        signature: str = "serving_default",
        version: int | None = None,
    ) -> dict[str, np.ndarray]:
        """Outputs of a signature of a SavedModel, in TF Serving or in the service.

        Args:
            model: its name.
            inputs: each column of the signature. Rows of texts of unequal length are padded with "".
            signature: name of the signature.
            version: None for the one that the server prefers.

        Returns:
            By name; texts as object arrays of `str`.

        Raises:
            ConfigError: if an input is not rectangular, or of a type that a signature has not.
            ServingError: if the server refuses or cannot be reached in time.
        """
        return self.retries.run(
            lambda left: self._predict(model, columns(inputs), signature, version, left)
        )

    def signatures(self, model: str, *, version: int | None = None) -> dict[str, Signature]:
        """Types of the inputs and outputs of each signature of a model; asked once, then remembered."""
        return self.retries.run(lambda left: self._described(model, version, left))

    def versions(self, model: str) -> list[int]:
        """Versions of a model that are ready, ascending."""
        if self._grpc is not None:
            found = self.retries.run(lambda left: self._grpc.versions(model, left))
        else:
            status = self._call(_model_path(model), None)["model_version_status"]
            found = [int(one["version"]) for one in status if one["state"] == "AVAILABLE"]
        return sorted(found)

    def _of_tensors(
        self,
        queries: Sequence[Query],
        k: int,
        model: str,
        exclude: Sequence[str],
        n_candidates: int | None,
    ) -> Recommendations:
        rows = [query for query in queries if isinstance(query, Mapping)]
        if len(rows) < len(queries) or any(row.keys() != rows[0].keys() for row in rows):
            raise ConfigError(
                "TF Serving knows no users: each query is a mapping with the same raw columns, those of the "
                f"signature. Received: {str(queries)[:100]}."
            )
        inputs: dict[str, Any] = {name: [row[name] for row in rows] for name in rows[0]}
        inputs |= {"k": k, "exclude": [list(exclude) or [""]] * len(rows)}
        if n_candidates is not None:
            inputs["n_candidates"] = n_candidates
        found = self.predict(model, inputs, signature="recommend")
        lists = zip(rows, found["candidate_ids"], found["scores"], strict=True)
        return Recommendations([_listed(row, ids, scores) for row, ids, scores in lists])

    def _predict(
        self,
        model: str,
        inputs: dict[str, np.ndarray],
        signature: str,
        version: int | None,
        left: float,
    ) -> dict[str, np.ndarray]:
        described = self._described(model, version, left).get(signature)
        if described is None:
            known = ", ".join(sorted(self._signatures.pop((model, version))))
            raise ServingError(
                f'The model {model} at {self.address} has no signature "{signature}". It has: {known}.'
            )
        tensors = cast(inputs, described, f"{model}:{signature}")
        if self._grpc is not None:
            return self._grpc.predict(model, version, signature, tensors, left)
        body = {
            "signature_name": signature,
            "inputs": {key: v.tolist() for key, v in tensors.items()},
        }
        outputs = self._attempt(f"{_model_path(model, version)}:predict", body, left)["outputs"]
        return arrays(outputs, described)

    def _described(self, model: str, version: int | None, left: float) -> dict[str, Signature]:
        place = model, version
        if place not in self._signatures:
            if self._grpc is not None:
                found = self._grpc.signatures(model, version, left)
            else:
                path = f"{_model_path(model, version)}/metadata"
                found = self._attempt(path, None, left)["metadata"]["signature_def"]
                found = found["signature_def"]
            self._signatures[place] = {
                name: Signature.of(one) for name, one in found.items() if not name.startswith("__")
            }
        return self._signatures[place]

    def _call(self, path: str, body: Any) -> Any:
        return self.retries.run(lambda left: self._attempt(path, body, left))

    def _attempt(self, path: str, body: Any, left: float) -> Any:
        """One request by REST; `body` None for GET."""
        url = f"{self.address}{path}"
        if left <= 0:
            raise DeadlineError(f"{url} did not answer in time. Give more `timeout_seconds`.")
        headers = {**self._headers, "X-Request-Timeout-Ms": str(max(1, int(left * 1000)))}
        content = None if body is None else _encoded(body)
        try:
            answer = self._pool.request(
                "GET" if body is None else "POST",
                url,
                body=content,
                headers=headers,
                timeout=urllib3.Timeout(total=left),
            )
        except urllib3.exceptions.ReadTimeoutError as error:
            raise DeadlineError(
                f"{url} did not answer within {left:.2g} s. Give more `timeout_seconds`, or ask for less."
            ) from error
        except urllib3.exceptions.HTTPError as error:
            raise TransientError(
                ServingError(f"{url} cannot be reached: {error}. Check the address, and that it runs.")
            ) from error
        return _content(url, answer)


def _model_path(model: str, version: int | None = None) -> str:
    return f"/v1/models/{model}" + (f"/versions/{version}" if version is not None else "")


def _encoded(body: Any) -> bytes:
    try:
        return json.dumps(body, allow_nan=False).encode()
    except (TypeError, ValueError) as error:
        raise ConfigError(
            f"The request cannot be written as JSON: {error}. Give texts, finite numbers and lists."
        ) from error


def _content(url: str, answer: urllib3.BaseHTTPResponse) -> Any:
    """The decoded answer, or the error that it stands for."""
    try:
        # Python's reader, because TF Serving writes -Infinity for places that no item fills.
        content = json.loads(answer.data)
    except ValueError:
        content = {"error": answer.data[:200].decode(errors="replace")}
    if answer.status == 200:
        return content
    told = content.get("error") if isinstance(content, dict) else content
    text = told.get("message") if isinstance(told, dict) else told
    message = f"{url} answered {answer.status}: {text}"
    if answer.status in _BUSY:
        raise TransientError(_BUSY[answer.status](message), _retry_after(answer))
    if answer.status == 504:
        raise DeadlineError(message)
    raise ServingError(message)


def _retry_after(answer: urllib3.BaseHTTPResponse) -> float | None:
    """Seconds of the header, given in seconds or as a date."""
    told = answer.headers.get("Retry-After")
    try:
        return None if told is None else max(0.0, urllib3.Retry().parse_retry_after(told))
    except urllib3.exceptions.InvalidHeader:
        return None


def _recommendation(answer: Mapping[str, Any]) -> Recommendation:
    if "error" in answer:
        raise ServingError(f"A query of the batch was refused: {answer['error']['message']}")
    items = answer["items"]
    return Recommendation(
        answer.get("user_id"),
        bool(answer.get("known")),
        [item["item_id"] for item in items],
        [item["score"] for item in items],
        [item.get("columns") or {} for item in items],
        tuple(answer.get("defaulted") or ()),
    )


def _listed(row: Mapping[str, Any], ids: np.ndarray, scores: np.ndarray) -> Recommendation:
    """A row of tensors as a list; the empty id stands for no item."""
    there = [place for place, item_id in enumerate(ids) if item_id]
    user_id = row.get("user_id")
    # Whether the user is known is nothing that a SavedModel tells.
    return Recommendation(
        user_id, False, [ids[i] for i in there], [float(scores[i]) for i in there], [{}] * len(there)
    )
