"""Seconds of training until validation hit_rate@100 passes .28, against the tutorial's model.

Both sides train on the same rows and are judged after each epoch by the same code on the same
validation rows, seen items kept. Encoding, adapting, tracing and training count; judging and the import
of TensorFlow do not.
"""

import argparse
from collections.abc import Callable
from time import perf_counter

import numpy as np
import polars as pl

import tfrecall as tr
from benchmarks.measure import movielens_folder, report, seconds_of
from benchmarks.tutorial import TutorialModel, raw_batches
from tfrecall._keras import keras, tf
from tfrecall.config.recipes import load_config
from tfrecall.data.batches import examples
from tfrecall.evaluation.metrics import hit_rate
from tfrecall.runs.build import make_model
from tfrecall.runs.preparation import prepare
from tfrecall.training import make_optimizer, seed_everything

QUALITY = 0.28
K = 100


class Side:
    """A model in training and the seconds that it took.

    Attributes:
        seconds, epochs: until the quality was reached, or the limit.
        reached: whether it was.
    """

    def __init__(self, start: Callable[[], tuple[keras.Model, tf.data.Dataset]]) -> None:
        self.reached = False
        self.epochs = 0
        started = perf_counter()
        self.model, self._batches = start()
        self.seconds = perf_counter() - started

    def train(self, judge: Callable[[keras.Model], float], limit_seconds: float) -> None:
        """Epoch by epoch, until the quality or the limit is reached."""
        while not self.reached and self.seconds < limit_seconds:
            self.seconds += seconds_of(lambda: self.model.fit(self._batches, epochs=1, verbose=0))
            self.epochs += 1
            self.reached = judge(self.model) >= QUALITY


def share_found(queries: np.ndarray, candidates: np.ndarray, rows: np.ndarray) -> float:
    """hit_rate@100 of rows of candidates, ties against the model."""
    scores = queries @ candidates.T
    own = np.take_along_axis(scores, rows[:, None], axis=1)
    return float(hit_rate(np.count_nonzero(scores >= own, axis=1) - 1, K).mean())


config = load_config(
    "two_tower_ml100k", [f"data.folder='{movielens_folder()}'"] * bool(movielens_folder())
)
prepared = prepare(config)
train, validation = prepared.train, prepared.validation


def start_ours() -> tuple[tr.TwoTower, tf.data.Dataset]:
    """The recipe's model and its batches, encoded."""
    seed_everything(config.training.seed)
    model = make_model(config)
    model.adapt(train)
    model.compile(optimizer=make_optimizer(config.training.optimizer, config.training.learning_rate))
    batches = examples(train, config.training.batch_size, encode=model.encode, forms=model.forms)
    return model, batches


def start_tutorial() -> tuple[TutorialModel, tf.data.Dataset]:
    """The tutorial's model and its raw batches."""
    seed_everything(config.training.seed)
    model = TutorialModel(train)
    model.compile(optimizer=keras.optimizers.Adagrad(0.1))
    return model, raw_batches(train, 2048)


def judge_ours(model: tr.TwoTower) -> float:
    """Share of the validation rows whose movie is found."""
    return share_found(
        model.embed_queries(validation.queries), model.embed_candidates(), validation.item_rows
    )


def judge_tutorial(model: TutorialModel) -> float:
    """Share of the validation rows whose title is found."""
    places = pl.DataFrame({"movie_title": model.titles}).with_row_index("place")
    rows = validation.log.join(train.items, on="item_id", how="left", maintain_order="left")
    rows = rows.join(places, on="movie_title", how="left", maintain_order="left")["place"]
    batches = raw_batches(validation, 4096, shuffle=False)
    queries = np.concatenate([model.query(raw).numpy() for raw in batches])
    return share_found(queries, model.candidate(tf.constant(model.titles)).numpy(), rows.to_numpy())


parser = argparse.ArgumentParser()
parser.add_argument("--limit-seconds", type=float, default=600.0, help="of the tutorial's training")
limit = parser.parse_args().limit_seconds
ours = Side(start_ours)
ours.train(judge_ours, limit)
tutorial = Side(start_tutorial)
tutorial.train(judge_tutorial, limit)
report(
    "time_to_quality",
    hit_rate_at_100=QUALITY,
    seconds=ours.seconds,
    epochs=ours.epochs,
    reached=ours.reached,
    tutorial_seconds=tutorial.seconds,
    tutorial_epochs=tutorial.epochs,
    lower_bound=not tutorial.reached,
    tutorial_epochs_meanwhile=ours.seconds * tutorial.epochs / tutorial.seconds,
    ratio=tutorial.seconds / ours.seconds,
)
