"""Publishing versions, whatever happens on the way. Parts are stand-ins: nothing here is a model."""

import json
import os
import shutil
import subprocess
import sys
import textwrap
import threading
from pathlib import Path

import pytest

from tfrecall.core.storage import locked
from tfrecall.errors import ConfigError, ExportError, ReleaseError
from tfrecall.release import layout, load
from tfrecall.release.layout import check_writable, finish_publishing, stage
from tfrecall.release.manifest import (
    check_files,
    documents,
    has_foreign_documents,
    read_manifest,
    versions,
)
from tfrecall.release.parts import PARTS as PARTS_OF

PARTS = PARTS_OF["retriever"]


def publish_one(root, text="x", **texts):
    """Publishes a version; returns its manifest."""
    with stage(root) as staged:
        fill(staged, text, **texts)
    return staged.manifest


def fill(staged, text="x", **texts):
    for part in PARTS:
        (staged.directory / part).mkdir()
        (staged.directory / part / "file").write_text(f"{part} {text}")
    for name, document in texts.items():
        staged.write(f"{name}.json", document)
    staged.describe("retriever", {"text": text, "model": {"fingerprint": text}, "test": {"mrr": 0.348}})


def leftovers(root):
    """Everything in a release directory that is no part of a release."""
    known = {*PARTS, "documents", "manifests", "manifest.json", ".lock", "metrics.json"}
    return sorted(path.name for path in root.iterdir() if path.name not in known)


def test_versions_are_counted_from_one_and_kept(tmp_path):
    for text in "abc":
        publish_one(tmp_path, text)
    assert versions(tmp_path) == [1, 2, 3]
    assert [read_manifest(tmp_path, n)["text"] for n in (1, 2, 3)] == ["a", "b", "c"]
    assert read_manifest(tmp_path)["version"] == 3
    for n in (1, 2, 3):
        check_files(tmp_path, read_manifest(tmp_path, n))
    assert leftovers(tmp_path) == []


def test_each_part_lies_where_tf_serving_looks(tmp_path):
    publish_one(tmp_path)
    assert all((tmp_path / part / "1" / "file").read_text() == f"{part} x" for part in PARTS)


def test_documents_live_with_their_version_and_the_root_shows_those_of_the_current(tmp_path):
    publish_one(tmp_path, "a", metrics="first", notes="only of the first")
    publish_one(tmp_path, "b", metrics="second")
    for version, texts in (
        (1, {"metrics.json": "first", "notes.json": "only of the first"}),
        (2, {"metrics.json": "second"}),
    ):
        manifest = read_manifest(tmp_path, version)
        check_files(tmp_path, manifest)
        assert documents(tmp_path, manifest) == texts
    assert (tmp_path / "metrics.json").read_text() == "second"
    assert not (tmp_path / "notes.json").exists()


def test_a_version_without_documents_shows_none_and_foreign_files_stay(tmp_path):
    publish_one(tmp_path, metrics="first")
    (tmp_path / "README").write_text("mine")
    manifest = publish_one(tmp_path)
    assert documents(tmp_path, manifest) == {}
    assert leftovers(tmp_path) == ["README"]
    assert not (tmp_path / "metrics.json").exists()


def write_as_0_4(root, **figures):
    """Documents as version 0.4.0 wrote them: in the release directory only."""
    texts = {"metrics.json": json.dumps(figures), "config.toml": "old", "report.html": "<p>"}
    for name, text in texts.items():
        (root / name).write_text(text)
    return texts


def test_documents_of_0_4_0_lie_beside_the_current_manifest_only(tmp_path):
    publish_one(tmp_path, "a")
    texts = write_as_0_4(tmp_path, version=1, test={"mrr": 0.348})
    assert documents(tmp_path, read_manifest(tmp_path)) == texts
    assert not has_foreign_documents(tmp_path, read_manifest(tmp_path))
    publish_one(tmp_path, "b")
    assert documents(tmp_path, read_manifest(tmp_path, 1)) == {}
    assert (tmp_path / "metrics.json").read_text() == texts["metrics.json"], "it may be somebody's own"


# Version 0.4.0 replaced metrics.json, config.toml, report.html and manifest.json in this order.
@pytest.mark.parametrize(
    "figures",
    [{"version": 2}, {"version": 1, "test": {"mrr": 0.018}}, {}],
    ids=["next", "reindexed", "none"],
)
def test_documents_that_a_killed_0_4_0_mixed_up_are_nobodys(tmp_path, figures):
    publish_one(tmp_path)
    write_as_0_4(tmp_path, **figures)
    assert documents(tmp_path, read_manifest(tmp_path)) == {}
    assert has_foreign_documents(tmp_path, read_manifest(tmp_path))


def test_a_link_in_the_place_of_an_old_document_is_not_read(tmp_path):
    (tmp_path / "secret").write_text("secret")
    publish_one(tmp_path / "root")
    write_as_0_4(tmp_path / "root", version=1, test={"mrr": 0.348})
    (tmp_path / "root" / "config.toml").unlink()
    (tmp_path / "root" / "config.toml").symlink_to(tmp_path / "secret")
    assert set(documents(tmp_path / "root", read_manifest(tmp_path / "root"))) == {
        "metrics.json",
        "report.html",
    }


@pytest.mark.parametrize("name", ["manifest.json", "index", "documents", ".lock", "a/b", "..", ""])
def test_a_document_cannot_take_the_name_of_something_else(tmp_path, name):
    with stage(tmp_path) as staged, pytest.raises(ConfigError, match="document cannot be called"):
        staged.write(name, "text")


def test_a_staged_release_that_was_not_described_is_not_published(tmp_path):
    with stage(tmp_path / "out") as staged:
        (staged.directory / "query").mkdir()
    assert not (tmp_path / "out").exists()


@pytest.fixture
def published(tmp_path):
    publish_one(tmp_path, "first", metrics="first")
    return tmp_path


@pytest.mark.parametrize("place", [".", "manifests"])
def test_what_a_killed_process_began_to_write_goes_with_the_next_writer(published, place):
    begun = published / place / ".2.json.0123456789ab.unfinished"
    begun.write_text("{")
    with stage(published):
        pass  # not the version that it was of
    assert not begun.exists()


def assert_version_answers(root, version, text):
    """The whole directory is that of one version: files, manifests, copies of documents."""
    manifest = read_manifest(root)
    check_files(root, manifest)
    assert (manifest["version"], manifest["text"]) == (version, text)
    assert documents(root, manifest) == {"metrics.json": text}
    assert (root / "metrics.json").read_text() == text
    numbers = list(map(str, range(1, version + 1)))
    assert list(map(str, versions(root))) == numbers
    for part in (*PARTS, "documents"):
        assert sorted(path.name for path in (root / part).iterdir()) == numbers
    assert leftovers(root) == []


def fail_at(monkeypatch, error, at):
    """Raises an error in place of the step number `at` of all that touch the disk."""
    reached = []

    def failing(original):
        def call(*args, **kwargs):
            reached.append(original)
            if len(reached) == at:
                raise error
            return original(*args, **kwargs)

        return call

    for module, name in ((os, "rename"), (os, "replace"), (layout, "describe"), (os, "fsync")):
        monkeypatch.setattr(module, name, failing(getattr(module, name)))
    return reached


FULL = OSError(28, "No space left on device")


@pytest.mark.slow
@pytest.mark.parametrize("error", [FULL, KeyboardInterrupt()], ids=["full disk", "interrupted"])
def test_a_failure_at_any_step_leaves_one_whole_version(tmp_path, error):
    """What a single file takes is tested in tests/core/test_storage.py."""
    seen = set()
    for at in range(1, 80):
        root = tmp_path / str(at)
        publish_one(root, "first", metrics="first")
        with pytest.MonkeyPatch.context() as patch:
            reached = fail_at(patch, error, at)
            try:
                publish_one(root, "second", metrics="second")
            except (ExportError, KeyboardInterrupt) as failure:
                told = str(failure)
            else:
                assert len(reached) < at
                break
        if read_manifest(root)["version"] == 2:
            # After the step that counts: copies of documents may be missing until the next load or writer.
            assert error is not FULL or "Version 2 is published" in told
            with locked(root):
                finish_publishing(root)
            assert_version_answers(root, 2, "second")
            seen.add("after")
        else:
            assert error is not FULL or "version before is untouched" in told
            assert_version_answers(root, 1, "first")
            seen.add("before")
    # 6 checksums, 6 renames of parts, 5 replaced files (journal, two manifests, the copy of a document)
    # with two fsyncs each, and those of the parts
    assert at > 6 + 6 + 3 * 4 + 6
    assert seen == {"before", "after"}


def test_everything_is_on_disk_before_the_step_that_counts(tmp_path, monkeypatch):
    """A power cut may keep a name and lose what it stands for, or keep a file and lose its directory."""
    synced, moved, root = set(), {}, tmp_path / "made" / "release"
    fsync, replace = os.fsync, os.replace

    def sync(descriptor):
        fsync(descriptor)
        synced.add(os.fstat(descriptor).st_ino)

    def record(source, target):
        replace(source, target)
        if target == root / "manifest.json":
            moved.update({path: path.stat().st_ino in synced for path in root.rglob("*")})
            above = (root, *root.parents[:2])
            moved.update({path: path.stat().st_ino in synced for path in above})

    monkeypatch.setattr(os, "fsync", sync)
    monkeypatch.setattr(os, "replace", record)
    publish_one(root, metrics="first")
    in_parts = [path for path in moved if path.is_file() and path.parent.name == "1"]
    assert len(in_parts) == 6
    # Locks and the scratch directory hold nothing that a version needs.
    lost = {path for path, there in moved.items() if not there and not path.name.startswith(".")}
    assert {path for path in lost if not path.parent.name.startswith(".")} == set()


def test_a_first_version_that_fails_leaves_nothing_at_all(tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        fail_at(patch, FULL, 20)
        with pytest.raises(ExportError, match="No space left"):
            publish_one(tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_an_empty_directory_that_was_there_stays(tmp_path):
    check_writable(tmp_path)
    assert tmp_path.exists()


# One process imports what all those that are killed need: they are its forks. Audit events come before each
# call, from whatever module: pathlib of Python 3.10 keeps functions of its own.
KILLED = """
    import os, signal, sys
    from pathlib import Path
    sys.path.insert(0, sys.argv[2])
    from tests.release.test_layout import publish_one
    def die_before(step):
        left = step
        def die(event, args):
            nonlocal left
            if event == "os.rename" or event == "os.remove" and str(args[0]).endswith(".publishing"):
                left -= 1
                if left == 0:
                    os.kill(os.getpid(), signal.SIGKILL)
        sys.addaudithook(die)
    for step in map(int, sys.argv[3:]):
        root = Path(sys.argv[1], str(step))
        publish_one(root, "first", metrics="first")
        child = os.fork()
        if child == 0:
            die_before(step)
            publish_one(root, "killed", metrics="killed")
            os._exit(0)
        assert os.WTERMSIG(os.waitpid(child, 0)[1]) == signal.SIGKILL, step
"""
# Steps of the process that is killed: replace the journal (1), rename the parts (2-7), replace the manifest
# of the version (8), that of the release (9) and the copy of a document (10), remove the journal (11).
STEPS_BEFORE, STEPS_AFTER = [1, 2, 4, 7, 8, 9], [10, 11]


@pytest.fixture(scope="module")
def killed_roots(tmp_path_factory, request):
    """Per step a release with version 1, whose writer of version 2 was killed before that step."""
    folder = tmp_path_factory.mktemp("killed")
    arguments = [folder, request.config.rootpath, *STEPS_BEFORE, *STEPS_AFTER]
    command = [sys.executable, "-c", textwrap.dedent(KILLED), *arguments]
    subprocess.run(list(map(str, command)), check=True)
    return folder


@pytest.fixture
def killed(killed_roots, at, tmp_path):
    return Path(shutil.copytree(killed_roots / str(at), tmp_path / "root"))


@pytest.mark.slow
@pytest.mark.parametrize("at", STEPS_BEFORE)
def test_killed_before_the_step_that_counts_the_version_before_answers(killed):
    check_files(killed, read_manifest(killed))
    assert read_manifest(killed)["text"] == "first"
    assert (killed / "metrics.json").read_text() == "first"
    with locked(killed):
        finish_publishing(killed)
    assert_version_answers(killed, 1, "first")
    assert publish_one(killed, "next")["version"] == 2


@pytest.mark.slow
@pytest.mark.parametrize("at", STEPS_BEFORE)
def test_the_next_writer_tidies_up_and_takes_the_number(killed):
    with stage(killed) as staged:
        fill(staged, "next")
    assert leftovers(killed) == []
    assert versions(killed) == [1, staged.version] == [1, 2]
    kept = {"1", "2"}
    assert all({path.name for path in (killed / part).iterdir()} == kept for part in PARTS)


@pytest.mark.slow
@pytest.mark.parametrize("at", STEPS_AFTER)
@pytest.mark.parametrize("tidy", ["load", "publish"])
def test_killed_after_the_step_that_counts_the_new_version_stays(killed, tidy):
    assert read_manifest(killed)["version"] == 2
    if tidy == "load":
        with pytest.raises(ReleaseError):  # the parts are stand-ins, no models
            load(killed)
        assert_version_answers(killed, 2, "killed")
    else:
        publish_one(killed, "next", metrics="next")
        assert_version_answers(killed, 3, "next")
        check_files(killed, read_manifest(killed, 2))


def test_what_killed_processes_of_0_4_0_left_is_removed(published):
    (published / ".manifest.json.0123abcd").write_text("")
    (published / ".unfinished-abandoned" / "query").mkdir(parents=True)
    (published / ".manifest.json.mine").write_text("")
    check_writable(published)
    assert leftovers(published) == [".manifest.json.mine"]


def test_exporters_at_the_same_time_have_their_numbers_and_the_largest_is_current(tmp_path):
    with stage(tmp_path) as slow:
        fill(slow, "slow", metrics="slow")
        assert publish_one(tmp_path, "fast", metrics="fast")["version"] == 2
    assert (slow.version, read_manifest(tmp_path, 1)["text"]) == (1, "slow")
    assert_version_answers(tmp_path, 2, "fast")


def test_files_that_are_not_ours_are_not_touched(tmp_path):
    """Somebody may have an `index/2024` in the directory that is chosen."""
    (tmp_path / "index" / "2024").mkdir(parents=True)
    (tmp_path / "index" / "2024" / "mine").write_text("mine")
    assert publish_one(tmp_path)["version"] == 2025
    assert (tmp_path / "index" / "2024" / "mine").read_text() == "mine"


def test_exporters_at_the_same_time_do_not_harm_each_other(tmp_path):
    numbers, errors = [], []

    def export(text):
        try:
            numbers.append(publish_one(tmp_path, text)["version"])
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=export, args=[str(i)]) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert sorted(numbers) == versions(tmp_path) == list(range(1, 9))
    for version in numbers:
        check_files(tmp_path, read_manifest(tmp_path, version))
    assert leftovers(tmp_path) == []


def test_a_file_in_the_way_is_said_and_nothing_is_made(tmp_path):
    (tmp_path / "file").write_text("")
    for root in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(ExportError, match=r"file.* cannot be written.*--out"):
            check_writable(root)
    assert os.listdir(tmp_path) == ["file"]


def damage_manifest(root, change, name="manifest.json"):
    file = root / name
    manifest = json.loads(file.read_text())
    change(manifest)
    file.write_text(json.dumps(manifest))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda m: m.update(text="other"), "was altered"),
        (lambda m: m["files"].clear(), "was altered"),
        (lambda m: m.pop("sha256"), "was altered"),
        (lambda m: m.update(format=2), "of format 2"),
        (lambda m: m.pop("format"), "of format None"),
    ],
)
def test_an_altered_manifest_is_refused_by_name(published, change, said):
    damage_manifest(published, change)
    with pytest.raises(ReleaseError, match=rf"manifest\.json.*{said}"):
        read_manifest(published)


@pytest.mark.parametrize(
    "content",
    [b"", b'{"format": 1, "vers', b"\xff\xfe", b"[]", b"null"],
    ids=["empty", "open", "no text", "list", "null"],
)
def test_a_truncated_or_foreign_manifest_is_refused_by_name(published, content):
    (published / "manifest.json").write_bytes(content)
    with pytest.raises(ReleaseError, match=r"manifest\.json"):
        read_manifest(published)


def test_the_manifest_of_another_version_is_foreign(published):
    publish_one(published, "second")
    (published / "manifests" / "1.json").write_bytes((published / "manifests" / "2.json").read_bytes())
    with pytest.raises(ReleaseError, match=r"1\.json is foreign: it belongs to version 2"):
        read_manifest(published, 1)


def test_an_indented_manifest_is_the_same_manifest(published):
    damage_manifest(published, lambda manifest: None)
    assert read_manifest(published)["text"] == "first"


def test_no_release_names_the_directory_and_the_versions(published, tmp_path):
    with pytest.raises(ReleaseError, match=r"no version 7 .*Versions there: 1\. Write one with"):
        read_manifest(published, 7)
    with pytest.raises(ReleaseError, match=r"no release at .*nowhere.*Versions there: none"):
        read_manifest(tmp_path / "nowhere")
