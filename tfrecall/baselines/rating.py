"""Baselines of rating prediction: the mean, and the biases of users and items."""

from dataclasses import dataclass

import numpy as np

from tfrecall.data.interactions import Interactions
from tfrecall.schema.labels import Label

# Rows of the mean that a user's and an item's deviation is shrunk by: usual on MovieLens (Koren, TKDD
# 2010, section 2.1, and Surprise's defaults).
USER_ROWS, ITEM_ROWS = 15.0, 10.0
# Rounds over items and users, as many as in Surprise.
SWEEPS = 10


@dataclass(frozen=True, eq=False)
class RatingBiases:
    """A mean, plus a bias of each user and each item; with all biases 0 the mean alone.

    Attributes:
        name: name of the baseline in tables.
        mean: mean of the training labels.
        users: float64 `[n_users + 1]`, in the order of the user table; 0 at the end, for unknown users.
        items: float64 `[n_items + 1]`, in the order of the item table; 0 at the end, for unknown items.
    """

    name: str
    mean: float
    users: np.ndarray
    items: np.ndarray

    def predictions(self, rows: Interactions) -> np.ndarray:
        """Predicts the label of each row: float64 `[n_rows]`."""
        # Row -1, the unknown one, reads the 0 at the end.
        return self.mean + self.users[rows.user_rows] + self.items[rows.item_rows]


def mean_label(train: Interactions, label: Label) -> RatingBiases:
    """Fits the mean of the training labels."""
    labels = label.values(train.log[label.column])
    nothing = np.zeros(train.users.height + 1), np.zeros(train.items.height + 1)
    return RatingBiases("mean", float(labels.mean()), *nothing)


def label_biases(train: Interactions, label: Label) -> RatingBiases:
    """Fits the mean, and regularised biases of users and items, in turn.

    The bias of an item is the sum of its labels less mean and bias of the user, divided by the number of its
    rows plus `ITEM_ROWS`; that of a user likewise. So few rows give a small bias.

    Reference:
        Koren, "Factor in the Neighbors: Scalable and Accurate Collaborative Filtering", TKDD 2010.
    """
    labels = label.values(train.log[label.column])
    users, items = train.user_rows, train.item_rows
    mean = float(labels.mean())
    of_users, of_items = np.zeros(train.users.height + 1), np.zeros(train.items.height + 1)
    for _ in range(SWEEPS):
        of_items = _shrunk(labels - mean - of_users[users], items, len(of_items), ITEM_ROWS)
        of_users = _shrunk(labels - mean - of_items[items], users, len(of_users), USER_ROWS)
    return RatingBiases("biases", mean, of_users, of_items)


def _shrunk(residuals: np.ndarray, rows: np.ndarray, count: int, weight: float) -> np.ndarray:
    sums = np.bincount(rows, weights=residuals, minlength=count)
    return sums / (np.bincount(rows, minlength=count) + weight)
