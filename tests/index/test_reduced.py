"""Copies in fewer bytes: the proven bound of their errors, and answers that stay exact where it decides."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.index.test_bundle import reseal
from tests.index.test_contract import argsort_oracle, assert_same, names, random_vectors
from tests.properties import examples
from tfrecall.errors import ConfigError, ReleaseError
from tfrecall.index import Exact, load_bundle, write_bundle
from tfrecall.index.exact import ExactIndex
from tfrecall.index.manifest import write_manifest
from tfrecall.index.reduced import BLOCK, Reduced

SMALLER = ("bfloat16", "int8")


def kept(reduced):
    """The vectors that a copy stands for, in float64."""
    return reduced.numbers.astype(np.float64) * reduced.scales[:, np.newaxis]


def test_int8_by_hand():
    # 2.54 / 127 is a scale of .02: 2.54 is 127 of them, -1 is -50, .031 is 1.55 and becomes 2: .009 too much.
    reduced = Reduced.of(np.array([[2.54, -1.0, 0.031], [0.0, 0.0, 0.0]], np.float32), "int8")
    assert reduced.numbers.tolist() == [[127, -50, 2], [0, 0, 0]]
    assert reduced.scales == pytest.approx([0.02, 0.0])
    assert reduced.errors == pytest.approx([0.009, 0.0], abs=1e-6)


def test_bfloat16_by_hand():
    # Between 1 and 2 its numbers are 1/128 apart: 1.01 becomes 1 + 1/128 = 1.0078125.
    reduced = Reduced.of(np.array([[1.01, 1.0]], np.float32), "bfloat16")
    assert kept(reduced).tolist() == [[1.0078125, 1.0]]
    assert reduced.errors == pytest.approx([1.01 - 1.0078125], rel=1e-4)


ROWS = st.lists(st.floats(-(2.0**60), 2.0**60, width=32), min_size=3, max_size=3)


@examples(200)
@given(rows=st.lists(ROWS, min_size=1, max_size=8), storage=st.sampled_from(SMALLER))
def test_no_vector_is_further_from_its_copy_than_the_bound(rows, storage):
    vectors = np.array(rows, np.float32)
    reduced = Reduced.of(vectors, storage)
    lengths = np.linalg.norm(vectors.astype(np.float64) - kept(reduced), axis=1)
    assert (lengths <= reduced.errors).all()
    # Of numbers that are not too small to be scaled, the bounds of the module hold.
    usual = np.abs(vectors).max(axis=1) > 1e-30
    most = {
        "bfloat16": np.linalg.norm(vectors.astype(np.float64), axis=1) * 2.0**-8,
        "int8": np.abs(vectors).max(axis=1) / 127 / 2 * np.sqrt(3),
    }[storage]
    assert (reduced.errors[usual] <= most[usual] * (1 + 1e-5)).all()


@pytest.mark.parametrize("storage", SMALLER)
def test_neighbours_nearer_to_each_other_than_the_copy_can_tell_are_told_apart(storage):
    # 400 vectors that differ from one by less than the copies keep: most copies are equal.
    base = random_vectors(1, 16)
    vectors = base + random_vectors(400, 16, seed=1) * np.float32(1e-5)
    queries = base + random_vectors(5, 16, seed=2) * np.float32(0.1)
    index = Exact(storage).build(vectors, names(400))
    assert len(np.unique(index.reduced.numbers.view(np.uint8), axis=0)) < 300
    for k in (1, 10, 399):
        assert_same(index.search(queries, k), argsort_oracle(vectors, queries, k))


@pytest.mark.parametrize("storage", SMALLER)
def test_one_long_vector_does_not_put_all_others_in_doubt(storage, monkeypatch):
    vectors = random_vectors(3000, 16)
    vectors[7] *= 1000
    queries = random_vectors(4, 16, seed=1)
    index, ranked = Exact(storage).build(vectors, names(3000)), []
    rank = ExactIndex.rank

    def counted(self, queries, rows, k):
        ranked.append((rows >= 0).sum(axis=1).max())
        return rank(self, queries, rows, k)

    monkeypatch.setattr(ExactIndex, "rank", counted)
    assert_same(index.search(queries, 10), argsort_oracle(vectors, queries, 10))
    assert max(ranked) < 100


@examples(100)
@given(seed=st.integers(0, 2**32 - 1), storage=st.sampled_from(SMALLER))
def test_vectors_of_very_different_lengths_are_ranked_exactly(seed, storage):
    # Errors of rows then differ a thousand times, and each bound has to be that of its own row.
    rng = np.random.default_rng(seed)
    vectors = (rng.normal(size=(200, 8)) * 10.0 ** rng.uniform(-2, 1, size=(200, 1))).astype(np.float32)
    # Near the boundary: rows that score what the tenth scores, but for less than the errors.
    vectors[100:] = vectors[:100] * (
        1 + rng.normal(size=(100, 1)).astype(np.float32) * np.float32(1e-3)
    )
    queries = rng.normal(size=(3, 8)).astype(np.float32)
    index = Exact(storage).build(vectors, names(200))
    for k in (1, 10, 50):
        assert_same(index.search(queries, k), argsort_oracle(vectors, queries, k))


def test_blocks_of_a_catalogue_are_put_together_in_order():
    dimension = 256
    count = BLOCK // dimension * 2 + 5  # two blocks and a rest
    vectors, queries = random_vectors(count, dimension), random_vectors(3, dimension, seed=1)
    for storage in SMALLER:
        reduced = Reduced.of(vectors, storage)
        expected = queries.astype(np.float64) @ kept(reduced).T
        np.testing.assert_allclose(reduced.best_scores(queries), expected, rtol=1e-4, atol=1e-4)


def test_an_unknown_storage_is_refused_with_the_nearest():
    with pytest.raises(ConfigError, match=r'Received storage=\'int4\'.*Did you mean "int8"'):
        Exact("int4")


@pytest.fixture
def written(tmp_path):
    write_bundle(tmp_path / "1", random_vectors(50, 8), names(50), annoy=Exact("int8"))
    return tmp_path / "1"


def test_a_bundle_says_and_keeps_what_exact_search_reads(written):
    loaded = load_bundle(written)
    assert (loaded.manifest["storage"], loaded.exact.storage, loaded.names) == (
        "int8",
        "int8",
        ["exact"],
    )
    assert {"vectors.npy", "int8.npy", "errors.npy"} <= loaded.manifest["files"].keys()
    assert isinstance(loaded.exact.vectors.base, np.memmap)
    assert not loaded.exact.reduced.numbers.flags.owndata  # mapped, too
    assert load_bundle(written, mmap=False).exact.reduced.numbers.flags.writeable
    fresh = Reduced.of(random_vectors(50, 8), "int8")
    np.testing.assert_array_equal(loaded.exact.reduced.numbers, fresh.numbers)
    np.testing.assert_array_equal(loaded.exact.reduced.errors, fresh.errors)


@pytest.mark.parametrize(
    ("name", "array", "said"),
    [
        ("int8.npy", np.zeros((49, 8), np.int8), r"int8\.npy is foreign: it holds int8 \(49, 8\)"),
        ("int8.npy", np.zeros((50, 8), np.float32), r"int8\.npy is foreign: it holds float32"),
        ("errors.npy", np.zeros((2, 49), np.float32), r"errors\.npy is foreign"),
        (
            "errors.npy",
            np.full((2, 50), np.nan, np.float32),
            r"errors\.npy is foreign: it holds no lengths",
        ),
        (
            "errors.npy",
            np.full((2, 50), -1, np.float32),
            r"errors\.npy is foreign: it holds no lengths",
        ),
        ("errors.npy", np.array([{}]), r"errors\.npy cannot be read"),
    ],
)
def test_a_foreign_copy_is_refused_though_its_checksum_fits(written, name, array, said):
    np.save(written / name, array, allow_pickle=True)
    reseal(written)
    with pytest.raises(ReleaseError, match=said):
        load_bundle(written)


def test_a_bundle_of_an_earlier_version_has_float32(tmp_path):
    write_bundle(tmp_path / "1", random_vectors(50, 8), names(50), annoy=None)
    manifest = json.loads((tmp_path / "1" / "manifest.json").read_text())
    files = list(manifest.pop("files"))
    del manifest["storage"], manifest["sha256"]
    write_manifest(tmp_path / "1", manifest, files)
    loaded = load_bundle(tmp_path / "1")
    assert (loaded.exact.storage, loaded.exact.reduced) == ("float32", None)


def test_a_storage_without_its_files_is_refused(tmp_path):
    write_bundle(tmp_path / "1", random_vectors(50, 8), names(50), annoy=None)
    reseal(tmp_path / "1", storage="bfloat16")
    with pytest.raises(ReleaseError, match=r"files: bfloat16\.npy is not listed"):
        load_bundle(tmp_path / "1")
