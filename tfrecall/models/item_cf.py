"""Item-based collaborative filtering: cosine of co-occurrence."""

import numpy as np
import polars as pl
import scipy.sparse as sp

from tfrecall.data.interactions import Interactions
from tfrecall.data.vocabulary import Vocabulary
from tfrecall.errors import ConfigError

# Items whose similarities are computed at once: bounds memory when `top_n` throws most away.
_BLOCK_ITEMS = 1024
# Up to here (256 MB) a well-filled similarity is kept dense: five times faster on MovieLens-1M.
_DENSE_ITEMS = 8192


class ItemCF:
    """Scores an item by its summed similarity to the items of the user's training rows.

    Similarity of two items is the cosine of their columns in the binary user-item matrix: users who
    have both, over the root of the product of the users who have each. Exact, without sampling. An
    item is not similar to itself. How often and when a user chose an item does not count.

    Who has no training rows gets zeros, not popularity: nothing is known, all items tie, and ties
    count against a model. A table that shows popularity beside it tells the two apart.

    Args:
        top_n: keep of each item's neighbours only the `top_n` most similar, ties to the lower row;
            None keeps all.

    Reference:
        Sarwar et al., "Item-based collaborative filtering recommendation algorithms", WWW 2001;
        Deshpande and Karypis, "Item-based top-N recommendation algorithms", TOIS 2004.
    """

    name = "item_cf"

    def __init__(self, top_n: int | None = None) -> None:
        if top_n is not None and top_n < 1:
            raise ConfigError(
                f"`top_n` is the number of neighbours kept for each item. Received: {top_n}. "
                "Give 1 or more, or None to keep all."
            )
        self.top_n = top_n
        self.item_ids: np.ndarray = np.empty(0, dtype=object)
        self._users: Vocabulary | None = None
        self._histories: sp.csr_array | None = None
        self._similarity: sp.csr_array | np.ndarray | None = None

    def fit(self, train: Interactions) -> "ItemCF":
        """Computes the similarities of the items of `train.items`; returns itself."""
        self.item_ids = train.item_vocabulary.ids
        self._users = train.user_vocabulary
        self._histories = _binary_matrix(train)
        similarity = cosine_similarity(self._histories, self.top_n)
        well_filled = similarity.nnz > 0.1 * len(self.item_ids) ** 2
        dense = well_filled and len(self.item_ids) <= _DENSE_ITEMS
        self._similarity = similarity.toarray() if dense else similarity
        return self

    def scores(self, queries: pl.DataFrame) -> np.ndarray:
        if self._users is None or self._histories is None or self._similarity is None:
            raise ConfigError(
                "This ItemCF has not been fitted, so it has no scores. Call `fit(train)` first."
            )
        # Rows of one user share one product: a test set holds many rows of the same user.
        users, back = np.unique(self._users.rows(queries["user_id"]), return_inverse=True)
        answers = np.zeros((len(users), len(self.item_ids)), dtype=np.float32)
        known = users >= 0
        found = self._histories[users[known]] @ self._similarity
        answers[known] = found.toarray() if sp.issparse(found) else found
        return answers[back]


def cosine_similarity(histories: sp.csr_array, top_n: int | None = None) -> sp.csr_array:
    """Cosine between the columns of a binary matrix, with an empty diagonal.

    Args:
        histories: float32 `[n_users, n_items]` of zeros and ones.
        top_n: entries kept in each row, the largest, ties to the lower column; None keeps all.

    Returns:
        float32 `[n_items, n_items]`; symmetric unless `top_n` cuts it.
    """
    counts = np.asarray(histories.sum(axis=0), dtype=np.float64)
    # An item that nobody has meets nobody: its row and column stay empty whatever it is scaled by.
    scale = 1.0 / np.sqrt(np.maximum(counts, 1.0))
    columns = histories.tocsc()
    blocks = []
    for start in range(0, histories.shape[1], _BLOCK_ITEMS):
        block = (columns[:, start : start + _BLOCK_ITEMS].T @ histories).tocoo()
        blocks.append(_scaled(block, start, scale, top_n))
    return sp.vstack(blocks, format="csr")


def _scaled(block: sp.coo_array, start: int, scale: np.ndarray, top_n: int | None) -> sp.csr_array:
    """Turns the co-occurrence counts of the items from `start` on into cosines."""
    rows, columns = block.coords
    values = (block.data * scale[rows + start] * scale[columns]).astype(np.float32)
    keep = np.flatnonzero(rows + start != columns)
    if top_n is not None:
        keep = keep[np.lexsort((columns[keep], -values[keep], rows[keep]))]
        lengths = np.bincount(rows[keep], minlength=block.shape[0])
        place = np.arange(len(keep)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
        keep = keep[place < top_n]
    return sp.csr_array((values[keep], (rows[keep], columns[keep])), shape=block.shape)


def _binary_matrix(train: Interactions) -> sp.csr_array:
    known = (train.user_rows >= 0) & (train.item_rows >= 0)
    users, items = train.user_rows[known], train.item_rows[known]
    shape = (train.users.height, train.items.height)
    matrix = sp.csr_array((np.ones(len(users), dtype=np.float32), (users, items)), shape=shape)
    matrix.data[:] = 1.0  # the constructor adds up what occurs twice
    return matrix
