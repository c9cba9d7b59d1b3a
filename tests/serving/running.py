"""The service as a process of its own on a free port, as `tfrecall serve` starts it."""

import json
import os
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import uvicorn

from tfrecall.serving.process import listen

PATIENCE_SECONDS = 300


class Reply(NamedTuple):
    """Status and JSON of an answer; text where it is no JSON."""

    status: int
    body: Any


@dataclass
class Running:
    """A service that runs.

    Attributes:
        url: its address, such as http://127.0.0.1:40123.
        process: its process; with workers, the one that watches them.
        log: file of what it wrote to standard error.
        first_line: what it wrote first, with its addresses.
    """

    url: str
    process: "subprocess.Popen[str]"
    log: Path
    first_line: str

    def get(self, path: str, **headers: str) -> Reply:
        return self._reply(urllib.request.Request(self.url + path, headers=headers))

    def post(self, path: str, body: Any, **headers: str) -> Reply:
        """Send JSON."""
        headers = {"Content-Type": "application/json", **headers}
        return self._reply(
            urllib.request.Request(self.url + path, json.dumps(body).encode(), headers=headers)
        )

    def is_ready(self) -> bool:
        try:
            return self.get("/health/ready").status == 200
        except OSError:
            return False

    def wait_until_ready(self) -> None:
        end = time.monotonic() + PATIENCE_SECONDS
        while not self.is_ready():
            assert self.process.poll() is None, f"The service ended: {self.log.read_text()}"
            assert time.monotonic() < end, f"The service is not ready: {self.log.read_text()}"
            time.sleep(0.05)

    def _reply(self, request: urllib.request.Request) -> Reply:
        try:
            with urllib.request.urlopen(request, timeout=PATIENCE_SECONDS) as answer:
                return _read(answer.status, answer.read())
        except urllib.error.HTTPError as answer:
            with answer:
                return _read(answer.code, answer.read())


def _read(status: int, body: bytes) -> Reply:
    try:
        return Reply(status, json.loads(body))
    except ValueError:
        return Reply(status, body.decode(errors="replace"))


@contextmanager
def running(
    *arguments: Any, ready: bool = True, environment: Mapping[str, str] | None = None
) -> Iterator[Running]:
    """`tfrecall serve ARGUMENTS` on a free port, ended by SIGTERM if it still runs at the end.

    Args:
        arguments: releases and options, without `--port`.
        ready: whether to wait until it is ready.
        environment: variables beside those of this process.
    """
    command = [sys.executable, "-m", "tfrecall.cli", "serve", "--port", "0", *map(str, arguments)]
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "stderr"
        with log.open("w") as stderr:
            process = subprocess.Popen(
                command,
                stdout=subprocess.PIPE,
                stderr=stderr,
                text=True,
                env={**os.environ, **(environment or {})},
            )
        try:
            assert process.stdout is not None
            first = process.stdout.readline()
            assert "http://" in first, f"The service did not start: {first}{log.read_text()}"
            url = "http://" + first.split("http://")[1].split()[0]
            service = Running(url, process, log, first)
            if ready:
                service.wait_until_ready()
            yield service
        finally:
            _end(process)


@contextmanager
def listening(app: Any) -> Iterator[tuple[str, int]]:
    """An application behind a real socket in a thread of this process: its host and port."""
    bound = listen("127.0.0.1", 0)
    server = uvicorn.Server(uvicorn.Config(app, log_config=None, lifespan="on", ws="none"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [bound]})
    thread.start()
    try:
        end = time.monotonic() + PATIENCE_SECONDS
        while not server.started:
            assert thread.is_alive()
            assert time.monotonic() < end
            time.sleep(0.01)
        yield bound.getsockname()[:2]
    finally:
        server.should_exit = True
        thread.join()


def _end(process: "subprocess.Popen[str]") -> None:
    process.terminate()
    try:
        process.wait(20)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    finally:
        if process.stdout is not None:
            process.stdout.close()
