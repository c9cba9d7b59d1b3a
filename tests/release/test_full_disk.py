"""A disk that is full while something is written: what was there before answers, whole, and room is asked for.

On a file system of its own in memory, which only root may mount.
"""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.data.shards.test_contract import as_csv
from tests.tiny import ANNOY
from tfrecall.baselines.item_cf import ItemCF
from tfrecall.baselines.popularity import Popularity
from tfrecall.data import Interactions, prepare
from tfrecall.errors import EngineError, ExportError, NotReadyError
from tfrecall.exporting.export import export
from tfrecall.exporting.items import change_items
from tfrecall.release import load
from tfrecall.release.layout import make_current, stage
from tfrecall.release.manifest import check_files, inherited, read_manifest
from tfrecall.release.reindex import reindex
from tfrecall.serving.events import EventLog, EventTail

pytestmark = pytest.mark.slow

PAGE = 4096
# Of what an operation takes, the shares that find room. Of all of it a page is missing, which is the last name.
SHARES = (0, 0.1, 0.5, 1)
TEXT = "7" * (50 * PAGE)
TOLD = r"No space left|free space"


@pytest.fixture(scope="module")
def disk(tmp_path_factory):
    folder = tmp_path_factory.mktemp("disk")
    try:
        mount = ["mount", "-t", "tmpfs", "-o", "size=32m", "tmpfs", str(folder)]
        subprocess.run(mount, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"No file system can be mounted: {error}")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def free(disk) -> int:
    found = os.statvfs(disk)
    return found.f_bavail * found.f_frsize


def fill(disk, left: int) -> Path:
    """Writes a file that leaves so many bytes."""
    filler = disk / "filler"
    with filler.open("wb") as stream:
        if (size := free(disk) - left) > 0:
            os.posix_fallocate(stream.fileno(), 0, size)
    return filler


def contents(root):
    """All files but hidden ones, which a later writer removes."""
    found = (path for path in root.rglob("*") if path.is_file() and not path.name.startswith("."))
    return {str(path.relative_to(root)): path.read_bytes() for path in found}


def hidden(root):
    return {path.name for path in root.rglob(".*")} - {".lock"}


def answers(root):
    return [one.item_ids for one in load(root).recommend(["u1", "u2", "nobody"], k=5)]


def check(disk, source, operation, shares=SHARES):
    """Runs an operation on a full disk, more and more of it free, and then with room; counts failures."""
    root = shutil.copytree(source, disk / "release")
    before = free(disk)
    operation(root)
    taken, failed = before - free(disk), 0
    shutil.rmtree(root)
    for share in shares:
        root = shutil.copytree(source, disk / "release")
        whole, expected = contents(root), answers(root)
        filler = fill(disk, max(0, min(int(share * taken), taken - PAGE)) // PAGE * PAGE)
        try:
            operation(root)
        except ExportError as error:
            failed += 1
            assert "free space" in str(error)  # noqa: PT017 - a page more may be room enough
            assert (contents(root), answers(root)) == (whole, expected)
        filler.unlink()
        operation(root)
        check_files(root, read_manifest(root))
        assert hidden(root) == set()
        shutil.rmtree(root)
    return failed


@pytest.fixture(scope="module")
def two_versions(tiny_log, tmp_path_factory):
    root = tmp_path_factory.mktemp("baselines") / "release"
    export(Popularity().fit(tiny_log), root)
    export(ItemCF().fit(tiny_log), root)
    return root


def test_export(disk, two_versions, tiny_log):
    model = ItemCF().fit(tiny_log)
    assert check(disk, two_versions, lambda root: export(model, root)) >= len(SHARES) - 1


def test_index(disk, tiny_root):
    assert check(disk, tiny_root, lambda root: reindex(root, ANNOY)) >= len(SHARES) - 1


def test_items(disk, tiny_root):
    """Only once, because each of its SavedModels takes seconds."""
    assert check(disk, tiny_root, lambda root: change_items(root, removed=["i5"]), (0.6,)) == 1


def test_rollback(disk, two_versions):
    """It writes the journal and a manifest beside that which it replaces."""
    assert check(disk, two_versions, lambda root: make_current(root, 1), (0, 1)) >= 1


def test_documents_that_find_no_room_beside_a_published_version_follow_later(disk, two_versions):
    """A run has published when the copy of its metrics fails: the version counts, and the next load copies."""
    root = shutil.copytree(two_versions, disk / "release")
    facts = inherited(read_manifest(root))
    # The version has its document; then there is room for the journal and manifests, not for the copy.
    with pytest.raises(ExportError, match=r"Version 3 is published.*could not be written.*No space"):
        publish(root, facts, lambda: fill(disk, 25 * PAGE))
    assert (read_manifest(root)["version"], (root / "metrics.json").exists()) == (3, False)
    check_files(root, read_manifest(root))
    (disk / "filler").unlink()
    assert answers(root) == answers(two_versions)
    assert (root / "metrics.json").read_text() == TEXT
    assert hidden(root) == set()
    shutil.rmtree(root)


def publish(root, facts, then):
    """Publishes a version of the same parts with a long document, and calls `then` when all is staged."""
    with stage(root) as staged:
        for part in ("context", "scorer"):
            shutil.copytree(root / part / "2", staged.directory / part)
        staged.write("metrics.json", TEXT)
        staged.describe("baseline", facts)
        then()


def test_events(disk):
    log, tail = EventLog(disk / "events"), EventTail(disk / "events")
    row = {"user_id": "u", "item_id": "x" * 1000, "timestamp": 1.0}
    assert log.write([[row]]) == [1]
    for left in (0, PAGE):
        filler = fill(disk, left)
        for _ in range(3):
            with pytest.raises(NotReadyError, match=r"No space left.*Send them again"):
                log.write([[row] * 100])
        filler.unlink()
    assert len(tail.new()) == 1
    assert log.write([[row] * 2]) == [2]
    assert len(tail.new()) == 2
    assert len(list((disk / "events").iterdir())) == 2  # none for each event that was refused
    shutil.rmtree(disk / "events")


def test_prepare(disk, tmp_path):
    rows = [(f"u{n % 97}", f"i{n * n % 89}", str(60 * n), "1", "x" * (n % 7)) for n in range(20_000)]
    (tmp_path / "log.csv").write_text(as_csv(rows))
    out = disk / "shards"

    def prepared():
        return prepare(tmp_path / "log.csv", out, partitions=3, piece_bytes=1 << 18)

    before = free(disk)
    manifest = prepared()
    taken = before - free(disk)
    whole = contents(out)
    for left in (0, taken // 2, taken, 2 * taken):
        filler = fill(disk, left)
        with pytest.raises((ExportError, EngineError), match=TOLD):
            prepared()
        assert contents(out) == whole
        assert [path.name for path in disk.iterdir()] == ["filler", "shards"]
        filler.unlink()
    assert prepared() == manifest
    assert len(Interactions.from_shards(out)) == manifest.counts.kept
    shutil.rmtree(out)
