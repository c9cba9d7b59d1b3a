"""Publishing versions, whatever happens on the way. Parts are stand-ins: nothing here is a model."""

import json
import os
import signal
import subprocess
import sys
import textwrap
import threading

import pytest

from tfrecall.core.storage import locked, write_atomically
from tfrecall.errors import ExportError, ReleaseError
from tfrecall.release import layout
from tfrecall.release.layout import PARTS, publish, unfinished
from tfrecall.release.manifest import check_files, read_manifest, versions


def publish_one(root, text="x", documents=None):
    with unfinished(root) as directory:
        for part in PARTS:
            (directory / part).mkdir()
            (directory / part / "file").write_text(f"{part} {text}")
        return publish(root, directory, {"text": text}, documents)


def leftovers(root):
    """Everything in a release directory that is no part of a release."""
    known = {*PARTS, "manifests", "manifest.json", ".lock", "metrics.json"}
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


def test_documents_are_made_from_the_whole_manifest(tmp_path):
    publish_one(tmp_path, documents=lambda whole: {"metrics.json": json.dumps(whole["version"])})
    assert json.loads((tmp_path / "metrics.json").read_text()) == 1


@pytest.fixture
def published(tmp_path):
    publish_one(tmp_path, "first", lambda _: {"metrics.json": "first"})
    return tmp_path


def assert_first_version_answers(root):
    check_files(root, read_manifest(root))
    assert read_manifest(root)["text"] == "first"
    assert (root / "metrics.json").read_text() == "first"
    assert versions(root) == [1]
    assert all([path.name for path in (root / part).iterdir()] == ["1"] for part in PARTS)
    assert leftovers(root) == []


def steps_of_publishing(monkeypatch, error, at):
    """Lets the step number `at` of all that touch the disk raise an error."""
    done = []

    def failing(original):
        def call(*args, **kwargs):
            done.append(original)
            if len(done) == at:
                raise error
            return original(*args, **kwargs)

        return call

    for module, name in ((os, "rename"), (os, "replace"), (layout, "describe")):
        monkeypatch.setattr(module, name, failing(getattr(module, name)))
    return done


FULL = OSError(28, "No space left on device")


@pytest.mark.parametrize("at", range(1, 15))
@pytest.mark.parametrize("error", [FULL, KeyboardInterrupt()], ids=["full disk", "interrupted"])
def test_a_failure_at_any_step_leaves_the_version_before(published, monkeypatch, error, at):
    # 5 checksums, 5 renames, then replace for manifests/2.json, metrics.json, manifest.json; what one
    # file takes is tested in tests/core/test_storage.py.
    with monkeypatch.context() as patch:
        done = steps_of_publishing(patch, error, at)
        if at <= 13:
            wanted = ExportError if error is FULL else KeyboardInterrupt
            with pytest.raises(wanted):
                publish_one(published, "second", lambda _: {"metrics.json": "second"})
        else:
            publish_one(published, "second", lambda _: {"metrics.json": "second"})
            assert len(done) == 13
            return
    assert_first_version_answers(published)


def test_an_interruption_after_the_step_that_counts_loses_nothing(published, monkeypatch):
    original = layout.write_atomically

    def interrupted(file, text):
        original(file, text)
        if file.name == "manifest.json":
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(layout, "write_atomically", interrupted)
        with pytest.raises(KeyboardInterrupt):
            publish_one(published, "second", lambda _: {"metrics.json": "second"})
    assert read_manifest(published)["text"] == "second"
    check_files(published, read_manifest(published))
    assert (published / "metrics.json").read_text() == "second"


def test_a_first_version_that_fails_leaves_nothing_at_all(tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        steps_of_publishing(patch, FULL, 8)
        with pytest.raises(ExportError, match="No space left"):
            publish_one(tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_an_empty_directory_that_was_there_stays(tmp_path):
    with unfinished(tmp_path):
        pass
    assert tmp_path.exists()


KILLED = """
    import os, signal, sys
    from pathlib import Path
    sys.path.insert(0, sys.argv[3])
    from tests.release.test_layout import publish_one
    left = int(sys.argv[2])
    def dying(original):
        def call(*args, **kwargs):
            global left
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            return original(*args, **kwargs)
        return call
    for name in ("rename", "replace", "mkdir"):
        setattr(os, name, dying(getattr(os, name)))
    publish_one(Path(sys.argv[1]), "killed", lambda _: {"metrics.json": "killed"})
"""


@pytest.mark.parametrize("at", [2, 8, 10, 12, 14])
def test_after_a_kill_the_version_before_answers_and_the_next_tidies_up(published, at, request):
    command = [sys.executable, "-c", textwrap.dedent(KILLED), str(published), str(at)]
    process = subprocess.run([*command, str(request.config.rootpath)], check=False)
    assert process.returncode == -signal.SIGKILL
    check_files(published, read_manifest(published))
    assert read_manifest(published)["text"] == "first"
    touched = any((published / part / "2").exists() for part in PARTS)
    manifest = publish_one(published, "next")
    assert manifest["version"] == (3 if touched else 2), "no number is used twice"
    assert leftovers(published) == []
    kept = {"1", str(manifest["version"])}
    assert all({path.name for path in (published / part).iterdir()} == kept for part in PARTS)
    assert versions(published) == sorted(map(int, kept))


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


def test_an_unfinished_directory_in_use_is_left_alone(tmp_path):
    with unfinished(tmp_path) as mine:
        publish_one(tmp_path)
        assert mine.exists()


def test_an_unfinished_directory_that_nobody_holds_is_removed(tmp_path):
    (tmp_path / ".unfinished-abandoned" / "query").mkdir(parents=True)
    publish_one(tmp_path)
    assert leftovers(tmp_path) == []


def test_a_lock_keeps_others_out_and_goes_with_its_holder(tmp_path):
    with locked(tmp_path), pytest.raises(BlockingIOError), locked(tmp_path, wait=False):
        pass
    with locked(tmp_path, wait=False):
        pass


def test_a_file_in_the_way_is_said_and_nothing_is_made(tmp_path):
    (tmp_path / "file").write_text("")
    for root in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(ExportError, match=r"file.* cannot be written.*--out"), unfinished(root):
            pass
    assert os.listdir(tmp_path) == ["file"]


def test_a_text_is_replaced_whole_or_not_at_all(tmp_path, monkeypatch):
    file = tmp_path / "text"
    write_atomically(file, "old")
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", lambda _: (_ for _ in ()).throw(FULL))
        with pytest.raises(OSError, match="No space"):
            write_atomically(file, "new")
    assert file.read_text() == "old"
    assert os.listdir(tmp_path) == ["text"]


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


@pytest.mark.parametrize("content", [b"", b'{"format": 1, "vers', b"\xff\xfe", b"[]", b"null"])
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
