"""Ranking model: one score for a pair of a query and a candidate, from features of both and their crosses."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import polars as pl

from tfrecall._keras import keras, tf, with_autograph, without_autograph
from tfrecall.core.raw import Form
from tfrecall.core.vocabulary import FIRST
from tfrecall.data.batches import as_batches, raw_tensors, to_frame
from tfrecall.data.interactions import Interactions
from tfrecall.errors import ConfigError, DataError, MissingColumnError, nearest
from tfrecall.layers.crosses import Biases, Cross, Crosses, MeanSquares
from tfrecall.layers.dense import Activation, HiddenLayer
from tfrecall.layers.randomness import Dropout
from tfrecall.models.base import FeatureModel
from tfrecall.models.point_in_time import predictions
from tfrecall.models.queries import paired, users_asking
from tfrecall.models.towers import CandidateTower, QueryTower, share_tables, with_lists
from tfrecall.schema.features import Categorical, Feature, Schema, schema_to_dict
from tfrecall.schema.labels import Gain, Kind, Label
from tfrecall.schema.specs import from_plain
from tfrecall.tasks.metrics import ExactAUC
from tfrecall.tasks.ranking import Ratings

# Pairs scored at once: bounds the memory that the vectors of their features take.
AT_ONCE = 65_536


Encoded = dict[str, Any]


@keras.utils.register_keras_serializable(package="tfrecall")
class Ranker(FeatureModel):
    """Scores pairs of a query and a candidate by the features of both and their crosses.

    The score is a sum of up to four parts: the mean of all labels, a number for each value of some
    features (`biases`), the inner product of both sides (`dot`), and the output of dense layers over the
    other crosses. Ids with `dot`, biases and the mean make matrix factorisation; a `History` of `anytime`
    with `RootSum` added to the user makes SVD++; more features make a factorization machine between both
    sides.

    Takes the same schema, features and data as `TwoTower`: raw batches are encoded once, in the input
    pipeline, and of a candidate a batch needs only its id. A batch holds labels, too.

    The gradient is that of the mean loss of a batch, as with `tfrs.tasks.Ranking`, so learning rates of
    tutorials carry over.

    Args:
        schema: the features of both sides.
        layer_sizes: units of the dense layers before the last, which has one.
        task: `Ratings` (the default), `Clicks`, `Lists`, `tfrs.tasks.Ranking`, or anything called like it.
        label: the target of the prediction: a `Label`, or the name of a column of the log.
        crosses: any of `concat`, all vectors side by side; `dcn`, these through Deep & Cross layers;
            `elementwise`, the product of the sums of each side; `dot_interaction`, the inner products of
            all pairs of features; and `dot`, the inner product of the sums of each side, added to the
            score.
        cross_layers: number of the Deep & Cross layers of `dcn`.
        cross_projection: rank of their matrices; None for full ones.
        biases: columns of Categorical features that get a number for each value.
        global_mean: whether the best constant score (a mean, log-odds) is added to all scores.
        dropout: share of the values dropped at the entry of the dense layers.
        hidden_dropout: share of the values dropped after each of them.
        batch_normalization: whether the values after each of them are normalised.
        activation: activation of the dense layers.
        embedding_regularization: weight of the squared length of the vectors of a row's features; its mean
            over the rows of a batch is added to the loss.
        bias_regularization: weight of the squares of `biases`, added to the loss in the same way.
        embedding_stddev: standard deviation of initial embeddings, drawn from a normal distribution; None for
            Keras' default, uniform in +-.05.

    Attributes:
        interactions: the log that the model was adapted to, or given by `use_log`; None if it was a
            dataset. Histories of users are taken from it.

    Raises:
        ConfigError: if a cross needs features of one length, a bias names no Categorical feature, the label
            is a feature itself, or both sides read columns of one name.
        MissingColumnError: from `adapt`, if the data lack a column.
        DataError: if used before `adapt`; from `adapt`, if labels cannot be learned from.

    Example:

    >>> import polars as pl
    >>> import tfrecall as tr
    >>> log = tr.data.synthetic(n_users=6, n_items=5, n_rows=40, seed=1)
    >>> log = log.with_log(log.log.with_columns(rating=pl.Series([3.0, 5.0] * 20)))
    >>> schema = tr.Schema(query=[tr.Categorical("user_id", 4)], candidate=[tr.Categorical("item_id", 4)])
    >>> model = tr.Ranker(schema, crosses=["dot"], biases=["user_id", "item_id"])
    >>> model.adapt(log)
    >>> model.scores(["u1"], ["i1", "i2"]).round(1).tolist()  # the mean of all ratings, before training
    [4.0, 4.0]
    """

    def __init__(
        self,
        schema: Schema | dict[str, Any],
        layer_sizes: Sequence[int] = (256, 64),
        *,
        task: keras.layers.Layer | None = None,
        label: Label | str | dict[str, Any] = "rating",
        crosses: Sequence[Cross] = ("concat",),
        cross_layers: int = 1,
        cross_projection: int | None = None,
        biases: Sequence[str] = (),
        global_mean: bool = True,
        dropout: float = 0.0,
        hidden_dropout: float = 0.0,
        batch_normalization: bool = False,
        activation: Activation = "relu",
        embedding_regularization: float = 0.0,
        bias_regularization: float = 0.0,
        embedding_stddev: float | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(schema, **kwargs)
        self.label = Label(label) if isinstance(label, str) else from_plain(Label, label, Label)
        self.task = task if task is not None else Ratings()
        self._settings: dict[str, Any] = {
            "layer_sizes": tuple(layer_sizes),
            "crosses": tuple(crosses),
            "cross_layers": cross_layers,
            "cross_projection": cross_projection,
            "biases": tuple(biases),
            "global_mean": global_mean,
            "dropout": dropout,
            "hidden_dropout": hidden_dropout,
            "batch_normalization": batch_normalization,
            "activation": activation,
            "embedding_regularization": embedding_regularization,
            "bias_regularization": bias_regularization,
            "embedding_stddev": embedding_stddev,
        }
        stddev: dict[str, Any] = {"embedding_stddev": embedding_stddev}
        query, candidate = self._features("query"), self._features("candidate")
        self.query_tower = QueryTower(query, name="query_tower", **stddev)
        self.candidate_tower = CandidateTower(candidate, name="candidate_tower", **stddev)
        share_tables(self.query_tower, self.candidate_tower)
        self.crosses = Crosses(crosses, cross_layers, cross_projection)
        self._check()
        self._dropout = Dropout(dropout)
        self._hidden = [
            HiddenLayer(units, activation, hidden_dropout, batch_normalization) for units in layer_sizes
        ]
        self._last = keras.layers.Dense(1) if self.crosses.are_deep else None
        self._penalties = [MeanSquares(embedding_regularization), MeanSquares(bias_regularization)]
        # A weight, so that checkpoints and exports hold it; not trained, but computed from all
        # labels by `adapt`.
        self.offset = self.add_weight("offset", [], initializer="zeros", trainable=False)
        self._biases: dict[str, Biases] = {}
        self._mean_loss = keras.metrics.Mean(name="mean_loss")

    def _features(self, side: str) -> tuple[Feature, ...]:
        """Hook for subclasses: the features that the layers of a side are made of."""
        return getattr(self.schema, side)

    def _check(self) -> None:
        towers = (self.query_tower, self.candidate_tower)
        self.crosses.check_lengths(
            {layer.name: layer.output_dim for tower in towers for layer in tower.features}
        )
        if self.query_tower.interests > 1:
            raise ConfigError(
                f"A ranker takes one vector a history. Received one of {self.query_tower.interests} "
                "interests. Give it an encoder that makes one vector."
            )
        if any(one.empty == "popular" for one in self.schema.histories.values()):
            raise ConfigError(
                'A history with `empty = "popular"` is for retrievers: a ranker scores pairs, and no list of '
                "what is popular stands for them. Leave `empty` out."
            )
        if self.label.column in [*self.schema.query_columns, *self.schema.candidate_columns]:
            raise ConfigError(
                f'"{self.label.column}" is to be predicted, so it cannot be a feature: it is not known when '
                "somebody asks. Take it out of the schema, or name another label."
            )
        twice = [c for c in self.candidate_tower.forms if c in self.query_tower.forms]
        if twice:
            raise ConfigError(
                f'A query feature and a candidate feature both read a column "{twice[0]}". The exported '
                "model takes all columns side by side: rename one of them."
            )
        known = [f.column for f in [*self.schema.query, *self.schema.candidate] if _is_categorical(f)]
        for column in self._settings["biases"]:
            if column not in known:
                raise ConfigError(
                    f'`biases` names "{column}", which is no Categorical feature of the schema. Those are: '
                    f"{', '.join(known) or 'none'}."
                )

    # Data

    @property
    def forms(self) -> dict[str, Form]:
        """Raw columns that training needs: those of the features, the label, and the list of a row."""
        group: dict[str, Form] = {self.task.group: "string"} if self._needs_lists else {}
        return {**self.feature_forms, self.label.column: "number", **group}

    @property
    def _needs_lists(self) -> bool:
        return bool(getattr(self.task, "needs_lists", False))

    def adapt(
        self, examples: Interactions | tf.data.Dataset, candidates: tf.data.Dataset | None = None
    ) -> None:
        log = self._labelled(examples)
        self._check_labels(log, "training rows", learned=True)
        super().adapt(examples, candidates)
        if self._settings["global_mean"]:
            labels = self.label.values(log[self.label.column])
            offset = getattr(self.task, "offset", np.mean)
            self.offset.assign(offset(labels))

    def _labelled(self, examples: Interactions | tf.data.Dataset) -> pl.DataFrame:
        if isinstance(examples, Interactions):
            return examples.log
        batches = as_batches(examples, self.label.column)
        has_label = self.label.column in batches.element_spec
        # Without a label all columns are read, so that the refusal can name them.
        columns = [self.label.column] if has_label else list(batches.element_spec)
        return to_frame(batches, columns)

    def _adapted(self) -> None:
        # Not in the constructor: the sizes of the tables are known only now.
        for side, tower in (("query", self.query_tower), ("candidate", self.candidate_tower)):
            sizes = {
                layer.name: layer.size
                for layer in tower.features
                if _is_categorical(layer.spec) and layer.spec.column in self._settings["biases"]
            }
            if sizes:
                self._biases[side] = Biases(sizes, name=f"{side}_biases")

    def check_rows(self, rows: Interactions, what: str, *, learned: bool) -> None:
        """Refuses rows whose labels are unfit for training or evaluation."""
        self._check_labels(rows.log, what, learned=learned)

    def _check_labels(self, log: pl.DataFrame, what: str, *, learned: bool) -> None:
        # A task of somebody else takes labels of any kind.
        kind: Kind = getattr(self.task, "kind", "rating")
        gain: Gain = getattr(self.task, "gain", "linear")
        self.label.check(log, what, learned=learned, kind=kind, gain=gain)

    def _encode(self, raw: dict[str, tf.Tensor], training: bool, histories: bool) -> Encoded:
        encoded = super()._encode(raw, training, histories)
        if self.label.column in raw:
            label = tf.cast(raw[self.label.column], tf.float64)
            if self.label.threshold is not None:
                # NaN is on neither side: it stays, and shows in the loss.
                reached = tf.cast(label >= self.label.threshold, tf.float64)
                label = tf.where(tf.math.is_nan(label), label, reached)
            encoded["label"] = tf.cast(label, tf.float32)
        if self._needs_lists and self.task.group in raw:
            names = raw[self.task.group]
            names = names if names.dtype == tf.string else tf.strings.as_string(names)
            # Batches carry no strings; among 2^62 hashes collisions are negligible.
            encoded["list"] = tf.strings.to_hash_bucket_fast(names, 2**62)
        return encoded

    # Scores

    @without_autograph
    def call(self, inputs: Encoded, training: bool | None = None) -> tf.Tensor:
        """Scores of pairs, raw or encoded, float `[n]`."""
        candidate = self.catalogue.features(inputs["candidate_index"])
        return self.score(inputs["query"], candidate, training=training)

    @without_autograph
    def score(
        self,
        query: Encoded,
        candidate: Encoded,
        query_rows: tf.Tensor | None = None,
        training: bool | None = None,
    ) -> tf.Tensor:
        """Scores of pairs.

        Args:
            query: encoded query features, as `query_tower.preprocess` gives them.
            candidate: encoded candidate features, `[n, ...]`, as `catalogue.features` gives them.
            query_rows: int `[n]`, the query of each candidate, where one query has many: its features are
                embedded once. None where both are equally many.
            training: whether to drop values.

        Returns:
            Float32 `[n]`.
        """
        left, right = self._sides(query, candidate, training)
        return self._score(left, right, query, candidate, query_rows, training)

    def _sides(
        self, query: Encoded, candidate: Encoded, training: bool | None
    ) -> tuple[list[tf.Tensor], list[tf.Tensor]]:
        """The vectors of the features of both sides."""
        left = self.query_tower.feature_vectors(query, training)
        return left, self.candidate_tower.feature_vectors(candidate, training)

    def _score(
        self,
        left: list[tf.Tensor],
        right: list[tf.Tensor],
        query: Encoded,
        candidate: Encoded,
        query_rows: tf.Tensor | None,
        training: bool | None,
    ) -> tf.Tensor:
        biases = [self._biases[side](inputs) for side, inputs in self._biased(query, candidate)]
        if query_rows is not None:
            left = [tf.gather(vectors, query_rows) for vectors in left]
            if "query" in self._biases:
                # The query comes first where it has biases.
                biases[0] = [tf.gather(values, query_rows) for values in biases[0]]
        numbers = [value for values in biases for value in values]
        # After the gather: a query counts once for each pair, as in a batch of pairs.
        for penalty, values in zip(self._penalties, (left + right, numbers), strict=True):
            penalty(values)
        parts = [tf.cast(value, tf.float32) for value in numbers]
        if "dot" in self.crosses.crosses:
            parts.append(tf.cast(self.crosses.dot(left, right), tf.float32))
        if self._last is not None:
            deep = self._last(self._deep(left, right, training))[:, 0]
            parts.append(tf.cast(deep, tf.float32))
        return tf.add_n(parts) + self.offset

    def _biased(self, query: Encoded, candidate: Encoded) -> list[tuple[str, Encoded]]:
        sides = {"query": query, "candidate": candidate}
        return [(side, sides[side]) for side in sides if side in self._biases]

    def _deep(self, left: list[tf.Tensor], right: list[tf.Tensor], training: bool | None) -> tf.Tensor:
        vector = self._dropout(self.crosses(left, right), training=training)
        for hidden in self._hidden:
            vector = hidden(vector, training=training)
        return vector

    def scores(self, user_ids: Sequence[str], item_ids: Sequence[str]) -> np.ndarray:
        """Scores of pairs of raw ids, as the release of the model gives them: float32 `[n]`.

        Users are taken at the end of the log: their features, the context of their last event, their
        histories. An unknown user has none of these.

        Args:
            user_ids: one for each item, or a single one for all.
            item_ids: `[n]`.

        Raises:
            DataError: if an item is not in the catalogue, users and items do not pair up, or the model was
                adapted to a dataset.
        """
        users, places = paired(user_ids, item_ids)
        return self.score_raw(users_asking(self, users), self.catalogue_rows(item_ids), places)

    def score_raw(
        self, queries: dict[str, Any], items: np.ndarray, query_rows: np.ndarray
    ) -> np.ndarray:
        """Scores of pairs of raw queries and rows of the item table: float32 `[n]`.

        Args:
            queries: raw features, as `query_tower.signature` names them.
            items: int `[n]`, rows of the item table.
            query_rows: int `[n]`, the query of each.
        """
        return self._of_pairs(self._scored, queries, items, query_rows)

    def _of_pairs(
        self,
        compute: Callable[..., tf.Tensor],
        queries: dict[str, Any],
        items: np.ndarray,
        query_rows: np.ndarray,
    ) -> np.ndarray:
        """A number for each pair, of some pairs at once."""
        index = items.astype(np.int32) + FIRST
        parts = [
            compute(queries, tf.constant(index[some]), tf.constant(query_rows[some])).numpy()
            for some in np.array_split(np.arange(len(index)), max(1, -(-len(index) // AT_ONCE)))
        ]
        return np.concatenate(parts)

    def catalogue_rows(self, item_ids: Sequence[str]) -> np.ndarray:
        """The row of each item in the item table: int32 `[n]`.

        Raises:
            DataError: if an item is not in the catalogue.
        """
        index = self.catalogue.index(tf.constant(list(item_ids), tf.string)).numpy()
        if (index < FIRST).any():
            unknown = str(item_ids[int(np.argmax(index < FIRST))])
            raise DataError(
                f'There is no item "{unknown}" in the catalogue of {len(self.catalogue):,} items.'
                f"{nearest(unknown, self.catalogue.ids)}"
            )
        return index - FIRST

    @tf.function(reduce_retracing=True, autograph=False)
    def _scored(self, raw: dict[str, tf.Tensor], index: tf.Tensor, query_rows: tf.Tensor) -> tf.Tensor:
        query = self.query_tower.preprocess(raw)
        return self.score(query, self.catalogue.features(index), query_rows, training=False)

    def predictions(self, rows: Interactions) -> np.ndarray:
        """Scores of the rows of a log, each at its own moment: float32 `[n_rows]`.

        Histories are taken from `interactions`, in which none of the rows may be. Labels are not needed.

        Args:
            rows: the rows to score.

        Raises:
            DataError: if the model was adapted to a dataset, or a row is in `interactions`.
        """

        if self.interactions is None:
            raise DataError(
                "The model was adapted to a dataset, so it does not know what users had. Use `evaluate`, "
                "with batches of raw features."
            )
        return predictions(self, rows, self.interactions)

    # Keras

    def fit(self, x: Any = None, *, validation_data: Any = None, **kwargs: Any) -> Any:
        """Trains like `keras.Model.fit`, on datasets of raw or of encoded features with labels."""
        validation = None if validation_data is None else self._encoded(validation_data).cache()
        examples = self._encoded(x, training=True)
        self._check_labelled(examples.element_spec)
        self.create_weights()
        return super().fit(examples, validation_data=validation, **kwargs)

    def evaluate(self, x: Any = None, **kwargs: Any) -> Any:
        """Evaluates like `keras.Model.evaluate`, on datasets of raw or of encoded features with labels."""
        as_dict = kwargs.pop("return_dict", False)
        logs = super().evaluate(self._encoded(x), return_dict=True, **kwargs)
        return self._with_ends(logs, as_dict)

    def _with_ends(self, logs: dict[str, Any], as_dict: bool) -> Any:
        ends = {metric.name: float(metric.result()) for metric in self._at_the_end}
        return super()._with_ends({**logs, **ends}, as_dict)

    def _check_training_batch(self, encoded: Mapping[str, Any]) -> None:
        self._check_labelled(encoded)

    def _learned(self, learned: dict[str, Any]) -> None:
        self._adapted()

    def _call_inputs(self, raw: Mapping[str, Any]) -> Encoded:
        columns = raw_tensors(raw, self.feature_forms)
        self._check_names_candidates(columns)
        index = self.catalogue.index(columns[self.schema.candidate_id])
        return {**super()._call_inputs(columns), "candidate_index": index}

    def _check_labelled(self, columns: Any) -> None:
        if "label" not in columns:
            raise MissingColumnError(
                f'Batches to train on hold what is to be predicted, "{self.label.column}". Received encoded '
                f"batches of: {', '.join(columns)}. Put it into the batches, or name another `label`."
            )

    @without_autograph
    def compute_loss(self, inputs: Encoded, training: bool = False) -> tf.Tensor:
        """The mean loss of the batch; updates the metrics."""
        if isinstance(inputs, tuple):  # Keras wraps the batch of `train_on_batch` so
            (inputs,) = inputs
        query, candidate = inputs["query"], self.catalogue.features(inputs["candidate_index"])
        left, right = self._sides(query, candidate, training)
        scores = self._score(left, right, query, candidate, None, training)[:, tf.newaxis]
        labels = inputs["label"][:, tf.newaxis]
        options: dict[str, Any] = {"sample_weight": inputs.get("sample_weight"), "training": training}
        count = tf.cast(tf.size(labels), tf.float32)
        if self._needs_lists:
            options["groups"] = inputs["list"]
            # The mean over an epoch weighs batches by their lists, as the loss does within a batch.
            count = self.task.counted(labels, inputs["list"])
        loss = with_autograph(self.task, labels=labels, predictions=scores, **options)
        self._mean_loss.update_state(loss, sample_weight=count)
        return self._whole_loss(loss, left, right, inputs, training)

    def _whole_loss(
        self,
        loss: tf.Tensor,
        left: list[tf.Tensor],
        right: list[tf.Tensor],
        inputs: Encoded,
        training: bool,
    ) -> tf.Tensor:
        """The loss of a step: that of the task; subclasses may add others."""
        return loss

    def train_step(self, inputs: Encoded) -> dict[str, tf.Tensor]:
        logs = self._epoch_logs(super().train_step(inputs))
        return {name: value for name, value in logs.items() if name not in self._names_at_the_end}

    def test_step(self, inputs: Encoded) -> dict[str, tf.Tensor]:
        loss = self.compute_loss(inputs, training=False)
        measured = [metric for metric in self.metrics if metric.name not in self._names_at_the_end]
        logs = {metric.name: metric.result() for metric in measured}
        return self._epoch_logs({**logs, "loss": loss, "regularization_loss": sum(self.losses)})

    @property
    def _at_the_end(self) -> list[ExactAUC]:
        """Metrics that are measured over a whole validation, not in each step."""
        return [metric for metric in self.metrics if isinstance(metric, ExactAUC)]

    @property
    def _names_at_the_end(self) -> list[str]:
        return [metric.name for metric in self._at_the_end]

    def _epoch_logs(self, logs: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """The mean loss of the epoch instead of the last batch's."""
        silent = ["mean_loss", "total_loss"]
        settings = self._settings
        if not (settings["embedding_regularization"] or settings["bias_regularization"]):
            silent.append("regularization_loss")
        return {**{k: v for k, v in logs.items() if k not in silent}, "loss": logs["mean_loss"]}

    def create_weights(self) -> None:
        with self.distribute_strategy.scope():
            query, candidate = self.query_tower, self.candidate_tower
            self.score(
                query.preprocess(query.unknown_row()), candidate.preprocess(candidate.unknown_row())
            )
            if hasattr(getattr(self, "optimizer", None), "build"):
                self.optimizer.build(self.trainable_variables)

    def get_config(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "schema": with_lists(schema_to_dict(self.schema)),
            "task": keras.layers.serialize(self.task),
            "label": asdict(self.label),
            **with_lists(self._settings),
        }

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> "Ranker":
        task = keras.layers.deserialize(config["task"], custom_objects)
        return cls(**{**config, "task": task})


def _is_categorical(feature: Any) -> bool:
    return isinstance(feature, Categorical)
