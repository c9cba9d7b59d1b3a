"""The REST API over a baseline's release, which needs no TensorFlow."""

import pytest

import tfrecall as tr
from tfrecall.serving.app import create_app
from tfrecall.serving.config import ServingConfig


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    log = tr.data.synthetic(n_users=50, n_items=30, n_rows=600)
    return tr.export(tr.ItemCF().fit(log), tmp_path_factory.mktemp("release") / "item_cf").root


@pytest.fixture(scope="module")
def client(root):
    from fastapi.testclient import TestClient

    with TestClient(create_app(ServingConfig({"item_cf": root}))) as client:
        yield client


def test_answers_are_those_of_the_release(client, root):
    answer = client.post("/v1/recommend", json={"user_id": "u1", "k": 5}).json()
    expected = tr.load(root).recommend(["u1"], k=5)[0]
    assert [item["item_id"] for item in answer["items"]] == expected.item_ids
    assert [item["score"] for item in answer["items"]] == expected.scores
    assert (answer["release"], answer["version"], answer["known"]) == ("item_cf", 1, True)


def test_errors_have_a_status_a_code_and_a_sentence(client):
    answer = client.post("/v1/recommend", json={"usr_id": "u1"})
    assert answer.status_code == 400
    assert answer.json()["error"]["code"] == "bad_request"
    assert 'Did you mean "user_id"?' in answer.json()["error"]["message"]
