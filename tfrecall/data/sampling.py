"""Weighted draws of items for owners that each have items left out, exact and without a rejected draw."""

import numpy as np

# Weights are whole numbers, and a weight with the number of its owner before it must fit into int64.
KEY_BITS = 62


class Drawing:
    """Draws items by weight for owners that each have items left out.

    The weights stand side by side on a line and a number below their total points at one of them. For
    an owner the line is shorter by the weights left out, so a number below the shorter total is moved
    on by those of them that come before it. Every draw hits, whatever share of the items an owner
    has, and is exact, because all numbers are whole.

    Args:
        weights: int64 `[n_items]`, such as `power_weights` gives.
        owners, items: int `[n]`, pairs of an owner and an item left out; a pair may come twice.
        n_owners: their number.

    Attributes:
        totals: int64 `[n_owners]`, the length of each owner's line; 0 where nothing can be drawn.
    """

    def __init__(
        self, weights: np.ndarray, owners: np.ndarray, items: np.ndarray, n_owners: int
    ) -> None:
        self._ends = np.cumsum(weights)
        pairs = np.sort(owners.astype(np.int64) * len(weights) + items)
        pairs = pairs[np.diff(pairs, prepend=-1) > 0]
        owners, items = np.divmod(pairs, len(weights))
        self._first = np.searchsorted(owners, np.arange(n_owners + 1))
        self._left_out = np.concatenate([[0], np.cumsum(weights[items])])
        starts = self._left_out[self._first]
        self._length = int(self._ends[-1])
        self.totals = self._length - np.diff(starts)
        # Where an item was cut out of its owner's line; the lines lie one owner after the other.
        cuts = self._ends[items] - weights[items] - (self._left_out[:-1] - starts[owners])
        self._cuts = owners * self._length + cuts

    def draw(self, owners: np.ndarray, count: int, random: np.random.Generator) -> np.ndarray:
        """Item rows for some owners, each of whom has something to draw: int64 `[n, count]`."""
        owners = owners.astype(np.int64)[:, np.newaxis]
        points = random.integers(0, self.totals[owners], size=(len(owners), count))
        cut = np.searchsorted(self._cuts, points + owners * self._length, side="right")
        points += self._left_out[cut] - self._left_out[self._first[owners]]
        return np.searchsorted(self._ends, points, side="right")


class EitherDrawing:
    """Draws from the first of two `Drawing`s with a chance, else from the second.

    An owner who has nothing left in one of them draws from the other.

    Args:
        first, second: of the same owners.
        chance: above 0 and below 1.

    Attributes:
        totals: int64 `[n_owners]`, 0 where nothing can be drawn.
    """

    def __init__(self, first: Drawing, second: Drawing, chance: float) -> None:
        self._first, self._second = first, second
        chances = np.where(second.totals == 0, 1.0, chance)
        self._chances = np.where(first.totals == 0, 0.0, chances)
        self.totals = np.maximum(first.totals, second.totals)

    def draw(self, owners: np.ndarray, count: int, random: np.random.Generator) -> np.ndarray:
        """As `Drawing.draw`."""
        owners = np.repeat(owners, count)
        of_first = random.random(len(owners)) < self._chances[owners]
        drawn = np.empty(len(owners), np.int64)
        for chosen, drawing in ((of_first, self._first), (~of_first, self._second)):
            drawn[chosen] = drawing.draw(owners[chosen], 1, random)[:, 0]
        return drawn.reshape(-1, count)


def power_weights(counts: np.ndarray, alpha: float, n_owners: int) -> np.ndarray:
    """Whole numbers in proportion to counts to the power of alpha; 0 for 0: int64 `[n_items]`.

    Args:
        counts: int `[n_items]`, at least one above 0.
        alpha: 0 weighs all counts above 0 alike.
        n_owners: of the `Drawing` they are for.
    """
    powers = np.where(counts > 0, (counts / counts.max()) ** alpha, 0.0)
    # Rounded up: an item that has events can be drawn, however few they are.
    return np.ceil(powers / powers.sum() * (2 ** (KEY_BITS - 1) // n_owners)).astype(np.int64)
