"""Encoded batches as blocks of a Gibbs sampler, and its draws as tables of the feature layers."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import scipy.sparse as sp

from tfrecall._keras import tf
from tfrecall.core.vocabulary import FIRST, PADDING
from tfrecall.errors import DataError
from tfrecall.layers.features import FeatureLayer
from tfrecall.layers.history import HistoryFeature
from tfrecall.models.gibbs import Block, Effect, GibbsSampler

# Cells of a dense matrix of attributes, half a gigabyte: its singular vectors take minutes at that size.
_CELLS = 2**26


class Design:
    """Training rows of a model for a sampler: users and items with their attributes, effects of the context.

    Features of a query that are the same in all rows of a user are attributes of the user; the others are
    effects. The history of a user is whole, the row itself included: it is an attribute of the
    user, and the same for all the user's rows, as in SVD++.

    Args:
        user: layer of the user's id.
        query: the other layers of the query.
        item: layer of the item's id.
        candidate: the other layers of the candidate.
        items: encoded features of all candidates by name of the layer.
        batches: encoded batches with labels.
        raters: whether the users who rated an item are its attributes, too.

    Attributes:
        user, item: levels of both sides.
        effects: levels of the context.
        labels: float64 `[n_rows]`.

    Raises:
        DataError: if rows have weights, a list of the query changes within a user, or attributes are too
            many.
    """

    def __init__(
        self,
        user: FeatureLayer,
        query: Sequence[FeatureLayer],
        item: FeatureLayer,
        candidate: Sequence[FeatureLayer],
        items: Mapping[str, tf.Tensor],
        batches: Iterable[dict[str, Any]],
        raters: bool,
    ) -> None:
        histories = [layer for layer in query if isinstance(layer, HistoryFeature)]
        columns = _Columns(
            user, [layer for layer in query if layer not in histories], histories, batches
        )
        users, rows = columns.values[user.name], items[item.name].numpy()[columns.candidates]
        context = [one for one in query if one not in histories and not columns.is_constant(one)]
        # Sums of floats depend on their order, and batches are shuffled: sorted, equal rows give equal draws.
        order = np.lexsort(
            [columns.labels, *(columns.values[one.name] for one in context), users, rows]
        )
        users, rows, self.labels = users[order], rows[order], columns.labels[order]
        fixed = [layer for layer in query if layer not in context]
        parts = [(layer, columns.attributes(layer)) for layer in fixed]
        self._query = _Attributes(user, parts)
        features = [(layer, _of_items(layer, item, items)) for layer in candidate]
        shown = _shares(rows, users, (_rows(item), _rows(user))) if raters else None
        self._candidate = _Attributes(item, features, shown)
        self._context = context
        self.user = Block(users, _rows(user), self._query.matrix)
        self.item = Block(rows, _rows(item), self._candidate.matrix)
        self.effects = [Effect(columns.values[one.name][order], _rows(one)) for one in context]

    def tables(self, sampler: GibbsSampler) -> dict[str, np.ndarray]:
        """The present draw of a sampler as tables: sums over the features of a side are its vectors.

        Returns:
            Float `[values, dim + 1]` by name of the layer, "query/" or "candidate/" before it.
        """
        (users, items), (of_users, of_items) = sampler.vectors, sampler.coefficients
        tables = {
            **self._query.tables("query", users, of_users),
            **self._candidate.tables("candidate", items, of_items),
        }
        for layer, effects in zip(self._context, sampler.effects, strict=True):
            table = np.zeros((len(effects), users.shape[1]))
            # An effect without rows, of a day to come, is 0 on average.
            table[FIRST:, -1] = effects[FIRST:]
            tables[f"query/{layer.name}"] = table
        return tables


class _Columns:
    """Query columns, candidates and labels of all batches."""

    def __init__(
        self,
        user: FeatureLayer,
        layers: Sequence[FeatureLayer],
        histories: Sequence[HistoryFeature],
        batches: Iterable[dict[str, Any]],
    ) -> None:
        self._user = user
        names = [layer.name for layer in (user, *layers)]
        parts: dict[str, list[np.ndarray]] = {name: [] for name in names}
        candidates, labels = [], []
        self._lists: dict[str, dict[int, np.ndarray]] = {layer.name: {} for layer in histories}
        for batch in batches:
            if "sample_weight" in batch:
                raise DataError(
                    "A Bayesian ranker counts each row once, and the rows have weights. Leave the column of "
                    "weights out, or take `Ranker`."
                )
            query = batch["query"]
            for name in names:
                parts[name].append(query[name].numpy())
            candidates.append(batch["candidate_index"].numpy())
            labels.append(batch["label"].numpy().astype(np.float64))
            for layer in histories:
                self._add_lists(self._lists[layer.name], parts[user.name][-1], query[layer.name])
        self.values = {name: _stacked(arrays) for name, arrays in parts.items()}
        self.candidates, self.labels = np.concatenate(candidates), np.concatenate(labels)
        # The first row of each user that has one, by the row in the user's table.
        self._users, self._first = np.unique(self.values[user.name], return_index=True)

    def _add_lists(
        self, lists: dict[int, np.ndarray], users: np.ndarray, history: Mapping[str, tf.Tensor]
    ) -> None:
        items = history["items"]
        places = history["rows"].numpy() if "rows" in history else np.arange(len(users))
        for place, row in zip(*np.unique(places, return_index=True), strict=True):
            if users[row] not in lists:
                events = items[place].numpy()
                lists[users[row]] = events[events > PADDING]

    def is_constant(self, layer: FeatureLayer) -> bool:
        """Whether a feature has one value in all rows of a user.

        Raises:
            DataError: if it is a list and changes.
        """
        values, users = self.values[layer.name], self.values[self._user.name]
        firsts = values[self._first][np.searchsorted(self._users, users)]
        if (values == firsts).all():
            return True
        if values.ndim > 1:
            raise DataError(
                f'The list "{layer.spec.column}" of a query changes from row to row of a user. A Bayesian '
                "ranker takes lists of users and items: leave it out, or take `Ranker`."
            )
        return False

    def attributes(self, layer: FeatureLayer) -> sp.csr_matrix:
        """Share of each value of a feature in each user: `[users, values]`."""
        size = _rows(self._user)
        if not isinstance(layer, HistoryFeature):
            return _by_level(layer, self.values[layer.name][self._first], self._users, size)
        lists = self._lists[layer.name]
        counts = np.array([len(items) for items in lists.values()], np.int64)
        (window,) = layer.encoder.windows
        totals = np.asarray(window.total(tf.constant(counts, tf.int32)), np.float64)
        rows = layer._encoded[0].numpy()[
            np.concatenate([*lists.values(), np.empty(0, np.int32)]).astype(int)
        ]
        owners = np.repeat(np.array(list(lists), np.int64), counts)
        shape = (size, _rows(layer.inner))
        return sp.csr_matrix((np.repeat(1 / totals, counts), (owners, rows)), shape)


class _Attributes:
    """Attributes of users or of items, side by side, and what of a draw each table gets."""

    def __init__(
        self,
        entity: FeatureLayer,
        parts: Sequence[tuple[FeatureLayer, sp.csr_matrix]],
        hidden: sp.csr_matrix | None = None,
    ) -> None:
        self._entity, self._parts = entity, parts
        # Attributes without a table of their own stay in the vectors of the ids.
        matrices = [*([] if hidden is None else [hidden]), *(matrix for _, matrix in parts)]
        self._hidden = 0 if hidden is None else hidden.shape[1]
        self.matrix = sp.hstack(matrices).tocsr() if matrices else None
        if self.matrix is not None and np.prod(self.matrix.shape, dtype=np.float64) > _CELLS:
            levels, count = self.matrix.shape
            raise DataError(
                f'"{entity.spec.column}" has {levels:,} values with {count:,} attributes, and at most '
                f"{_CELLS:,} pairs of both can be drawn together. Leave the history, or `raters`, out, or "
                "take `Ranker`."
            )

    def tables(self, side: str, vectors: np.ndarray, coefficients: np.ndarray) -> dict[str, np.ndarray]:
        start, tables, own = self._hidden, {}, vectors
        for layer, matrix in self._parts:
            part = coefficients[start : start + matrix.shape[1]]
            tables[f"{side}/{layer.name}"] = part
            own = own - matrix @ part
            start += matrix.shape[1]
        return {f"{side}/{self._entity.name}": own, **tables}


def _of_items(layer: FeatureLayer, item: FeatureLayer, items: Mapping[str, tf.Tensor]) -> sp.csr_matrix:
    """Share of each value of a feature in each item: `[items, values]`."""
    levels, first = np.unique(items[item.name].numpy(), return_index=True)
    # Items without training rows share the level of unknown ids, and have features of their own.
    known = levels >= FIRST
    values = items[layer.name].numpy()[first[known]]
    return _by_level(layer, values, levels[known], _rows(item))


def _by_level(layer: FeatureLayer, values: np.ndarray, levels: np.ndarray, size: int) -> sp.csr_matrix:
    """Shares of values by level: one value each, or the mean of a list without its padding."""
    lists = values.reshape(len(values), -1)
    known = np.ones(lists.shape, bool) if values.ndim == 1 else lists > PADDING
    shares = known / np.maximum(known.sum(axis=1, keepdims=True), 1)
    owners = np.broadcast_to(levels[:, np.newaxis], lists.shape)
    return sp.csr_matrix((shares[known], (owners[known], lists[known])), shape=(size, _rows(layer)))


def _shares(rows: np.ndarray, columns: np.ndarray, shape: tuple[int, int]) -> sp.csr_matrix:
    """Distinct pairs, each row over the root of its length."""
    pairs = np.unique(np.stack([rows, columns]), axis=1)
    counts = np.bincount(pairs[0], minlength=shape[0])
    return sp.csr_matrix((1 / np.sqrt(counts[pairs[0]]), tuple(pairs)), shape=shape)


def _rows(layer: FeatureLayer) -> int:
    return int(layer.table.shape[0])


def _stacked(arrays: Sequence[np.ndarray]) -> np.ndarray:
    """Rows of all batches; lists are padded to the longest."""
    if arrays[0].ndim == 1:
        return np.concatenate(arrays)
    width = max(array.shape[1] for array in arrays)
    return np.concatenate([np.pad(a, [(0, 0), (0, width - a.shape[1])]) for a in arrays])
