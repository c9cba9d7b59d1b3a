"""The service as a process: its start, its signals, its workers."""

import signal

import pytest

from tests.serving.running import running

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("workers", [1, 2])
def test_sigterm_ends_with_status_0(item_cf, workers):
    with running(item_cf, "--workers", workers) as service:
        answer = service.post("/v1/recommend", {"user_id": "u1", "k": 3})
        assert answer.status == 200
        assert len(answer.body["items"]) == 3
        service.process.send_signal(signal.SIGTERM)
        assert service.process.wait(20) == 0, service.log.read_text()


@pytest.mark.parametrize("workers", [1, 2])
def test_release_that_cannot_be_loaded_ends_the_service_with_its_reason(tmp_path, workers):
    with running(tmp_path, "--workers", workers, ready=False) as service:
        assert service.process.wait(20) == 1
        assert "Error: " in service.log.read_text()
