"""The half of a model that takes in a log: vocabularies, boundaries, the catalogue."""

from collections.abc import Iterable

import numpy as np
import polars as pl

from tfrecall._keras import tf
from tfrecall.data.contexts import EventContext
from tfrecall.data.interactions import Interactions
from tfrecall.data.pipelines import as_batches, column_batches, to_frame
from tfrecall.errors import ConfigError, DataError
from tfrecall.layers.features import ColumnReader
from tfrecall.models.catalogue import Catalogue
from tfrecall.models.encoding import EncodesBatches
from tfrecall.models.towers import CandidateTower
from tfrecall.raw import Form
from tfrecall.schema import History


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
