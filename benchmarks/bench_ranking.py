"""Training examples per second of a ranker against the tutorial's way of writing the same model."""

import tfrecall as tr
from benchmarks.measure import fastest_in_turn, movielens_folder, report
from benchmarks.tutorial import TutorialRanker, movielens_split, rated_batches
from tfrecall._keras import keras
from tfrecall.data import Interactions, split_random, synthetic
from tfrecall.schema.features import Categorical, Schema
from tfrecall.training.inputs.examples import TrainingExamples
from tfrecall.training.optimizers import make_optimizer

ROUNDS, EPOCHS, BATCH_SIZE = 10, 5, 8192


def rated() -> Interactions:
    """80,000 training rows of MovieLens-100K, or as many generated ones where it is not named."""
    if movielens_folder():
        return movielens_split()[0]
    data = synthetic(943, 1682, 100_000, seed=42)
    log = data.log.with_columns(rating=1.0 + data.item_rows % 5)
    items = data.items.rename({"title": "movie_title"})
    return split_random(Interactions(log, data.users, items, "synthetic"), 0.2, seed=42)[0]


train = rated()
schema = Schema(
    query=[Categorical("user_id", 32, unknown_rate=0.0)],
    candidate=[Categorical("movie_title", 32, unknown_rate=0.0)],
)
ours = tr.Ranker(schema, (256, 64), label=tr.Label("rating", 1, 5), global_mean=False)
ours.adapt(train)
theirs = TutorialRanker(train)
ours.compile(optimizer=make_optimizer("adagrad", 0.1))
theirs.compile(optimizer=keras.optimizers.Adagrad(0.1))
sides = (
    (ours, TrainingExamples(ours, train, BATCH_SIZE).batches()),
    (theirs, rated_batches(train, BATCH_SIZE)),
)
works = []
for model, batches in sides:
    model.fit(batches, epochs=1, verbose=0)  # traces
    works.append(lambda model=model, batches=batches: model.fit(batches, epochs=EPOCHS, verbose=0))
rates = [EPOCHS * len(train) / seconds for seconds in fastest_in_turn(works, ROUNDS)]
report(
    "ranking",
    data=train.name,
    examples_per_second=rates[0],
    tutorial_examples_per_second=rates[1],
    ratio=rates[0] / rates[1],
)
