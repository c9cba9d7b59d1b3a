"""The HTTP service under load, beside a handler that calls the SavedModel once a request."""

import argparse
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import tfrecall as tr
from benchmarks.measure import movielens_folder, report
from benchmarks.services import Service, bodies, naive, serving

CLIENTS = 32
# Enough to fit the vectors of all items; how well they are fitted does not change the time.
ROWS = 100_000
USERS, ITEMS = 6040, 3883


def exported(root: Path) -> str:
    """Export a two-tower model of the size of MovieLens-1M; gives the name of its training data."""
    folder = movielens_folder("1m")
    if folder is not None:
        everything, name = tr.data.movielens("1m", folder), "ml-1m"
        data = everything.with_log(everything.log.sample(ROWS, seed=0))
    else:
        data, name = tr.data.synthetic(n_users=USERS, n_items=ITEMS, n_rows=ROWS), "generated"
    schema = tr.Schema(
        query=[tr.Categorical("user_id"), tr.Bucketized("timestamp", 1000)],
        candidate=[tr.Categorical("item_id")],
    )
    model = tr.TwoTower(schema, [64, 32])
    tr.fit(model, data, epochs=1, batch_size=2048, verbose=0)
    tr.export(model, root)
    return name


class Side:
    """A service that is measured round by round.

    Args:
        service: the service.
        path: path of its requests.
        asked: bodies of the requests.
    """

    def __init__(self, service: Service, path: str, asked: str) -> None:
        self.service = service
        self.path = path
        self.asked = asked
        self.one: list[dict[str, Any]] = []
        self.many: list[dict[str, Any]] = []

    def load(self, *options: Any) -> dict[str, Any]:
        """Load that must not fail."""
        figures = self.service.load(self.path, self.asked, *options)
        failed = {status: n for status, n in figures["counts"].items() if status != "200"}
        if failed:
            raise RuntimeError(f"{self.path}: {failed} of {figures['sent']} requests failed.")
        return figures

    def round(self, seconds: float) -> None:
        """One client, then many."""
        self.one.append(self.load("--clients", 1, "--seconds", seconds))
        self.many.append(self.load("--clients", CLIENTS, "--seconds", seconds))

    def figures(self, name: str) -> dict[str, float]:
        """Medians over the rounds."""
        found = {
            f"{name}_per_second": median(one["good_per_second"] for one in self.many),
            f"{name}_cpu_us": median(one["cpu_us"] for one in self.many),
        }
        for clients, rounds in ((1, self.one), (CLIENTS, self.many)):
            for quantile in ("p50_ms", "p95_ms", "p99_ms"):
                found[f"{name}_{clients}_{quantile}"] = median(one[quantile] for one in rounds)
        return found


def compared(sides: dict[str, Side]) -> dict[str, float]:
    """Ratios of our service to the faster naive one, medians over the rounds."""
    rivals = [sides["threads"], sides["async"]]
    rounds = range(len(rivals[0].many))

    def ratio(side: Side) -> float:
        return median(
            side.many[i]["good_per_second"] / max(r.many[i]["good_per_second"] for r in rivals)
            for i in rounds
        )

    def p50(side: Side) -> float:
        return median(side.one[i]["p50_ms"] / min(r.one[i]["p50_ms"] for r in rivals) for i in rounds)

    return {
        "throughput_ratio": ratio(sides["exact"]),
        "annoy_throughput_ratio": ratio(sides["annoy"]),
        "cpu_ratio": min(median(m["cpu_us"] for m in r.many) for r in rivals)
        / median(m["cpu_us"] for m in sides["exact"].many),
        "p50_ratio": p50(sides["exact"]),
    }


def options_of(description: str | None, seconds: float) -> argparse.Namespace:
    """The options of a benchmark of the service; `seconds` of each measurement by default."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=seconds, help="of each measurement")
    parser.add_argument("--release", type=Path, help="a release that is there, instead of a new one")
    return parser.parse_args()


def release_of(options: argparse.Namespace, folder: str) -> tuple[Path, str]:
    """The release that was given, or a new one in a folder, and the data it is of."""
    if options.release is not None:
        return options.release, "given"
    root = Path(folder) / "release"
    return root, exported(root)


def main() -> None:
    """Exports, serves, asks."""
    options = options_of(__doc__, seconds=3)
    with TemporaryDirectory() as folder, ExitStack() as stack:
        root, data = release_of(options, folder)
        users = tr.load(root).users.ids
        ours, theirs = stack.enter_context(serving(root)), stack.enter_context(naive(root))
        sides = {
            "exact": Side(ours, "/v1/recommend", bodies(users, index="exact")),
            "annoy": Side(ours, "/v1/recommend", bodies(users, index="annoy")),
            "threads": Side(theirs, "/threads", bodies(users)),
            "async": Side(theirs, "/async", bodies(users)),
        }
        for side in sides.values():
            side.load("--clients", CLIENTS, "--seconds", 1)
        for _ in range(options.rounds):
            for side in sides.values():
                side.round(options.seconds)
    report(
        "serving",
        data=data,
        **{k: v for name, side in sides.items() for k, v in side.figures(name).items()},
        **compared(sides),
    )


if __name__ == "__main__":
    main()
