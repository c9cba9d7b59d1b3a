"""The half of a model that turns raw batches into integers and floats."""

from collections.abc import Iterable
from typing import Any

import numpy as np
import polars as pl

from tfrecall._keras import tf
from tfrecall.core.event_context import aligned
from tfrecall.core.raw import Form, raw_features
from tfrecall.data.batches import as_batches, column_batches, to_frame
from tfrecall.data.context_columns import EventContext
from tfrecall.data.interactions import Interactions
from tfrecall.data.sequences import past_windows
from tfrecall.errors import ConfigError, DataError, MissingColumnError
from tfrecall.layers.features import ColumnReader
from tfrecall.models.catalogue import Catalogue
from tfrecall.models.towers import CandidateTower, QueryTower
from tfrecall.schema.features import History, Schema


class EncodesBatches:
    """What `TwoTower` does to a batch before the training step sees it."""

    schema: Schema
    query_tower: QueryTower
    interactions: Interactions | None

    @property
    def catalogue(self) -> Catalogue:
        """The candidates that the model was adapted to."""
        raise NotImplementedError

    @property
    def forms(self) -> dict[str, Form]:
        """The raw columns that `encode` needs and the form of each."""
        ages = {c: f for c, f in self.query_tower.log_forms.items() if c not in self.query_tower.forms}
        return {**self.query_tower.forms, **ages, self.schema.candidate_id: "string"}

    @property
    def log_forms(self) -> dict[str, Form]:
        """Those of them that a log has: all but histories, which are made of it."""
        made = self.schema.history_columns
        return {c: form for c, form in self.forms.items() if c not in made}

    def history_index(self, data: Interactions) -> np.ndarray:
        """For each row of an item table its index in histories: int32 `[n]`, 0 if it is not known."""
        return self.query_tower.histories[0].index(data.item_vocabulary.ids)

    def history_codes(self, data: Interactions) -> dict[str, np.ndarray]:
        """For each context of the histories the code of each row of a log: int32 `[n_rows]`."""
        layers = {name: layer for layer in self.query_tower.histories for name in layer.contexts}
        found = {}
        for name, layer in layers.items():
            told = EventContext.of(data, name)
            found[name] = layer.codes(name, told.values)[told.places]
        return found

    def check_rows(self, rows: Interactions, what: str, *, learned: bool) -> None:
        """Refuses rows that cannot be learned from, or not be judged by.

        Args:
            rows: of a log.
            what: what messages call them.
            learned: whether they are learned from.
        """

    @tf.autograph.experimental.do_not_convert  # errors keep their type
    def encode(self, raw: dict[str, tf.Tensor], training: bool = False) -> dict[str, Any]:
        """One raw batch to integers and floats, for `Dataset.map`."""
        return self._encode(raw, training, histories=True)

    def encode_rows(self, raw: dict[str, tf.Tensor]) -> dict[str, Any]:
        """As `encode`, of rows of a log; histories are put beside (`with_histories`)."""
        return self._encode(raw, training=False, histories=False)

    def encode_training_rows(self, raw: dict[str, tf.Tensor]) -> dict[str, Any]:
        """As `encode_rows`, of rows that are trained on."""
        return self._encode(raw, training=True, histories=False)

    def with_histories(
        self, encoded: dict[str, Any], lists: dict[str, dict[str, Any]]
    ) -> dict[str, Any]:
        """Puts encoded histories, by the names of their lists, to the encoded rows of a log."""
        layers = {
            layer.name: lists[layer.spec.column]
            for layer in self.query_tower.histories
            if layer.spec.column in lists
        }
        return {**encoded, "query": {**encoded["query"], **layers}}

    def raw_queries(self, queries: pl.DataFrame) -> dict[str, np.ndarray]:
        """Queries as the query tower takes them; histories made of the log are indexes already."""
        forms = self.query_tower.forms
        made = {c: spec for c, spec in self.schema.histories.items() if c not in queries.columns}
        queries = aligned(queries, self.schema.contexts)
        absent = [*made, *(c for spec in made.values() for c in spec.context_columns.values())]
        raw = raw_features(queries, {c: form for c, form in forms.items() if c not in absent})
        return {**raw, **self._past(queries, made)}

    def _past(self, queries: pl.DataFrame, specs: dict[str, History]) -> dict[str, np.ndarray]:
        if not specs:
            return {}
        if self.interactions is None:
            raise DataError(
                "The model was adapted to a dataset, so it does not know what users had before. Give the "
                f"queries the columns {', '.join(specs)}: lists of item ids, oldest first."
            )
        log = self.interactions
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
        encode = tf.autograph.experimental.do_not_convert(lambda raw: self.encode(raw, training))
        encoded = dataset.map(encode, num_parallel_calls=tf.data.AUTOTUNE)
        return encoded.prefetch(tf.data.AUTOTUNE)


class LearnsFromData(EncodesBatches):
    """What `TwoTower` and `Ranker` learn from data before they are trained.

    Attributes:
        interactions: the log that the model was adapted to; None if it was a dataset.
    """

    candidate_tower: CandidateTower
    interactions: Interactions | None
    _catalogue: Catalogue | None

    def adapt(
        self, examples: Interactions | tf.data.Dataset, candidates: tf.data.Dataset | None = None
    ) -> None:
        """Learns vocabularies, boundaries and moments, and takes in the catalogue.

        Args:
            examples: the training data: a log, or a dataset of dictionaries of raw features.
            candidates: only with a dataset: dictionaries with the features of each candidate, or the
                bare ids. Of rows with the same id the first is kept.

        What no training row holds is not learned: the id of a candidate without one is unknown, and
        has the trained row of unknown values instead of a random one.

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
            self.interactions = examples
            self._check_no_column_is_history(queries.columns)
            self._adapt(self._reader(examples, queries), items, counts)
        else:
            self._adapt_to_datasets(examples, candidates)

    def _reader(self, data: Interactions, queries: pl.DataFrame) -> ColumnReader:
        """Of the columns of the queries, and of what the log says of the events of histories."""
        lists = self.schema.histories.values()
        beside = {column: name for spec in lists for name, column in spec.context_columns.items()}

        def read(column: str, form: Form) -> tf.data.Dataset:
            if column not in beside:
                return column_batches(queries, column, form)
            told = EventContext.of(data, beside[column]).series.alias(column)
            return column_batches(told.to_frame(), column, "string")

        return read

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
        items = items.unique(name, keep="first", maintain_order=True)
        seen = to_frame(examples, [name]).group_by(name).len()
        counts = items.join(seen, on=name, how="left", maintain_order="left")["len"].fill_null(0)
        self._adapt(lambda c, _: examples.map(lambda raw: raw[c]), items, counts.to_numpy())

    def _adapt(self, read_query: ColumnReader, items: pl.DataFrame, counts: np.ndarray) -> None:
        if not counts.any():
            raise DataError(
                f"None of the {items.height:,} candidates occurs in the examples, so nothing can be "
                f'learned. Look whether "{self.schema.candidate_id}" means the same in both.'
            )
        seen = items.filter(pl.Series(counts > 0))

        def read_item(column: str, form: Form) -> tf.data.Dataset:
            return column_batches(seen, column, form)

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
        """What else a model learns, once the catalogue is there."""
