"""Processes of one machine: all end with the job, however it ends."""

import multiprocessing
import os
import re
import signal
import subprocess
import sys
import time

import psutil
import pytest

from tests.engines import tasks
from tfrecall.engines import Local, local
from tfrecall.errors import ConfigError, EngineError

LIMIT_SECONDS = 300


@pytest.mark.slow
def test_one_process_is_this_one_and_several_are_others():
    assert Local().map(tasks.process, [1, 2], title="Ask") == [os.getpid()] * 2
    # More tasks than processes, so that one process serves several.
    others = set(Local(2).map(tasks.process, range(6), title="Ask"))
    assert os.getpid() not in others
    assert 1 <= len(others) <= 2
    assert not any(psutil.pid_exists(number) for number in others)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("function", "told"),
    [
        (tasks.killed_at_3, r'"Count" stopped at the task 3: its process was ended by signal 9'),
        (tasks.broken_at_3, r'"Count" stopped at the task 3: ZeroDivisionError'),
    ],
)
def test_a_worker_that_dies_or_raises_ends_the_job_and_all_others(function, told):
    before = multiprocessing.active_children()
    # The error is kept: its traceback must not keep the processes.
    with pytest.raises(EngineError, match=told) as kept:
        Local(2).map(function, [1, 2, 3, 4], title="Count")
    left = [child for child in multiprocessing.active_children() if child not in before]
    assert (left, kept.type) == ([], EngineError)


def test_results_and_functions_that_cannot_travel_are_named():
    with pytest.raises(EngineError, match=r'"Make" stopped at the task [12]: .*lambda'):
        Local(2).map(tasks.unportable, [1, 2], title="Make")
    with pytest.raises(ConfigError, match=r"Define it at the top level of a module"):
        Local(2).map(lambda number: number, [1, 2], title="Make")


@pytest.mark.slow
@pytest.mark.parametrize(("cores", "share"), [(8, 4), (2, 1), (1, 1)])
def test_workers_share_the_cores_unless_the_environment_says_otherwise(monkeypatch, cores, share):
    monkeypatch.setattr(local, "_cores", lambda: cores)
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    monkeypatch.delenv("POLARS_MAX_THREADS", raising=False)
    found = Local(2).map(tasks.threads, range(2), title="Ask")
    assert found == [("3", share)] * 2
    assert "POLARS_MAX_THREADS" not in os.environ


@pytest.mark.slow
@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_no_worker_outlives_its_job(tmp_path, sent):
    code = (
        "import pathlib, sys\nfrom tests.engines.tasks import told_and_stuck\n"
        "from tfrecall.engines import Local\n"
        "folder = pathlib.Path(sys.argv[1])\n"
        "Local(2).map(told_and_stuck, [folder, folder], title='Wait')\n"
    )
    job = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)], stderr=subprocess.PIPE, text=True
    )
    try:
        _wait_until(lambda: len(list(tmp_path.glob("*.pid"))) == 2)
        job.send_signal(sent)
        _, errors = job.communicate(timeout=LIMIT_SECONDS)
    finally:
        job.kill()
    workers = [int(path.stem) for path in tmp_path.glob("*.pid")]
    _wait_until(lambda: not any(psutil.pid_exists(number) for number in workers))
    assert bool(re.search("KeyboardInterrupt", errors)) == (sent == signal.SIGINT)


def _wait_until(holds) -> None:
    end = time.monotonic() + LIMIT_SECONDS
    while not holds():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.05)
