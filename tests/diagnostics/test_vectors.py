"""Vectors that tell nothing apart are named; vectors of models at work are not."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tfrecall.diagnostics.vectors import (
    collapsed_vectors,
    dead_dimensions,
    effective_rank,
    mean_cosine,
    spread,
)

RANDOM = np.random.default_rng(0)
AT_WORK = RANDOM.normal(size=(500, 16)) * np.linspace(3, 0.3, 16)


def test_spread_on_paper():
    # (1, 0) and (3, 0): mean (2, 0), variance 1 around it, mean squared length (1 + 9) / 2 = 5.
    assert spread(np.array([[1.0, 0.0], [3.0, 0.0]])) == pytest.approx(1 / 5)
    assert spread(np.zeros((3, 2))) == 0


def test_effective_rank_on_paper():
    # Variances 9 and 1 of 10: exp(-(.9 log .9 + .1 log .1)) = exp(.3251) = 1.384.
    vectors = np.array([[3.0, 1.0], [-3.0, 1.0], [3.0, -1.0], [-3.0, -1.0]])
    assert effective_rank(vectors) == pytest.approx(1.3841, abs=1e-4)
    assert effective_rank(np.ones((5, 3))) == 0
    assert effective_rank(RANDOM.normal(size=(9, 1))) == pytest.approx(1)


@given(st.integers(2, 8), st.integers(1, 5), st.integers(0, 99))
def test_mean_cosine_is_that_of_all_pairs(n, dim, seed):
    vectors = np.random.default_rng(seed).normal(size=(n, dim))
    units = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    pairs = [units[i] @ units[j] for i in range(n) for j in range(n) if i != j]
    assert mean_cosine(vectors) == pytest.approx(np.mean(pairs))
    # Of vectors of length one, n^2 (1 - spread) counts each vector with itself, n times 1.
    assert 1 - spread(units) == pytest.approx((np.sum(pairs) + n) / n**2)


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
@pytest.mark.parametrize("side", ["query", "candidate"])
def test_vectors_at_work_are_not_remarked_on(scale, side):
    assert collapsed_vectors(scale * AT_WORK, side) is None
    assert collapsed_vectors(scale * (AT_WORK + 3), side) is None, "a common direction is no collapse"
    assert dead_dimensions(scale * AT_WORK, side) is None


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
def test_nearly_equal_vectors_are_named(scale):
    found = collapsed_vectors(scale * (np.ones(16) * 5 + 0.1 * RANDOM.normal(size=(500, 16))), "query")
    assert (found.name, found.severity) == ("collapsed_vectors", "error")
    assert "500 query vectors are nearly equal: their mean cosine is 0.999" in found.text
    assert "everybody gets nearly the same list" in found.text
    assert "`training.learning_rate`" in found.text


def test_vectors_that_are_all_zero_or_equal_are_named():
    assert collapsed_vectors(np.zeros((9, 4)), "candidate")
    assert "candidates apart" in collapsed_vectors(np.ones((9, 4)), "candidate").text


def test_vectors_on_a_line_are_named():
    line = RANDOM.normal(size=(500, 1)) * np.ones(16) + 0.01 * RANDOM.normal(size=(500, 16))
    assert "lie on a line: they use 1.0" in collapsed_vectors(line, "candidate").text
    assert collapsed_vectors(RANDOM.normal(size=(500, 1)), "candidate") is None, "one dimension is one"


def test_one_vector_says_nothing():
    assert collapsed_vectors(np.ones((1, 4)), "query") is None
    assert dead_dimensions(np.ones((1, 4)), "query") is None


def test_a_tenth_of_dead_dimensions_is_named():
    some = AT_WORK.copy()
    some[:, 3] = 7
    assert dead_dimensions(some, "query") is None, "1 of 16 is below a tenth"
    some[:, 4] = 0
    found = dead_dimensions(some, "query")
    assert (found.name, found.severity) == ("dead_dimensions", "warning")
    assert "2 of the 16 dimensions of the query vectors" in found.text


def test_dimensions_of_equal_vectors_are_left_to_the_other_finding():
    assert dead_dimensions(np.ones((9, 4)), "query") is None
