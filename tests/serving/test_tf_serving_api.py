"""The client against TF Serving's API: the double, and a real server where there is one.

For a real one, set `TFRECALL_TF_SERVING_URL` to its REST address and `TFRECALL_TF_SERVING_RELEASE` to the
release that it serves, as `tfrecall deploy` sets it up; `TFRECALL_TF_SERVING_GRPC` names its gRPC port, too.
"""

import json
import os
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import urllib3

pytest.importorskip("tensorflow_serving")

from tests.serving.double import Code, Double, ServerError, check_batchable, config_of
from tests.serving.tf_serving_contract import WHOLE, open_models, same_rows, warm_up_requests
from tfrecall.errors import ConfigError, DeadlineError, NotReadyError, QueueFullError, ServingError
from tfrecall.serving import retries
from tfrecall.serving.client import Client

SERVERS = ["double", "real"]
# Of a retriever; of one with repeats and histories, and of every kind of model with numbers.
DOUBLES = [
    "double-tiny_root",
    *(
        pytest.param(f"double-{name}", marks=pytest.mark.slow)
        for name in ("numbers_root", "repeating_root")
    ),
]


class Server(NamedTuple):
    rest: str
    grpc: str | None
    root: Path


@pytest.fixture(scope="module")
def doubles(request):
    opened = {}

    def get(name):
        if name not in opened:
            root = request.getfixturevalue(name)
            double = Double(config_of(root))
            opened[name] = double, Server(double.url, f"grpc://{double.address}", root)
        return opened[name][1]

    yield get
    for double, _ in opened.values():
        double.close()


@pytest.fixture(scope="module", params=[*DOUBLES, "real"])
def server(request, doubles):
    if request.param != "real":
        return doubles(request.param.removeprefix("double-"))
    url, root = (os.environ.get(f"TFRECALL_TF_SERVING_{name}") for name in ("URL", "RELEASE"))
    if url is None or root is None:
        pytest.skip("no server")
    return Server(url, os.environ.get("TFRECALL_TF_SERVING_GRPC"), Path(root))


@pytest.fixture(scope="module")
def opened(server):
    """The same models in sessions of this process."""
    return open_models(server.root)


@pytest.fixture(params=["rest", "grpc"])
def client(request, server):
    address = getattr(server, request.param)
    if address is None:
        pytest.skip("no gRPC address")
    with Client(address, server="tf_serving", timeout_seconds=60) as client:
        yield client


@pytest.mark.slow
def test_each_signature_answers_the_client_as_it_answers_a_session(client, opened):
    for model, served, asked in opened:
        for signature, inputs in asked.items():
            plain = {name: values.tolist() for name, values in inputs.items()}
            answer = client.predict(model.parent.name, plain, signature=signature)
            same_rows(answer, {k: _texts(v) for k, v in served.ask(signature, **inputs).items()})


def _texts(values):
    if values.dtype != object:
        return values
    return np.array([one.decode() for one in values.ravel()], object).reshape(values.shape)


def test_versions_are_those_on_disk(client, opened):
    for model, _, _ in opened:
        assert client.versions(model.parent.name) == [int(model.name)]
        assert "serving_default" in client.signatures(model.parent.name)


def test_a_version_may_be_named(client, opened):
    model, served, asked = opened[0]
    plain = {name: values.tolist() for name, values in asked["serving_default"].items()}
    answer = client.predict(model.parent.name, plain, version=int(model.name))
    same_rows(answer, served.ask("serving_default", **asked["serving_default"]))
    with pytest.raises(ServingError, match=r"Servable not found for request: Specific\(\w+, 999\)"):
        client.predict(model.parent.name, plain, version=999)


def test_a_model_that_is_not_there_is_named(client):
    with pytest.raises(ServingError, match=r"Servable not found for request: Latest\(nothing\)"):
        client.predict("nothing", {"user_id": ["u1"]})


def test_wrong_requests_are_refused_before_they_are_sent(client):
    with pytest.raises(ServingError, match=r'has no signature "best".*recommend_allowed'):
        client.predict("retrieval", {"user_id": ["u1"]}, signature="best")
    with pytest.raises(ConfigError, match=r'takes .*Not taken: user_idd.*Did you mean "user_id"'):
        client.predict("retrieval", {"user_idd": ["u1"]})


def test_recommendations_are_those_of_the_session(client, opened):
    for model, served, asked in opened:
        if "recommend" not in asked:
            continue
        inputs = {**asked["recommend"], "exclude": np.array([["i1"]] * 3, object)}
        rows = [
            {
                k: v[at].tolist() if np.ndim(v[at]) else v[at]
                for k, v in inputs.items()
                if k not in WHOLE
            }
            for at in range(3)
        ]
        queries = [{name: value for name, value in row.items() if name != "exclude"} for row in rows]
        more = {"n_candidates": 6} if "n_candidates" in inputs else {}
        lists = client.recommend(queries, 3, release=model.parent.name, exclude=["i1"], **more)
        expected = served.ask("recommend", **inputs)["candidate_ids"]
        assert [one.item_ids for one in lists] == [[i.decode() for i in row if i] for row in expected]


# The encodings of REST, whatever the client does


def post(server, path, body):
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    answer = urllib3.request("POST", server.rest + path, body=content, retries=False)
    return answer.status, json.loads(answer.data)


@pytest.mark.slow
def test_rows_and_columns_give_the_same(server, opened):
    for model, served, asked in opened:
        for name, inputs in asked.items():
            path = f"/v1/models/{model.parent.name}:predict"
            columns = {key: values.tolist() for key, values in inputs.items()}
            status, found = post(server, path, {"signature_name": name, "inputs": columns})
            assert status == 200, found
            if any(
                key in WHOLE for key in inputs
            ):  # rows have no place for what belongs to all of them
                continue
            rows = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
            status, other = post(server, path, {"signature_name": name, "instances": rows})
            assert status == 200, other
            outputs = found["outputs"]
            if len(served.signatures[name].outputs) == 1:
                assert other["predictions"] == outputs
            else:
                assert other["predictions"] == [
                    dict(zip(outputs, row, strict=True)) for row in zip(*outputs.values(), strict=True)
                ]


@pytest.mark.parametrize(
    ("body", "message"),
    [
        pytest.param(b"", "The document is empty", id="empty"),
        pytest.param(b"{", "JSON Parse error", id="open"),
        ({}, "Missing 'inputs' or 'instances' key"),
        ({"inputs": {}, "instances": []}, "only  one of 'inputs' or 'instances'"),
        ({"instances": []}, "No values in 'instances'"),
        ({"inputs": {}}, "Missing named input"),
        ({"signature_name": "best", "inputs": {}}, 'signature name: "best" not found'),
        ({"instances": [{"item_id": "i1"}, {"no": "i1"}]}, "Failed to process element: "),
    ],
)
def test_malformed_requests_are_bad_requests(server, body, message):
    status, found = post(server, "/v1/models/candidate:predict", body)
    assert status == 400
    assert message in found["error"]


def test_unknown_places_have_their_status(server):
    assert post(server, "/v1/models/nothing:predict", {"inputs": {}})[0] == 404
    assert post(server, "/v1/models/candidate:guess", {"inputs": {}})[0] == 400


# The double itself


def test_the_double_serves_the_largest_version_and_pinned_ones(tiny_root, tmp_path):
    for version in ("1", "3", "21"):
        (tmp_path / "query" / version).parent.mkdir(exist_ok=True)
        (tmp_path / "query" / version).symlink_to(tiny_root / "query" / "1")
    for name in ("latest", ".unfinished", "7x"):
        (tmp_path / "query" / name).mkdir()
    config = config_of(tiny_root)
    (query,) = (one for one in config.model_config_list.config if one.name == "query")
    query.base_path = str(tmp_path / "query")
    double = Double(config)
    try:
        with Client(double.url, server="tf_serving") as client:
            assert client.versions("query") == [21]
            query.model_version_policy.specific.versions.extend([1, 3])
            query.version_labels["stable"] = 1
            assert client.versions("query") == [1, 3]
        status, found = post(
            Server(double.url, None, tmp_path), "/v1/models/query/labels/new:predict", {"inputs": {}}
        )
        assert (status, found) == (400, {"error": "Unrecognized servable version label: new"})
    finally:
        double.close()


@pytest.fixture
def faulty(repeating_root, monkeypatch):
    """A double whose faults are queued, and what the client slept."""
    double, slept = Double(config_of(repeating_root)), []
    monkeypatch.setattr(retries, "sleep", slept.append)
    yield double, slept
    double.close()


@pytest.mark.parametrize("way", ["rest", "grpc"])
@pytest.mark.parametrize("code", [Code.UNAVAILABLE, Code.RESOURCE_EXHAUSTED])
def test_a_busy_server_is_asked_again(faulty, way, code):
    double, slept = faulty
    double.faults += [(ServerError(code, "The batch scheduling queue is full"), None)] * 2
    address = double.url if way == "rest" else f"grpc://{double.address}"
    with Client(address, server="tf_serving", timeout_seconds=60, token="secret") as client:
        assert "recommend" in client.signatures("retrieval")
    assert len(slept) == 2
    headers = [{name.lower(): value for name, value in seen.items()} for _, seen in double.seen]
    assert [one["authorization"] for one in headers] == ["Bearer secret"] * 3


@pytest.mark.parametrize("way", ["rest", "grpc"])
@pytest.mark.parametrize(
    ("code", "attempts", "error"),
    [
        (Code.UNAVAILABLE, 1, NotReadyError),
        (Code.RESOURCE_EXHAUSTED, 1, QueueFullError),
        (Code.DEADLINE_EXCEEDED, 4, DeadlineError),
        (Code.INVALID_ARGUMENT, 4, ServingError),
    ],
)
def test_refusals_are_told_by_their_class(faulty, way, code, attempts, error):
    double, slept = faulty
    double.faults.append((ServerError(code, "of this server"), None))
    address = double.url if way == "rest" else f"grpc://{double.address}"
    client = Client(address, server="tf_serving", timeout_seconds=60, attempts=attempts)
    with client, pytest.raises(error, match="of this server") as told:
        client.signatures("retrieval")
    assert type(told.value) is error
    assert address in str(told.value)
    assert (slept, len(double.seen)) == ([], 1)


def test_nobody_at_a_grpc_address_is_said_so(faulty):
    double, _ = faulty
    double.close()
    client = Client(f"grpc://{double.address}", timeout_seconds=20, attempts=2)
    with client, pytest.raises(NotReadyError, match=f"grpc://{double.address}.*Check the address"):
        client.versions("retrieval")


def test_batching_takes_the_default_signature_and_no_scalars(numbers_root):
    """So `tfrecall deploy --batching` turns off warm-up, whose records ask for every signature."""
    for model, _, asked in open_models(numbers_root):
        for name, inputs in asked.items():
            if any(key in WHOLE for key in inputs):
                with pytest.raises(ServerError, match="at least one dimension"):
                    check_batchable(inputs)
            else:
                check_batchable(inputs)
                assert name not in ("recommend", "recommend_allowed")
        if model.parent.name in ("retrieval", "ranker", "pipeline"):
            records = [inputs for _, inputs in warm_up_requests(model)]
            with pytest.raises(ServerError):
                list(map(check_batchable, records))


def test_the_double_writes_bytes_in_base64():
    from tests.serving import double_json

    outputs = {"a_bytes": np.array([b"\xff"], object), "b": np.array([0.1], np.float32)}
    rows = json.loads(double_json.response(outputs, as_rows=True))
    assert rows == {"predictions": [{"a_bytes": {"b64": "/w=="}, "b": 0.1}]}
