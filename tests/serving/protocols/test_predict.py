"""TF Serving's REST API over our service: its encodings and codes, and the answers of the SavedModel."""

import base64
import json

import httpx
import numpy as np
import pytest
from fastapi.testclient import TestClient

import tfrecall as tr
from tests.serving.protocols.alike import same
from tfrecall.serving.app import create_app
from tfrecall.serving.config import ServingConfig
from tfrecall.serving.protocols.tensors import columns, signatures

USERS = ["u1", "u2", "nobody"]
OPTIONS = {
    "k": np.int32(3),
    "n_candidates": np.int32(6),
    "exclude": np.array([["i1", ""], ["i3", "i4"], ["", ""]], object),
    "allow": np.array(["i1", "i2", "i3", "i5", "i8", "i9", "not there"], object),
}


def post(client, body, path="item_cf"):
    answer = client.post(f"/v1/models/{path}:predict", json=body)
    return answer.status_code, answer.json()


def inputs(release) -> dict[str, np.ndarray]:
    """All inputs of all signatures, with histories that are padded in the middle, too."""
    found = release.users.build_queries(USERS).features
    for name in found:
        if release.users.forms[name] == "strings":
            found[name] = np.concatenate([np.full((len(USERS), 1), "", object), found[name]], axis=1)
    history = np.array([["i2", "", "i7"], ["i9", "", ""], ["", "", ""]], object)
    return {"history": history, **found, **OPTIONS}


KINDS = [
    "tiny_root",
    *(
        pytest.param(root, marks=pytest.mark.slow)
        for root in (
            "repeating_root",
            "history_root",
            "context_root",
            "interest_root",
            "pipeline_root",
            "numbers_root",
        )
    ),
]


@pytest.fixture(params=KINDS, scope="module")
def both(request):
    """A release, its name, our service and a stand-in of TF Serving for it."""
    pytest.importorskip("tensorflow_serving")
    from tests.serving.double import Double, config_of

    release = tr.load(request.getfixturevalue(request.param))
    name = "pipeline" if release.manifest["kind"] == "pipeline" else "retrieval"
    double = Double(config_of(release.root))
    app = create_app(ServingConfig({name: release.root}))
    with TestClient(app) as ours, httpx.Client(base_url=double.url) as theirs:
        yield release, name, ours, theirs
    double.close()


@pytest.mark.slow
def test_a_client_of_tf_serving_gets_the_same_from_both(both):
    release, name, ours, theirs = both
    path = f"/v1/models/{name}"
    assert ours.get(path).json() == theirs.get(path).json()
    assert definitions(ours, path) == definitions(theirs, path)
    values = inputs(release)
    for signature, spec in signatures(release).items():
        given = {key: np.asarray(values[key]).tolist() for key in spec.inputs}
        bodies = [{"signature_name": signature, "inputs": given}]
        if "k" not in given:
            rows = [dict(zip(given, row, strict=True)) for row in zip(*given.values(), strict=True)]
            bodies.append({"signature_name": signature, "instances": rows})
        for body in bodies:
            found, expected = (one.post(f"{path}:predict", json=body) for one in (ours, theirs))
            assert (found.status_code, expected.status_code) == (200, 200), found.text
            same(found.json(), expected.json())


def definitions(client, path):
    """Names, types and ranks of all signatures: sizes that are known stand only in the SavedModel."""
    found = client.get(f"{path}/metadata").json()["metadata"]["signature_def"]["signature_def"]
    return {
        signature: {
            side: {
                name: (info["dtype"], len(info["tensor_shape"]["dim"]))
                for name, info in facts[side].items()
            }
            for side in ("inputs", "outputs")
        }
        for signature, facts in found.items()
        if not signature.startswith("__")
    }


@pytest.mark.slow
def test_both_refuse_the_same(both):
    release, name, ours, theirs = both
    path, values = f"/v1/models/{name}", inputs(release)
    given = {key: np.asarray(values[key]).tolist() for key in signatures(release)["recommend"].inputs}
    text = next(key for key, spec in columns(release).items() if spec == ("DT_STRING", (-1,)))
    for change in (
        {"k": "3"},
        {"k": [3]},
        {"k": 0},
        {text: ["u1"]},
        {text: [1, 2, 3]},
        {"exclude": [[""]]},
    ):
        body = {"signature_name": "recommend", "inputs": {**given, **change}}
        codes = [one.post(f"{path}:predict", json=body).status_code for one in (ours, theirs)]
        assert codes == [400, 400], change
    del given[text]
    for body in (
        {"signature_name": "recommend", "inputs": given},
        {"signature_name": "x", "inputs": {}},
        {},
    ):
        codes = [one.post(f"{path}:predict", json=body).status_code for one in (ours, theirs)]
        assert codes == [400, 400], body
    for other in (f"{path}/versions/2", "/v1/models/nothing"):
        assert [one.get(other).status_code for one in (ours, theirs)] == [404, 404]


def test_an_answer_is_that_of_the_release_for_what_the_request_gives(client, item_cf):
    """Nothing stored joins in: u1 has a history, and the empty one is given."""
    release = tr.load(item_cf)
    rows = [{"user_id": "u1", "history": ["i1", "i2"]}, {"user_id": "u2", "history": ["", "i3"]}]
    expected = release.recommend(
        [{"history": ["i1", "i2"]}, {"history": ["i3"]}], k=10, exclude_seen=False
    )
    status, answer = post(client, {"instances": rows})
    assert status == 200
    for row, recommendation in zip(answer["predictions"], expected, strict=True):
        n = len(recommendation.item_ids)
        assert row["candidate_ids"] == recommendation.item_ids + [""] * (10 - n)
        assert np.float32(row["scores"][:n]).tolist() == np.float32(recommendation.scores).tolist()
        assert row["scores"][n:] == [-np.inf] * (10 - n)


def test_bytes_come_as_base64(client):
    encoded = {"b64": base64.b64encode(b"u1").decode()}
    rows = [{"user_id": user, "history": ["i1"]} for user in (encoded, "u1")]
    status, answer = post(client, {"instances": rows})
    assert status == 200
    assert answer["predictions"][0] == answer["predictions"][1]


def test_a_column_that_the_signature_does_not_take_is_ignored(client):
    """As TF Serving does for columns, and not for rows."""
    given = {"user_id": ["u1"], "history": [["i1"]]}
    assert post(client, {"inputs": {**given, "more": 1}}) == post(client, {"inputs": given})


ROW = {"user_id": "u1", "history": ["i1"]}
COLUMNS = {"user_id": ["u1"], "history": [["i1"]]}


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({}, "one of both"),
        ({"inputs": COLUMNS, "instances": [ROW]}, "one of both"),
        ([], "one of both"),
        ({"signature_name": 3, "inputs": COLUMNS}, "`signature_name` is a text"),
        ({"signature_name": "recomend", "inputs": COLUMNS}, 'Did you mean "recommend"?'),
        ({"instances": []}, "at least one"),
        ({"instances": ["u1"]}, "Each of `instances` is an object"),
        ({"instances": [ROW, {"user_id": "u1"}]}, "Received as number 1"),
        ({"instances": [{**ROW, "more": 1}]}, "a value for each of: user_id, history"),
        ({"instances": [ROW, {**ROW, "history": []}]}, "equally long"),
        ({"instances": [{**ROW, "user_id": ["u1"]}]}, '"user_id" is a tensor of shape [any]'),
        ({"inputs": {"user_id": ["u1"]}}, "has no history"),
        ({"inputs": {**COLUMNS, "user_id": [1]}}, "tensor of DT_STRING"),
        ({"inputs": {**COLUMNS, "user_id": "u1"}}, "shape [any]"),
        ({"inputs": {**COLUMNS, "user_id": [{"b64": "*"}]}}, "no base64"),
        ({"inputs": {**COLUMNS, "user_id": [{"b64": "/w=="}]}}, "UTF-8"),
        ({"inputs": {"user_id": ["u1", "u2"], "history": [["i1"]]}}, "rows: user_id 2, history 1"),
        (
            {"signature_name": "recommend", "inputs": {**COLUMNS, "k": 0, "exclude": [[]]}},
            "numbers from 1",
        ),
        (
            {"signature_name": "recommend", "inputs": {**COLUMNS, "k": 2.5, "exclude": [[]]}},
            "tensor of DT_INT32",
        ),
        (
            {"signature_name": "recommend", "inputs": {**COLUMNS, "k": True, "exclude": [[]]}},
            "tensor of DT_INT32",
        ),
        (
            {"signature_name": "recommend", "inputs": {**COLUMNS, "k": 2**31, "exclude": [[]]}},
            "tensor of DT_INT32",
        ),
        (
            {"signature_name": "recommend", "inputs": {**COLUMNS, "k": 1, "exclude": [[], []]}},
            "exclude 2",
        ),
        (
            {"signature_name": "recommend", "instances": [{**ROW, "k": 1, "exclude": []}]},
            '"k" is a tensor of shape []',
        ),
    ],
)
def test_what_the_server_refuses_is_refused_with_a_sentence(client, body, message):
    status, answer = post(client, body)
    assert status == 400
    assert message in answer["error"]


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[" * 100_000, b"\xff"], ids=["empty", "open", "deep", "no text"]
)
def test_a_body_that_is_no_json_is_refused(client, body):
    answer = client.post("/v1/models/item_cf:predict", content=body)
    assert answer.status_code == 400
    assert isinstance(answer.json()["error"], str)


def test_k_beyond_the_catalogue_gives_all(client, item_cf):
    asked = {**COLUMNS, "k": 1000, "exclude": [[""]]}
    status, answer = post(client, {"signature_name": "recommend", "inputs": asked})
    assert status == 200
    assert len(answer["outputs"]["scores"][0]) == len(tr.load(item_cf).item_ids)


def test_status_and_metadata(client):
    assert client.get("/v1/models/item_cf/versions/1").json() == {
        "model_version_status": [
            {
                "version": "1",
                "state": "AVAILABLE",
                "status": {"error_code": "OK", "error_message": ""},
            }
        ]
    }
    found = client.get("/v1/models/item_cf/metadata").json()
    assert found["model_spec"] == {"name": "item_cf", "signature_name": "", "version": "1"}
    definition = found["metadata"]["signature_def"]["signature_def"]["recommend"]
    assert definition["method_name"] == "tensorflow/serving/predict"
    assert list(definition["inputs"]) == ["k", "exclude", "user_id", "history"]
    assert definition["inputs"]["k"]["tensor_shape"] == {"dim": [], "unknown_rank": False}
    assert [len(one["tensor_shape"]["dim"]) for one in definition["outputs"].values()] == [2, 2]


@pytest.mark.parametrize("path", ["item_c", "item_cf/versions/2", "item_cf/versions/x"])
def test_what_is_not_served_is_404(client, path):
    for answer in (
        client.get(f"/v1/models/{path}"),
        client.get(f"/v1/models/{path}/metadata"),
        client.post(f"/v1/models/{path}:predict", json={"inputs": COLUMNS}),
    ):
        assert answer.status_code == 404
        assert isinstance(answer.json()["error"], str)


def test_the_queue_bounds_rows(item_cf):
    """Rows are requests to the batcher: more than may wait are refused as a whole."""
    config = ServingConfig({"item_cf": item_cf}, max_waiting=4)
    with TestClient(create_app(config)) as client:
        status, answer = post(client, {"instances": [ROW] * 50})
        assert (status, "wait already" in answer["error"]) == (429, True)
        assert post(client, {"instances": [ROW] * 3})[0] == 200


def test_a_ranker_has_no_lists(rating_root):
    with TestClient(create_app(ServingConfig({"ratings": rating_root}))) as client:
        status, answer = post(client, {"inputs": {}}, "ratings")
        assert status == 400
        assert "/v1/rank" in json.dumps(answer)
