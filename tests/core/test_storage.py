"""Writers that a failure at any step, a kill or a rival leaves with the old state or the new one."""

import errno
import fcntl
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import textwrap
import threading

import pytest

from tfrecall.core import storage
from tfrecall.core.manifests import check_file, describe, manifest_checksum
from tfrecall.core.storage import (
    atomic_file,
    locked,
    remove_unfinished,
    scratch_directory,
    staged_directory,
    write_atomically,
)
from tfrecall.errors import ReleaseError

FULL = OSError(errno.ENOSPC, "No space left on device")
DEAD = f"{12 * 'a'}.unfinished"


def write_file(target, text):
    with atomic_file(target) as stream:
        stream.write(text.encode())


def write_directory(target, text):
    with staged_directory(target, replace=True) as staged:
        (staged / "a").write_text(text)
        (staged / "below").mkdir()
        (staged / "below" / "b").write_text(text)


def state(target):
    """Contents of a file or directory, None if it is not there."""
    if target.is_file():
        return target.read_text()
    files = {path.relative_to(target).as_posix(): path.read_text() for path in target.rglob("?")
             if path.is_file()}  # fmt: skip
    return files or None


NEW = {write_file: "new", write_directory: {"a": "new", "below/b": "new"}}
OLD = {write_file: "old", write_directory: {"a": "old", "below/b": "old"}}


def fail_at(monkeypatch, error, at):
    """Raises an error in place of the step number `at` of all that touch the disk.

    Returns:
        The names of the steps reached, that one included.
    """
    reached = []

    def failing(name, original):
        def call(*args, **kwargs):
            # Removing what is left over is no step: it has nothing to fall back on.
            if sys._getframe(1).f_code.co_filename == shutil.__file__:
                return original(*args, **kwargs)
            reached.append(name)
            if len(reached) == at:
                raise error
            return original(*args, **kwargs)

        return call

    for owner, name in (
        (pathlib.Path, "open"),
        (pathlib.Path, "mkdir"),
        (os, "open"),
        (os, "fsync"),
        (os, "rename"),
        (os, "replace"),
        (storage, "_exchange"),
    ):
        monkeypatch.setattr(owner, name, failing(name, getattr(owner, name)))
    return reached


@pytest.mark.parametrize("write", [write_file, write_directory])
@pytest.mark.parametrize("error", [FULL, KeyboardInterrupt()], ids=["full disk", "interrupted"])
@pytest.mark.parametrize("there", [False, True], ids=["new", "replaced"])
@pytest.mark.parametrize("exchanges", [True, False], ids=["one step", "two steps"])
def test_a_failure_at_any_step_leaves_the_old_state_or_the_new_one(
    tmp_path, write, error, there, exchanges, monkeypatch
):
    if not exchanges:
        monkeypatch.setattr(storage, "_exchange", lambda *_: False)
    target = tmp_path / "folder" / "target"
    before = OLD[write] if there else None
    steps = 0
    for at in range(1, 40):
        if there:
            write(target, "old")
        with pytest.MonkeyPatch.context() as patch:
            reached = fail_at(patch, error, at)
            try:
                write(target, "new")
                failed = False
            except (OSError, KeyboardInterrupt):
                failed = True
        assert state(target) in (before, NEW[write]), reached
        if target.parent.exists():
            assert [path.name for path in target.parent.iterdir()] in ([], ["target"]), reached
        if len(reached) < at:
            assert not failed
            assert state(target) == NEW[write]
            steps = len(reached)
            break
        shutil.rmtree(target.parent, ignore_errors=True)
    # A file: make the folder, open, fsync, replace, open and fsync the folder. A directory takes more.
    assert steps >= {write_file: 6, write_directory: 12}[write]


def test_a_write_that_fails_leaves_the_file_as_it_was(tmp_path):
    target = tmp_path / "target"
    write_file(target, "old")

    def write_half():
        with atomic_file(target) as stream:
            stream.write(b"half of the n")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        write_half()
    assert target.read_text() == "old"
    assert os.listdir(tmp_path) == ["target"]


@pytest.mark.parametrize("write", [write_file, write_directory])
def test_everything_is_on_disk_before_the_name_is(tmp_path, monkeypatch, write):
    """A name without contents would be a part of a file after a power cut."""
    events = []
    synced, replaced, renamed = os.fsync, os.replace, os.rename

    def sync(descriptor):
        events.append(("sync", os.readlink(f"/proc/self/fd/{descriptor}")))
        synced(descriptor)

    def rename(original):
        def call(source, target):
            events.append(("rename", str(target)))
            original(source, target)

        return call

    monkeypatch.setattr(os, "fsync", sync)
    monkeypatch.setattr(os, "replace", rename(replaced))
    monkeypatch.setattr(os, "rename", rename(renamed))
    target = tmp_path / "target"
    write(target, "new")
    place = events.index(("rename", str(target)))
    assert len(events[:place]) == {write_file: 1, write_directory: 4}[write]  # a, b, below and itself
    assert all(name == "sync" for name, _ in events[:place])
    assert events[place + 1 :] == [("sync", str(tmp_path))]


def test_a_directory_in_the_way_of_a_file_is_refused_at_once(tmp_path):
    with pytest.raises(IsADirectoryError), atomic_file(tmp_path):
        pytest.fail("nothing may be written for nothing")


def test_a_device_or_pipe_in_the_way_of_a_file_is_refused_at_once(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to("/dev/full")
    for name in ("pipe", "link"):
        with pytest.raises(OSError, match="a device, a pipe or a socket"), atomic_file(tmp_path / name):
            pytest.fail("a rename would put a file in its place")
    assert sorted(os.listdir(tmp_path)) == ["link", "pipe"]


def test_a_directory_that_exists_is_replaced_only_on_request(tmp_path):
    write_directory(tmp_path / "target", "old")
    with pytest.raises(FileExistsError), staged_directory(tmp_path / "target") as staged:
        (staged / "a").write_text("new")
    assert state(tmp_path / "target") == OLD[write_directory]
    assert os.listdir(tmp_path) == ["target"]


KILLED = """
    import os, signal, sys
    from pathlib import Path
    sys.path.insert(0, sys.argv[3])
    from tests.core import test_storage
    left = int(sys.argv[4])
    def dying(original):
        def call(*args, **kwargs):
            global left
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            return original(*args, **kwargs)
        return call
    for name in ("fsync", "rename", "replace"):
        setattr(os, name, dying(getattr(os, name)))
    if sys.argv[5] == "two steps":
        test_storage.storage._exchange = lambda *_: False
    getattr(test_storage, sys.argv[1])(Path(sys.argv[2]), "new")
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("write", "at", "steps"),
    # fsync, replace, fsync of the folder; four times fsync, two renames or none, fsync of the folder
    [(write_file, at, "one step") for at in (1, 2, 3)]
    + [(write_directory, at, "two steps") for at in (2, 5, 6, 7)]
    + [(write_directory, at, "one step") for at in (4, 5)],
)
def test_the_next_writer_tidies_up_after_a_killed_one(tmp_path, request, write, at, steps):
    target = tmp_path / "target"
    write(target, "old")
    command = [sys.executable, "-c", textwrap.dedent(KILLED), write.__name__, str(target)]
    killed = subprocess.run([*command, str(request.config.rootpath), str(at), steps], check=False)
    assert killed.returncode == -signal.SIGKILL
    if steps == "one step":
        assert target.exists()
    elif at == 6:  # between its two renames
        assert not target.exists()
        remove_unfinished(tmp_path)
    assert state(target) in (OLD[write], NEW[write])
    write(target, "new")
    assert state(target) == NEW[write]
    assert os.listdir(tmp_path) == ["target"]


def test_leftovers_of_other_targets_and_foreign_files_stay(tmp_path):
    others = [f".other.{DEAD}", ".target.notes.unfinished", ".target", f"target.{DEAD}"]
    for name in (*others, f".target.{DEAD}"):
        (tmp_path / name).write_text("")
    write_file(tmp_path / "target", "new")
    assert sorted(os.listdir(tmp_path)) == sorted([*others, "target"])
    remove_unfinished(tmp_path)
    assert sorted(os.listdir(tmp_path)) == sorted([*others[1:], "target"])


def test_a_name_with_signs_of_patterns_sweeps_only_its_own(tmp_path):
    (tmp_path / f".ab.{DEAD}").write_text("")
    write_file(tmp_path / "[a]*", "new")
    assert sorted(os.listdir(tmp_path)) == sorted([f".ab.{DEAD}", "[a]*"])


@pytest.mark.parametrize("write", [write_file, write_directory])
def test_a_live_writer_is_left_alone_and_the_last_to_finish_wins(tmp_path, write):
    target = tmp_path / "target"
    if write is write_file:
        with atomic_file(target) as stream:
            stream.write(b"slow")
            write(target, "fast")
    else:
        with staged_directory(target, replace=True) as staged:
            (staged / "a").write_text("slow")
            write(target, "fast")
    assert state(target) in ("slow", {"a": "slow"})
    assert os.listdir(tmp_path) == ["target"]


@pytest.mark.parametrize("write", [write_file, write_directory])
def test_many_writers_at_once_all_end_well(tmp_path, write):
    target, errors = tmp_path / "target", []

    def often(text):
        try:
            for _ in range(20):
                write(target, text)
        except Exception as error:
            # Two that replace one directory may meet between the renames; one of both says so.
            if write is write_file:
                errors.append(error)

    threads = [threading.Thread(target=often, args=[text]) for text in "abcd"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert state(target) in [*"abcd", *({"a": text, "below/b": text} for text in "abcd")]
    assert os.listdir(tmp_path) == ["target"]


def test_a_scratch_directory_is_gone_afterwards(tmp_path):
    with scratch_directory(tmp_path / "target") as scratch:
        (scratch / "file").write_text("")
        with pytest.raises(BlockingIOError), locked(scratch, wait=False):
            pass
    assert os.listdir(tmp_path) == []


def test_without_locks_files_are_written_and_nothing_is_swept(tmp_path, monkeypatch):
    """Some network file systems have no locks: nobody can tell a dead writer from a live one there."""

    def no_locks(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(storage.fcntl, "flock", no_locks)
    (tmp_path / f".target.{DEAD}").write_text("")
    write_file(tmp_path / "target", "new")
    write_directory(tmp_path / "other", "new")
    assert sorted(os.listdir(tmp_path)) == sorted([f".target.{DEAD}", "other", "target"])


def test_a_lock_keeps_others_out_and_goes_with_its_holder(tmp_path):
    with locked(tmp_path), pytest.raises(BlockingIOError), locked(tmp_path, wait=False):
        pass
    with locked(tmp_path, wait=False):
        pass


def test_a_lock_on_a_file_that_was_removed_meanwhile_is_none(tmp_path, monkeypatch):
    """The holder before may remove a directory's lock as its last step; others then lock a new file."""
    flock, removed = fcntl.flock, []

    def lock(descriptor, kind):
        flock(descriptor, kind)
        if not removed:
            removed.append((tmp_path / ".lock").unlink())

    monkeypatch.setattr(fcntl, "flock", lock)
    with locked(tmp_path), pytest.raises(BlockingIOError), locked(tmp_path, wait=False):
        pass
    assert removed


def test_a_text_is_written_in_utf8_with_its_line_ends(tmp_path):
    write_atomically(tmp_path / "text", "Amélie\n\r\n")
    assert (tmp_path / "text").read_bytes() == b"Am\xc3\xa9lie\n\r\n"


def test_a_file_is_described_by_size_and_checksum(tmp_path):
    # SHA-256 of "abc" as FIPS 180-2 gives it
    digest = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    file = tmp_path / "file"
    file.write_bytes(b"abc")
    assert describe(file) == {"bytes": 3, "sha256": digest}
    check_file(file, describe(file))
    file.write_bytes(b"abd")
    check_file(file, {"bytes": 3, "sha256": digest}, contents=False)
    with pytest.raises(ReleaseError, match="file was altered"):
        check_file(file, {"bytes": 3, "sha256": digest})
    with pytest.raises(ReleaseError, match="it has 3 bytes where the manifest says 4"):
        check_file(file, {"bytes": 4, "sha256": digest})


def test_a_file_that_cannot_be_read_is_named(tmp_path, monkeypatch):
    (tmp_path / "file").write_bytes(b"abc")
    facts = describe(tmp_path / "file")

    def denied(*_, **__):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(pathlib.Path, "open", denied)
    with pytest.raises(ReleaseError, match=r"file cannot be read: .*Permission denied.*permissions"):
        check_file(tmp_path / "file", facts)


def test_the_checksum_of_a_manifest_is_that_of_what_is_read_back():
    assert manifest_checksum({"a": (1, 2), 3: 0.1}) == manifest_checksum(
        {"3": 0.1, "sha256": "any", "a": [1, 2]}
    )
