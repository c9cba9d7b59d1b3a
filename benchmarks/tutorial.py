"""The other side of the comparisons: the data, and the model as the TFRS tutorial writes it."""

import os

from benchmarks.measure import movielens_folder

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np

from tfrecall._keras import keras, tf, tfrs
from tfrecall.data import Interactions, movielens, split_random
from tfrecall.data.batches import examples
from tfrecall.schema.features import Bucketized, Categorical, Numeric, Schema, Text


def movielens_split() -> tuple[Interactions, Interactions]:
    """MovieLens-100K, 80,000 rows to train and 20,000 to test on."""
    return split_random(movielens("100k", movielens_folder()), 0.2, seed=42)


def tutorial_schema() -> Schema:
    """The features of the tutorial, for our model of the same towers."""
    return Schema(
        query=[
            Categorical("user_id"),
            Bucketized("timestamp", 1000, method="equal_width"),
            Numeric("timestamp"),
        ],
        candidate=[Categorical("movie_title"), Text("movie_title")],
    )


def raw_batches(data: Interactions, batch_size: int, shuffle: bool = True) -> tf.data.Dataset:
    """Batches as the tutorial has them: user id, movie title and time stamp."""
    forms = {"user_id": "string", "movie_title": "string", "timestamp": "number"}
    return examples(data, batch_size, shuffle=shuffle, forms=forms)


class TutorialModel(tfrs.Model):
    """The deep retrieval tutorial of TFRS, towers [64, 32]: lookups run inside the training step."""

    def __init__(self, train: Interactions) -> None:
        super().__init__()
        titles = train.items["movie_title"].unique(maintain_order=True).to_list()
        self.titles = np.array(titles)
        times = train.log["timestamp"].to_numpy()
        step = (times.max() - times.min()) / 999
        boundaries = [float(times.min() + i * step) for i in range(1000)]
        self.user = _lookup(train.log["user_id"].unique(maintain_order=True).to_list(), None)
        self.time = keras.Sequential(
            [keras.layers.Discretization(boundaries), keras.layers.Embedding(1001, 32)]
        )
        self.scaled_time = keras.layers.Normalization(
            axis=None, mean=times.mean(), variance=times.var()
        )
        self.title = _lookup(titles, None)
        words = keras.layers.TextVectorization(max_tokens=10_000)
        words.adapt(tf.data.Dataset.from_tensor_slices(titles).batch(128))
        self.text = keras.Sequential(
            [
                words,
                keras.layers.Embedding(10_000, 32, mask_zero=True),
                keras.layers.GlobalAveragePooling1D(),
            ]
        )
        self.query_dense = _dense()
        self.candidate_dense = _dense()
        self.movies = tf.data.Dataset.from_tensor_slices(titles)
        self.task = tfrs.tasks.Retrieval(
            metrics=tfrs.metrics.FactorizedTopK(self.movies.batch(128).map(self.candidate))
        )

    def query(self, raw: dict[str, tf.Tensor]) -> tf.Tensor:
        scaled = tf.reshape(self.scaled_time(raw["timestamp"]), [-1, 1])
        parts = [self.user(raw["user_id"]), self.time(raw["timestamp"]), scaled]
        return self.query_dense(tf.concat(parts, axis=1))

    def candidate(self, titles: tf.Tensor) -> tf.Tensor:
        return self.candidate_dense(tf.concat([self.title(titles), self.text(titles)], axis=1))

    def compute_loss(self, raw: dict[str, tf.Tensor], training: bool = False) -> tf.Tensor:
        vectors = self.query(raw), self.candidate(raw["movie_title"])
        return self.task(*vectors, compute_metrics=not training)


class TutorialRanker(tfrs.Model):
    """The ranking tutorial of TFRS: embeddings of 32, dense layers 256, 64 and 1; lookups in the step."""

    def __init__(self, train: Interactions) -> None:
        super().__init__()
        self.user = _lookup(train.users["user_id"].to_list(), None)
        self.title = _lookup(train.items["movie_title"].unique(maintain_order=True).to_list(), None)
        self.ratings = keras.Sequential(
            [
                keras.layers.Dense(256, activation="relu"),
                keras.layers.Dense(64, activation="relu"),
                keras.layers.Dense(1),
            ]
        )
        self.task = tfrs.tasks.Ranking(
            loss=keras.losses.MeanSquaredError(), metrics=[keras.metrics.RootMeanSquaredError()]
        )

    def call(self, raw: dict[str, tf.Tensor]) -> tf.Tensor:
        parts = [self.user(raw["user_id"]), self.title(raw["movie_title"])]
        return self.ratings(tf.concat(parts, axis=1))

    def compute_loss(self, raw: dict[str, tf.Tensor], training: bool = False) -> tf.Tensor:
        return self.task(labels=raw["rating"], predictions=self(raw))


def rated_batches(data: Interactions, batch_size: int) -> tf.data.Dataset:
    """Batches as the ranking tutorial makes them: shuffled once, batched, and cached."""
    titles = data.items.select("item_id", "movie_title")
    rows = data.log.join(titles, on="item_id", how="left", maintain_order="left")
    columns = {name: rows[name].to_numpy() for name in ("user_id", "movie_title", "rating")}
    columns = {
        name: values.astype(str if values.dtype == object else np.float32)
        for name, values in columns.items()
    }
    batches = tf.data.Dataset.from_tensor_slices(columns).shuffle(100_000, seed=42)
    return batches.batch(batch_size).cache()


def _lookup(vocabulary: list[str], mask: str | None) -> keras.Sequential:
    lookup = keras.layers.StringLookup(vocabulary=vocabulary, mask_token=mask)
    return keras.Sequential([lookup, keras.layers.Embedding(len(vocabulary) + 1, 32)])


def _dense() -> keras.Sequential:
    return keras.Sequential([keras.layers.Dense(64, activation="relu"), keras.layers.Dense(32)])
