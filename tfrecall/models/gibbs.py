"""Gibbs sampling of a factorization machine between two sides: draws from the posterior of its vectors."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import scipy.sparse as sp

# Pseudo-observations of the prior of a mean, and the scale of the prior of a covariance: weak, so that even
# a block of ten levels learns its own.
_MEAN_COUNT, _SCALE = 2.0, 0.3
# Noise of the labels before the first sweep, as a precision.
_PRECISION = 1.0
# Standard deviation of the first vectors.
_STDDEV = 0.1


@dataclass(frozen=True, eq=False)
class Block:
    """Levels of a user or an item: each row of a log has one, each level has a vector and a bias.

    Attributes:
        rows: int `[n_rows]`, the level of each row.
        size: number of levels; those without rows are drawn from the prior.
        attributes: float `[size, n_attributes]`, sparse; the prior mean of the vector of a level is linear in
            them. None for one mean of all levels.
    """

    rows: np.ndarray
    size: int
    attributes: sp.csr_matrix | None = None


class Effect(NamedTuple):
    """Levels of a context, such as a user's day: a number each, around 0, that is added to the label.

    Attributes:
        rows: int `[n_rows]`, the level of each row.
        size: number of levels.
    """

    rows: np.ndarray
    size: int


class GibbsSampler:
    """Draws from the posterior of a factorization machine between users and items.

    A label is the sum of the biases of user and item, the inner product of their vectors, the effects of the
    context, and Gaussian noise. A vector and its bias have a multivariate Gaussian prior whose mean may
    depend on attributes; its mean, covariance and coefficients are drawn, too, so there is no weight of a
    regularization to choose.

    Args:
        user, item: levels of both sides.
        labels: float `[n_rows]`, centred.
        dim: length of the vectors, without the bias.
        seed: seed of all draws.
        effects: levels of the context.

    Attributes:
        vectors: of users and of items, float `[size, dim + 1]`; the bias is last.
        effects: of each context, float `[size]`.
        precision: one over the variance of the noise.

    Example: two users and two items; after some sweeps the predictions approach the labels.

    >>> users, items = np.array([0, 0, 1, 1] * 20), np.array([0, 1, 0, 1] * 20)
    >>> labels = np.array([1.0, -1.0, -1.0, 1.0] * 20)
    >>> sampler = GibbsSampler(Block(users, 2), Block(items, 2), labels, dim=2, seed=1)
    >>> for _ in range(20):
    ...     sampler.sweep()
    >>> sampler.predict().round().tolist()[:4]
    [1.0, -1.0, -1.0, 1.0]

    References:
        Salakhutdinov and Mnih, "Bayesian Probabilistic Matrix Factorization using Markov Chain Monte Carlo",
        ICML 2008; Simm et al., "Macau: Scalable Bayesian Factorization with High-Dimensional Side Information
        Using MCMC", MLSP 2017 (the draw of the coefficients); Freudenthaler et al., "Bayesian Factorization
        Machines", NIPS workshop 2011.
    """

    def __init__(
        self,
        user: Block,
        item: Block,
        labels: np.ndarray,
        dim: int,
        seed: int,
        effects: Sequence[Effect] = (),
    ) -> None:
        self._generator = np.random.default_rng(seed)
        self._labels = labels
        self._sides, self._effects = (user, item), effects
        self._links = (
            _Links(user.rows, user.size, item.rows, item.size),
            _Links(item.rows, item.size, user.rows, user.size),
        )
        self._priors = (_Prior(user, dim + 1), _Prior(item, dim + 1))
        self.precision = _PRECISION
        self.vectors = [
            np.pad(_STDDEV * self._generator.standard_normal((side.size, dim)), [(0, 0), (0, 1)])
            for side in self._sides
        ]
        self.effects = [np.zeros(effect.size) for effect in effects]
        self._of_effects = np.zeros(len(labels))

    @property
    def coefficients(self) -> list[np.ndarray]:
        """Coefficients of the attributes of users and of items: float `[n_attributes, dim + 1]`."""
        return [prior.coefficients for prior in self._priors]

    def sweep(self) -> None:
        """Draws users, effects, items and the noise, each given all others."""
        self._draw_side(0)
        for place, effect in enumerate(self._effects):
            self._draw_effect(place, effect)
        self._draw_side(1)
        squares = float(np.square(self._labels - self.predict()).sum())
        self.precision = self._generator.gamma((len(self._labels) + 1) / 2, 2 / (squares + 1))

    def predict(self) -> np.ndarray:
        """Labels of the rows by the present draw, without noise: float `[n_rows]`."""
        users, items = (
            vectors[side.rows] for vectors, side in zip(self.vectors, self._sides, strict=True)
        )
        products = (users[:, :-1] * items[:, :-1]).sum(axis=1)
        return products + users[:, -1] + items[:, -1] + self._of_effects

    def _draw_side(self, place: int) -> None:
        links, prior, other = self._links[place], self._priors[place], self.vectors[1 - place]
        prior.draw(self.vectors[place], self._generator)
        # With the bias of the other side subtracted, a label is linear in the vector and the bias of this one.
        factors = np.concatenate([other[:, :-1], np.ones((len(other), 1))], axis=1)
        residuals = self._labels - self._of_effects - other[self._sides[1 - place].rows, -1]
        precisions = self.precision * links.squares(factors) + prior.precision
        linear = self.precision * links.products(residuals, factors) + prior.means @ prior.precision
        self.vectors[place] = draw_normal(precisions, linear, self._generator)

    def _draw_effect(self, place: int, effect: Effect) -> None:
        before = self.effects[place]
        # One over the variance between levels, given the last effects.
        between = self._generator.gamma(
            (effect.size + 1) / 2, 2 / (float(np.square(before).sum()) + _SCALE)
        )
        residuals = self._labels - self.predict() + before[effect.rows]
        sums = np.bincount(effect.rows, residuals, effect.size)
        precisions = between + self.precision * np.bincount(effect.rows, minlength=effect.size)
        noise = self._generator.standard_normal(effect.size) / np.sqrt(precisions)
        drawn = self.precision * sums / precisions + noise
        self._of_effects = self._of_effects + (drawn - before)[effect.rows]
        self.effects[place] = drawn


class _Prior:
    """Gaussian prior of the vectors of a block, drawn anew in each sweep.

    Attributes:
        means: float `[size, dim]`, or `[1, dim]` where all levels share it.
        precision: inverse of the covariance, `[dim, dim]`.
        coefficients: of the attributes, `[n_attributes, dim]`.
    """

    def __init__(self, block: Block, dim: int) -> None:
        self._attributes = block.attributes
        count = 0 if block.attributes is None else block.attributes.shape[1]
        self.means = np.zeros((1, dim))
        self.precision = np.eye(dim)
        self.coefficients = np.zeros((count, dim))
        self._mean = np.zeros(dim)
        self._ridge = 1.0
        if block.attributes is not None:
            self._solver = _Ridge(block.attributes)

    def draw(self, vectors: np.ndarray, generator: np.random.Generator) -> None:
        """Draws coefficients, covariance and mean given the vectors."""
        count, dim = vectors.shape
        explained = np.zeros((1, dim))
        scatter = _SCALE * np.eye(dim)
        freedom = float(dim + count)
        if self._attributes is not None:
            self._draw_coefficients(vectors, generator)
            explained = self._attributes @ self.coefficients
            # The coefficients share the covariance of the vectors, so they are evidence on it.
            scatter += self._ridge * self.coefficients.T @ self.coefficients
            freedom += len(self.coefficients)
        residuals = vectors - explained
        mean = residuals.mean(axis=0)
        scatter += (residuals - mean).T @ (residuals - mean)
        scatter += count * _MEAN_COUNT / (count + _MEAN_COUNT) * np.outer(mean, mean)
        self.precision = draw_wishart(freedom, np.linalg.inv(scatter), generator)
        total = count + _MEAN_COUNT
        self._mean = mean * count / total + _noise(self.precision * total, 1, generator)[0]
        self.means = explained + self._mean

    def _draw_coefficients(self, vectors: np.ndarray, generator: np.random.Generator) -> None:
        # Ridge regression of vectors and of prior draws, both with noise added, is a draw from the
        # posterior of the coefficients: its mean is theirs, its covariance the inverse of their precision.
        assert self._attributes is not None
        features = self._attributes.shape[1]
        targets = vectors - self._mean + _noise(self.precision, len(vectors), generator)
        own = np.sqrt(self._ridge) * _noise(self.precision, features, generator)
        self.coefficients = self._solver.solve(self._attributes.T @ targets + own, self._ridge)
        weighted = float(((self.coefficients @ self.precision) * self.coefficients).sum())
        self._ridge = generator.gamma((self.coefficients.size + 1) / 2, 2 / (weighted + 1))


class _Ridge:
    """Solves (XᵀX + ridge I) B = T for many ridges: the singular vectors of X are computed once."""

    def __init__(self, matrix: sp.csr_matrix) -> None:
        _, singular, self._right = np.linalg.svd(matrix.toarray(), full_matrices=False)
        self._squares = np.square(singular)[:, np.newaxis]

    def solve(self, targets: np.ndarray, ridge: float) -> np.ndarray:
        inside = self._right @ targets
        # Outside the span of the singular vectors the matrix is ridge I.
        return (targets - self._right.T @ (inside * self._squares / (self._squares + ridge))) / ridge


class _Links:
    """Rows of a log by level, each with the other side that it belongs to."""

    def __init__(self, levels: np.ndarray, size: int, others: np.ndarray, n_others: int) -> None:
        self._order = np.argsort(levels, kind="stable")
        self._starts = np.concatenate([[0], np.cumsum(np.bincount(levels, minlength=size))])
        self._others = others[self._order]
        self._shape = (size, n_others)

    def squares(self, factors: np.ndarray) -> np.ndarray:
        """The sum of the outer products of the factors of each level's rows: `[size, dim, dim]`."""
        count, dim = factors.shape
        outer = (factors[:, :, np.newaxis] * factors[:, np.newaxis]).reshape(count, dim * dim)
        return (self._matrix(np.ones(len(self._others))) @ outer).reshape(-1, dim, dim)

    def products(self, values: np.ndarray, factors: np.ndarray) -> np.ndarray:
        """The sum of the factors of each level's rows, weighted by a value of each row: `[size, dim]`."""
        return self._matrix(values[self._order]) @ factors

    def _matrix(self, values: np.ndarray) -> sp.csr_matrix:
        return sp.csr_matrix((values, self._others, self._starts), shape=self._shape)


def draw_normal(
    precisions: np.ndarray, linear: np.ndarray, generator: np.random.Generator
) -> np.ndarray:
    """Draws from Gaussians given by precision P and linear term h, mean P⁻¹ h and covariance P⁻¹.

    Args:
        precisions: float `[n, dim, dim]`.
        linear: float `[n, dim]`.
        generator: source of the draws.

    Returns:
        Float `[n, dim]`.

    >>> certain = draw_normal(np.array([[[1e12]]]), np.array([[3e12]]), np.random.default_rng(1))
    >>> certain.round(3).tolist()
    [[3.0]]
    """
    # P = L Lᵀ: solving Lᵀ x = L⁻¹ h + z gives the mean plus noise of covariance (L Lᵀ)⁻¹.
    lower = np.linalg.cholesky(precisions)
    inner = np.linalg.solve(lower, linear[:, :, np.newaxis])
    inner += generator.standard_normal(inner.shape)
    return np.linalg.solve(lower.transpose(0, 2, 1), inner)[:, :, 0]


def draw_wishart(freedom: float, scale: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """A draw of the Wishart distribution, whose mean is `freedom * scale`, by Bartlett's decomposition.

    >>> draw_wishart(1e8, np.eye(2) / 1e8, np.random.default_rng(1)).round(2).tolist()
    [[1.0, 0.0], [0.0, 1.0]]
    """
    dim = len(scale)
    factor = np.tril(generator.standard_normal((dim, dim)), -1)
    factor[np.diag_indices(dim)] = np.sqrt(generator.chisquare(freedom - np.arange(dim)))
    root = np.linalg.cholesky(scale) @ factor
    return root @ root.T


def _noise(precision: np.ndarray, count: int, generator: np.random.Generator) -> np.ndarray:
    """Draws of mean 0 and the inverse of a precision as covariance: `[count, dim]`."""
    normal = generator.standard_normal((len(precision), count))
    return np.linalg.solve(np.linalg.cholesky(precision).T, normal).T
