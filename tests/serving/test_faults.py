"""What must not be lost: requests while versions change, signals come, and processes are killed."""

import asyncio
import json
import shutil
import signal
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from pathlib import Path

import pytest

import tfrecall as tr
from benchmarks.http_load import Load
from tests.serving.running import PATIENCE_SECONDS, running
from tfrecall.release.layout import make_current
from tfrecall.serving.config import ServingConfig
from tfrecall.serving.requests import RecommendRequest
from tfrecall.serving.service import Service


@pytest.fixture
def two_versions(item_cf, log, tmp_path):
    """A release whose version 1 is current, and version 2 of another model published."""
    root = Path(shutil.copytree(item_cf, tmp_path / "movies"))
    tr.export(tr.Popularity().fit(log), root)
    make_current(root, 1)
    return root


def lists_of(root, version):
    release = tr.load(root, version)
    users = [f"u{n}" for n in range(50)]
    return dict(zip(users, (a.item_ids for a in release.recommend(users, 5)), strict=True))


class Answered(Load):
    """Load that keeps the answers.

    Attributes:
        answers: bodies, in the order in which they came.
        versions: the versions that have answered, each once in a row.
    """

    def __init__(self, url):
        super().__init__(url, [json.dumps({"user_id": f"u{n}", "k": 5}).encode() for n in range(50)])
        self.answers, self.versions = [], []

    def record(self, connection, status):
        super().record(connection, status)
        if status == 200:
            answer = json.loads(connection.received.split(b"\r\n\r\n", 1)[1])
            self.answers.append(answer)
            if self.versions[-1:] != [answer["version"]]:
                self.versions.append(answer["version"])


@pytest.mark.slow
def test_no_request_fails_while_versions_change(two_versions):
    """Ten thousand over HTTP; each answer is whole: its list is the one of the version that it names."""
    expected = {version: lists_of(two_versions, version) for version in (1, 2)}
    changes = [2, 1] * 4

    async def publish(load):
        for version in changes:
            seen = len(load.answers)
            while len(load.answers) < seen + 500:
                await asyncio.sleep(0.005)
            await asyncio.to_thread(make_current, two_versions, version)
            while load.versions[-1] != version:
                await asyncio.sleep(0.005)

    async def session(load):
        publisher = asyncio.create_task(publish(load))
        # However slow the machine is, there are requests under way at each change.
        while load.sent < 10_000 or not publisher.done():
            await load.closed(16, 600, most=load.sent + 500)
        await publisher

    with running(two_versions, "--reload-seconds", 0.05) as service:
        load = Answered(service.url + "/v1/recommend")
        asyncio.run(asyncio.wait_for(session(load), 600))
    assert dict(load.counts) == {200: load.sent}
    assert load.sent >= 10_000
    # Answers of the last call of one version and of the first of the next may be read in any order.
    assert len(load.versions) > len(changes)
    for answer in load.answers:
        assert answer["fallback"] is None
        found = [item["item_id"] for item in answer["items"]]
        assert found == expected[answer["version"]][answer["user_id"]]


def test_no_request_fails_while_versions_change_in_process(two_versions):
    expected = {version: lists_of(two_versions, version) for version in (1, 2)}
    swaps, between = 4, 50  # more requests than are on their way at once

    async def session():
        service = Service(ServingConfig({"movies": two_versions}, reload_seconds=0))
        await service.start()
        numbers, answers, published = count(), [], asyncio.Event()

        async def client():
            # Until the last version is out and asked: requests may be faster than a publication.
            while not published.is_set():
                request = RecommendRequest(user_id=f"u{next(numbers) % 50}", k=5)
                answers.append(await service.recommend(request))

        async def publisher():
            for number in range(swaps):
                version = 2 - number % 2
                await asyncio.to_thread(make_current, two_versions, version)
                await service.refresh()
                wanted = len(answers) + between
                while len(answers) < wanted:
                    await asyncio.sleep(0)
            published.set()

        await asyncio.gather(publisher(), *(client() for _ in range(16)))
        await service.stop()
        return answers

    answers = asyncio.run(session())
    assert len(answers) >= swaps * between
    for answer in answers:
        assert answer.fallback is None
        found = [item.item_id for item in answer.items]
        assert found == expected[answer.version][answer.user_id]
    assert set(Counter(answer.version for answer in answers)) == {1, 2}


def ask_while_ready(service, is_ready, count):
    """Statuses of the answers to requests that are sent while a load balancer would send them here."""
    statuses = Counter()
    while is_ready.is_set():
        statuses[service.post("/v1/recommend", {"user_id": "u1", "k": 3}).status] += 1
        count.release()
    return statuses


def probe(service, is_ready):
    while service.is_ready():
        pass
    is_ready.clear()


@pytest.mark.slow
def test_sigterm_under_load_loses_no_request(item_cf):
    """Load balancers look at the readiness, which falls before the socket is closed."""
    with running(item_cf, "--drain-seconds", 10) as service:
        count, is_ready = threading.Semaphore(0), threading.Event()
        is_ready.set()
        with ThreadPoolExecutor(9) as clients:
            asked = [clients.submit(ask_while_ready, service, is_ready, count) for _ in range(8)]
            for _ in range(100):
                assert count.acquire(timeout=PATIENCE_SECONDS)
            service.process.send_signal(signal.SIGTERM)
            clients.submit(probe, service, is_ready)
            statuses = sum((one.result(PATIENCE_SECONDS) for one in asked), Counter())
        assert service.process.wait(PATIENCE_SECONDS) == 0, service.log.read_text()
    assert set(statuses) == {200}
    assert statuses[200] >= 100


@pytest.mark.slow
def test_events_survive_sigkill_and_count_after_the_restart(item_cf, tmp_path):
    folder = tmp_path / "events"
    acknowledged = []
    with running(item_cf, "--events", folder) as service:
        best = service.post("/v1/recommend", {"user_id": "u1", "k": 3}).body["items"][0]["item_id"]
        for number in range(30):
            event = {"user_id": "u1", "item_id": best if number == 0 else f"new{number}"}
            if service.post("/v1/events", {"events": [event]}).status == 200:
                acknowledged.append(event["item_id"])
        service.process.send_signal(signal.SIGKILL)
        service.process.wait()
    assert len(acknowledged) == 30
    (file,) = folder.glob("*.jsonl")
    with file.open("ab") as stream:
        stream.write(b'{"user_id": "u1", "it')  # a line that the kill cut
    with running(item_cf, "--events", folder) as service:
        items = service.post("/v1/recommend", {"user_id": "u1", "k": 30}).body["items"]
        assert best not in [item["item_id"] for item in items]
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    assert [line["item_id"] for line in lines] == acknowledged


@pytest.mark.slow
def test_two_processes_serve_one_release_and_both_change(two_versions):
    with (
        running(two_versions, "--reload-seconds", 0.1) as one,
        running(two_versions, "--reload-seconds", 0.1) as other,
    ):
        for service in (one, other):
            assert service.post("/v1/recommend", {"user_id": "u1"}).body["version"] == 1
        make_current(two_versions, 2)
        for service in (one, other):
            while service.post("/v1/recommend", {"user_id": "u1"}).body["version"] == 1:
                pass
