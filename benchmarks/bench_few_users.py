"""Baselines of a log of few users, many items and long histories: fitted and evaluated on last events."""

import argparse
import resource
from time import process_time

import polars as pl

import tfrecall as tr
from benchmarks.bench_shapes import baskets
from benchmarks.measure import report, seconds_of
from tfrecall.data import split_leave_last_out

N_USERS = 2500
N_ITEMS = 100_000


def main() -> None:
    """The log is that of "retail" in `bench_shapes.py` with four times the trips, as a chain's card has."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trips", type=int, default=64, help="trips of a user, of some ten lines each")
    frame = baskets(N_USERS, N_ITEMS, parser.parse_args().trips, 10, 0.45, 300, 6)
    data = tr.data.Interactions.from_frame(
        frame.with_columns(pl.col("user_id", "item_id").cast(pl.String))
    )
    seen, test = split_leave_last_out(data, validation=False)
    figures: dict[str, dict[str, dict[str, float]]] = {}

    def evaluate() -> None:
        evaluation = tr.evaluate(tr.Popularity().fit(seen), test, seen=seen)
        figures.update(evaluation.baselines)

    before = process_time()
    seconds = seconds_of(evaluate)
    report(
        "few_users",
        users=seen.users.height,
        items=seen.items.height,
        events=len(seen),
        test_rows=len(test),
        seconds=seconds,
        cpu_seconds=process_time() - before,
        peak_rss_gb=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20,
        **{
            f"{name}_hit_rate_at_100": rules["seen_kept"]["hit_rate@100"]
            for name, rules in figures.items()
        },
    )


if __name__ == "__main__":
    main()
