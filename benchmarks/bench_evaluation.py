"""Keras' `evaluate` of 20,000 test rows against TFRS' streaming metric, second call of each."""

import tfrecall as tr
from benchmarks.common import TutorialModel, movielens_split, raw_batches, report, seconds_of
from tfrecall._keras import keras
from tfrecall.data.pipelines import examples

schema = tr.Schema(
    query=[tr.Categorical("user_id"), tr.Bucketized("timestamp", 1000), tr.Numeric("timestamp")],
    candidate=[tr.Categorical("movie_title"), tr.Text("movie_title")],
)
train, test = movielens_split()
model = tr.TwoTower(schema, [64, 32])
model.adapt(train)
tutorial = TutorialModel(train)
ours = examples(test, 4096, shuffle=False, encode=model.encode, forms=model.forms)
theirs = raw_batches(test, 4096, shuffle=False).cache()
seconds = []
for one, batches in ((model, ours), (tutorial, theirs)):
    one.compile(optimizer=keras.optimizers.Adagrad(0.1))
    one.evaluate(batches, verbose=0)
    seconds.append(seconds_of(lambda one=one, batches=batches: one.evaluate(batches, verbose=0)))
report(
    "evaluation",
    rows=len(test),
    seconds=seconds[0],
    factorized_top_k_seconds=seconds[1],
    ratio=seconds[1] / seconds[0],
)
