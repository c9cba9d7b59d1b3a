"""The half of a ranker that answers: scores of pairs of raw ids."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from tfrecall._keras import tf
from tfrecall.data.vocabulary import FIRST
from tfrecall.errors import DataError, nearest
from tfrecall.models.asking import paired, users_asking
from tfrecall.models.encoding import EncodesBatches
from tfrecall.models.towers import CandidateTower

# Pairs scored at once: bounds the memory that the vectors of their features take.
AT_ONCE = 65_536


class AnswersPairs(EncodesBatches):
    """What `Ranker` says of users and items, by their ids."""

    candidate_tower: CandidateTower

    def score(
        self,
        query: dict[str, Any],
        candidate: dict[str, Any],
        query_rows: tf.Tensor | None = None,
        training: bool | None = None,
    ) -> tf.Tensor:
        """Scores of encoded pairs, float `[n]`."""
        raise NotImplementedError

    def scores(self, user_ids: Sequence[str], item_ids: Sequence[str]) -> np.ndarray:
        """Scores of pairs of raw ids, as the release of the model gives them: float32 `[n]`.

        Users are as they were when the log ended: what the user table says, the context of the last
        event, and what they had. Of a user who is not known nothing is.

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
        index = items.astype(np.int32) + FIRST
        parts = [
            self._scored(queries, tf.constant(index[some]), tf.constant(query_rows[some])).numpy()
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
            strange = str(item_ids[int(np.argmax(index < FIRST))])
            raise DataError(
                f'There is no item "{strange}" in the catalogue of {len(self.catalogue):,} items.'
                f"{nearest(strange, self.catalogue.ids)}"
            )
        return index - FIRST

    @tf.function(reduce_retracing=True, autograph=False)
    def _scored(self, raw: dict[str, tf.Tensor], index: tf.Tensor, query_rows: tf.Tensor) -> tf.Tensor:
        query = self.query_tower.preprocess(raw)
        return self.score(query, self.catalogue.features(index), query_rows, training=False)
