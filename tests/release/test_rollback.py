"""An earlier version becomes current again, whole or not at all."""

import json
import os

import pytest

from tests.commands import ask
from tfrecall.cli.compare import version_of
from tfrecall.errors import ExportError, ReleaseError
from tfrecall.release import layout
from tfrecall.release.layout import make_current, stage
from tfrecall.release.manifest import documents, read_manifest, versions
from tfrecall.release.parts import PARTS


@pytest.fixture
def root(tmp_path):
    """Three versions, of which the second has a document more."""
    root = tmp_path / "release"
    for number, texts in enumerate([{}, {"notes.json": "2"}, {}], start=1):
        with stage(root) as staged:
            fill(staged, str(number))
            for name, text in {"metrics.json": str(number), **texts}.items():
                staged.write(name, text)
    return root


def fill(staged, text):
    for part in PARTS["baseline"]:
        (staged.directory / part).mkdir()
        (staged.directory / part / "weights").write_text(text)
    staged.describe("baseline", {"model": {}})


def shown(root):
    """Documents in the release directory."""
    return {file.name: file.read_text() for file in root.glob("*.json") if file.stem != "manifest"}


def test_the_version_before_or_a_named_one_becomes_current_with_its_documents(root):
    assert make_current(root) == 2
    assert read_manifest(root) == read_manifest(root, 2)
    assert shown(root) == {"metrics.json": "2", "notes.json": "2"}
    assert make_current(root) == 1
    assert shown(root) == {"metrics.json": "1"}
    assert make_current(root, 3) == 3
    assert shown(root) == {"metrics.json": "3"}
    assert versions(root) == [1, 2, 3]
    assert documents(root, read_manifest(root, 2)) == {"metrics.json": "2", "notes.json": "2"}


def test_the_next_export_has_the_next_number_and_is_current(root):
    make_current(root, 1)
    with stage(root) as staged:
        fill(staged, "4")
    assert read_manifest(root)["version"] == staged.version == 4
    assert versions(root) == [1, 2, 3, 4]


def test_versions_that_are_missing_or_damaged_are_refused(root):
    with pytest.raises(ReleaseError, match="no version 9"):
        make_current(root, 9)
    (root / "scorer" / "2" / "weights").write_text("other")
    with pytest.raises(ReleaseError, match="weights"):
        make_current(root)
    assert read_manifest(root)["version"] == 3
    make_current(root, 1)
    with pytest.raises(ReleaseError, match="no version before"):
        make_current(root)
    assert not layout.was_killed(root)


@pytest.mark.parametrize("step", range(6))
def test_stopped_at_any_step_one_version_is_current_and_the_next_writer_shows_its_documents(
    root, step, monkeypatch
):
    """Each file is put in place by one `os.replace`: journal, manifest, then two documents."""
    replace, left = os.replace, [step]

    def fail(*args):
        if not left[0]:
            raise OSError(28, "No space left on device")
        left[0] -= 1
        replace(*args)

    monkeypatch.setattr(os, "replace", fail)
    if step < 4:
        with pytest.raises(ExportError, match="could not be made current"):
            make_current(root)
    else:
        make_current(root)
    monkeypatch.undo()
    current = read_manifest(root)["version"]
    assert current == (3 if step < 2 else 2)
    layout.check_writable(root)  # a writer, which finishes what another one began
    assert shown(root)["metrics.json"] == str(current)
    assert ("notes.json" in shown(root)) == (current == 2)
    assert not layout.was_killed(root)
    assert versions(root) == [1, 2, 3]


def test_the_command_says_what_it_was_and_is(root):
    answer = json.loads(ask("rollback", root, "--json").stdout)
    assert (answer["before"], answer["version"], answer["versions"]) == (3, 2, [1, 2, 3])
    assert "Version 3" in ask("rollback", root, "--to", 3).stdout
    assert read_manifest(root)["version"] == 3


def test_a_name_means_a_version_or_the_one_before_the_current(root):
    assert version_of(str(root)) == (root, None)
    assert version_of(f"{root}@1") == (root, 1)
    assert version_of(f"{root}@previous") == (root, 2)
    make_current(root, 2)
    assert version_of(f"{root}@previous") == (root, 1)
    make_current(root, 1)
    with pytest.raises(ReleaseError, match="no version before"):
        version_of(f"{root}@previous")
    other = root.rename(root.parent / "named@previous")
    assert version_of(str(other)) == (other, None)
