"""Exact search over 200,000 vectors of 64, one query and 32 at once, against the matrix product alone."""

import numpy as np

from benchmarks.measure import fastest_in_turn, report
from tfrecall.index import Exact

N_ITEMS, DIM, K, ROUNDS = 200_000, 64, 10, 15

rng = np.random.default_rng(0)
vectors = rng.normal(size=(N_ITEMS, DIM)).astype(np.float32)
index = Exact().build(vectors, [f"i{row}" for row in range(N_ITEMS)])
one, many = (rng.normal(size=(n, DIM)).astype(np.float32) for n in (1, 32))
works = [
    lambda: index.search(one, K),
    lambda: one @ vectors.T,
    lambda: index.search(many, K),
    lambda: many @ vectors.T,
]
seconds = [1000 * fewest for fewest in fastest_in_turn(works, ROUNDS)]
report(
    "exact",
    one_ms=seconds[0],
    batch_ms=seconds[2],
    one_ratio=seconds[0] / seconds[1],
    batch_ratio=seconds[2] / seconds[3],
)
