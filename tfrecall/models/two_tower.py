"""The two-tower retrieval model."""

import functools
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal

import numpy as np
import polars as pl

from tfrecall._keras import keras, tf, without_autograph
from tfrecall.core.columns import REQUEST_TIME
from tfrecall.core.retriever import VectorRetriever
from tfrecall.core.vocabulary import FIRST
from tfrecall.data.interactions import Interactions
from tfrecall.errors import ConfigError
from tfrecall.index.repeats import Repeats
from tfrecall.layers.dense import Activation
from tfrecall.layers.encoders.interests import best_scores
from tfrecall.layers.event_times import NOT_TOLD
from tfrecall.models.popular_queries import popular_vector
from tfrecall.models.repeats import RepeatingRetriever
from tfrecall.models.task_loss import TaskLossModel
from tfrecall.models.towers import CandidateTower, QueryTower, share_tables, with_lists
from tfrecall.schema.features import Schema, schema_to_dict
from tfrecall.schema.training import metric_name
from tfrecall.tasks.in_batch import InBatchSoftmax
from tfrecall.tasks.metrics import KS, ExactTopK, PairAUC
from tfrecall.tasks.pairwise import PairTask
from tfrecall.tasks.replicas import replica_count, summed
from tfrecall.tasks.sampled_softmax import SampledSoftmax


@keras.utils.register_keras_serializable(package="tfrecall")
class TwoTower(TaskLossModel):
    """A query tower and a candidate tower whose inner product is the score.

    With a history of several interests (`encoders.Interests`) a query has several vectors, and its score
    of a candidate is the largest of theirs. Our tasks learn that score; tasks that take one vector a
    query get the one that is closest to the target.

    Adapt it to data once, then compile and fit it like any Keras model, on batches of raw features
    (`tfrecall.data.examples`, or as the tutorials of TensorFlow Recommenders write them). Raw batches
    are encoded in the input pipeline, never in the training step. Of a candidate a batch needs only
    its id: the features come from the item table that the model was adapted to.

    The gradient is that of the loss summed over the batch, as in TFRS, so its learning rates carry
    over; the loss reported is the mean over all examples of the epoch.

    Args:
        schema: the features of both towers.
        layer_sizes: units of the dense layers of the towers.
        candidate_layer_sizes: units of the candidate tower, where they differ; empty for a plain item table.
        query_network, candidate_network: a layer or model of Keras in the place of the dense layers of a tower,
            from the combined vector of its features to the vector of the tower.
        task: `InBatchSoftmax` (the default), `FullSoftmax`, `SampledSoftmax`, `ScalableCrossEntropy`, a loss
            over pairs (`Pointwise`, `Triplet`, `DSSMSoftmax`, `BPR`), `tfrs.tasks.Retrieval`, or anything
            called like it.
        dropout: share of the values dropped at the entry of the dense layers.
        candidate_dropout: the same of the candidate tower, where it differs; None for `dropout`, or none where
            the candidate tower has no dense layers and the query tower has some.
        hidden_dropout: share of the values dropped after each of them but the last.
        batch_normalization: whether the values after each of them but the last are normalised.
        combine: `concat` or `sum` of the vectors of a tower's features.
        activation: activation of all dense layers but the last: `relu`, `leaky_relu`, `tanh` or `linear`.
        output_activation: activation of the last dense layer.
        normalize: whether both towers give vectors of length one, which needs a temperature in the task.
        embedding_regularization: weight of the squared length of the embeddings used in a step.
        embedding_stddev: standard deviation of initial embeddings, drawn from a normal distribution; None for
            Keras' default, uniform in +-.05.
        correct_sampling_bias: whether tasks that take negatives from the batch subtract the logarithm of
            each candidate's sampling probability (logQ correction), counted from the training data.
        ks: list lengths of the exact top-K metric of `evaluate`; it is left out while the task has
            factorized metrics of its own, such as `tfrs.metrics.FactorizedTopK`.

    Attributes:
        interactions: the log that the model was adapted to, or given by `use_log`; None if it was a
            dataset. Histories of users, for answers and exports, are taken from it.
        repeats: repeat consumption (`tfrecall.models.repeats.fit_repeats`); None for none.

    Raises:
        ConfigError: if the towers give vectors of different length, or the task cannot take queries of
            several interests.
        MissingColumnError: from `adapt`, if the data lack a column of the schema.
        DataError: if used before `adapt`.

    Example:

    >>> import tfrecall as tr
    >>> log = tr.data.synthetic(n_users=6, n_items=5, n_rows=40, seed=1)
    >>> schema = tr.Schema(query=[tr.Categorical("user_id", 4)], candidate=[tr.Categorical("item_id", 4)])
    >>> model = tr.TwoTower(schema, layer_sizes=[], task=tr.InBatchSoftmax(temperature=0.5))
    >>> model.adapt(log)
    >>> model.embed_queries(log.queries.head(3)).shape, model.embed_candidates().shape
    ((3, 4), (5, 4))
    """

    def __init__(
        self,
        schema: Schema | dict[str, Any],
        layer_sizes: Sequence[int] = (64, 32),
        *,
        candidate_layer_sizes: Sequence[int] | None = None,
        query_network: keras.layers.Layer | None = None,
        candidate_network: keras.layers.Layer | None = None,
        task: keras.layers.Layer | None = None,
        dropout: float = 0.0,
        candidate_dropout: float | None = None,
        hidden_dropout: float = 0.0,
        batch_normalization: bool = False,
        combine: Literal["concat", "sum"] = "concat",
        activation: Activation = "relu",
        output_activation: Activation = "linear",
        normalize: bool = False,
        embedding_regularization: float = 0.0,
        embedding_stddev: float | None = None,
        correct_sampling_bias: bool = True,
        ks: Sequence[int] = KS,
        **kwargs: Any,
    ) -> None:
        super().__init__(schema, **kwargs)
        # What a step logs is summed over the replicas already; Keras would add it up once more.
        self.distribute_reduction_method = "first"
        self._settings: dict[str, Any] = {
            "layer_sizes": tuple(layer_sizes),
            "dropout": dropout,
            "hidden_dropout": hidden_dropout,
            "batch_normalization": batch_normalization,
            "combine": combine,
            "activation": activation,
            "output_activation": output_activation,
            "normalize": normalize,
            "embedding_regularization": embedding_regularization,
            "embedding_stddev": embedding_stddev,
        }
        self.query_tower = QueryTower(
            self.schema.query, name="query_tower", network=query_network, **self._settings
        )
        if candidate_layer_sizes is None:
            candidate_layer_sizes = layer_sizes
        self.candidate_layer_sizes = tuple(candidate_layer_sizes)
        candidate = {**self._settings, "layer_sizes": self.candidate_layer_sizes}
        self.candidate_dropout = candidate_dropout
        if candidate_dropout is not None:
            candidate["dropout"] = candidate_dropout
        elif layer_sizes and not self.candidate_layer_sizes:
            candidate["dropout"] = 0.0  # a plain item table has no dense layers to enter
        self.candidate_tower = CandidateTower(
            self.schema.candidate, name="candidate_tower", network=candidate_network, **candidate
        )
        share_tables(self.query_tower, self.candidate_tower)
        if self.query_tower.output_dim != self.candidate_tower.output_dim:
            raise ConfigError(
                f"The query tower gives vectors of {self.query_tower.output_dim} numbers and the candidate "
                f"tower of {self.candidate_tower.output_dim}. Give `layer_sizes`, the last of which both "
                "have in common."
            )
        self.task = task if task is not None else InBatchSoftmax()
        if getattr(self.task, "always_corrects", False) and not correct_sampling_bias:
            raise ConfigError(
                "The task corrects the sampling bias whatever it is told: it has "
                f"correction={self.task.correction!r}, frequency={getattr(self.task, 'frequency', 'exact')!r}. "
                "Received: correct_sampling_bias=False. Set it to true, or the task's settings to their "
                "defaults."
            )
        if self.query_tower.interests > 1 and self._task_has_top_k:
            raise ConfigError(
                "The factorized metrics of the task take one vector a query, but a history of the schema has "
                f"{self.query_tower.interests} interests. Leave `metrics` of the task out: `ks` measures the "
                "same, exactly."
            )
        if getattr(self.task, "needs_unit_vectors", False) and not normalize:
            raise ConfigError(
                f"{type(self.task).__name__} learns distances, but candidates are found by inner products, "
                "which order alike only between vectors of length one. Received: normalize=False. Set "
                "`normalize` to true (`model.normalize = true`)."
            )
        self._popular = [one for one in self.query_tower.histories if one.spec.empty == "popular"]
        if self._popular:
            self._check_sums(query_network)
        self.correct_sampling_bias = correct_sampling_bias
        self.ks = tuple(ks)
        self.top_k = ExactTopK(self.ks)
        self.pair_auc = PairAUC() if isinstance(self.task, PairTask) else None
        self._mean_loss = keras.metrics.Mean(name="mean_loss")
        self.repeats: Repeats | None = None

    def _check_sums(self, query_network: keras.layers.Layer | None) -> None:
        """Refuses a query tower whose vector of no events is not simply that of its history."""
        sums = self._settings["combine"] == "sum" and not self._settings["layer_sizes"]
        if sums and query_network is None and self.query_tower.interests == 1:
            return
        raise ConfigError(
            'A history with `empty = "popular"` is fitted as the whole vector of a query, which takes a query '
            "tower that adds up its features and has one interest. Received: "
            f'combine="{self._settings["combine"]}", layer_sizes={list(self._settings["layer_sizes"])}, '
            f'{self.query_tower.interests} interests. Set `combine` to "sum" and `layer_sizes` to [], or leave '
            "`empty` out."
        )

    def _adapted(self) -> None:
        if isinstance(self.task, SampledSoftmax):
            # Without padding and the unknown candidate: the task draws rows of the catalogue.
            self.task.adapt(self.catalogue.probability.numpy()[FIRST:])

    # Keras

    def fit(self, x: Any = None, *, validation_data: Any = None, **kwargs: Any) -> Any:
        """Trains like `keras.Model.fit`, on datasets of raw or of encoded features.

        Validation data are encoded once and kept in memory; those that a strategy distributes are left as
        they are.
        """
        validation = None if validation_data is None else self._encoded(validation_data)
        if isinstance(validation, tf.data.Dataset):
            validation = validation.cache()
        examples = self._encoded(x, training=True)
        self._check_negatives(examples.element_spec)
        self.create_weights()
        history = super().fit(examples, validation_data=validation, **kwargs)
        self._fit_popular()
        return history

    def _fit_popular(self) -> None:
        """Fits the vectors of histories without events that are to stand for what is popular."""
        if not self._popular:
            return
        shares = self.catalogue.probability.numpy()[FIRST:].astype(np.float64)
        temperature = getattr(self.task, "temperature", None) or 1.0
        vector = temperature * popular_vector(self.embed_candidates(), shares / shares.sum())
        for layer in self._popular:
            # The vectors of a tower are added up: each history has its part.
            layer.set_popular(vector / len(self._popular))

    def evaluate(self, x: Any = None, **kwargs: Any) -> Any:
        """Evaluates like `keras.Model.evaluate`; embeds the catalogue once, before the first batch."""
        self._before_test()
        return super().evaluate(self._encoded(x), **kwargs)

    def _before_test(self) -> None:
        self.embed_candidates()

    def _check_training_batch(self, encoded: Mapping[str, Any]) -> None:
        self._check_negatives(encoded)

    def _learned(self, learned: dict[str, Any]) -> None:
        self._adapted()
        if learned["repeats"]:
            self.repeats = Repeats(**learned["repeats"])

    def call(self, inputs: dict[str, Any], training: bool | None = None) -> tf.Tensor:
        """Scores of queries, raw or encoded, for the whole catalogue, `[batch_size, n]`."""
        candidates = self.catalogue.embed(self.candidate_tower)
        queries = self.query_tower(inputs["query"], training=training)
        return best_scores(queries, candidates)

    @without_autograph
    def compute_loss(self, inputs: dict[str, Any], training: bool = False) -> tf.Tensor:
        """The loss summed over the batch; updates the metrics."""
        if isinstance(inputs, tuple):  # Keras wraps the batch of `train_on_batch` so
            (inputs,) = inputs
        index = inputs["candidate_index"]
        queries = self.query_tower(inputs["query"], training=training)
        weights = inputs.get("sample_weight", tf.ones_like(index, tf.float32))
        # A candidate outside the catalogue has no place in a loss, but is a miss in the metric.
        loss_weights = weights * tf.cast(index >= FIRST, tf.float32)
        if isinstance(self.task, PairTask):
            negatives = inputs.get("negatives")
            loss = tf.reduce_sum(
                self._pair_loss(self.task, queries, index, loss_weights, negatives, training)
            )
        else:
            loss = tf.reduce_sum(self._task_loss(queries, index, loss_weights, training))
        count = tf.reduce_sum(loss_weights)
        self._mean_loss.update_state(tf.math.divide_no_nan(loss, count), sample_weight=count)
        if not training and not self._task_has_top_k:
            # The metric counts catalogue rows, so a candidate outside becomes -1, a miss.
            self.top_k.update_state(queries, self._candidate_vectors, index - FIRST, weights)
        if not training and self.pair_auc is not None and "auc_negatives" in inputs:
            self._update_auc(self.pair_auc, queries, index, inputs["auc_negatives"], loss_weights)
        return loss

    def train_step(self, inputs: dict[str, Any]) -> dict[str, tf.Tensor]:
        logs = super().train_step(inputs)
        loss = logs.pop("mean_loss")
        # Top-K is not measured in training, but its metrics are listed with the value 0.
        # That of a TFRS task has the name `factorized_top_k`.
        silent = [self.top_k.name, "factorized_top_k", "total_loss", "pair_auc"]
        if not self._settings["embedding_regularization"]:
            silent.append("regularization_loss")
        elif replica_count() > 1:
            logs["regularization_loss"] = summed(logs["regularization_loss"])
        return {**{k: v for k, v in logs.items() if not k.startswith(tuple(silent))}, "loss": loss}

    def test_step(self, inputs: dict[str, Any]) -> dict[str, tf.Tensor]:
        self.compute_loss(inputs, training=False)
        logs = {metric.name: metric.result() for metric in self.metrics}
        top_k = logs.pop(self.top_k.name)
        loss = logs.pop("mean_loss")
        pairs = logs.pop("pair_auc", {}) if "auc_negatives" in inputs else {}
        # Also popped where it was not measured: it would be reported as 0.
        logs.pop("pair_auc", None)
        # A task of TFRS has a metric of its own, which is called as ours is.
        named = {metric_name(name): value for name, value in logs.items()}
        return {**named, **({} if self._task_has_top_k else top_k), **pairs, "loss": loss}

    def create_weights(self) -> None:
        with self.distribute_strategy.scope():
            self.query_tower.create_weights()
            self.candidate_tower.create_weights()
            self._build_task()
            # The optimizers of `keras.optimizers.legacy` build nothing in advance.
            if hasattr(getattr(self, "optimizer", None), "build"):
                self.optimizer.build(self.trainable_variables)

    def get_config(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "schema": with_lists(schema_to_dict(self.schema)),
            "task": keras.layers.serialize(self.task),
            "correct_sampling_bias": self.correct_sampling_bias,
            "ks": list(self.ks),
            "candidate_layer_sizes": list(self.candidate_layer_sizes),
            "candidate_dropout": self.candidate_dropout,
            "query_network": self.query_tower.get_config()["network"],
            "candidate_network": self.candidate_tower.get_config()["network"],
            **with_lists(self._settings),
        }

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> "TwoTower":
        task = keras.layers.deserialize(config["task"], custom_objects)
        return cls(**{**config, "task": task})

    # Answers

    def embed_candidates(self) -> np.ndarray:
        """Vectors of the catalogue: float32 `[n, embedding_dim]`, in the order of the item table."""
        with self.distribute_strategy.scope():
            return self.catalogue.refresh(self.candidate_tower).numpy()

    def embed_queries(self, queries: pl.DataFrame, log: Interactions | None = None) -> np.ndarray:
        """Vectors of queries: float32 `[n, embedding_dim]`, or `[n, interests, embedding_dim]`.

        Args:
            queries: a table with the query columns of the schema (`Interactions.queries`). Histories
                that it does not hold are taken from `log` until `timestamp`, if there is that column, or
                until its end. Context of histories that it holds may be given, too; without, it is
                unknown.
            log: the log that histories are taken from; `interactions` if None.
        """
        return self.query_tower.embed(self.raw_queries(queries, log))

    @property
    def history_log(self) -> Interactions | None:
        """The log that the histories of queries are taken from; None for a model without histories."""
        return self.interactions if self.schema.histories else None

    def retriever(self, log: Interactions | None = None) -> VectorRetriever | RepeatingRetriever:
        """Retriever of the model, for evaluation. Make it anew after more training.

        Args:
            log: the log that histories of queries are taken from; `interactions` if None.
        """
        log = self.interactions if log is None else log
        towers = self.towers_retriever(log)
        if self.repeats is None or log is None:
            return towers
        return RepeatingRetriever(towers, self.repeats, log)

    def untimed_retriever(self, log: Interactions | None = None) -> VectorRetriever:
        """The towers, asked as of each user's newest event: they are not told the time of the request.

        Args:
            log: the log that histories of queries are taken from; `interactions` if None.
        """
        told = self.towers_retriever(log)
        not_told = pl.lit(NOT_TOLD).alias(REQUEST_TIME)
        return replace(
            told,
            name=f"{self.name}, as of the newest event",
            embed=lambda queries: told.embed(queries.with_columns(not_told)),
        )

    def towers_retriever(self, log: Interactions | None = None) -> VectorRetriever:
        """The towers alone, without `repeats`.

        Args:
            log: the log that histories of queries are taken from; `interactions` if None.
        """
        embed = functools.partial(self.embed_queries, log=log)
        return VectorRetriever(self.name, self.catalogue.ids, self.embed_candidates(), embed)
