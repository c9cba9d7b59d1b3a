"""The HTTP service at three times its capacity: good answers of those at its capacity, and their latency.

Time is CPU time of the service (`http_load --time-of`), so that clients and others on the same cores do not
count: the figures are those of a service that has a core for itself. Good answers by the time on the wall,
with the clients on the same cores, stand beside them.
"""

from collections.abc import Sequence
from contextlib import ExitStack
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import tfrecall as tr
from benchmarks.bench_serving import CLIENTS, options_of, release_of
from benchmarks.measure import report
from benchmarks.services import Service, bodies, naive, serving
from tfrecall.serving.config import ServingConfig

# Clients that fill the largest batches without a full queue: with them the service gives most answers.
MOST = 128
# Arrivals over what clients in closed loops get.
OVERLOAD = 3
# Answers, refusals, and clients that gave up or found no connection; anything else is a failure.
ACCOUNTED = ("200", "429", "504", "-1", "-2")


class Flood:
    """A service at its capacity and beyond it, round by round.

    Args:
        service: the service.
        path: path of its requests.
        asked: bodies of the requests.
        clients: number of clients in closed loops whose rate is the capacity.
        in_its_time: whether seconds are CPU seconds of the service.
    """

    def __init__(
        self, service: Service, path: str, asked: str, clients: int, *, in_its_time: bool
    ) -> None:
        self._load = lambda *options: service.load(path, asked, *options, in_its_time=in_its_time)
        self._clients = clients
        self.before: list[dict[str, Any]] = []
        self.within: list[dict[str, Any]] = []

    def round(self, seconds: float) -> None:
        """Its capacity, then arrivals at a multiple of it."""
        before = self._figures("--clients", self._clients, "--seconds", seconds)
        rate = OVERLOAD * before["good_per_second"]
        self.before.append(before)
        self.within.append(self._figures("--rate", rate, "--seconds", seconds, "--patience", 1))

    def share(self) -> float:
        """Good answers in the flood, of those before it; the median of the rounds."""
        pairs = zip(self.within, self.before, strict=True)
        return median(after["good_per_second"] / before["good_per_second"] for after, before in pairs)

    def _figures(self, *options: Any) -> dict[str, Any]:
        figures = self._load(*options)
        failed = {status: n for status, n in figures["counts"].items() if status not in ACCOUNTED}
        if failed:
            raise RuntimeError(f"{failed} of {figures['sent']} requests failed.")
        return figures


def medians(name: str, rounds: Sequence[dict[str, Any]], *figures: str) -> dict[str, float]:
    """Medians over the rounds, each under a name."""
    return {f"{name}_{figure}": median(one[figure] for one in rounds) for figure in figures}


def main() -> None:
    """Exports, serves, floods."""
    options = options_of(__doc__, seconds=2)
    with TemporaryDirectory() as folder, ExitStack() as stack:
        root, data = release_of(options, folder)
        asked = bodies(tr.load(root).users.ids, index="exact")
        ours, theirs = stack.enter_context(serving(root)), stack.enter_context(naive(root))
        own = Flood(ours, "/v1/recommend", asked, CLIENTS, in_its_time=True)
        most = Flood(ours, "/v1/recommend", asked, MOST, in_its_time=True)
        wall = Flood(ours, "/v1/recommend", asked, CLIENTS, in_its_time=False)
        rival = Flood(theirs, "/threads", asked, CLIENTS, in_its_time=True)
        ours.load("/v1/recommend", asked, "--clients", CLIENTS, "--seconds", 1)
        for _ in range(options.rounds):
            for flood in (own, most, wall, rival):
                flood.round(options.seconds)
    # A request waits behind a full queue, the running call, and the call that was being answered.
    defaults = ServingConfig({"two_tower": root})
    places = defaults.max_waiting + 2 * defaults.max_batch
    report(
        "overload",
        data=data,
        share=own.share(),
        share_of_most=most.share(),
        wall_share=wall.share(),
        naive_share=rival.share(),
        **medians("before", own.before, "good_per_second"),
        **medians("most_before", most.before, "good_per_second"),
        **medians("within", own.within, "good_per_second", "p50_ms", "p99_ms", "client_cpu_us"),
        p99_of_queue=median(
            one["p99_ms"] * one["good_per_second"] / 1000 / places for one in own.within
        ),
    )


if __name__ == "__main__":
    main()
