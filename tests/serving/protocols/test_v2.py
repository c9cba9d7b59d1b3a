"""The Open Inference Protocol over HTTP: lists of the release, tensors in JSON and in binary."""

import json
import struct

import numpy as np
import pytest

import tfrecall as tr
from tfrecall.serving.protocols.v2 import HEADER

USERS = {"name": "user_id", "datatype": "BYTES", "shape": [2], "data": ["u1", "u2"]}


def infer(client, *inputs, path="item_cf", **more):
    answer = client.post(f"/v2/models/{path}/infer", json={"inputs": inputs, **more})
    return answer.status_code, answer.json()


def outputs(answer) -> dict[str, np.ndarray]:
    return {one["name"]: np.array(one["data"]).reshape(one["shape"]) for one in answer["outputs"]}


def test_lists_are_those_of_the_release_for_its_users(client, item_cf):
    expected = tr.load(item_cf).recommend(["u1", "u2"], k=4)
    status, answer = infer(client, USERS, id="7", parameters={"k": 4})
    assert status == 200
    assert {key: answer[key] for key in ("id", "model_name", "model_version")} == {
        "id": "7",
        "model_name": "item_cf",
        "model_version": "1",
    }
    assert [one["datatype"] for one in answer["outputs"]] == ["BYTES", "FP32", "BOOL"]
    found = outputs(answer)
    assert found["candidate_ids"].tolist() == [one.item_ids for one in expected]
    assert found["scores"].tolist() == [one.scores for one in expected]
    assert found["known"].tolist() == [True, True]


def test_histories_exclusions_and_allowed_items_are_inputs(client, item_cf):
    history = {"name": "history", "datatype": "BYTES", "shape": [2, 2], "data": ["i1", "i2", "", "i3"]}
    exclude = {"name": "exclude", "datatype": "BYTES", "shape": [2, 1], "data": [["i4"], [""]]}
    allow = {
        "name": "allow",
        "datatype": "BYTES",
        "shape": [6],
        "data": [f"i{n}" for n in range(4, 10)],
    }
    status, answer = infer(client, history, exclude, allow, parameters={"k": 3, "exclude_seen": False})
    assert status == 200
    release = tr.load(item_cf)
    options = {"k": 3, "exclude_seen": False, "allow": allow["data"]}
    first = release.recommend([{"history": ["i1", "i2"]}], exclude=["i4"], **options)[0]
    second = release.recommend([{"history": ["i3"]}], **options)[0]
    assert outputs(answer)["candidate_ids"].tolist() == [first.item_ids, second.item_ids]
    assert "id" not in answer


def test_short_lists_are_padded(client):
    """With null for -inf, which JSON does not have, to the longest list."""
    exclude = {"name": "exclude", "datatype": "BYTES", "shape": [2, 1], "data": ["i1", "i2"]}
    allow = {"name": "allow", "datatype": "BYTES", "shape": [1], "data": ["i1"]}
    history = {"name": "history", "datatype": "BYTES", "shape": [2, 1], "data": ["i3", "i3"]}
    status, answer = infer(client, history, exclude, allow)
    assert status == 200
    assert outputs(answer)["candidate_ids"].tolist() == [[""], ["i1"]]
    assert outputs(answer)["scores"][0].tolist() == [None]
    status, answer = infer(client, USERS, {**allow, "data": ["not there"]})
    assert status == 200
    assert [one["shape"] for one in answer["outputs"]] == [[2, 0], [2, 0], [2]]


def test_fallbacks_are_marked(client):
    """The model has no item for a user without events: popular ones stand in, and the answer says so."""
    status, answer = infer(client, {**USERS, "data": ["u1", "nobody"]})
    assert (status, answer["parameters"]) == (200, {"fallback": "unknown_user"})
    assert "parameters" not in infer(client, USERS)[1]


@pytest.mark.parametrize(
    "user",
    [
        {"shape": [1, 1], "datatype": "BYTES", "data": [["u1"]]},
        {"shape": [1], "datatype": "BYTES", "data": ["u1"]},
    ],
)
def test_a_column_may_come_as_a_column_of_a_table(client, user):
    status, answer = infer(client, {"name": "user_id", **user})
    assert (status, outputs(answer)["known"].tolist()) == (200, [True])


def test_outputs_are_selected(client):
    status, answer = infer(client, USERS, outputs=[{"name": "scores"}])
    assert (status, [one["name"] for one in answer["outputs"]]) == (200, ["scores"])


def test_tensors_in_binary(client):
    """Three lengths: of the JSON, of the input, and before each text; the output of the same form."""
    raw = b"".join(struct.pack("<I", len(user)) + user for user in (b"u1", b"u2"))
    user = {**USERS, "parameters": {"binary_data_size": len(raw)}}
    del user["data"]
    wanted = [
        {"name": "candidate_ids", "parameters": {"binary_data": True}},
        {"name": "scores", "parameters": {"binary_data": True}},
        {"name": "known"},
    ]
    head = json.dumps({"inputs": [user], "outputs": wanted, "parameters": {"k": 2}}).encode()
    answer = client.post(
        "/v2/models/item_cf/infer", content=head + raw, headers={HEADER: str(len(head))}
    )
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "application/octet-stream"
    size = int(answer.headers[HEADER])
    ids, scores, known = json.loads(answer.content[:size])["outputs"]
    assert known["data"] == [True, True]
    rest = answer.content[size:]
    lengths = [one["parameters"]["binary_data_size"] for one in (ids, scores)]
    assert len(rest) == sum(lengths)
    _, plain = infer(client, USERS, parameters={"k": 2})
    expected = outputs(plain)
    found = np.frombuffer(rest[lengths[0] :], "<f4").reshape(scores["shape"])
    assert found.tolist() == expected["scores"].tolist()
    texts, place = [], 0
    while place < lengths[0]:
        (length,) = struct.unpack_from("<I", rest, place)
        texts.append(rest[place + 4 : place + 4 + length].decode())
        place += 4 + length
    assert texts == expected["candidate_ids"].ravel().tolist()


@pytest.mark.parametrize(
    ("header", "size", "message"),
    [
        ("x", 6, HEADER),
        ("999999", 6, HEADER),
        (None, 5, "no input"),
        (None, 7, "bytes that are left"),
        (None, -1, "bytes that are left"),
        (None, "6", "bytes that are left"),
    ],
)
def test_binary_sizes_that_do_not_add_up_are_refused(client, header, size, message):
    user = {"name": "user_id", "datatype": "BYTES", "shape": [1]}
    head = json.dumps({"inputs": [{**user, "parameters": {"binary_data_size": size}}]}).encode()
    raw = b"\x02\x00\x00\x00u1"
    answer = client.post(
        "/v2/models/item_cf/infer", content=head + raw, headers={HEADER: header or str(len(head))}
    )
    assert answer.status_code == 400
    if size != 5:  # the text that ends early is seen first
        assert message in answer.json()["error"]


@pytest.mark.parametrize(
    ("tensor", "message"),
    [
        ({"name": "usr_id"}, 'Did you mean "user_id"?'),
        ({"datatype": "TEXT"}, "no datatype"),
        ({"datatype": "FP32", "data": [1, 2]}, "Received: FP32"),
        ({"datatype": "INT64"}, "numbers are wanted"),
        ({"data": [1, 2]}, "texts are wanted"),
        ({"shape": [3]}, "do not fill the shape [3]"),
        ({"shape": [-2]}, "do not fill the shape [-2]"),
        ({"shape": [1, 2]}, "has the shape [-1]. Received: [1, 2]"),
        ({"shape": [2**62, 2**62]}, "do not fill"),
        ({"datatype": "INT8", "data": [1, 300]}, "does not hold values of INT8"),
        ({"datatype": "BYTES", "data": [None, "u1"]}, "texts are wanted"),
    ],
)
def test_tensors_that_do_not_fit_are_refused(client, tensor, message):
    status, answer = infer(client, {**USERS, **tensor})
    assert status == 400
    assert message in answer["error"]


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"parameters": {"K": 3}}, 'no parameter "K"'),
        ({"parameters": {"k": "3"}}, "`k` is of type int"),
        ({"parameters": {"k": True}}, "`k` is of type int"),
        ({"parameters": {"k": 0}}, "k"),
        ({"parameters": {"index": "annoi"}}, "annoi"),
        ({"parameters": {"n_candidates": 3}}, "no pipeline"),
        ({"outputs": [{"name": "score"}]}, 'Did you mean "scores"?'),
        ({"inputs": []}, "No column"),
        ({"inputs": [USERS, USERS]}, "given twice"),
        ({"inputs": "u1"}, "right form"),
    ],
)
def test_requests_that_do_not_fit_are_refused(client, more, message):
    answer = client.post("/v2/models/item_cf/infer", json={"inputs": [USERS], **more})
    assert answer.status_code == 400
    assert message in answer.json()["error"]


def test_numbers_stand_for_ids(client):
    """INT64 [n], as clients hold ids; there is no user 42, and that is no error."""
    user = {"name": "user_id", "datatype": "INT64", "shape": [1], "data": [42]}
    status, answer = infer(client, user)
    assert (status, outputs(answer)["known"].tolist()) == (200, [False])


def test_server_and_models_are_described(client):
    assert client.get("/v2").json()["name"] == "tfrecall"
    assert client.get("/v2/health/live").json() == {"live": True}
    assert client.get("/v2/health/ready").json() == {"ready": True}
    assert client.get("/v2/models/item_cf/versions/1/ready").json() == {
        "name": "item_cf",
        "ready": True,
    }
    found = client.get("/v2/models/item_cf").json()
    assert (found["versions"], found["platform"]) == (["1"], "tfrecall")
    assert {"name": "history", "datatype": "BYTES", "shape": [-1, -1]} in found["inputs"]
    assert [one["name"] for one in found["outputs"]] == ["candidate_ids", "scores", "known"]


@pytest.mark.parametrize("path", ["item_c", "item_cf/versions/2"])
def test_what_is_not_served_is_404(client, path):
    for answer in (
        client.get(f"/v2/models/{path}"),
        client.get(f"/v2/models/{path}/ready"),
        client.post(f"/v2/models/{path}/infer", json={"inputs": [USERS]}),
    ):
        assert answer.status_code == 404
        assert isinstance(answer.json()["error"], str)


def test_a_service_that_ends_is_alive_and_not_ready(client):
    service = client.app.state.service
    service.ready = False
    try:
        assert client.get("/v2/health/live").status_code == 200
        assert client.get("/v2/health/ready").status_code == 503
        assert client.get("/v2/models/item_cf/ready").json()["ready"] is False
    finally:
        service.ready = True
