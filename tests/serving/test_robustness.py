"""Requests that nobody should send: each is answered, none with a status of the service's own failure."""

import json

import pytest
from fastapi.testclient import TestClient

from tfrecall.serving.app import create_app
from tfrecall.serving.config import ServingConfig

JSON = {"Content-Type": "application/json"}
ROUTES = ("/v1/recommend", "/v1/recommend:batch", "/v1/similar", "/v1/rank", "/v1/events")


@pytest.fixture(scope="module")
def client(item_cf, tmp_path_factory):
    events = tmp_path_factory.mktemp("events")
    config = ServingConfig({"item_cf": item_cf}, events=events, max_body=1 << 22)
    with TestClient(create_app(config)) as client:
        yield client


def send(client, body, path="/v1/recommend"):
    answer = client.post(path, content=body, headers=JSON)
    assert answer.status_code < 500, answer.text
    assert len(answer.content) < 20_000
    if answer.status_code != 200:
        assert set(answer.json()["error"]) == {"code", "message", "request_id"}
    return answer


@pytest.mark.parametrize("path", ROUTES)
@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"null",
        b"[]",
        b"42",
        b'"text"',
        b'{"k": NaN}',
        b'{"features": {"age": Infinity}}',
        b"\xff\xfe\x00",
        b'{"user_id": "\xff"}',
        b'{"user_id": "\xed\xa0\x80"}',  # a surrogate in UTF-8
        b'{"k": 1e400}',
        b"[" * 100_000,
        b'{"features":' * 50_000,
    ],
    ids=range(14),
)
def test_what_is_no_request_is_refused(client, path, body):
    assert send(client, body, path).status_code == 400


@pytest.mark.parametrize("key", ["user_id", "features", "history", "k", "exclude", "allow", "columns"])
@pytest.mark.parametrize("value", [True, 1.5, [1], {"a": [{}]}, [[]], "", "\x00", -1, 10**30])
def test_values_of_wrong_types_do_no_harm(client, key, value):
    send(client, json.dumps({"user_id": "u1", key: value}).encode())


@pytest.mark.parametrize("escape", ["\\ud800", "\\udfff", "\\ud800\\ud800", "\\u0000"])
@pytest.mark.parametrize("key", ["user_id", "release", "index"])
def test_lone_surrogates_and_nul_do_no_harm(client, key, escape):
    send(client, f'{{"{key}": "{escape}"}}'.encode())


@pytest.mark.parametrize("features", [{"user_id": None}, {"user_id": []}, {"age": 1e308}, {"": ""}])
def test_features_that_no_model_has_do_no_harm(client, features):
    send(client, json.dumps({"features": features}).encode())


def test_id_of_a_megabyte_is_an_unknown_user(client):
    answer = client.post("/v1/recommend", json={"user_id": "x" * 1_000_000, "k": 3})
    assert answer.status_code == 200
    assert not answer.json()["known"]


def test_name_of_a_megabyte_is_not_repeated_in_whole(client):
    for body in ({"x" * 1_000_000: 1}, {"release": "x" * 1_000_000}, {"index": "x" * 1_000_000}):
        answer = client.post("/v1/recommend", json=body)
        assert answer.status_code in (400, 404)
        assert len(answer.content) < 5_000
    assert len(client.post("/v1/similar", json={"item_id": "x" * 1_000_000}).content) < 5_000


def test_ten_thousand_excluded_items(client):
    excluded = [f"none{i}" for i in range(10_000)]
    answer = client.post("/v1/recommend", json={"user_id": "u1", "k": 3, "exclude": excluded})
    assert answer.status_code in (200, 400)
    if answer.status_code == 200:
        assert len(answer.json()["items"]) == 3


def test_of_a_field_given_twice_the_last_counts(client):
    assert len(send(client, b'{"user_id": "u1", "k": 9, "k": 2}').json()["items"]) == 2


def test_service_answers_as_before(client):
    assert len(client.post("/v1/recommend", json={"user_id": "u1", "k": 3}).json()["items"]) == 3
