"""Memory of the service over many requests: it must not grow, and every request must be answered."""

import argparse
from collections import Counter
from pathlib import Path
from tempfile import TemporaryDirectory

import tfrecall as tr
from benchmarks.bench_serving import CLIENTS, exported
from benchmarks.measure import report
from benchmarks.services import bodies, serving

# Requests after which caches are filled and allocators have their arenas.
WARM_UP = 20_000
# Looks at the memory on the way.
LOOKS = 10


def main() -> None:
    """Serves, asks, and looks at the resident memory after each tenth of the requests."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=200_000)
    parser.add_argument("--release", type=Path, help="a release that is there, instead of a new one")
    options = parser.parse_args()
    counts: Counter[str] = Counter()
    with TemporaryDirectory() as folder:
        root, data = options.release or Path(folder) / "release", "given"
        if options.release is None:
            data = exported(root)
        asked = bodies(tr.load(root).users.ids)
        with serving(root) as service:

            def ask(number: int) -> int:
                load = ("--clients", CLIENTS, "--requests", number, "--seconds", 3600)
                counts.update(service.load("/v1/recommend", asked, *load)["counts"])
                return service.memory_kb()["Rss"]

            before = ask(WARM_UP)
            after = [ask(options.requests // LOOKS) for _ in range(LOOKS)]
    report(
        "memory",
        data=data,
        requests=options.requests,
        rss_warm_mb=before / 1024,
        rss_mb=[kb / 1024 for kb in after],
        rss_ratio=after[-1] / before,
        codes=dict(counts),
    )


if __name__ == "__main__":
    main()
