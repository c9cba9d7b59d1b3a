"""Keras' `evaluate` of 20,000 test rows against TFRS' streaming metric, after a first call of each."""

import tfrecall as tr
from benchmarks.measure import fastest_in_turn, report
from benchmarks.tutorial import TutorialModel, movielens_split, raw_batches, tutorial_schema
from tfrecall._keras import keras
from tfrecall.data.batches import examples

CALLS = 4

train, test = movielens_split()
model = tr.TwoTower(tutorial_schema(), [64, 32])
model.adapt(train)
tutorial = TutorialModel(train)
ours = examples(test, 4096, shuffle=False, encode=model.encode, forms=model.forms)
theirs = raw_batches(test, 4096, shuffle=False).cache()
works = []
for one, batches in ((model, ours), (tutorial, theirs)):
    one.compile(optimizer=keras.optimizers.Adagrad(0.1))
    one.evaluate(batches, verbose=0)  # traces
    works.append(lambda one=one, batches=batches: one.evaluate(batches, verbose=0))
seconds = fastest_in_turn(works, CALLS)
report(
    "evaluation",
    rows=len(test),
    seconds=seconds[0],
    factorized_top_k_seconds=seconds[1],
    ratio=seconds[1] / seconds[0],
)
