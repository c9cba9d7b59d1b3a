"""Ranker of ratings whose scores average draws from the posterior of a factorization machine."""

import random
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from typing import Any

import numpy as np

from tfrecall._keras import keras, tf, without_autograph
from tfrecall.errors import ConfigError
from tfrecall.layers.features import FeatureLayer
from tfrecall.layers.history import HistoryFeature
from tfrecall.models.design import Design
from tfrecall.models.gibbs import GibbsSampler
from tfrecall.models.queries import paired, users_asking
from tfrecall.models.ranker import Encoded, Ranker
from tfrecall.models.towers import with_lists
from tfrecall.schema.features import (
    Bucketized,
    Categorical,
    Day,
    Feature,
    History,
    MultiCategorical,
    Schema,
    schema_from_dict,
    schema_to_dict,
)
from tfrecall.schema.labels import Label
from tfrecall.tasks.ranking import Ratings

_TAKEN = (Bucketized, Categorical, Day, MultiCategorical)


@keras.utils.register_keras_serializable(package="tfrecall")
class BayesianRanker(Ranker):
    """Predicts ratings by the mean of many draws from the posterior of a factorization machine.

    In each draw a rating is the mean of all ratings, a bias of each feature, and the inner product of the sums
    of both sides' vectors. Vectors have a Gaussian prior that is drawn, too, so there is neither a rate to
    learn by nor a weight of a regularization, and no need to stop early. The spread of the draws tells how
    uncertain a prediction is.

    `fit` learns from all rows at once: an epoch is `sweeps` sweeps of a Gibbs sampler, and its last one is a
    draw. The newest `draws` of them are kept, so `epochs` is `draws` and some more until the sampler has
    found the ratings. The optimizer, its rate and the batch size have no effect.

    The history of a user is whole in training, the row itself included, as in SVD++. Predictions are cut to
    the declared range of the label.

    Args:
        schema: the features of both sides, of one length: the ids of user and item, and any of
            `Categorical`, `MultiCategorical`, `Bucketized`, `Day`, and `History` of `anytime` with a table
            of its own. Query features that change from row to row of a user, such as `Day`, have a bias
            alone.
        draws: number of draws that are averaged.
        sweeps: sweeps of the sampler from one draw to the next.
        raters: whether the users who rated an item in the training rows tell of its vector, as the items that
            a user rated tell of the user's.
        task: `Ratings`.
        label: the target of the prediction: a `Label`, or the name of a column of the log.

    Attributes:
        interactions: the log that the model was adapted to, or given by `use_log`; None if it was a
            dataset. Histories of users are taken from it.

    Raises:
        ConfigError: if a feature is of another kind or length, an id is missing, or the task is no `Ratings`.
        DataError: from `fit`, if rows have weights.

    Example:

    >>> import polars as pl
    >>> import tfrecall as tr
    >>> log = tr.data.synthetic(n_users=6, n_items=5, n_rows=40, seed=1)
    >>> log = log.with_log(log.log.with_columns(rating=pl.Series([3.0, 5.0] * 20)))
    >>> schema = tr.Schema(query=[tr.Categorical("user_id", 2)], candidate=[tr.Categorical("item_id", 2)])
    >>> model = tr.BayesianRanker(schema, draws=4, label=tr.Label("rating", 1, 5))
    >>> tr.fit(model, log, epochs=6, verbose=0).epochs
    6
    >>> model.scores(["u1"], ["i1", "i2"]).shape
    (2,)

    References:
        Salakhutdinov and Mnih, "Bayesian Probabilistic Matrix Factorization using Markov Chain Monte Carlo",
        ICML 2008; Rendle et al., "On the Difficulty of Evaluating Baselines", 2019; Koren, "Collaborative
        Filtering with Temporal Dynamics", KDD 2009 (effects of a user's day).
    """

    def __init__(
        self,
        schema: Schema | dict[str, Any],
        draws: int = 40,
        *,
        sweeps: int = 4,
        raters: bool = True,
        task: keras.layers.Layer | None = None,
        label: Label | str | dict[str, Any] = "rating",
        **kwargs: Any,
    ) -> None:
        for name, value in (("draws", draws), ("sweeps", sweeps)):
            if value < 1:
                raise ConfigError(f"`{name}` of a Bayesian ranker is 1 or more. Received: {value}.")
        if task is not None and not isinstance(task, Ratings):
            raise ConfigError(
                f"A Bayesian ranker predicts numbers, by `Ratings`. Received: {type(task).__name__}. Take "
                "`Ranker` for clicks and lists."
            )
        self.draws, self.sweeps, self.raters = draws, sweeps, raters
        self.dim = _length(schema_from_dict(schema))
        super().__init__(schema, (), task=task, label=label, crosses=("dot",), **kwargs)
        # Weights, so that checkpoints, files and exports hold them.
        self._filled = self.add_weight("filled", [], initializer="zeros", trainable=False)
        self._noise = self.add_weight("noise", [draws], initializer="zeros", trainable=False)
        self._sampling: _Sampling | None = None

    def _features(self, side: str) -> tuple[Feature, ...]:
        # One table holds all draws, side by side: a draw is `dim` numbers and a bias.
        width = self.draws * (self.dim + 1)
        return tuple(_with_length(feature, width) for feature in getattr(self.schema, side))

    # Scores

    @without_autograph
    def spread(
        self, query: Encoded, candidate: Encoded, query_rows: tf.Tensor | None = None
    ) -> tf.Tensor:
        """Standard deviation of the ratings that may come, of draws and of noise together: float32 `[n]`.

        Args:
            query, candidate, query_rows: as of `score`.
        """
        left, right = self._sides(query, candidate, False)
        scores, count = self._of_draws(left, right, query_rows), self._count()
        mean = tf.reduce_sum(scores, axis=1, keepdims=True) / count
        # Draws that are not there yet have the score 0 and do not count.
        there = tf.cast(tf.range(self.draws), tf.float32) < self._filled
        squares = tf.where(there, tf.square(scores - mean), 0.0)
        noise = tf.reduce_sum(self._noise) / count
        return tf.sqrt(tf.reduce_sum(squares, axis=1) / count + noise)

    def spreads(self, user_ids: Sequence[str], item_ids: Sequence[str]) -> np.ndarray:
        """Standard deviation of the ratings that may come, of pairs of raw ids: float32 `[n]`.

        Args:
            user_ids, item_ids: as of `scores`.

        Raises:
            DataError: if an item is not in the catalogue, users and items do not pair up, or the model was
                adapted to a dataset.
        """
        users, places = paired(user_ids, item_ids)
        return self.spread_raw(users_asking(self, users), self.catalogue_rows(item_ids), places)

    def spread_raw(
        self, queries: dict[str, Any], items: np.ndarray, query_rows: np.ndarray
    ) -> np.ndarray:
        """As `spreads`, of raw queries and rows of the item table, as of `score_raw`."""
        return self._of_pairs(self._spreads, queries, items, query_rows)

    @tf.function(reduce_retracing=True, autograph=False)
    def _spreads(self, raw: dict[str, tf.Tensor], index: tf.Tensor, query_rows: tf.Tensor) -> tf.Tensor:
        query = self.query_tower.preprocess(raw)
        return self.spread(query, self.catalogue.features(index), query_rows)

    def _score(
        self,
        left: list[tf.Tensor],
        right: list[tf.Tensor],
        query: Encoded,
        candidate: Encoded,
        query_rows: tf.Tensor | None,
        training: bool | None,
    ) -> tf.Tensor:
        scores = self._of_draws(left, right, query_rows)
        mean = self.offset + tf.reduce_sum(scores, axis=1) / self._count()
        low, high = self.label.low, self.label.high
        mean = mean if low is None else tf.maximum(mean, low)
        return mean if high is None else tf.minimum(mean, high)

    def _of_draws(
        self, left: list[tf.Tensor], right: list[tf.Tensor], query_rows: tf.Tensor | None
    ) -> tf.Tensor:
        """What each draw adds to the mean of all ratings: float32 `[n, draws]`."""
        queries, candidates = self._drawn(left), self._drawn(right)
        if query_rows is not None:
            queries = tf.gather(queries, query_rows)
        products = tf.reduce_sum(queries[..., :-1] * candidates[..., :-1], axis=-1)
        return products + queries[..., -1] + candidates[..., -1]

    def _drawn(self, vectors: list[tf.Tensor]) -> tf.Tensor:
        return tf.reshape(tf.cast(tf.add_n(vectors), tf.float32), [-1, self.draws, self.dim + 1])

    def _count(self) -> tf.Tensor:
        return tf.maximum(self._filled, 1.0)

    # Training

    def fit(self, x: Any = None, *, validation_data: Any = None, **kwargs: Any) -> Any:
        """Draws once an epoch from the posterior given all rows of the dataset.

        Each fit begins anew; the seed is that of `random`, which `tfrecall.fit` sets. With `initial_epoch` the
        draws until then are made again, so that later ones are those of a fit that was not interrupted.
        """
        examples = self._encoded(x, training=True)
        self._check_labelled(examples.element_spec)
        self.create_weights()
        self._sampling = _Sampling(self, examples, random.randrange(2**31))
        for _ in range(kwargs.get("initial_epoch", 0)):
            self._draw()
        # Keras reads one batch an epoch and so counts epochs; all rows are with the sampler.
        one = tf.data.Dataset.from_tensors(next(iter(examples)))
        return super().fit(one, validation_data=validation_data, **kwargs)

    def make_train_function(self, force: bool = False) -> Callable[[Any], dict[str, tf.Tensor]]:
        def train(iterator: Any) -> dict[str, tf.Tensor]:
            next(iterator)
            return {"loss": tf.constant(self._draw())}

        self.train_function = train
        return train

    def train_on_batch(self, *args: Any, **kwargs: Any) -> Any:
        """Raises: draws are made from all rows at once, by `fit`."""
        raise ConfigError(
            "A Bayesian ranker draws from the posterior given all rows, so it cannot learn from a batch. Use "
            "`fit`, or take `Ranker`."
        )

    def _draw(self) -> float:
        """Makes the next draw; gives the mean squared error of the training rows in it."""
        assert self._sampling is not None, "`fit` makes it"
        error = self._sampling.next(self.sweeps)
        place = (self._sampling.count - 1) % self.draws
        for layer, table in self._sampling.tables:
            # The table as [values, draws, dim + 1], for the place of the draw.
            layer.table.assign(table.reshape(len(table), -1))
        self._noise.scatter_nd_update([[place]], [1 / self._sampling.precision])
        self._filled.assign(min(self._sampling.count, self.draws))
        return error

    def get_config(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "schema": with_lists(schema_to_dict(self.schema)),
            "draws": self.draws,
            "sweeps": self.sweeps,
            "raters": self.raters,
            "task": keras.layers.serialize(self.task),
            "label": asdict(self.label),
        }


class _Sampling:
    """The sampler of one fit, and the tables that hold its newest draws.

    Attributes:
        count: draws made.
        tables: each layer with a table, and its draws, float32 `[values, draws, dim + 1]`.
    """

    def __init__(self, model: BayesianRanker, batches: tf.data.Dataset, seed: int) -> None:
        user, query = _apart(model.query_tower.features, "user_id")
        item, candidate = _apart(model.candidate_tower.features, model.schema.candidate_id)
        items = model.catalogue.encoded
        self._design = design = Design(user, query, item, candidate, items, batches, model.raters)
        labels = design.labels - float(model.offset)
        self._sampler = GibbsSampler(design.user, design.item, labels, model.dim, seed, design.effects)
        self._labels = labels
        self._draws = model.draws
        self.count = 0
        shape = (model.draws, model.dim + 1)
        self._tables = {
            f"{side}/{layer.name}": (owner, np.zeros((int(owner.table.shape[0]), *shape), np.float32))
            for side, tower in (("query", model.query_tower), ("candidate", model.candidate_tower))
            for layer in tower.features
            for owner in [layer.inner if isinstance(layer, HistoryFeature) else layer]
        }
        self.tables = list(self._tables.values())

    @property
    def precision(self) -> float:
        """One over the variance of the noise in the last draw."""
        return self._sampler.precision

    def next(self, sweeps: int) -> float:
        """Makes a draw in the place of the oldest; gives its mean squared error."""
        for _ in range(sweeps):
            self._sampler.sweep()
        for name, values in self._design.tables(self._sampler).items():
            self._tables[name][1][:, self.count % self._draws] = values
        self.count += 1
        return float(np.square(self._labels - self._sampler.predict()).mean())


def _apart(features: Sequence[FeatureLayer], column: str) -> tuple[FeatureLayer, list[FeatureLayer]]:
    """The layer of the id, and all others."""
    (entity, *_) = (one for one in features if _is_id(one.spec, column))
    return entity, [layer for layer in features if layer is not entity]


def _is_id(feature: Feature, column: str) -> bool:
    return isinstance(feature, Categorical) and feature.column == column and feature.prefix is None


def _with_length(feature: Any, length: int) -> Feature:
    if isinstance(feature, History):
        return replace(feature, of=replace(feature.of, embedding_dim=length))
    return replace(feature, embedding_dim=length)


def _length(schema: Schema) -> int:
    """Length of the vectors of all features.

    Raises:
        ConfigError: if a feature cannot be drawn, features differ in length, or an id is missing.
    """
    for side, column in (("query", "user_id"), ("candidate", schema.candidate_id)):
        features = getattr(schema, side)
        for feature in features:
            _check_kind(feature)
        if not any(_is_id(feature, column) for feature in features):
            raise ConfigError(
                f"A Bayesian ranker draws vectors of users and items: the {side} needs "
                f'Categorical("{column}"). '
                f"Received: {', '.join(str(feature) for feature in features)}."
            )
    specs: list[Any] = [getattr(one, "of", one) for one in (*schema.query, *schema.candidate)]
    lengths = {spec.embedding_dim for spec in specs}
    if len(lengths) > 1:
        raise ConfigError(
            "A Bayesian ranker adds up the vectors of each side, so they are of one length. Received: "
            f"{', '.join(f'{spec.column} {spec.embedding_dim}' for spec in specs)}. Give each feature the "
            "same `embedding_dim`."
        )
    return int(lengths.pop())


def _check_kind(feature: Any) -> None:
    of = feature.of if isinstance(feature, History) else feature
    if isinstance(of, Categorical) and of.hash_rows:
        raise ConfigError(
            f'A Bayesian ranker gives each value a row of its own, and "{of.column}" has {of.hash_rows:,} '
            "shared ones. Leave `hash_rows` out, or take `Ranker`."
        )
    if isinstance(feature, _TAKEN):
        return
    if not isinstance(feature, History):
        raise ConfigError(
            f"A Bayesian ranker has no vectors of {feature}: it takes values that are looked up. Make a number "
            "Bucketized, leave the feature out, or take `Ranker`."
        )
    wrong = [
        what
        for what, given in (
            ("no `anytime`", not feature.anytime),
            (f"`table` {feature.table!r}", feature.table is not None),
            ("`normalize`", feature.normalize),
            (f"lists of {type(feature.of).__name__}", not isinstance(feature.of, Categorical)),
        )
        if given
    ]
    if wrong:
        raise ConfigError(
            f'A Bayesian ranker takes a history as an attribute of the user, and "{feature.column}" has '
            f"{' and '.join(wrong)}. Set `anytime`, and give it a table of its own, of a Categorical."
        )
