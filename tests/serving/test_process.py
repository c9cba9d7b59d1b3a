"""The service as a process: its start, its signals, its workers."""

import http.client
import json
import os
import shutil
import signal
import time

import psutil
import pytest

import tfrecall as tr
from tests.serving.running import PATIENCE_SECONDS, running
from tfrecall.serving.process import ACCEPTS, doors, listen

ASK = '{"user_id": "u1", "k": 3}'

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("workers", [1, 2])
def test_release_that_cannot_be_loaded_ends_the_service_with_its_reason(item_cf, tmp_path, workers):
    damaged = shutil.copytree(item_cf, tmp_path / "damaged")
    largest = max(damaged.rglob("*.np*"), key=lambda file: file.stat().st_size)
    largest.write_bytes(largest.read_bytes()[:-8])
    with running(damaged, "--workers", workers, ready=False) as service:
        assert service.process.wait(PATIENCE_SECONDS) == 1
        told = service.log.read_text()
        assert "Error: " in told
        assert "Traceback" not in told


def test_end_is_not_ready_answers_what_comes_and_closes_connections(item_cf):
    """SIGTERM to one process, which ends with status 0, too."""
    with running(item_cf, "--workers", 1, "--drain-seconds", 8) as service:
        before = service.post("/v1/recommend", {"user_id": "u1", "k": 3})
        assert (before.status, len(before.body["items"])) == (200, 3)
        connection = http.client.HTTPConnection(service.url.removeprefix("http://"))
        service.process.send_signal(signal.SIGTERM)
        assert wait_for(lambda: not service.is_ready())
        assert service.get("/health/ready").status == 503
        assert service.get("/health/live").status == 200
        connection.request("POST", "/v1/recommend", ASK, {"Content-Type": "application/json"})
        answer = connection.getresponse()
        assert (answer.status, answer.headers["connection"]) == (200, "close")
        connection.close()
        assert service.process.wait(PATIENCE_SECONDS) == 0, service.log.read_text()


def test_second_signal_ends_at_once(item_cf):
    with running(item_cf, "--drain-seconds", 600) as service:
        service.process.send_signal(signal.SIGTERM)
        assert wait_for(lambda: not service.is_ready())  # two that come at the same time are one
        service.process.send_signal(signal.SIGTERM)
        assert service.process.wait(PATIENCE_SECONDS) == 128 + signal.SIGTERM


def test_interrupt_ends_without_waiting(item_cf):
    with running(item_cf, "--drain-seconds", 600) as service:
        service.process.send_signal(signal.SIGINT)
        assert service.process.wait(PATIENCE_SECONDS) == 0


def test_worker_that_dies_is_replaced_and_none_outlives_its_parent(item_cf):
    with running(item_cf, "--workers", 2) as service:
        first = workers_of(service)
        assert len(first) == 2
        first[0].kill()
        assert wait_for(lambda: len(set(workers_of(service)) - set(first)) == 1)
        service.wait_until_ready()
        assert service.post("/v1/recommend", json.loads(ASK)).status == 200
        left = workers_of(service)
        service.process.kill()
        assert wait_for(lambda: not any(map(runs, left)))


def test_workers_share_the_arrays_of_a_release_and_end_with_status_0(tmp_path):
    # 3,000 items, 60,000 events: similarities of 2.3 MB.
    log = tr.data.synthetic(n_users=3000, n_items=3000, n_rows=60_000)
    root = tr.export(tr.ItemCF().fit(log), tmp_path / "wide").root
    [file] = root.rglob("similarity_data.npy")
    users = [{"user_id": f"u{i}", "k": 1} for i in range(1, 1000)]
    with running(root, "--workers", 2) as service:
        for _ in range(20):  # each on a new connection, so that both answer some
            assert service.post("/v1/recommend:batch", {"requests": users}).status == 200
        maps = [memory_of(one, file) for one in workers_of(service)]
        service.process.send_signal(signal.SIGTERM)
        assert service.process.wait(PATIENCE_SECONDS) == 0, service.log.read_text()
    for resident, proportional, private in maps:
        assert resident > 0.5 * file.stat().st_size
        # A page that two processes map counts half for each.
        assert proportional < 0.7 * resident
        assert private < 0.3 * resident


def memory_of(process, file):
    """Bytes of a mapped file in the memory of a process: all, its proportional share, its own."""
    [found] = [one for one in process.memory_maps(grouped=True) if one.path == str(file)]
    return found.rss, found.pss, found.private_clean + found.private_dirty


def workers_of(service):
    """Processes that answer: children that run uvicorn, without helpers of multiprocessing."""
    children = psutil.Process(service.process.pid).children()
    return [one for one in children if runs(one) and "spawn_main" in " ".join(one.cmdline())]


def runs(process):
    """Whether a process has not ended; one that ended stays a zombie until its parent looks."""
    return process.is_running() and process.status() != psutil.STATUS_ZOMBIE


def wait_for(condition):
    end = time.monotonic() + PATIENCE_SECONDS
    while not (done := condition()) and time.monotonic() < end:
        time.sleep(0.05)
    return done


def test_no_door_of_a_shared_socket_ever_blocks(monkeypatch):
    with listen("127.0.0.1", 0) as bound:
        states = []
        plain = type(bound).dup

        def dup(self):
            made = plain(self)
            states.append(os.get_blocking(self.fileno()))
            return made

        monkeypatch.setattr(type(bound), "dup", dup)
        made = doors(bound)
        assert len(made) == ACCEPTS == len({one.fileno() for one in made})
        assert not any(states)
        assert not any(os.get_blocking(one.fileno()) for one in made)
        for one in made[1:]:
            one.close()
