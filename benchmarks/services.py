"""Services in processes of their own, and load on them from a further process. Imports no TensorFlow."""

import json
import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PATIENCE_SECONDS = 120
K = 10


@dataclass
class Service:
    """A service that runs.

    Attributes:
        url: its address.
        process: its process.
    """

    url: str
    process: "subprocess.Popen[str]"

    def load(self, path: str, bodies: str, *options: Any, in_its_time: bool = False) -> dict[str, Any]:
        """The line of `benchmarks.http_load`, with the server's CPU time a request.

        Args:
            path: path of the requests.
            bodies: their bodies, one a line.
            options: options of `benchmarks.http_load`.
            in_its_time: whether all seconds are CPU seconds of the service, so that nothing counts but what
                it costs itself: not its clients, nor others on the machine.
        """
        before = self.cpu_seconds()
        command = [sys.executable, "-m", "benchmarks.http_load", self.url + path]
        if in_its_time:
            command += ["--time-of", str(self.process.pid)]
        done = subprocess.run(
            [*command, *map(str, options)], input=bodies, stdout=subprocess.PIPE, text=True, check=True
        )
        figures = json.loads(done.stdout)
        cpu = self.cpu_seconds() - before
        return {**figures, "cpu_us": 1e6 * cpu / max(1, figures["sent"])}

    def cpu_seconds(self) -> float:
        """CPU time of the process until now; other processes on the machine do not change it."""
        user, system = (
            Path(f"/proc/{self.process.pid}/stat").read_text().rsplit(")", 1)[1].split()[11:13]
        )
        return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")

    def memory_kb(self, pid: int | None = None) -> dict[str, int]:
        """Memory of a process by kind, such as `Pss` and `Shared_Clean`."""
        lines = Path(f"/proc/{pid or self.process.pid}/smaps_rollup").read_text().splitlines()[1:]
        return {name: int(rest.split()[0]) for name, rest in (line.split(":") for line in lines)}

    def workers(self) -> list[int]:
        """Process ids of the workers, of the service itself if there are none."""
        pid = self.process.pid
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        # Beside workers there is the tracker of Python's multiprocessing.
        return [int(child) for child in children if _is_worker(child)] or [pid]


def _is_worker(pid: str) -> bool:
    return b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes()


def bodies(user_ids: Sequence[str], **fields: Any) -> str:
    """Requests of some users, one line each."""
    return "\n".join(json.dumps({"user_id": user, "k": K, **fields}) for user in user_ids)


@contextmanager
def serving(*arguments: Any) -> Iterator[Service]:
    """`tfrecall serve ARGUMENTS` on a free port, ready."""
    quiet = ("--log-level", "warning")  # as the naive service, no line for each request
    with _started("tfrecall.cli", "serve", "--port", 0, *quiet, *arguments) as service:
        yield service


@contextmanager
def naive(root: Path) -> Iterator[Service]:
    """`benchmarks.naive_service` for a release, ready."""
    with _started("benchmarks.naive_service", root) as service:
        yield service


@contextmanager
def _started(*command: Any) -> Iterator[Service]:
    process = subprocess.Popen(
        [sys.executable, "-m", *map(str, command)], stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        first = process.stdout.readline()
        if "http://" not in first:
            raise RuntimeError(f"The service did not start: {first}")
        service = Service("http://" + first.split("http://")[1].split()[0], process)
        _wait_until_ready(service)
        yield service
    finally:
        process.terminate()
        process.wait(30)


def _wait_until_ready(service: Service) -> None:
    end = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < end and service.process.poll() is None:
        try:
            urllib.request.urlopen(service.url + "/health/ready", timeout=5).close()
            return
        except (urllib.error.URLError, OSError):
            time.sleep(0.1)
    raise RuntimeError("The service did not get ready.")
