"""The process of a service: its socket, its workers, its end.

The first SIGTERM or SIGINT starts the end: the service says that it is not ready, answers what it accepted,
and exits with status 0. A second one ends it at once.
"""

import logging
import multiprocessing
import os
import signal
import socket
import sys
import tempfile
import webbrowser
from contextlib import suppress
from functools import partial
from ipaddress import ip_address
from math import ceil, inf
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess
from threading import Thread
from time import monotonic, sleep
from types import FrameType
from typing import Any
from urllib.request import urlopen

import uvicorn
from prometheus_client.multiprocess import mark_process_dead
from threadpoolctl import threadpool_limits

from tfrecall.errors import ConfigError, ServingError, TfrecallError
from tfrecall.release.manifest import read_manifest
from tfrecall.serving import logs, metrics
from tfrecall.serving.app import create_app
from tfrecall.serving.config import ServingConfig
from tfrecall.serving.direct import DirectProtocol, Front

try:
    import resource
except ImportError:  # Windows
    resource = None  # type: ignore[assignment]

# Exit status of a worker that could not load its releases: a new one would fail alike.
CANNOT_START = 3
# Longer than load balancers keep connections (60 s is usual), so that it is they who close them.
KEEP_ALIVE_SECONDS = 75
# Open files beside connections: releases, logs, libraries, connections that are being refused.
OTHER_FILES = 512
THREADS = (
    *("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"),
    *("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS"),
)

# Connections that are taken in one round of the event loop: uvloop takes one for each socket it listens on, and
# under load its rounds are so long that clients would wait for seconds.
ACCEPTS = 32


def listen(host: str, port: int) -> socket.socket:
    """A socket bound to an address; port 0 takes a free one.

    Raises:
        ConfigError: if the address is in use, or none of this machine.
    """
    try:
        family, *_, place = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        bound = socket.create_server(place[:2], family=family)
    except (OSError, OverflowError) as error:
        raise ConfigError(
            f"No service can listen on {host}, port {port}: {error}. Choose others by --host and --port."
        ) from error
    bound.set_inheritable(True)
    return bound


def doors(bound: socket.socket) -> list[socket.socket]:
    """A bound socket as often as connections are taken in one round of the event loop."""
    # First of all: `dup` hands on whether a socket blocks, and does so to all processes that share it. In one
    # of them the loop would wait in `accept` for a connection that another one took.
    bound.setblocking(False)
    return [bound, *(bound.dup() for _ in range(ACCEPTS - 1))]


def address(bound: socket.socket) -> str:
    """URL of a bound socket."""
    host, port = bound.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def free_address(host: str, port: int) -> str:
    """Host and port of an address on which nobody listens, for a server that binds it itself.

    Workers share the port of a gRPC server, so that a foreign one would be shared, too, and not noticed.

    Raises:
        ConfigError: if the address is in use, or none of this machine.
    """
    with listen(host, port) as bound:
        return address(bound).removeprefix("http://")


def is_loopback(bound: socket.socket) -> bool:
    """Whether only this machine reaches a bound socket."""
    return ip_address(bound.getsockname()[0].partition("%")[0]).is_loopback


def check_releases(config: ServingConfig) -> None:
    """Refuse what is no release at once, before processes start and models are loaded.

    Raises:
        ReleaseError: if a directory is no release, or lacks the pinned version.
    """
    for name, root in config.releases.items():
        read_manifest(root, config.pins.get(name))


def open_when_ready(url: str) -> None:
    """Open a page in the browser of this machine, once it is there."""

    def look() -> None:
        while True:
            with suppress(OSError), urlopen(f"{url}/health/ready"):
                webbrowser.open(url)
                return
            sleep(0.2)

    Thread(target=look, daemon=True).start()


def run(config: ServingConfig, bound: socket.socket, *, workers: int = 1) -> None:
    """Serve until a signal ends it.

    Args:
        config: settings of the service.
        bound: a socket of `listen`.
        workers: number of processes, which share the socket and the memory of vectors.

    Raises:
        TfrecallError: if a release cannot be loaded.
    """
    if workers == 1:
        _serve(config, bound, wait=False)
    else:
        _Workers(config, bound, workers).run()


def _limit_threads(threads: int) -> None:
    """Set the threads of libraries: variables for those to be loaded, calls for those that are."""
    os.environ.update(dict.fromkeys(THREADS, str(threads)))
    threadpool_limits(threads)


def _allow_files(number: int) -> None:
    """Raise the number of open files of this process, as far as it may, so that connections fit."""
    if resource is None:
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = number if hard == resource.RLIM_INFINITY else min(number, hard)
    if soft != resource.RLIM_INFINITY and soft < most:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
    if most < number:
        logging.getLogger(__name__).warning(
            "This process may open %d files: not enough for %d connections. Raise the limit (ulimit -n), or "
            "give fewer --connections.",
            most,
            number - OTHER_FILES,
        )


def _serve(config: ServingConfig, bound: socket.socket, *, wait: bool) -> None:
    logs.configure(config.log_level, config.log_format)
    _limit_threads(config.threads)
    _allow_files(config.max_connections + OTHER_FILES)
    app = create_app(config, wait=wait)
    counted = app.state.metrics
    front = Front(app.state.service, counted.request, counted.refused)
    settings = uvicorn.Config(
        app,
        http=partial(DirectProtocol, front),  # type: ignore[arg-type]
        log_config=None,
        access_log=False,
        lifespan="on",
        ws="none",
        server_header=False,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=ceil(config.timeout_ms / 1000) + 1,
    )
    with suppress(SystemExit):  # of a start that failed
        _Server(settings, app.state, config.drain_seconds).run(sockets=doors(bound))
    if app.state.failure is not None:
        raise app.state.failure


class _Server(uvicorn.Server):
    """A server that is not ready while it ends, and that a second signal ends at once."""

    def __init__(self, settings: uvicorn.Config, state: Any, drain_seconds: float) -> None:
        super().__init__(settings)
        self._state = state
        self._drain_seconds = drain_seconds
        self._end = inf

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        if self._end < inf:
            os._exit(128 + sig)
        self._state.service.ready = False
        # Nobody routes to a terminal's service by its readiness.
        self._end = monotonic() + (self._drain_seconds if sig == signal.SIGTERM else 0)

    async def on_tick(self, counter: int) -> bool:
        if self._state.failure is not None or monotonic() >= self._end:
            self.should_exit = True
        return await super().on_tick(counter)


class _Workers:
    """Processes on one socket; those that die are replaced."""

    def __init__(self, config: ServingConfig, bound: socket.socket, number: int) -> None:
        # Not forked: threads of libraries that the parent has started would be missing.
        context = multiprocessing.get_context("spawn")
        self._new = partial(context.Process, target=_work, args=(config, bound))
        self._number = number
        self._processes: list[BaseProcess] = []
        self._ending = False

    def run(self) -> None:
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._end)
        with tempfile.TemporaryDirectory(prefix="tfrecall-metrics-") as folder:
            os.environ[metrics.DIRECTORY] = folder
            self._watch()
        if any(process.exitcode == CANNOT_START for process in self._processes):
            raise ServingError("A worker could not start: see the error above.")

    def _watch(self) -> None:
        for _ in range(self._number):
            self._processes.append(self._started())
        if self._ending:  # by a signal since
            self._end(signal.SIGTERM, None)
        while not self._ending or any(process.is_alive() for process in self._processes):
            wait([process.sentinel for process in self._processes], timeout=1)
            if not self._ending:
                self._replace()

    def _started(self) -> BaseProcess:
        process: BaseProcess = self._new()
        process.start()
        return process

    def _replace(self) -> None:
        if any(process.exitcode == CANNOT_START for process in self._processes):
            self._end(signal.SIGTERM, None)
            return
        for place, process in enumerate(self._processes):
            if process.exitcode is not None:
                mark_process_dead(process.pid, os.environ[metrics.DIRECTORY])  # type: ignore[no-untyped-call]
                self._processes[place] = self._started()

    def _end(self, number: int, _: FrameType | None) -> None:
        """Pass a signal on; workers tell the first one from the second."""
        self._ending = True
        for process in self._processes:
            if process.pid is not None and process.is_alive():
                os.kill(process.pid, number)


def _work(config: ServingConfig, bound: socket.socket) -> None:
    Thread(target=_end_with_parent, daemon=True).start()
    try:
        # A worker takes no connections before it is ready, while others may be.
        _serve(config, bound, wait=True)
    except TfrecallError as error:
        print(f"Error: {error}", file=sys.stderr)
        sys.exit(CANNOT_START)


def _end_with_parent() -> None:
    """End in order when the parent is gone: a worker would hold the port for ever."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os.kill(os.getpid(), signal.SIGTERM)
