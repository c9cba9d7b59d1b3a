"""Versions in the paths of models: those that are served under any name of their directory, and no others."""

import shutil

import pytest
from fastapi.testclient import TestClient

import tfrecall as tr
from tests.serving.protocols.test_grpc import CODE, call, connected, refused
from tfrecall.serving.app import create_app
from tfrecall.serving.config import ServingConfig

USER = {"name": "user_id", "datatype": "BYTES", "shape": [1], "data": ["u1"]}


@pytest.fixture(scope="module")
def root(log, item_cf, tmp_path_factory):
    """Versions 1, by item_cf, 2 and 3, by popularity."""
    root = tmp_path_factory.mktemp("versions") / "shop"
    shutil.copytree(item_cf, root)
    model = tr.Popularity().fit(log)
    for _ in range(2):
        tr.export(model, root)
    return root


@pytest.fixture(scope="module")
def client(root):
    """Version 3, and version 1 under another name."""
    config = ServingConfig(
        {"shop": root, "before": root}, pins={"before": 1}, grpc_address="127.0.0.1:0"
    )
    with TestClient(create_app(config)) as client:
        yield client


def inferred(client, path):
    answer = client.post(f"/v2/models/{path}/infer", json={"inputs": [USER], "parameters": {"k": 3}})
    assert answer.status_code == 200, answer.text
    body = answer.json()
    assert body["model_name"] == path.partition("/")[0]
    return body["model_version"], body["outputs"][0]["data"]


def predicted(client, path):
    body = {"signature_name": "recommend", "inputs": {"user_id": ["u1"], "k": 3, "exclude": [[]]}}
    body["inputs"]["history"] = [["i1", "i2"]]
    answer = client.post(f"/v1/models/{path}:predict", json=body)
    assert answer.status_code == 200, answer.text
    return answer.json()["outputs"]["candidate_ids"]


def test_each_version_answers_with_its_own_lists(client, root):
    expected = {
        version: tr.load(root, version).recommend(["u1"], k=3)[0].item_ids for version in (1, 3)
    }
    assert expected[1] != expected[3]
    for path, version in (
        ("shop", 3),
        ("shop/versions/3", 3),
        ("shop/versions/1", 1),
        ("before", 1),
        ("before/versions/3", 3),
    ):
        assert inferred(client, path) == (str(version), expected[version])


def test_predictions_are_those_of_the_version(client):
    current, before = predicted(client, "shop"), predicted(client, "before")
    assert current != before
    assert predicted(client, "shop/versions/1") == before
    assert predicted(client, "before/versions/3") == current


def test_all_served_versions_are_listed(client):
    def states(path):
        told = client.get(f"/v1/models/{path}").json()["model_version_status"]
        assert {one["state"] for one in told} == {"AVAILABLE"}
        return [one["version"] for one in told]

    assert (states("shop"), states("before")) == (["3", "1"], ["1", "3"])
    assert states("shop/versions/1") == ["1"]
    assert client.get("/v2/models/shop").json()["versions"] == ["3", "1"]
    assert client.get("/v2/models/shop/versions/1/ready").json() == {"name": "shop", "ready": True}
    spec = client.get("/v1/models/shop/versions/1/metadata").json()["model_spec"]
    assert (spec["name"], spec["version"]) == ("shop", "1")


def test_version_on_disk_alone_is_404_with_the_way_to_serve_it(client):
    for path in ("/v1/models/shop/versions/2", "/v2/models/shop/versions/2"):
        answer = client.get(path)
        assert answer.status_code == 404
        assert "Served: 3, 1;" in answer.json()["error"]
        assert "shop_2=DIRECTORY --pin shop_2=2" in answer.json()["error"]
    never = client.get("/v1/models/shop/versions/9")
    assert never.status_code == 404
    assert "--pin" not in never.json()["error"]


def test_versions_of_other_directories_stay_apart(item_cf, root):
    config = ServingConfig({"shop": root, "other": item_cf})
    with TestClient(create_app(config)) as client:
        assert client.get("/v1/models/shop/versions/1").status_code == 404
        assert client.get("/v2/models/shop").json()["versions"] == ["3"]


def test_calls_by_grpc_find_the_same_versions(client):
    with connected(client) as channel:
        assert list(call(channel, "ModelMetadata", name="shop").versions) == ["3", "1"]
        assert call(channel, "ModelReady", name="shop", version="1").ready
        assert refused(channel, "ModelReady", name="shop", version="2")[0] == CODE.NOT_FOUND
