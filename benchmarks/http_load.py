"""HTTP load of minimal cost, in a process of its own: closed loops of clients, or arrivals at a rate.

    python -m benchmarks.http_load http://127.0.0.1:8500/v1/recommend --clients 32 --seconds 5
    python -m benchmarks.http_load http://127.0.0.1:8500/v1/recommend --rate 9000 --seconds 5

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
from itertools import cycle
from time import perf_counter, process_time
from typing import Any
from urllib.parse import urlsplit

import numpy as np

# Connections of arrivals at a rate: more clients than a server's queue holds.
MOST_CONNECTIONS = 2000
# Connections that are open before the first arrival: more than a server's queue accepts by default, so that
# arrivals measure answers and refusals, not how fast connections are opened.
FIRST = 600
# Connections that are kept open for the next arrivals.
FREE = 100
LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)


class Connection(asyncio.Protocol):
    """A keep-alive connection with one request under way at most.

    Args:
        done: called with this connection and the status of the answer; 0 if the connection ends instead.
    """

    def __init__(self, done: Callable[["Connection", int], None]) -> None:
        self.done = done
        self.sent = 0.0
        self.received = b""
        self.waits = False

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def send(self, request: bytes) -> None:
        """Send a request; the latency counts from here."""
        self.waits, self.received = True, b""
        self.sent = perf_counter()
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

    Attributes:
        counts: status -> answers; 0 for connections that ended, -1 for clients that gave up, -2 for
            arrivals for which no connection was left.
        milliseconds: latency of each answer with status 200.
    """

    def __init__(self, url: str, bodies: Sequence[bytes], headers: Sequence[str] = ()) -> None:
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
        self.sent = 0

    def record(self, connection: Connection, status: int) -> None:
        """Count an answer."""
        self.counts[status] += 1
        if status == 200:
            self.milliseconds.append(1000 * (perf_counter() - connection.sent))

    async def connect(self, done: Callable[[Connection, int], None]) -> Connection:
        """A new connection."""
        loop = asyncio.get_running_loop()
        _, connection = await loop.create_connection(lambda: Connection(done), self.host, self.port)
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
        end = perf_counter() + seconds
        finished = asyncio.Event()

        def done(connection: Connection, status: int) -> None:
            nonlocal left
            self.record(connection, status)
            if status and perf_counter() < end and (most is None or self.sent < most):
                self.send(connection)
                return
            left -= 1
            if not left:
                finished.set()

        connections = [await self.connect(done) for _ in range(clients)]
        for connection in connections:
            self.send(connection)
        await finished.wait()
        for connection in connections:
            connection.transport.close()

    async def open(self, rate: float, seconds: float, patience: float) -> None:
        """Requests that arrive at a rate, whatever becomes of earlier ones.

        Args:
            rate: requests/s.
            seconds: how long they arrive.
            patience: seconds after which a client gives up and closes its connection.
        """
        arrivals = _Arrivals(self, patience)
        await arrivals.open_first()
        start = now = perf_counter()
        while now < start + seconds:
            arrivals.send(int((now - start) * rate) - self.sent - self.counts[-2])
            arrivals.give_up(now - patience)
            await arrivals.keep_free()
            now = perf_counter()
        await asyncio.sleep(patience)
        arrivals.give_up(now)

    def figures(self, seconds: float) -> dict[str, Any]:
        """Rate of good answers, their latency, and the number of answers of each status."""
        quantiles = np.percentile(self.milliseconds or [np.nan], [50, 95, 99])
        return {
            "sent": self.sent,
            "good_per_second": self.counts[200] / seconds,
            **dict(zip(("p50_ms", "p95_ms", "p99_ms"), quantiles.tolist(), strict=True)),
            "counts": dict(self.counts),
        }


class _Arrivals:
    """Clients that come and go: some connections are always free for the next ones."""

    def __init__(self, load: Load, patience: float) -> None:
        self._load = load
        self._free: deque[Connection] = deque()
        # In order of sending, so that the oldest is looked at first.
        self._under_way: deque[tuple[float, Connection]] = deque()
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
            self._under_way.append((connection.sent, connection))

    def give_up(self, sent_before: float) -> None:
        """Close connections that wait for too long."""
        while self._under_way and self._under_way[0][0] < sent_before:
            sent, connection = self._under_way.popleft()
            if connection.waits and connection.sent == sent:
                connection.waits = False
                self._load.counts[-1] += 1
                connection.transport.abort()
                self._open -= 1

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
        self._load.record(connection, status)
        if status:
            self._free.append(connection)
        else:
            self._open -= 1


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
    parser.add_argument("--header", action="append", default=[])
    options = parser.parse_args()
    bodies = [line.encode() for line in sys.stdin.read().splitlines()]
    load = Load(options.url, bodies, options.header)
    if options.rate:
        work = load.open(options.rate, options.seconds, options.patience)
    else:
        work = load.closed(options.clients, options.seconds, options.requests)
    started, cpu_before = perf_counter(), process_time()
    try:
        import uvloop  # half the cost of a request here

        uvloop.run(work)
    except ImportError:
        asyncio.run(work)
    took = options.seconds if options.rate else perf_counter() - started
    cpu_us = 1e6 * (process_time() - cpu_before) / max(1, load.sent)
    print(json.dumps({**load.figures(took), "client_cpu_us": cpu_us}))


if __name__ == "__main__":
    main()
