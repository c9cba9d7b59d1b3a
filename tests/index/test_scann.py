"""What is particular to ScaNN: its package beside any TensorFlow, leaves and codes, files of strangers."""

import sys
from importlib.util import find_spec

import numpy as np
import pytest

from tests.index.test_bundle import reseal
from tfrecall.errors import ConfigError, ReleaseError
from tfrecall.index import Exact, Scann, ScannIndex, load_bundle, write_bundle
from tfrecall.index import scann as module
from tfrecall.index.scann import ASSETS
from tfrecall.index.tuning import recall_of

COUNT, DIMENSION = 2000, 16
IDS = [str(row) for row in range(COUNT)]
VECTORS = np.random.default_rng(0).normal(size=(COUNT, DIMENSION)).astype(np.float32)
QUERIES, OTHERS = np.random.default_rng(1).normal(size=(2, 50, DIMENSION)).astype(np.float32)
installed = pytest.mark.skipif(find_spec("scann") is None, reason="the extra scann is not installed")


@pytest.mark.parametrize("settings", [{"leaves": 0}, {"oversampling": 0}, {"tune_k": 1.5}])
def test_impossible_settings_are_refused_by_name(settings):
    (name,) = settings
    with pytest.raises(ConfigError, match=f"Scann's `{name}`.*Received {name}="):
        Scann(**settings)


def test_without_the_package_the_extra_is_named(monkeypatch):
    monkeypatch.setattr(module, "find_spec", lambda name: None)
    module._module.cache_clear()
    with pytest.raises(
        ConfigError, match=r"package scann.*pip install 'tfrecall\[scann\]'.*--index exact"
    ):
        Scann().build(VECTORS, IDS)


def test_leaves_follow_from_the_catalogue():
    # 2 sqrt(10,000) = 200; of one item there is one.
    assert [Scann().leaves_of(count) for count in (1, 10_000)] == [1, 200]
    assert Scann(leaves=50).leaves_of(7) == 7


@installed
def test_tuning_reaches_the_target_and_scores_are_exact():
    exact = Exact().build(VECTORS, IDS)
    index = Scann(tune_k=20).build_over(exact, QUERIES)
    assert "scann" not in sys.modules  # its operations for TensorFlow come with the package
    assert index.table.rows[0].search_k == 1
    assert index.table.chosen.recall >= 0.95
    hits = index.search(OTHERS, 20)
    assert recall_of(hits, exact.search(OTHERS, 20)).mean() > 0.9
    everything = exact.search(OTHERS[:5], COUNT)
    for i in range(5):
        places = [everything.rows[i].tolist().index(row) for row in hits.rows[i]]
        assert places == sorted(places)


@pytest.fixture
def written(tmp_path):
    write_bundle(tmp_path / "1", VECTORS, IDS, Scann(tune_k=10))
    return tmp_path / "1"


@installed
def test_a_bundle_comes_back_wherever_it_lies(written, tmp_path):
    before = load_bundle(written)
    hits = before.index("scann").search(OTHERS, 10)
    moved = load_bundle(written.rename(tmp_path / "moved"))
    assert (moved.names, type(moved.approximate)) == (["exact", "scann"], ScannIndex)
    again = moved.index("scann").search(OTHERS, 10)
    np.testing.assert_array_equal(hits.rows, again.rows)


@installed
@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('"ah_codebook.pb"', '"/etc/passwd"', "it names other files"),
        ('"ah_codebook.pb"', '"../1/ah_codebook.pb"', "it names other files"),
        ("asset_type: PARTITIONER", "asset_type: NOTHING", "cannot be opened"),
    ],
)
def test_assets_that_lead_elsewhere_are_refused(written, old, new, said):
    path = written / ASSETS
    path.write_text(path.read_text().replace(old, new))
    reseal(written)
    with pytest.raises(ReleaseError, match=said):
        load_bundle(written)


@installed
def test_the_files_of_another_catalogue_are_refused(written, tmp_path):
    write_bundle(tmp_path / "2", VECTORS[:1500, :12], IDS[:1500], Scann(search_k=3))
    for name in Scann().files(COUNT):
        (written / name).write_bytes((tmp_path / "2" / name).read_bytes())
    reseal(written)
    with pytest.raises(ReleaseError, match=r"ScaNN in .* (are foreign|cannot be opened)"):
        load_bundle(written)


@installed
def test_a_file_that_is_not_listed_is_refused(written):
    (written / "ah_codebook.pb").unlink()
    with pytest.raises(ReleaseError, match=r"ah_codebook\.pb is missing"):
        load_bundle(written)
