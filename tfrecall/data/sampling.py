"""Weighted sampling of items with excluded items, exact and without rejection."""

import numpy as np

# Weights are whole numbers, and a weight with the number of its owner before it must fit into int64.
KEY_BITS = 62


class WeightedSampler:
    """Draws items by weight for owners that each have excluded items.

    Every draw is a hit, whatever share of the items an owner excludes, and the probabilities are exact,
    because all numbers are whole.

    Args:
        weights: int64 `[n_items]`, such as `power_weights` gives.
        owners: int `[n]`, the owners of excluded items; pairs with `items`, in any order, repeated at will.
        items: int `[n]`, the excluded items.
        n_owners: number of owners.

    Attributes:
        totals: int64 `[n_owners]`, the weight that is left to each owner; 0 if nothing can be drawn.

    >>> sampler = WeightedSampler(np.array([1, 5, 3]), np.array([0]), np.array([1]), n_owners=2)
    >>> sampler.totals.tolist()
    [4, 9]
    >>> np.unique(sampler.draw(np.array([0]), 100, np.random.default_rng(0))).tolist()
    [0, 2]
    """

    # The weights stand side by side on a line, and a number below their total is a point of one of them. For
    # an owner the excluded weights are cut out of the line and it closes up. A point of the shorter line is
    # moved right by all the weights that were cut out before it, and then looked up on the whole line.
    #
    # The example: weights 1, 5, 3 end at 1, 6, 9. Owner 0 lacks item 1, so the line of 4 points has a cut at 1:
    # point 0 stays and is item 0; point 2 has passed the cut, becomes 2 + 5 = 7 and is item 2.

    def __init__(
        self, weights: np.ndarray, owners: np.ndarray, items: np.ndarray, n_owners: int
    ) -> None:
        self._ends = np.cumsum(weights)
        pairs = np.sort(owners.astype(np.int64) * len(weights) + items)
        pairs = pairs[np.diff(pairs, prepend=-1) > 0]  # each pair once
        owners, items = np.divmod(pairs, len(weights))
        self._first = np.searchsorted(owners, np.arange(n_owners + 1))
        self._excluded = np.concatenate([[0], np.cumsum(weights[items])])
        starts = self._excluded[self._first]
        self._length = int(self._ends[-1])
        self.totals = self._length - np.diff(starts)
        # The place of each cut on its owner's closed line: where the item began, less the cuts before it. All
        # owners' lines follow one another, so that one search serves them all.
        cuts = self._ends[items] - weights[items] - (self._excluded[:-1] - starts[owners])
        self._cuts = owners * self._length + cuts

    def draw(self, owners: np.ndarray, count: int, random: np.random.Generator) -> np.ndarray:
        """Draws items, with replacement, for owners whose total is above 0: int64 `[n, count]`."""
        owners = owners.astype(np.int64)[:, np.newaxis]
        points = random.integers(0, self.totals[owners], size=(len(owners), count))
        # `side="right"`: a point at the very place of a cut lies behind it.
        cut = np.searchsorted(self._cuts, points + owners * self._length, side="right")
        points += self._excluded[cut] - self._excluded[self._first[owners]]
        return np.searchsorted(self._ends, points, side="right")


class MixtureSampler:
    """Draws from one sampler with a given probability, else from another.

    Owners who have nothing left in one of them always draw from the other.

    Args:
        first: sampler that is chosen with probability `chance`.
        second: sampler of the same owners.
        chance: above 0 and below 1.

    Attributes:
        totals: int64 `[n_owners]`, 0 if nothing can be drawn.
    """

    def __init__(self, first: WeightedSampler, second: WeightedSampler, chance: float) -> None:
        self._first, self._second = first, second
        chances = np.where(second.totals == 0, 1.0, chance)
        self._chances = np.where(first.totals == 0, 0.0, chances)
        self.totals = np.maximum(first.totals, second.totals)

    def draw(self, owners: np.ndarray, count: int, random: np.random.Generator) -> np.ndarray:
        """Draws items, with replacement, for owners whose total is above 0: int64 `[n, count]`."""
        # Each draw chooses its own sampler, so there is one owner a draw.
        owners = np.repeat(owners, count)
        of_first = random.random(len(owners)) < self._chances[owners]
        items = np.empty(len(owners), np.int64)
        for chosen, sampler in ((of_first, self._first), (~of_first, self._second)):
            items[chosen] = sampler.draw(owners[chosen], 1, random)[:, 0]
        return items.reshape(-1, count)


def power_weights(counts: np.ndarray, alpha: float, n_owners: int) -> np.ndarray:
    """Whole-number weights in proportion to counts to the power of alpha: int64 `[n_items]`.

    Args:
        counts: int `[n_items]`, at least one above 0; a count of 0 has weight 0.
        alpha: exponent; 0 gives all counts above 0 the same weight.
        n_owners: owners of the `WeightedSampler` that takes them.
    """
    powers = np.where(counts > 0, (counts / counts.max()) ** alpha, 0.0)
    # Rounded up: an item that has events can be drawn, however few they are.
    # Half of the range: rounding up adds at most 1 an item, n_owners * n_items over all lines, for which
    # the other half is room.
    return np.ceil(powers / powers.sum() * (2 ** (KEY_BITS - 1) // n_owners)).astype(np.int64)
