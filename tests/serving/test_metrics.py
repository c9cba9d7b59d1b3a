"""Metrics: the promised names, and counts that are those of the requests."""

import asyncio
from time import monotonic

import pytest
from fastapi.testclient import TestClient
from prometheus_client.parser import text_string_to_metric_families

from tests.serving.running import running
from tfrecall.serving.app import create_app
from tfrecall.serving.config import ServingConfig
from tfrecall.serving.metrics import Metrics
from tfrecall.serving.observer import Observer
from tfrecall.serving.recall import RecallSample
from tfrecall.serving.requests import Item, RecommendAnswer, RecommendRequest

ASK = {"user_id": "u1", "k": 3}
NAMES = {
    "tfrecall_requests_total": {"endpoint", "code"},
    "tfrecall_request_duration_seconds_count": {"endpoint"},
    "tfrecall_stage_duration_seconds_count": {"stage"},
    "tfrecall_batch_size_count": set(),
    "tfrecall_queue_depth": set(),
    "tfrecall_queue_wait_seconds_count": set(),
    "tfrecall_release_info": {"name", "version", "checksum"},
    "tfrecall_fallbacks_total": {"reason"},
}


def samples(text):
    """Name and labels -> value."""
    return {
        (sample.name, *sorted(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


@pytest.fixture
def client(item_cf):
    with TestClient(create_app(ServingConfig({"item_cf": item_cf}))) as client:
        yield client


def test_names_are_those_of_the_documentation(client):
    client.post("/v1/recommend", json=ASK)
    client.post("/v1/recommend", json={"user_id": "nobody"})
    labels = {
        name: {label for label, _ in rest} for name, *rest in samples(client.get("/metrics").text)
    }
    assert {name: labels.get(name) for name in NAMES} == NAMES


def test_counts_are_those_of_the_requests(client):
    for _ in range(3):
        client.post("/v1/recommend", json=ASK)
    client.post("/v1/recommend", json={"user_id": "nobody"})
    client.post("/v1/recommend", json={"k": 0})
    client.post("/v1/recommend:batch", json={"requests": [ASK, ASK]})
    for path in ("/a", "/b", "/v1/releases/none"):
        client.get(path)
    told = samples(client.get("/metrics").text)

    def count(name, **labels):
        return told.get((name, *sorted(labels.items())))

    assert count("tfrecall_requests_total", endpoint="/v1/recommend", code="200") == 4
    assert count("tfrecall_requests_total", endpoint="/v1/recommend", code="400") == 1
    assert count("tfrecall_requests_total", endpoint="/v1/recommend:batch", code="200") == 1
    # Paths that clients invent are no labels: two here, and the release is in the path of a route.
    assert count("tfrecall_requests_total", endpoint="other", code="404") == 2
    assert count("tfrecall_requests_total", endpoint="/v1/releases/{name}", code="404") == 1
    assert count("tfrecall_request_duration_seconds_count", endpoint="/v1/recommend") == 5
    # 4 + 1 alone, and 2 of a batch.
    assert count("tfrecall_batch_size_sum") == count("tfrecall_queue_wait_seconds_count") == 7
    assert count("tfrecall_queue_depth") == 0
    assert count("tfrecall_fallbacks_total", reason="unknown_user") == 1


def test_release_info_is_that_of_the_manifest(client, item_cf):
    told = samples(client.get("/metrics").text)
    [(_, *labels)] = [key for key in told if key[0] == "tfrecall_release_info"]
    labels = dict(labels)
    assert (labels["name"], labels["version"], len(labels["checksum"])) == ("item_cf", "1", 64)


class _Heard(Observer):
    def __init__(self):
        self.recalls = []

    def index_recall(self, release, recall):
        self.recalls.append((release, recall))


class _Answerer:
    """Its exact list is a b c d."""

    name = "shop"

    def is_approximate(self, request):
        return request.index == "annoy"

    def recommend(self, requests):
        assert [request.index for request in requests] == ["exact"]
        return [answer(*"abcd")]


def answer(*ids, **facts):
    items = [Item(item_id, 1.0) for item_id in ids]
    return RecommendAnswer(release="shop", version=1, user_id=None, known=True, items=items, **facts)


@pytest.mark.parametrize(
    ("index", "given", "recalls"),
    [
        ("annoy", answer(*"abxd"), [("shop", 0.75)]),  # 3 of 4
        ("annoy", answer(*"abcd", fallback="timeout"), []),
        ("exact", answer(*"abcd"), []),
    ],
)
def test_sampled_lists_of_an_approximate_index_are_compared_with_exact_ones(index, given, recalls):
    heard = _Heard()

    async def offer_three_times():
        sample = RecallSample(heard, seconds=60)
        for _ in range(3):
            sample.offer(_Answerer(), RecommendRequest(index=index), given)
            if sample._task is not None:
                await sample._task

    asyncio.run(offer_three_times())
    assert heard.recalls == recalls  # once, not three times


@pytest.mark.slow
def test_whichever_worker_is_asked_tells_the_sum_of_all(item_cf):
    with running(item_cf, "--workers", 2) as service:
        for _ in range(40):
            assert service.post("/v1/recommend", ASK).status == 200  # each on a new connection
        key = ("tfrecall_requests_total", ("code", "200"), ("endpoint", "/v1/recommend"))
        # A worker counts an answer right after it has written it.
        end = monotonic() + 60
        while samples(service.get("/metrics").body).get(key) != 40:
            assert monotonic() < end
        assert {samples(service.get("/metrics").body)[key] for _ in range(10)} == {40}


def test_refusals_at_the_socket_are_counted_without_times():
    metrics = Metrics()
    metrics.request("/v1/recommend", 200, 0.25)
    metrics.refused("/v1/recommend", 429, 30)
    metrics.refused("/v1/recommend", 429, 12)
    told = samples(metrics.text()[0].decode())
    refused = ("tfrecall_requests_total", ("code", "429"), ("endpoint", "/v1/recommend"))
    assert told[refused] == 42
    timed = ("endpoint", "/v1/recommend")
    assert told["tfrecall_request_duration_seconds_count", timed] == 1
    assert told["tfrecall_request_duration_seconds_sum", timed] == 0.25
