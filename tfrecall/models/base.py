"""Base of the models: encoding of raw features, and learning of vocabularies and catalogue from data."""

from collections.abc import Iterable
from typing import Any

import numpy as np
import polars as pl

from tfrecall._keras import tf, without_autograph
from tfrecall.core.columns import REQUEST_TIME, TIMESTAMP
from tfrecall.core.event_context import aligned
from tfrecall.core.raw import Form, raw_features
from tfrecall.data.batches import as_batches, column_batches, to_frame
from tfrecall.data.context_columns import EventContext
from tfrecall.data.interactions import Interactions
from tfrecall.data.sequences import past_windows
from tfrecall.errors import ConfigError, DataError, MissingColumnError
from tfrecall.layers.event_times import NOW
from tfrecall.layers.features import ColumnReader
from tfrecall.layers.shared_rows import EventReader, Events
from tfrecall.models.catalogue import Catalogue
from tfrecall.models.keras_methods import KerasMethods
from tfrecall.schema.features import History, Schema, schema_from_dict


class FeatureModel(KerasMethods):
    """Base of `TwoTower` and `Ranker`: a schema of features, two towers, a catalogue.

    `adapt` learns vocabularies, boundaries and moments and takes in the catalogue; `encode` turns raw
    batches into integers and floats in the input pipeline, so a training step sees no strings.

    Args:
        schema: the features of both sides, or their plain form.

    Attributes:
        interactions: the log that the model was adapted to; None if it was a dataset. The histories of
            queries are taken from it.
    """

    def __init__(self, schema: Schema | dict[str, Any], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.schema = schema_from_dict(schema)
        self.interactions: Interactions | None = None
        # The log that `tfrecall.fit` has trained on; None before.
        self.trained_on: Interactions | None = None
        self._catalogue: Catalogue | None = None

    # Learned from data

    def adapt(
        self, examples: Interactions | tf.data.Dataset, candidates: tf.data.Dataset | None = None
    ) -> None:
        """Learns vocabularies, boundaries and moments, and takes in the catalogue.

        Nothing is learned of values that no training row holds: the id of a candidate without training
        rows is unknown, and has the trained vector of unknown values instead of a random one.

        Args:
            examples: the training data: a log, or a dataset of dictionaries of raw features.
            candidates: only with a dataset: dictionaries with the features of each candidate, or the
                bare ids. Of rows with the same id the first is kept.

        Raises:
            MissingColumnError: if the data lack a column of the schema.
            DataError: if the data cannot be learned from, or the model has weights already.
            ConfigError: if the schema names candidates by another column than the log does.
        """
        if isinstance(examples, Interactions):
            queries, items = examples.queries, examples.items
            self.schema.check_query(queries.columns)
            self.schema.check_candidate(items.columns)
            self._check_names_items()
            counts = np.bincount(examples.item_rows, minlength=items.height)
            last = np.full(items.height, -np.inf)
            np.maximum.at(last, examples.item_rows, examples.log[TIMESTAMP].to_numpy())
            self.interactions = examples
            self._check_no_column_is_history(queries.columns)
            self._adapt(self._reader(examples, queries), items, counts, last)
        else:
            self._adapt_to_datasets(examples, candidates)

    def _reader(self, data: Interactions, queries: pl.DataFrame) -> ColumnReader:
        """Reader of query columns, and of the context columns of the events in histories."""
        lists = self.schema.histories.values()
        contexts = {column: name for spec in lists for name, column in spec.context_columns.items()}

        def read(column: str, form: Form) -> tf.data.Dataset:
            if column not in contexts:
                return column_batches(queries, column, form)
            values = EventContext.of(data, contexts[column]).series.alias(column)
            return column_batches(values.to_frame(), column, "string")

        return EventReader(read, Events(last=data.log[TIMESTAMP].to_numpy()))

    def _check_no_column_is_history(self, columns: Iterable[str]) -> None:
        taken = [name for name in self.schema.history_columns if name in columns]
        if taken:
            raise ConfigError(
                f'The log or the user table has a column "{taken[0]}", and the schema names a history so, '
                "which is made of the log. Rename the column, or give the History another `column`."
            )

    def _check_names_items(self) -> None:
        if self.schema.candidate_id != "item_id":
            raise ConfigError(
                f'The schema names candidates by "{self.schema.candidate_id}", but an interaction log names '
                'them by "item_id". Leave `candidate_id` out; it is for datasets of raw features.'
            )

    def _adapt_to_datasets(self, examples: tf.data.Dataset, candidates: tf.data.Dataset | None) -> None:
        if candidates is None:
            raise DataError(
                "A dataset of examples does not hold the catalogue. Pass `candidates=`, a dataset with "
                f"the features {self.schema.candidate_columns} of each candidate."
            )
        name = self.schema.candidate_id
        examples, candidates = as_batches(examples, name), as_batches(candidates, name)
        self.schema.check_query(examples.element_spec, of_log=False)
        self.schema.check_candidate(candidates.element_spec)
        self._check_names_candidates(examples.element_spec)
        of = [spec.of.column for spec in self.schema.query if isinstance(spec, History)]
        items = to_frame(candidates, [name, *self.schema.candidate_columns, *of])
        # Polars keeps no order unless asked, and row r of this table becomes candidate index r + 2.
        items = items.unique(name, keep="first", maintain_order=True)
        seen = to_frame(examples, [name]).group_by(name).len()
        counts = items.join(seen, on=name, how="left", maintain_order="left")["len"].fill_null(0)
        self._adapt(
            lambda c, _: examples.map(without_autograph(lambda raw: raw[c])), items, counts.to_numpy()
        )

    def _adapt(
        self,
        read_query: ColumnReader,
        items: pl.DataFrame,
        counts: np.ndarray,
        last: np.ndarray | None = None,
    ) -> None:
        if not counts.any():
            raise DataError(
                f"None of the {items.height:,} candidates occurs in the examples, so nothing can be "
                f'learned. Look whether "{self.schema.candidate_id}" means the same in both.'
            )
        # Vocabularies come from candidates with training rows only; the catalogue holds all
        # candidates.
        seen = items.filter(pl.Series(counts > 0))

        read_item = EventReader(
            lambda column, form: column_batches(seen, column, form),
            Events(counts[counts > 0], None if last is None else last[counts > 0]),
        )
        self.candidate_tower.adapt(read_item)
        # After the candidates, whose tables histories may share.
        ids = seen[self.schema.candidate_id].cast(pl.String).to_list()
        self.query_tower.adapt(read_query, ids, read_item)
        self._catalogue = Catalogue.build(items, self.schema.candidate_id, self.candidate_tower, counts)
        self._adapted()

    @property
    def is_adapted(self) -> bool:
        """Whether the model has seen data."""
        return self._catalogue is not None

    @property
    def catalogue(self) -> Catalogue:
        """The candidates that the model was adapted to."""
        if self._catalogue is None:
            raise DataError("The model has not seen data yet. Call `adapt` first.")
        return self._catalogue

    def _adapted(self) -> None:
        """Hook for subclasses: called once the catalogue is there."""

    # Encoded

    @property
    def forms(self) -> dict[str, Form]:
        """Raw columns that training needs, and the form of each."""
        return self.feature_forms

    @property
    def feature_forms(self) -> dict[str, Form]:
        """Raw columns of the features and the candidate's id, without labels, and the form of each."""
        # Columns read in training alone: the times of `ExampleAge`.
        ages = {c: f for c, f in self.query_tower.log_forms.items() if c not in self.query_tower.forms}
        return {**self.query_tower.forms, **ages, self.schema.candidate_id: "string"}

    @property
    def log_forms(self) -> dict[str, Form]:
        """Columns of `forms` that a log has: all but histories, which are made of the log."""
        made = self.schema.history_columns
        return {c: form for c, form in self.forms.items() if c not in made}

    def history_index(self, data: Interactions) -> np.ndarray:
        """Index in histories of each row of the item table: int32 `[n]`, 0 for unknown items."""
        # All histories of a schema index the same items, so any of them will do.
        return self.query_tower.histories[0].index(data.item_vocabulary.ids)

    def history_codes(self, data: Interactions) -> dict[str, np.ndarray]:
        """Codes of each row of a log, by the columns of the histories' contexts: int32 `[n_rows]` each."""
        # By column, not by name: two lists may have learned different values of one context.
        codes: dict[str, np.ndarray] = {}
        contexts: dict[str, EventContext] = {}
        for layer in self.query_tower.histories:
            for name, column in layer.spec.context_columns.items():
                if name not in contexts:
                    contexts[name] = EventContext.of(data, name)
                context = contexts[name]
                codes[column] = layer.codes(name, context.values)[context.places]
        return codes

    def check_rows(self, rows: Interactions, what: str, *, learned: bool) -> None:
        """Hook for subclasses: refuses rows with labels unfit for training or evaluation.

        Args:
            rows: the rows of a log.
            what: their name in messages.
            learned: whether the model trains on them.
        """

    @without_autograph  # errors keep their type
    def encode(self, raw: dict[str, tf.Tensor], training: bool = False) -> dict[str, Any]:
        """Encodes one raw batch to integers and floats, for `Dataset.map`."""
        return self._encode(raw, training, histories=True)

    def encode_rows(self, raw: dict[str, tf.Tensor]) -> dict[str, Any]:
        """Encodes rows of a log without their histories, which `with_histories` adds."""
        return self._encode(raw, training=False, histories=False)

    def encode_training_rows(self, raw: dict[str, tf.Tensor]) -> dict[str, Any]:
        """Encodes training rows of a log, whose times `ExampleAge` reads; without histories."""
        return self._encode(raw, training=True, histories=False)

    def with_histories(
        self, encoded: dict[str, Any], lists: dict[str, dict[str, Any]]
    ) -> dict[str, Any]:
        """Adds encoded histories, given by their columns, to encoded rows of a log."""
        layers = {
            layer.name: lists[layer.spec.column]
            for layer in self.query_tower.histories
            if layer.spec.column in lists
        }
        return {**encoded, "query": {**encoded["query"], **layers}}

    def use_log(self, log: Interactions) -> None:
        """Takes histories and users from another log from now on, in answers and exports.

        Vocabularies stay as `adapt` learned them, so items and values that it did not see are unknown.

        Args:
            log: usually everything that is known once training is over, validation rows included.
        """
        self.interactions = log

    def raw_queries(
        self, queries: pl.DataFrame, log: Interactions | None = None
    ) -> dict[str, np.ndarray]:
        """Raw features of queries, for the query tower; histories taken from a log are indexes already.

        Args:
            queries: the query columns of the schema. Histories among them are taken as they are. Where the
                model reads the time of the request, that is `request_time`, else `timestamp`, else the present.
            log: the log that other histories are taken from; `interactions` if None.
        """
        forms = self.query_tower.forms
        if self.schema.is_timed and REQUEST_TIME not in queries.columns:
            queries = queries.with_columns(_request_times(queries))
        from_log = {c: spec for c, spec in self.schema.histories.items() if c not in queries.columns}
        queries = aligned(queries, self.schema.contexts)
        # Histories from the log replace their columns, context included, by history indexes.
        absent = [*from_log, *(c for spec in from_log.values() for c in spec.context_columns.values())]
        raw = raw_features(queries, {c: form for c, form in forms.items() if c not in absent})
        return {**raw, **self._past(queries, from_log, self.interactions if log is None else log)}

    def _past(
        self, queries: pl.DataFrame, specs: dict[str, History], log: Interactions | None
    ) -> dict[str, np.ndarray]:
        if not specs:
            return {}
        if log is None:
            raise DataError(
                "The model was adapted to a dataset, so it does not know what users had before. Give the "
                f"queries the columns {', '.join(specs)}: lists of item ids, oldest first."
            )
        return past_windows(queries, log, specs, self.history_index(log), self.history_codes(log))

    def _encode(self, raw: dict[str, tf.Tensor], training: bool, histories: bool) -> dict[str, Any]:
        self._check_names_candidates(raw)
        query = self.query_tower.preprocess(raw, training=training, histories=histories)
        index = self.catalogue.index(raw[self.schema.candidate_id])
        encoded = {"query": query, "candidate_index": index}
        if "sample_weight" in raw:
            encoded["sample_weight"] = tf.cast(raw["sample_weight"], tf.float32)
        return encoded

    def _check_names_candidates(self, columns: Iterable[str]) -> None:
        if self.schema.candidate_id not in columns:
            raise MissingColumnError(
                f'A batch has to name its candidates in "{self.schema.candidate_id}". Received: '
                f"{', '.join(columns)}. Set `candidate_id` in the schema to the column that names them."
            )

    def _encoded(self, dataset: Any, training: bool = False) -> Any:
        spec = getattr(dataset, "element_spec", None)
        if not isinstance(spec, dict):
            raise DataError(
                "The model takes a `tf.data.Dataset` of dictionaries of features, such as "
                f"`tfrecall.data.examples` gives. Received: {type(dataset).__name__}"
                f"{'' if spec is None else f' of {spec}'}."
            )
        if "candidate_index" in spec:
            return dataset
        if any(column.shape.rank == 0 for column in spec.values()):
            raise DataError(
                f"The model takes batches. Received single examples: {spec}. Add `.batch(2048)`."
            )
        # AutoGraph would wrap our errors in its own.
        encode = without_autograph(lambda raw: self.encode(raw, training))
        encoded = dataset.map(encode, num_parallel_calls=tf.data.AUTOTUNE)
        return encoded.prefetch(tf.data.AUTOTUNE)


def _request_times(queries: pl.DataFrame) -> pl.Expr:
    """Time of each query, for a table that does not name it."""
    asked = (
        pl.col(TIMESTAMP).cast(pl.Float64).fill_null(NOW)
        if TIMESTAMP in queries.columns
        else pl.lit(NOW)
    )
    return asked.alias(REQUEST_TIME)
