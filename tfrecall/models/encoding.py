"""The half of a model that turns raw batches into integers and floats."""

from collections.abc import Iterable
from typing import Any

import numpy as np
import polars as pl

from tfrecall._keras import tf
from tfrecall.data.contexts import EventContext
from tfrecall.data.interactions import Interactions
from tfrecall.data.sequences import past_windows
from tfrecall.errors import DataError, MissingColumnError
from tfrecall.event_context import aligned
from tfrecall.models.catalogue import Catalogue
from tfrecall.models.towers import QueryTower
from tfrecall.raw import Form, raw_features
from tfrecall.schema import History, Schema


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
