"""Month after month by warm start, beside training on everything anew.

YouTubeDNN on MovieLens-1M in 2000: the mean of the last 50 movies, full softmax. Before each month a model is
trained on all events until then, and another one goes on from the release of the month before, with the new
events only. Both are tested on all events of the month that follows.
"""

import argparse
from pathlib import Path
from statistics import mean
from tempfile import TemporaryDirectory
from time import perf_counter

import polars as pl

import tfrecall as tr
from benchmarks.measure import movielens_folder, report
from tfrecall.config.recipes import config_from_text
from tfrecall.runs.run import Outcome, run

RECIPE = """
[schema]
candidate = [{ type = "categorical", column = "item_id", embedding_dim = 64 }]

[[schema.query]]
type = "history"
of = { type = "categorical", column = "item_id", embedding_dim = 64 }
history_length = 50
encoder = { type = "mean" }

[model]
type = "youtube_dnn"
layer_sizes = []

[task]
type = "full_softmax"

[split]
method = "by_time"
validation_fraction = 0

[training]
optimizer = "adam"
learning_rate = 0.003
batch_size = 3000
patience = "none"

[evaluation]
baselines = []

[export]
training_state = true
"""
MONTHS = ("2000-08-01", "2000-09-01", "2000-10-01", "2000-11-01", "2000-12-01")
FIGURES = ("hit_rate@10", "hit_rate@100", "ndcg@10")


def main() -> None:
    """Trains, goes on, compares."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--epochs", type=int, default=8, help="of a training on everything")
    parser.add_argument("--more", type=int, default=3, help="epochs of new events, of a warm start")
    options = parser.parse_args()
    data = tr.data.movielens("1m", movielens_folder("1m"))
    ends = pl.Series(MONTHS).str.to_datetime(time_zone="UTC").dt.epoch("s").to_list()
    with TemporaryDirectory() as folder:
        place = Path(folder)
        data.items.select("item_id").write_parquet(place / "items.parquet")

        def trained(month: int, name: str, *settings: str) -> tuple[Outcome, float]:
            """A run on everything before a month, tested on the next one."""
            known = data.log.filter(pl.col("timestamp") < ends[month + 1])
            known.select("user_id", "item_id", "timestamp").write_parquet(place / "log.parquet")
            where = {
                "source": str(place / "log.parquet"),
                "items": str(place / "items.parquet"),
            }
            at = f'split.at="{MONTHS[month]}"'
            config = config_from_text(RECIPE, name, [at, *settings], data=where)
            started = perf_counter()
            outcome = run(config, place / name)
            timings = outcome.metrics["timings"]
            return outcome, timings.get("fit_seconds", perf_counter() - started)

        trained(0, "warm", f"training.epochs={options.epochs}")
        rows = []
        for month in range(1, len(MONTHS) - 1):
            anew, seconds = trained(month, "anew", f"training.epochs={options.epochs}")
            start = f'training.warm_start="{place / "warm"}"'
            warm, warm_seconds = trained(month, "warm", start, f"training.epochs={options.more}")
            row: dict[str, float] = {"time": warm_seconds / seconds}
            for figure in FIGURES:
                before, after = (one.metrics["test"]["seen_removed"][figure] for one in (anew, warm))
                row[f"{figure}_anew"], row[f"{figure}_warm"] = before, after
                row[figure] = after / before
            rows.append(row)
            report("warm_start", month=MONTHS[month], **row)
    report(
        "warm_start",
        **{f"{name}_ratio": mean(row[name] for row in rows) for name in ("time", *FIGURES)},
    )


if __name__ == "__main__":
    main()
