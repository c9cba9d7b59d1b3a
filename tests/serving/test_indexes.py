"""A service over a release with another index than Annoy's."""

import shutil

import pytest
from fastapi.testclient import TestClient

from tfrecall.errors import ConfigError
from tfrecall.index import Faiss
from tfrecall.release import load
from tfrecall.release.reindex import reindex
from tfrecall.serving.app import create_app
from tfrecall.serving.config import ServingConfig
from tfrecall.serving.explore import Explorer

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def root(tiny_root, tmp_path_factory):
    root = shutil.copytree(tiny_root, tmp_path_factory.mktemp("indexes") / "tiny")
    reindex(root, Faiss(tune_k=5), storage="bfloat16")
    return root


def test_the_page_is_told_which_indexes_there_are(root, tiny_root, rating_root):
    names = [Explorer(load(one)).facts()["indexes"] for one in (root, tiny_root, rating_root)]
    assert names == [["exact", "faiss"], ["exact", "annoy"], ["exact"]]


def test_requests_choose_among_the_indexes_of_the_release(root):
    with TestClient(create_app(ServingConfig({"tiny": root}, index="faiss"))) as client:

        def ask(**body):
            return client.post("/v1/recommend", json={"user_id": "u1", "k": 3, **body})

        chosen, exact, missing = ask(), ask(index="exact"), ask(index="annoy")
    (expected,) = load(root, version=1).recommend(["u1"], 3)
    assert [item["item_id"] for item in exact.json()["items"]] == expected.item_ids
    assert len(chosen.json()["items"]) == 3
    assert missing.status_code == 400
    assert "Choose one of: exact, faiss." in missing.json()["error"]["message"]


def test_an_index_that_is_not_there_is_refused_when_the_service_starts(root):
    with (
        pytest.raises(ConfigError, match=r'no index "annoy"'),
        TestClient(create_app(ServingConfig({"tiny": root}, index="annoy"))),
    ):
        pass
