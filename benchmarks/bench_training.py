"""Training examples per second against the tutorial's way of writing the same model."""

import tfrecall as tr
from benchmarks.measure import fastest_in_turn, report
from benchmarks.tutorial import TutorialModel, movielens_split, raw_batches, tutorial_schema
from tfrecall._keras import keras
from tfrecall.data.batches import examples

EPOCHS = 8

train, _ = movielens_split()
model = tr.TwoTower(tutorial_schema(), [64, 32])
model.adapt(train)
ours = model, examples(train, 2048, encode=model.encode, forms=model.forms)
theirs = TutorialModel(train), raw_batches(train, 2048)
works = []
for one, batches in (ours, theirs):
    one.compile(optimizer=keras.optimizers.Adagrad(0.1))
    one.fit(batches, epochs=1, verbose=0)  # traces
    works.append(lambda one=one, batches=batches: one.fit(batches, epochs=1, verbose=0))
rates = [len(train) / seconds for seconds in fastest_in_turn(works, EPOCHS)]
report(
    "training",
    examples_per_second=rates[0],
    tutorial_examples_per_second=rates[1],
    ratio=rates[0] / rates[1],
)
