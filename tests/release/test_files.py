"""A release that is damaged is refused, and the file is named."""

import json
import shutil
from pathlib import Path

import pytest

from tfrecall.errors import ReleaseError
from tfrecall.release import load

# Every file of a release but those that TensorFlow numbers.
FILES = [
    "manifest.json",
    *(
        f"{model}/1/{file}"
        for model in ("query", "candidate", "retrieval")
        for file in (
            "saved_model.pb",
            "variables/variables.index",
            "variables/variables.data-00000-of-00001",
            "assets.extra/tf_serving_warmup_requests",
        )
    ),
    *(f"index/1/{file}" for file in ("index.ann", "vectors.npy", "ids.parquet", "manifest.json")),
    *(
        f"context/1/{file}"
        for file in (
            "users.parquet",
            "items.parquet",
            "seen_offsets.npy",
            "seen_items.npy",
            "seen_times.npy",
        )
    ),
]


@pytest.fixture
def root(tiny_root, tmp_path) -> Path:
    return shutil.copytree(tiny_root, tmp_path / "release")


def truncate(file):
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def alter(file):
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


def replace(file):
    file.write_bytes(b"foreign")


def test_the_list_of_files_is_whole(tiny_root):
    manifest = json.loads((tiny_root / "manifest.json").read_text())
    assert set(FILES) - {"manifest.json"} <= set(manifest["files"])
    numbered = set(manifest["files"]) - set(FILES)
    assert all("fingerprint.pb" in name or "/assets/" in name for name in numbered), numbered


@pytest.mark.parametrize("damage", [Path.unlink, truncate, alter, replace])
@pytest.mark.parametrize("name", FILES)
def test_a_damaged_file_is_named(root, name, damage):
    damage(root / name)
    with pytest.raises(ReleaseError) as refused:
        load(root)
    assert str(root / name) in str(refused.value)


@pytest.mark.parametrize("name", FILES)
def test_without_checksums_a_truncated_file_is_named_too(root, name):
    truncate(root / name)
    with pytest.raises(ReleaseError) as refused:
        load(root, verify=False)
    assert str(root / name) in str(refused.value)


def test_the_index_of_another_model_is_refused_even_without_checksums(root):
    """Every size fits, as after copying parts of two releases of equal shape together."""
    from tfrecall.index.bundle import write_manifest

    bundle = root / "index" / "1"
    facts = json.loads((bundle / "manifest.json").read_text())
    files = list(facts.pop("files"))
    facts = {k: v for k, v in facts.items() if k not in ("format", "format_version", "sha256")}
    write_manifest(bundle, {**facts, "model": "f" * 64}, files)
    with pytest.raises(ReleaseError, match=r"index/1/manifest\.json belongs to another model"):
        load(root, verify=False)
    with pytest.raises(ReleaseError, match=r"index/1/manifest\.json was altered"):
        load(root)


def test_a_directory_that_is_no_release_is_named(tmp_path):
    (tmp_path / "notes.txt").write_text("")
    with pytest.raises(ReleaseError, match=f"no release at {tmp_path}.*tfrecall run"):
        load(tmp_path)
    with pytest.raises(ReleaseError, match=r"notes\.txt"):
        load(tmp_path / "notes.txt")


@pytest.mark.parametrize("path", ["a" * 5000, "a\0b", "/dev/null"], ids=["long", "nul", "device"])
def test_a_path_that_can_hold_no_release_is_refused(path):
    with pytest.raises(ReleaseError, match=r"cannot be read|no release"):
        load(path)


def test_a_saved_model_that_tensorflow_refuses_is_named(root):
    """Such as one of a later TensorFlow: every checksum is right."""
    from tfrecall.release.signature import load_signatures

    (root / "query" / "1" / "saved_model.pb").write_bytes(b"of another time")
    with pytest.raises(ReleaseError, match=r"query/1 cannot be loaded"):
        load_signatures(root / "query" / "1", ["serving_default"])


@pytest.mark.slow
def test_a_version_that_was_damaged_does_not_stop_the_others(root):
    from tests.tiny import ANNOY
    from tfrecall.release.reindex import reindex

    reindex(root, ANNOY)
    # Of what an index does not change there is one copy on disk, and own files of all else.
    for part in ("query", "candidate", "retrieval", "context", "index"):
        for file in (path for path in (root / part / "1").rglob("*") if path.is_file()):
            other = root / part / "2" / file.relative_to(root / part / "1")
            assert file.samefile(other) == (part != "index"), file
    truncate(root / "index" / "2" / "vectors.npy")
    with pytest.raises(ReleaseError, match="index/2"):
        load(root)
    assert load(root, version=1).version == 1
