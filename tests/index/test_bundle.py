"""A bundle comes back as it was written, or is refused by the name of the bad file."""

import errno
import json
import secrets
import shutil

import numpy as np
import polars as pl
import pytest

from tfrecall.errors import ConfigError, DataError, ExportError, ReleaseError
from tfrecall.index import Annoy, Bundle, bundle, load_bundle, write_bundle
from tfrecall.index.bundle import write_manifest
from tfrecall.index.tuning import TuningRow, TuningTable

VECTORS = np.random.default_rng(0).normal(size=(300, 8)).astype(np.float32)
IDS = [f"Amélie ({row})" for row in range(300)]
QUERIES = np.random.default_rng(1).normal(size=(20, 8)).astype(np.float32)
SMALL = Annoy(n_trees=5, tune_k=10)
FILES = ["index.ann", "vectors.npy", "ids.parquet", "manifest.json"]


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    directory = tmp_path_factory.mktemp("release") / "index" / "1"
    write_bundle(directory, VECTORS, IDS, SMALL, model="sha256:aa")
    return directory


@pytest.fixture
def copy(written, tmp_path):
    return shutil.copytree(written, tmp_path / "1")


def reseal(directory, **changes):
    """Writes a manifest whose checksums fit whatever now lies there."""
    manifest = json.loads((directory / "manifest.json").read_text())
    files = list(manifest.pop("files"))
    del manifest["sha256"]
    write_manifest(directory, {**manifest, **changes}, files)


@pytest.mark.slow
@pytest.mark.parametrize("mmap", [True, False])
@pytest.mark.parametrize("name", ["exact", "annoy"])
def test_what_is_loaded_answers_as_what_was_built(written, name, mmap):
    live = SMALL.build(VECTORS, IDS)
    live = live if name == "annoy" else live.exact
    loaded = load_bundle(written, mmap=mmap).index(name)
    for k, exclude in ((1, None), (50, [np.arange(90)] * 20)):
        for ours, theirs in zip(
            loaded.search(QUERIES, k, exclude),
            live.search(QUERIES, k, exclude),
            strict=True,
        ):
            np.testing.assert_array_equal(ours, theirs)
    assert loaded.ids.tolist() == IDS


def test_the_manifest_says_what_is_there(written):
    manifest = load_bundle(written).manifest
    facts = {key: manifest[key] for key in ("format", "format_version", "dimension", "count")}
    assert facts == {"format": "tfrecall.index", "format_version": 1, "dimension": 8, "count": 300}
    assert (manifest["metric"], manifest["normalized"]) == ("inner_product", False)
    assert manifest["model"] == "sha256:aa"
    trees = manifest["annoy"]
    assert (trees["metric"], trees["n_trees"], trees["seed"]) == ("augmented_angular", 5, 42)
    assert trees["recall"] == trees["tuning"]["rows"][-1]["recall"] >= 0.95
    assert sorted(manifest["files"]) == sorted(FILES[:3])
    assert manifest["files"]["vectors.npy"]["bytes"] == 300 * 8 * 4 + 128


def test_files_are_readable_without_us(written):
    assert np.load(written / "vectors.npy").tolist() == VECTORS.tolist()
    ids = pl.read_parquet(written / "ids.parquet")
    assert ids.schema == {"item_id": pl.String}
    assert ids["item_id"].to_list() == IDS


def test_the_summary_is_that_of_the_metrics_file(written):
    loaded = load_bundle(written)
    assert loaded.summary() == {
        "annoy": {
            "recall@10": loaded.annoy.table.chosen.recall,
            "search_k": loaded.annoy.search_k,
            "n_trees": 5,
            "p50_us": loaded.annoy.table.chosen.p50_us,
        }
    }


def test_vectors_are_mapped_and_cannot_be_written(written):
    vectors = load_bundle(written).exact.vectors
    assert isinstance(vectors.base, np.memmap)
    with pytest.raises(ValueError, match="read-only"):
        vectors[0] = 0


def test_a_bundle_without_trees_has_exact_search_only(tmp_path):
    loaded = write_bundle(tmp_path / "1", VECTORS, IDS, annoy=None)
    assert not (tmp_path / "1" / "index.ann").exists()
    assert (loaded.annoy, loaded.summary(), loaded.default) == (None, {}, "exact")
    with pytest.raises(ConfigError, match=r'no index "annoy".*Choose one of: exact'):
        loaded.index("annoy")


def test_an_unknown_index_is_refused_with_the_names_there_are(written):
    with pytest.raises(ConfigError, match=r'Did you mean "exact".*Choose one of: exact, annoy'):
        load_bundle(written).index("exat")


@pytest.mark.parametrize(
    ("count", "annoy_us", "default"),
    [(49_999, 10.0, "exact"), (50_000, 10.0, "annoy"), (50_000, 900.0, "exact")],
)
def test_the_faster_index_is_the_default(count, annoy_us, default):
    class Measured:
        settings = Annoy()
        table = TuningTable(100, 0.95, 500, 800.0, (TuningRow(1, 1.0, 0.0, annoy_us, annoy_us),))

        def __len__(self):
            return count

    assert Bundle(Measured(), Measured(), {}).default == default


@pytest.mark.parametrize("verify", [True, False])
@pytest.mark.parametrize("name", FILES)
def test_a_missing_file_is_named(copy, name, verify):
    (copy / name).unlink()
    with pytest.raises(ReleaseError, match=f"{name} is missing"):
        load_bundle(copy, verify=verify)


@pytest.mark.parametrize("verify", [True, False])
@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("left", [0.0, 0.5, -1])
def test_a_truncated_file_is_named(copy, name, left, verify):
    whole = (copy / name).read_bytes()
    (copy / name).write_bytes(whole[: int(len(whole) * left) if left >= 0 else -2])
    with pytest.raises(ReleaseError, match=f"{name} is truncated or altered"):
        load_bundle(copy, verify=verify)


@pytest.mark.parametrize("name", FILES[:3])
@pytest.mark.parametrize("place", [0.0, 0.5, 0.999])
def test_one_altered_byte_is_found_in_the_named_file(copy, name, place):
    data = bytearray((copy / name).read_bytes())
    data[int(len(data) * place)] ^= 1
    (copy / name).write_bytes(data)
    with pytest.raises(ReleaseError, match=f"{name} was altered"):
        load_bundle(copy)


@pytest.mark.parametrize(
    ("old", "new"), [('"search_k": ', '"search_k": 1'), ('"count": 300', '"count": 299')]
)
def test_an_altered_manifest_is_refused(copy, old, new):
    path = copy / "manifest.json"
    path.write_text(path.read_text().replace(old, new, 1))
    with pytest.raises(ReleaseError, match=r"manifest\.json was altered"):
        load_bundle(copy)


@pytest.mark.parametrize("content", ["[]", "{}", '{"format": "other"}', "3"])
def test_a_foreign_manifest_is_refused(copy, content):
    (copy / "manifest.json").write_text(content)
    with pytest.raises(ReleaseError, match=r"manifest\.json is foreign"):
        load_bundle(copy)


def test_a_manifest_that_is_no_text_is_refused(copy):
    (copy / "manifest.json").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ReleaseError, match=r"manifest\.json is truncated or altered"):
        load_bundle(copy)


def test_a_format_of_the_future_is_refused(copy):
    reseal(copy, format_version=2)
    with pytest.raises(ReleaseError, match=r"manifest\.json has format version 2; .* reads 1"):
        load_bundle(copy)


@pytest.mark.parametrize("asked", ["sha256:bb", ""])
def test_a_bundle_of_another_model_is_refused(written, asked):
    assert load_bundle(written, model="sha256:aa").manifest["model"] == "sha256:aa"
    with pytest.raises(ReleaseError, match=r"manifest\.json belongs to another model.*'sha256:aa'"):
        load_bundle(written, model=asked)


def test_a_bundle_of_no_stated_model_does_not_pass_for_one(tmp_path):
    write_bundle(tmp_path / "1", VECTORS, IDS, annoy=None)
    with pytest.raises(ReleaseError, match="written for None, asked for is 'sha256:aa'"):
        load_bundle(tmp_path / "1", model="sha256:aa")


@pytest.mark.parametrize("name", FILES[:3])
def test_a_file_of_another_catalogue_is_named_even_if_the_checksums_are_made_to_fit(
    copy, tmp_path, name
):
    other = np.random.default_rng(2).normal(size=(150, 8))
    write_bundle(tmp_path / "other", other, IDS[:150], SMALL)
    shutil.copy(tmp_path / "other" / name, copy / name)
    reseal(copy)
    with pytest.raises(ReleaseError, match=f"{name} is foreign"):
        load_bundle(copy)


def test_trees_of_another_dimension_are_named(copy, tmp_path):
    write_bundle(tmp_path / "other", np.random.default_rng(2).normal(size=(300, 5)), IDS, SMALL)
    shutil.copy(tmp_path / "other" / "index.ann", copy / "index.ann")
    reseal(copy)
    with pytest.raises(ReleaseError, match=r"index\.ann (is foreign|cannot be opened)"):
        load_bundle(copy)


def test_vectors_of_another_type_are_refused(copy):
    np.save(copy / "vectors.npy", VECTORS.astype(np.float64))
    reseal(copy)
    with pytest.raises(ReleaseError, match=r"vectors\.npy is foreign: it holds float64"):
        load_bundle(copy)


def test_a_folder_that_is_no_bundle_is_refused(tmp_path):
    with pytest.raises(ReleaseError, match=r"manifest\.json is missing, .* is no index bundle"):
        load_bundle(tmp_path)


def test_an_existing_bundle_is_never_changed(copy):
    before = {path.name: path.read_bytes() for path in copy.iterdir()}
    with pytest.raises(ConfigError, match="exists already"):
        write_bundle(copy, VECTORS[:5], IDS[:5])
    assert {path.name: path.read_bytes() for path in copy.iterdir()} == before


@pytest.mark.slow
@pytest.mark.parametrize(
    ("failure", "raised"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), ExportError),
        (KeyboardInterrupt(), KeyboardInterrupt),
        (MemoryError(), MemoryError),
    ],
)
def test_nothing_is_left_of_a_bundle_that_could_not_be_finished(tmp_path, monkeypatch, failure, raised):
    def fail(*_):
        raise failure

    monkeypatch.setattr(bundle, "write_manifest", fail)  # the last step: all else is written
    with pytest.raises(raised, match="No space left" if raised is ExportError else None):
        write_bundle(tmp_path / "1", VECTORS, IDS, SMALL)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
@pytest.mark.parametrize(
    # vectors.npy takes 128 + 300 x 8 x 4 = 9,728 bytes, or 1,328 with one dimension; 300 random ids
    # of 64 hex digits between 9,600 and 20,000; the 30 trees more than 40,000.
    ("dimension", "limit", "cause"),
    [(8, 9_000, "too large|requested and"), (1, 2_000, "parquet"), (8, 40_000, "Unable to write")],
)
def test_a_disk_that_fills_up_at_any_file_leaves_nothing(tmp_path, dimension, limit, cause):
    resource = pytest.importorskip("resource", reason="limits the size of a file as POSIX can")
    ids = [secrets.token_hex(32) for _ in range(300)]
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
    try:
        with pytest.raises(ExportError, match=f"could not be written: .*({cause})"):
            write_bundle(tmp_path / "1", VECTORS[:, :dimension], ids, Annoy(30, search_k=100))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert list(tmp_path.iterdir()) == []


def test_a_place_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ExportError, match="file/1 could not be written"):
        write_bundle(tmp_path / "file" / "1", VECTORS, IDS, annoy=None)


def test_bad_vectors_leave_no_directory(tmp_path):
    with pytest.raises(DataError, match='id "Amélie'):
        write_bundle(tmp_path / "1", np.full((300, 8), np.nan), IDS)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["index.ann", "ids.parquet", "vectors.npy"])
def test_a_file_that_the_manifest_does_not_list_is_not_read(tmp_path, name):
    write_bundle(
        tmp_path / "1", np.eye(4, dtype=np.float32), list("abcd"), Annoy(n_trees=2, search_k=9)
    )
    manifest = json.loads((tmp_path / "1" / "manifest.json").read_text())
    del manifest["sha256"]
    files = [file for file in manifest.pop("files") if file != name]
    write_manifest(tmp_path / "1", manifest, files)
    with pytest.raises(ReleaseError, match=f"files: {name} is not listed"):
        load_bundle(tmp_path / "1")
