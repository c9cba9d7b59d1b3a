"""Training examples per second against the tutorial's way of writing the same model."""

from statistics import median

import tfrecall as tr
from benchmarks.common import TutorialModel, movielens_split, raw_batches, report, seconds_of
from tfrecall._keras import keras
from tfrecall.data.pipelines import examples

EPOCHS = 5

schema = tr.Schema(
    query=[
        tr.Categorical("user_id"),
        tr.Bucketized("timestamp", 1000, method="equal_width"),
        tr.Numeric("timestamp"),
    ],
    candidate=[tr.Categorical("movie_title"), tr.Text("movie_title")],
)
train, _ = movielens_split()
model = tr.TwoTower(schema, [64, 32])
model.adapt(train)
ours = model, examples(train, 2048, encode=model.encode, forms=model.forms)
theirs = TutorialModel(train), raw_batches(train, 2048)
times: dict[int, list[float]] = {0: [], 1: []}
for one, _ in (ours, theirs):
    one.compile(optimizer=keras.optimizers.Adagrad(0.1))
for epoch in range(EPOCHS + 1):  # in turn, so that a noisy moment hits both; the first epoch traces
    for side, (one, batches) in enumerate((ours, theirs)):
        seconds = seconds_of(lambda one=one, batches=batches: one.fit(batches, epochs=1, verbose=0))
        if epoch:
            times[side].append(seconds)
rates = [len(train) / median(times[side]) for side in (0, 1)]
report(
    "training",
    examples_per_second=rates[0],
    tutorial_examples_per_second=rates[1],
    ratio=rates[0] / rates[1],
)
