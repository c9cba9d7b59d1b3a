"""HTTP load of minimal cost, in a process of its own: closed loops of clients, or arrivals at a rate.

    python -m benchmarks.http_load http://127.0.0.1:8500/v1/recommend --clients 32 --seconds 5
    python -m benchmarks.http_load http://127.0.0.1:8500/v1/recommend --rate 9000 --seconds 5
    python -m benchmarks.http_load http://127.0.0.1:8500/v1/recommend --rate 9000 --seconds 5 --time-of 4711

With `--time-of` all seconds are CPU seconds of that process, the service: arrivals, patience, latencies and
rates are then those of a service that has a core for itself, whatever else runs on the machine.

Bodies are read from standard input, one JSON object a line, and sent in turn. Connections stay open; answers
are read only as far as status and length. So a request costs some 20 us here, a tenth of what it costs a
server, and two cores are enough for both.
"""

import argparse
import asyncio
import json
import re
import sys
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import cycle
from math import inf
from time import clock_gettime, perf_counter, process_time
from typing import Any
from urllib.parse import urlsplit

import numpy as np

# Connections of arrivals at a rate: more clients than a server's queue holds.
MOST_CONNECTIONS = 2000
# Connections that are open before the first arrival: more than a server's queue accepts by default, so that
# arrivals measure answers and refusals, not how fast connections are opened.
FIRST = 1200
# Connections that are kept open for the next arrivals.
FREE = 100
# Wall time after which the clients wait no longer for a service that no request keeps busy.
IDLE_SECONDS = 30.0
LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)


class Connection(asyncio.Protocol):
    """A keep-alive connection with one request under way at most.

    Args:
        done: called with this connection and the status of the answer; 0 if the connection ends instead.
        clock: gives the seconds by which latency counts.
    """

    def __init__(
        self, done: Callable[["Connection", int], None], clock: Callable[[], float] = perf_counter
    ) -> None:
        self.done = done
        self.clock = clock
        self.sent = 0.0
        self.received = b""
        self.waits = False

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def send(self, request: bytes) -> None:
        """Send a request; the latency counts from here."""
        self.waits, self.received = True, b""
        self.sent = self.clock()
        self.transport.write(request)

    def data_received(self, data: bytes) -> None:
        self.received += data
        head = self.received.find(b"\r\n\r\n")
        if head < 0:
            return
        told = LENGTH.search(self.received, 0, head)
        length = int(told[1]) if told else 0
        if self.waits and len(self.received) >= head + 4 + length:
            self.waits = False
            self.done(self, int(self.received[9:12]))

    def connection_lost(self, _: Exception | None) -> None:
        if self.waits:
            self.waits = False
            self.done(self, 0)


class Load:
    """Requests under way and what became of them.

    Args:
        url: where the requests go.
        bodies: their bodies, sent in turn.
        headers: more headers of each.
        time_of: process whose CPU time all seconds are; None for the time on the wall.

    Attributes:
        counts: status -> answers; 0 for connections that ended, -1 for clients that gave up, -2 for
            arrivals for which no connection was left.
        milliseconds: latency of each answer with status 200.
        good_in_time: answers with status 200 while requests arrived; those that a queue still held then
            would make it look faster than it is.
    """

    def __init__(
        self,
        url: str,
        bodies: Sequence[bytes],
        headers: Sequence[str] = (),
        time_of: int | None = None,
    ) -> None:
        self.host, self.port, path = _parts(url)
        head = [
            f"POST {path} HTTP/1.1",
            f"Host: {self.host}",
            "Content-Type: application/json",
            *headers,
        ]
        self.requests: Iterator[bytes] = cycle([_request(head, body) for body in bodies])
        self.counts: Counter[int] = Counter()
        self.milliseconds: list[float] = []
        self.good_in_time = 0
        self.sent = 0
        self.follows_service = time_of is not None
        self.clock = perf_counter if time_of is None else cpu_clock(time_of)

    def record(self, connection: Connection, status: int) -> None:
        """Count an answer."""
        self.counts[status] += 1
        if status == 200:
            self.milliseconds.append(1000 * (self.clock() - connection.sent))

    async def connect(self, done: Callable[[Connection, int], None]) -> Connection:
        """A new connection."""
        loop = asyncio.get_running_loop()
        protocol = partial(Connection, done, self.clock)
        _, connection = await loop.create_connection(protocol, self.host, self.port)
        return connection

    def send(self, connection: Connection) -> None:
        """The next request."""
        self.sent += 1
        connection.send(next(self.requests))

    async def closed(self, clients: int, seconds: float, most: int | None = None) -> None:
        """Clients that each send the next request when the answer to the last one is there.

        Args:
            clients: number of connections.
            seconds: time after which no more requests are sent.
            most: number of requests after which no more are sent; None for no limit.
        """
        left = clients
        end = self.clock() + seconds
        finished = asyncio.Event()

        def done(connection: Connection, status: int) -> None:
            nonlocal left
            self.record(connection, status)
            if status and self.clock() < end and (most is None or self.sent < most):
                self.send(connection)
                return
            left -= 1
            if not left:
                finished.set()

        connections = [await self.connect(done) for _ in range(clients)]
        for connection in connections:
            self.send(connection)
        await finished.wait()
        self.good_in_time = self.counts[200]
        for connection in connections:
            connection.transport.close()

    async def open(self, rate: float, seconds: float, patience: float) -> None:
        """Requests that arrive at a rate, whatever becomes of earlier ones.

        Args:
            rate: requests/s.
            seconds: how long they arrive.
            patience: seconds after which a client gives up and closes its connection.
        """
        arrivals = _Arrivals(self)
        await arrivals.open_first()
        start = now = self.clock()
        while now < start + seconds:
            due = int((now - start) * rate) - self.sent - self.counts[-2]
            # Time of a service that has nothing to do does not pass.
            arrivals.send(max(due, int(self.follows_service and not arrivals.under_way)))
            arrivals.give_up(now - patience)
            await arrivals.keep_free()
            now = self.clock()
        self.good_in_time = self.counts[200]
        await arrivals.end(patience)

    def figures(self, seconds: float) -> dict[str, Any]:
        """Rate of good answers, their latency, and the number of answers of each status."""
        quantiles = np.percentile(self.milliseconds or [np.nan], [50, 95, 99])
        return {
            "sent": self.sent,
            "good_per_second": self.good_in_time / seconds,
            **dict(zip(("p50_ms", "p95_ms", "p99_ms"), quantiles.tolist(), strict=True)),
            "counts": dict(self.counts),
        }


class _Arrivals:
    """Clients that come and go: some connections are always free for the next ones.

    Attributes:
        under_way: number of requests that wait for their answer.
    """

    def __init__(self, load: Load) -> None:
        self.under_way = 0
        self._load = load
        self._free: deque[Connection] = deque()
        # In order of sending, so that the oldest is looked at first.
        self._sent: deque[tuple[float, Connection]] = deque()
        self._opening: set[asyncio.Task[None]] = set()
        self._open = 0

    async def open_first(self) -> None:
        """Open the first connections, some at a time: a server's backlog is bounded."""
        while self._open < FIRST:
            self._open += FREE
            await asyncio.gather(*(self._connect() for _ in range(FREE)))

    def send(self, number: int) -> None:
        """Send requests on free connections; those for which none is left are counted."""
        for _ in range(number):
            while self._free and self._free[0].transport.is_closing():
                self._free.popleft()
                self._open -= 1
            if not self._free:
                self._load.counts[-2] += 1
                continue
            connection = self._free.popleft()
            self._load.send(connection)
            self._sent.append((connection.sent, connection))
            self.under_way += 1

    def give_up(self, sent_before: float) -> None:
        """Close connections that wait for too long."""
        while self._sent and self._sent[0][0] < sent_before:
            sent, connection = self._sent.popleft()
            if connection.waits and connection.sent == sent:
                connection.waits = False
                self._load.counts[-1] += 1
                connection.transport.abort()
                self._open -= 1
                self.under_way -= 1

    async def end(self, patience: float) -> None:
        """Wait for the last answers, as long as their clients do."""
        last, until = self._load.clock() + patience, perf_counter() + IDLE_SECONDS
        while self.under_way and self._load.clock() < last and perf_counter() < until:
            await asyncio.sleep(0.01)
        self.give_up(inf)

    async def keep_free(self) -> None:
        """Open connections where few are left, and let answers come in."""
        while len(self._free) + len(self._opening) < FREE and self._open < MOST_CONNECTIONS:
            self._open += 1
            task = asyncio.ensure_future(self._connect())
            self._opening.add(task)
            task.add_done_callback(self._opening.discard)
        await asyncio.sleep(0.001)

    async def _connect(self) -> None:
        self._free.append(await self._load.connect(self._done))

    def _done(self, connection: Connection, status: int) -> None:
        self.under_way -= 1
        self._load.record(connection, status)
        if status:
            self._free.append(connection)
        else:
            self._open -= 1


def cpu_clock(process: int) -> Callable[[], float]:
    """A clock of the CPU seconds of another process, of all of its threads. Of Linux alone."""
    # As `clock_getcpuclockid` of the C library makes it, which Python does not have.
    return partial(clock_gettime, (~process << 3) | 2)


def _parts(url: str) -> tuple[str, int, str]:
    parts = urlsplit(url)
    return str(parts.hostname), parts.port or 80, parts.path


def _request(head: Sequence[str], body: bytes) -> bytes:
    lines = [*head, f"Content-Length: {len(body)}", "", ""]
    return "\r\n".join(lines).encode() + body


def main() -> None:
    """Send, and print one JSON line."""
    parser = argparse.ArgumentParser(description="HTTP load of minimal cost.")
    parser.add_argument("url")
    parser.add_argument("--clients", type=int, default=1)
    parser.add_argument("--rate", type=float, help="requests/s that arrive; clients do not count then")
    parser.add_argument("--seconds", type=float, default=5)
    parser.add_argument("--requests", type=int, help="of clients: number after which they end")
    parser.add_argument("--patience", type=float, default=1, help="of arrivals: seconds of waiting")
    parser.add_argument("--time-of", type=int, help="process whose CPU time all seconds are")
    parser.add_argument("--header", action="append", default=[])
    options = parser.parse_args()
    bodies = [line.encode() for line in sys.stdin.read().splitlines()]
    load = Load(options.url, bodies, options.header, options.time_of)
    if options.rate:
        work = load.open(options.rate, options.seconds, options.patience)
    else:
        work = load.closed(options.clients, options.seconds, options.requests)
    started, cpu_before = load.clock(), process_time()
    try:
        import uvloop  # half the cost of a request here

        uvloop.run(work)
    except ImportError:
        asyncio.run(work)
    took = options.seconds if options.rate else load.clock() - started
    cpu_us = 1e6 * (process_time() - cpu_before) / max(1, load.sent)
    print(json.dumps({**load.figures(took), "client_cpu_us": cpu_us}))


if __name__ == "__main__":
    main()
