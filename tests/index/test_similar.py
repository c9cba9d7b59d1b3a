"""Similar items of a bundle: by cosine no long vector is near everything, and zero vectors stay candidates."""

import numpy as np
import pytest

from tfrecall.errors import ConfigError
from tfrecall.index import Annoy, write_bundle
from tfrecall.index.bundle import load_bundle

N_ITEMS = 400


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
    """Vectors of groups, as long as their items are popular; the first is the longest, the last one zero."""
    random = np.random.default_rng(0)
    vectors = random.normal(size=(N_ITEMS, 8)) + 0.5
    vectors *= (1 / (np.arange(N_ITEMS) + 1.0) ** 0.7)[:, np.newaxis] * 10
    vectors[-1] = 0.0
    directory = tmp_path_factory.mktemp("similar") / "bundle"
    write_bundle(directory, vectors, [f"i{i}" for i in range(N_ITEMS)], Annoy(n_trees=5, tune_k=10))
    return directory


def shares(bundle, score, index) -> np.ndarray:
    """Share of the lists of ten that hold each item."""
    lists = [bundle.similar(row, 10, score, index).rows[0] for row in range(N_ITEMS - 1)]
    return np.bincount(np.concatenate(lists), minlength=N_ITEMS) / len(lists)


@pytest.mark.parametrize("index", ["exact", "annoy"])
def test_long_vectors_lead_by_inner_product_and_not_by_cosine(directory, index) -> None:
    bundle = load_bundle(directory)
    assert shares(bundle, "inner", index).max() > 0.4
    # Ten places of 400 items: .025 each if all were equally near.
    assert shares(bundle, "cosine", index).max() < 0.1


@pytest.mark.parametrize("index", ["exact", "annoy"])
def test_cosines_are_those_of_numpy(directory, index) -> None:
    bundle = load_bundle(directory)
    vectors = np.asarray(bundle.exact.vectors, np.float64)
    norms = np.linalg.norm(vectors, axis=1)
    expected = vectors @ vectors[3] / np.where(norms > 0, norms, 1) / norms[3]
    expected[3] = -np.inf
    hits = bundle.similar(3, 20, "cosine", index)
    np.testing.assert_allclose(hits.scores[0], np.sort(expected)[::-1][:20], rtol=1e-5)
    np.testing.assert_allclose(expected[hits.rows[0]], hits.scores[0], rtol=1e-5)


def test_a_zero_vector_is_similar_to_nothing(directory) -> None:
    hits = load_bundle(directory).similar(N_ITEMS - 1, 3)
    assert (hits.rows.tolist(), hits.scores.tolist()) == ([[0, 1, 2]], [[0.0, 0.0, 0.0]])


def test_unit_vectors_need_no_second_copy(tmp_path) -> None:
    bundle = write_bundle(tmp_path / "unit", np.eye(3), ["a", "b", "c"], annoy=None)
    assert bundle.directions is bundle.exact


def test_an_unknown_score_is_refused(directory) -> None:
    with pytest.raises(ConfigError, match="Received: 'angle'"):
        load_bundle(directory).similar(0, 3, "angle")
