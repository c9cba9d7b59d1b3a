"""Open files of a service, as many as its connections need, and threads of its libraries."""

import os

import pytest
from threadpoolctl import threadpool_info, threadpool_limits

from tfrecall.serving import process


class Limits:
    """Limits of a process that are kept instead of set."""

    RLIMIT_NOFILE, RLIM_INFINITY = 7, -1

    def __init__(self, soft, hard):
        self.now = (soft, hard)

    def getrlimit(self, which):
        assert which == self.RLIMIT_NOFILE
        return self.now

    def setrlimit(self, which, limits):
        assert which == self.RLIMIT_NOFILE
        self.now = limits


@pytest.mark.parametrize(
    ("before", "after", "is_short"),
    [
        ((1024, 8000), (5000, 8000), False),
        ((1024, -1), (5000, -1), False),
        ((6000, 8000), (6000, 8000), False),
        ((-1, -1), (-1, -1), False),
        ((1024, 4096), (4096, 4096), True),
    ],
)
def test_limit_is_raised_and_never_lowered(monkeypatch, caplog, before, after, is_short):
    limits = Limits(*before)
    monkeypatch.setattr(process, "resource", limits)
    process._allow_files(5000)
    assert limits.now == after
    # 512 of the files are for others than connections.
    assert ("not enough for 4488 connections" in caplog.text) is is_short


def test_libraries_compute_with_the_threads_of_the_service(monkeypatch):
    for name in process.THREADS:
        monkeypatch.setenv(name, "7")
    with threadpool_limits(2):  # gives back at its end what was before
        process._limit_threads(1)
        assert {pool["num_threads"] for pool in threadpool_info()} == {1}
    # For libraries that are loaded later, TensorFlow above all.
    assert {os.environ[name] for name in process.THREADS} == {"1"}
    assert {"OMP_NUM_THREADS", "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS"} < {*process.THREADS}
