"""Time of a training step with a catalogue of 1,000,000 items against one with 10,000, and peak memory.

YouTubeDNN as in `bench_sequences`. The large model has its weights, its optimizer's slots and its lookup
tables; what a step may not do is to go through them.
"""

import argparse
import resource
import sys

import numpy as np
import polars as pl

import tfrecall as tr
from benchmarks.measure import fastest_in_turn, report
from tfrecall._keras import tf
from tfrecall.data import Interactions
from tfrecall.training.inputs.examples import TrainingExamples
from tfrecall.training.optimizers import make_optimizer

DIM, NEGATIVES, BATCH = 32, 255, 6_000
USERS, STEPS, ROUNDS = 10_000, 40, 15


def log_of(n_items: int, n_rows: int) -> Interactions:
    """Each item once, in any order, and popular ones more often in all other rows."""
    rng = np.random.default_rng(0)
    popular = (n_items * rng.random(n_rows - n_items) ** 3).astype(np.int64)
    items = rng.permutation(np.concatenate([np.arange(n_items), popular]))
    log = pl.DataFrame(
        {
            "user_id": rng.integers(0, USERS, n_rows),
            "item_id": items,
            "timestamp": np.arange(n_rows) + 1_500_000_000,
        }
    )
    return Interactions.from_frame(log.with_columns(pl.col("user_id", "item_id").cast(pl.String)))


def steps_of(n_items: int, n_rows: int) -> tuple[tr.TwoTower, tf.data.Dataset]:
    """A model that has trained once, and the encoded batches of some steps, in memory."""
    item = tr.Categorical("item_id", DIM)
    schema = tr.Schema(query=[tr.History("history", item, 50)], candidate=[item])
    model = tr.YouTubeDNN(schema, [64, DIM], task=tr.SampledSoftmax(NEGATIVES))
    data = log_of(n_items, n_rows)
    model.adapt(data)
    model.compile(make_optimizer("adagrad", 0.1))
    batches = TrainingExamples(model, data, BATCH).batches().take(STEPS).cache()
    model.fit(batches, epochs=1, verbose=0)  # traces
    return model, batches


def main() -> None:
    """The two models train in turn."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--small", type=int, default=10_000, help="items of the small catalogue")
    parser.add_argument("--large", type=int, default=1_000_000, help="items of the large one")
    parser.add_argument("--rows", type=int, default=3_000_000, help="rows of each log")
    options = parser.parse_args()
    pairs = [steps_of(n_items, options.rows) for n_items in (options.small, options.large)]
    works = [
        lambda model=model, batches=batches: model.fit(batches, epochs=1, verbose=0)
        for model, batches in pairs
    ]
    small, large = (1000 * seconds / STEPS for seconds in fastest_in_turn(works, ROUNDS))
    unit = 2**30 if sys.platform == "darwin" else 2**20
    report(
        "catalogue",
        small_step_ms=small,
        large_step_ms=large,
        ratio=large / small,
        peak_rss_gb=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit,
    )


if __name__ == "__main__":
    main()
