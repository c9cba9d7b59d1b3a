"""Checkpoints: whole or not there, of this training or refused, two kept, and never in the way."""

import errno
import os
import resource
import weakref
from contextlib import contextmanager

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.progress import RecordedProgress
from tests.properties import examples
from tfrecall.errors import CheckpointError
from tfrecall.training import checkpoints
from tfrecall.training.checkpoints import Checkpoints, NotFiniteError, read_checkpoint, write_checkpoint

ARRAYS = {
    "weights/0": np.arange(6, dtype=np.float32).reshape(2, 3),
    "weights/1": np.array([7, -(2**62)]),
    "optimizer/0": np.array(3),
    "best/0": np.zeros([0, 4], np.float32),
}
HEADER = {"epoch": 3, "history": {"loss": [1.5, float("inf")]}}


class Kept(Checkpoints):
    """Checkpoints that write after each epoch and remember what they said."""

    def __init__(self, folder, **settings):
        settings = {"seconds": 0, "belongs_to": {"rate": 0.1}, **settings}
        super().__init__(folder, progress=RecordedProgress(), **settings)

    @property
    def notes(self):
        return self.progress.notes

    def save_epoch(self, epoch):
        return self.save({"epoch": epoch}, ARRAYS.items())


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def last_epoch(folder, **settings):
    with Kept(folder, **settings) as kept:
        found = kept.last()
        return found and found.header["epoch"], kept.notes


# One file


def test_arrays_and_header_come_back(tmp_path):
    write_checkpoint(tmp_path / "c.npz", HEADER, ARRAYS.items())
    found = read_checkpoint(tmp_path / "c.npz")
    assert {name: found.header[name] for name in HEADER} == HEADER
    for group, count in (("weights", 2), ("optimizer", 1), ("best", 1)):
        arrays = list(found.arrays(group))
        assert len(arrays) == count
        for i, array in enumerate(arrays):
            np.testing.assert_array_equal(array, ARRAYS[f"{group}/{i}"], strict=True)
    assert names(tmp_path) == ["c.npz"]


def test_numpy_opens_it_without_pickle(tmp_path):
    write_checkpoint(tmp_path / "c.npz", HEADER, ARRAYS.items())
    with np.load(tmp_path / "c.npz", allow_pickle=False) as archive:
        np.testing.assert_array_equal(archive["weights/0"], ARRAYS["weights/0"])


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    file = tmp_path_factory.mktemp("written") / "c.npz"
    write_checkpoint(file, HEADER, ARRAYS.items())
    return file.read_bytes()


@examples(300)
@given(st.data())
def test_a_changed_byte_is_refused_or_changes_nothing(written, tmp_path_factory, data):
    # Fields of the archive that nobody reads, such as the time of a member, may change.
    place = data.draw(st.integers(0, len(written) - 1))
    changed = bytearray(written)
    changed[place] ^= data.draw(st.integers(1, 255))
    file = tmp_path_factory.getbasetemp() / "changed.npz"
    file.write_bytes(changed)
    try:
        found = read_checkpoint(file)
    except CheckpointError:
        return
    assert found.header["history"] == HEADER["history"]
    np.testing.assert_array_equal(next(found.arrays("weights")), ARRAYS["weights/0"])


@examples(100)
@given(st.data())
def test_a_shorter_file_is_refused(written, tmp_path_factory, data):
    file = tmp_path_factory.getbasetemp() / "shorter.npz"
    file.write_bytes(written[: data.draw(st.integers(0, len(written) - 1))])
    with pytest.raises(CheckpointError, match=r"shorter\.npz is damaged"):
        read_checkpoint(file)


def test_another_format_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoints, "FORMAT", 2)
    write_checkpoint(tmp_path / "c.npz", HEADER, ARRAYS.items())
    monkeypatch.undo()
    with pytest.raises(CheckpointError, match=r"format 2; this version reads 1"):
        read_checkpoint(tmp_path / "c.npz")


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_is_not_written(tmp_path, value):
    arrays = [("weights/0", np.ones(3)), ("weights/1", np.array([1.0, value, 2.0], np.float32))]
    with pytest.raises(NotFiniteError, match="weights/1"):
        write_checkpoint(tmp_path / "c.npz", {}, arrays)
    assert names(tmp_path) == []


def test_one_array_at_a_time_is_in_memory(tmp_path):
    alive, most = set(), []

    class Array(np.ndarray):
        """An array that a weak reference can follow."""

    def arrays():
        for i in range(5):
            array = np.zeros(10).view(Array)
            alive.add(i)
            weakref.finalize(array, alive.discard, i)
            most.append(len(alive))
            yield f"weights/{i}", array
            del array

    write_checkpoint(tmp_path / "c.npz", {}, arrays())
    # The one that is being made and the one before, which its reader still names.
    assert max(most) <= 2


# Those of a training


def test_the_last_two_are_kept_and_the_newest_counts(tmp_path):
    with Kept(tmp_path / "c") as kept:
        for epoch in range(1, 5):
            assert kept.save_epoch(epoch)
        assert names(tmp_path / "c") == [".lock", "000003.npz", "000004.npz"]
    assert last_epoch(tmp_path / "c") == (4, [])


def test_a_directory_that_is_not_there_holds_none_and_is_not_made(tmp_path):
    assert last_epoch(tmp_path / "c") == (None, [])
    assert names(tmp_path) == []


def test_one_is_due_when_the_last_is_so_old(tmp_path, monkeypatch):
    now = [100.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    with Kept(tmp_path, seconds=30) as kept:
        now[0] = 129.0
        assert not kept.due
        now[0] = 130.0
        assert kept.due
        kept.save_epoch(1)
        assert not kept.due


def test_phase_and_facts_are_kept(tmp_path):
    with Kept(tmp_path) as kept:
        kept.phase, kept.facts = "refit", {"best": 7}
        kept.save_epoch(1)
    with Kept(tmp_path) as kept:
        header = kept.last().header
    assert (header["phase"], header["facts"]) == ("refit", {"best": 7})


def damage(file):
    contents = bytearray(file.read_bytes())
    contents[200] ^= 1  # inside the first array
    file.write_bytes(contents)


def test_of_a_damaged_one_the_one_before_is_used_and_said(tmp_path):
    with Kept(tmp_path) as kept:
        kept.save_epoch(1)
        kept.save_epoch(2)
    damage(tmp_path / "000002.npz")
    epoch, (note,) = last_epoch(tmp_path)
    assert epoch == 1
    assert "000002.npz is damaged" in note
    assert "The one before is tried" in note


def test_when_all_are_damaged_training_starts_anew_and_that_is_said(tmp_path):
    with Kept(tmp_path) as kept:
        kept.save_epoch(1)
        kept.save_epoch(2)
    damage(tmp_path / "000001.npz")
    (tmp_path / "000002.npz").write_bytes(b"")
    epoch, notes = last_epoch(tmp_path)
    assert epoch is None
    assert "000002.npz is damaged" in notes[0]
    assert notes[1].endswith("Training starts anew.")


def test_a_damaged_one_does_not_push_out_a_whole_one(tmp_path):
    with Kept(tmp_path) as kept:
        kept.save_epoch(1)
        kept.save_epoch(2)
    damage(tmp_path / "000002.npz")
    with Kept(tmp_path) as kept:
        kept.last()
        kept.save_epoch(3)
        assert names(tmp_path) == [".lock", "000001.npz", "000003.npz"]


def test_one_of_another_training_is_refused_naming_each_difference(tmp_path):
    there = {"training": {"rate": 0.1, "epochs": 20}, "schema": {"query": [{"column": "a"}]}}
    now = {"training": {"rate": 0.2, "epochs": 20}, "schema": {"query": [{"column": "b"}]}, "more": 1}
    with Kept(tmp_path, belongs_to=there, context={"source": "old.csv"}) as kept:
        kept.save_epoch(1)
    with pytest.raises(CheckpointError) as caught:
        last_epoch(tmp_path, belongs_to=now, context={"source": "new.csv"})
    message = str(caught.value)
    for line in (
        "training.rate: 0.1 there, 0.2 now",
        "schema.query.0.column: a there, b now",
        "more: none there, 1 now",
        "source: old.csv there, new.csv now",
        "`--fresh`",
        "`--out`",
    ):
        assert line in message
    assert "epochs" not in message
    assert "000001.npz" in names(tmp_path), "refused, not removed"


def test_what_only_explains_does_not_refuse(tmp_path):
    same = {"sizes": (64, 32), "none": None}
    with Kept(tmp_path, belongs_to=same, context={"source": "old.csv"}) as kept:
        kept.save_epoch(1)
    assert last_epoch(tmp_path, belongs_to=same, context={"source": "new.csv"}) == (1, [])


def test_discarding_removes_checkpoints_and_nothing_else(tmp_path):
    folder = tmp_path / "c"
    for other in ([], ["mine.npz"]):
        folder.mkdir()
        for name in other:
            (folder / name).touch()
        with Kept(folder) as kept:
            kept.save_epoch(1)
            kept.discard()
            assert kept.last() is None
        assert (names(folder) if folder.exists() else []) == other


def test_another_process_does_without_and_says_so(tmp_path):
    with Kept(tmp_path) as first, Kept(tmp_path) as second:
        first.save_epoch(1)
        assert second.last() is None
        assert not second.save_epoch(2)
        assert len(second.notes) == 1
        assert "Another process" in second.notes[0]
        assert names(tmp_path) == [".lock", "000001.npz"]
    assert last_epoch(tmp_path) == (1, [])


def test_what_a_killed_writer_left_is_removed(tmp_path):
    (tmp_path / f".000007.npz.{12 * 'a'}.unfinished").write_bytes(b"half")
    with Kept(tmp_path) as kept:
        kept.save_epoch(1)
        assert names(tmp_path) == [".lock", "000001.npz"]


# Disks that are full, weights that are not numbers


@contextmanager
def files_of_at_most(size):
    """The operating system refuses to write more into a file, as a full disk would."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("size", [0, 1, 100, 700, 1000, 1500, 1650])
def test_a_full_disk_is_told_once_and_the_one_before_stays(tmp_path, size):
    with Kept(tmp_path) as kept:
        kept.save_epoch(1)
        assert (tmp_path / "000001.npz").stat().st_size > 1650
        with files_of_at_most(size):
            assert not kept.save_epoch(2)
            assert kept.due, "the next epoch tries again"
            assert not kept.save_epoch(3)
        assert len(kept.notes) == 1
        assert f"could not be written to {tmp_path}" in kept.notes[0]
        assert "Training goes on" in kept.notes[0]
        assert names(tmp_path) == [".lock", "000001.npz"]
        assert kept.save_epoch(4)
    assert last_epoch(tmp_path) == (4, [])


def test_a_disk_that_is_full_when_bytes_are_brought_to_it_counts_the_same(tmp_path, monkeypatch):
    def full(descriptor):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with Kept(tmp_path) as kept:
        kept.save_epoch(1)
        monkeypatch.setattr(os, "fsync", full)
        assert not kept.save_epoch(2)
        assert "No space left on device" in kept.notes[0]
        assert names(tmp_path) == [".lock", "000001.npz"]


def test_a_directory_that_cannot_be_made_is_told(tmp_path):
    (tmp_path / "file").touch()
    with Kept(tmp_path / "file" / "c") as kept:
        assert kept.last() is None
        assert not kept.save_epoch(1)
        assert len(kept.notes) == 1


def test_weights_that_are_not_finite_leave_the_one_before(tmp_path):
    with Kept(tmp_path) as kept:
        kept.save_epoch(1)
        for _ in range(2):
            assert not kept.save({"epoch": 2}, [("weights/0", np.array([np.nan]))])
        assert len(kept.notes) == 1
        assert "weights/0 holds NaN" in kept.notes[0]
    assert last_epoch(tmp_path) == (1, [])
