"""Versions of a release: swapped whole, refused by name, pinned, freed."""

import asyncio
import gc
import json
import shutil
import weakref
from pathlib import Path

import pytest

import tfrecall as tr
from tests.release.test_malformed import reseal
from tfrecall.errors import ReleaseError
from tfrecall.serving.config import ServingConfig
from tfrecall.serving.hosting import Hosted
from tfrecall.serving.observer import Observer
from tfrecall.serving.requests import RecommendRequest


class Heard(Observer):
    """Versions that were loaded and rejected."""

    def __init__(self):
        self.versions = []

    def loaded(self, release, version, checksum):
        self.versions.append((release, version, len(checksum)))

    def rejected(self, release, version, error):
        self.versions.append((release, version, error))


@pytest.fixture
def root(item_cf, tmp_path):
    return Path(shutil.copytree(item_cf, tmp_path / "movies"))


@pytest.fixture
def publish(log, root):
    """Makes another model the next version of the release."""
    return lambda model=None: tr.export((model or tr.Popularity()).fit(log), root).version


def hosted(root, observer=None, **settings):
    return Hosted("movies", root, ServingConfig({"movies": root}, **settings), observer)


def ask(host, user="u1", k=5):
    (answer,) = host.answerer.recommend([RecommendRequest(user_id=user, k=k)])
    if isinstance(answer, Exception):
        raise answer
    return answer


def ids(answer):
    return [item.item_id for item in answer.items]


def truncate(file):
    file.write_bytes(file.read_bytes()[:-10])


@pytest.mark.slow
@pytest.mark.usefixtures("garbage_is_collected")
def test_a_new_version_is_served_whole_and_the_old_one_is_freed(root, publish):
    heard = Heard()
    host = hosted(root, heard)
    old = weakref.ref(host.answerer.release)
    assert not host.refresh()
    assert publish() == 2
    assert ask(host).version == 1  # until the next look
    assert host.refresh()
    answer = ask(host)
    expected = tr.load(root, 2).recommend(["u1"], k=5)[0]
    assert (answer.version, ids(answer)) == (2, expected.item_ids)
    gc.collect()
    assert old() is None
    assert host.describe()["versions"] == [1, 2]
    assert heard.versions == [("movies", 1, 64), ("movies", 2, 64)]


@pytest.mark.parametrize("part", ["scorer", "context"])
@pytest.mark.parametrize(
    "damage", [truncate, lambda file: file.unlink(), lambda file: file.write_bytes(b"x" * 5000)]
)
def test_a_broken_version_is_refused_by_name_while_the_old_one_serves(root, publish, part, damage):
    heard = Heard()
    host = hosted(root, heard)
    before = ids(ask(host))
    publish()
    damage(min((root / part / "2").iterdir()))
    assert not host.refresh()
    answer = ask(host)
    assert (answer.version, ids(answer)) == (1, before)
    (rejected,) = host.describe()["rejected"]
    assert rejected["version"] == 2
    assert f"movies/{part}/2/" in rejected["error"]
    assert str(root.parent) not in rejected["error"]  # no paths of the machine
    assert heard.versions[1:] == [("movies", 2, rejected["error"])]


def test_a_refused_version_is_tried_again_when_it_changes_and_not_before(root, publish):
    heard = Heard()
    host = hosted(root, heard)
    publish()
    file = min((root / "scorer" / "2").iterdir())
    whole = file.read_bytes()
    truncate(file)
    for _ in range(3):
        assert not host.refresh()
    assert len(heard.versions) == 2  # loaded 1, rejected 2, and that once
    file.write_bytes(whole)
    assert host.refresh()
    assert ask(host).version == 2
    assert host.describe()["rejected"] == []


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '{"format": 99}', '{"files": 3}', "\0" * 100], ids=repr
)
def test_a_manifest_that_is_none_leaves_the_old_version(root, text):
    host = hosted(root)
    (root / "manifest.json").write_text(text)
    assert not host.refresh()
    assert ask(host).version == 1
    assert len(host.rejected) == 1


def test_a_directory_that_vanishes_leaves_the_old_version(root):
    host = hosted(root)
    before = ids(ask(host))
    shutil.rmtree(root)
    assert not host.refresh()
    assert ids(ask(host)) == before  # its arrays are mapped into memory
    assert host.describe()["versions"] == []


def test_a_manifest_of_another_kind_is_refused(root, publish):
    """A manifest that is sealed, and tells of parts that are not there."""
    host = hosted(root)
    publish()
    reseal(root, lambda facts: facts.update(kind="ranker"))
    assert not host.refresh()
    assert ask(host).version == 1


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), MemoryError()])
def test_whatever_a_load_raises_the_old_version_serves(root, publish, monkeypatch, error):
    host = hosted(root)
    publish()

    def fail(*args, **kwargs):
        raise error

    monkeypatch.setattr("tfrecall.serving.hosting.load", fail)
    assert not host.refresh()
    assert ask(host).version == 1
    assert (str(error) or "MemoryError") == host.rejected[2]


def test_a_version_that_loads_but_cannot_answer_is_refused(root, publish, monkeypatch):
    host = hosted(root)
    publish()

    def fail(*args, **kwargs):
        raise ArithmeticError("nan")

    monkeypatch.setattr("tfrecall.release.baseline.BaselineRelease.search", fail)
    assert not host.refresh()
    monkeypatch.undo()
    assert ask(host).version == 1
    assert host.rejected == {2: "nan"}


def test_a_pinned_version_stays_whatever_is_published(root, publish):
    publish()
    host = hosted(root, pins={"movies": 1})
    publish()
    assert not host.refresh()
    assert ask(host).version == 1
    assert host.describe()["pinned"]
    with pytest.raises(ReleaseError, match="There is no version 7"):
        hosted(root, pins={"movies": 7})


def test_an_earlier_version_that_becomes_current_again_is_served(root, publish):
    publish()
    host = hosted(root)
    assert ask(host).version == 2
    first = (root / "manifests" / "1.json").read_text()
    (root / "manifest.json").write_text(first)
    assert host.refresh()
    assert ask(host).version == 1


def test_a_service_does_not_start_with_a_broken_release(root):
    truncate(min((root / "scorer" / "1").iterdir()))
    with pytest.raises(ReleaseError, match="scorer"):
        hosted(root)


def test_a_swap_takes_effect_between_two_batches(root, publish):
    """Requests that run while the version changes are answered by the one they began with."""

    async def session():
        host = hosted(root)
        publish()
        tasks = [
            asyncio.create_task(host.batcher.ask(RecommendRequest(user_id=f"u{n}", k=3)))
            for n in range(40)
        ]
        await asyncio.to_thread(host.refresh)
        tasks += [
            asyncio.create_task(host.batcher.ask(RecommendRequest(user_id=f"u{n}", k=3)))
            for n in range(40)
        ]
        answers = await asyncio.gather(*tasks)
        await host.batcher.close()
        return answers

    answers = asyncio.run(session())
    releases = {version: tr.load(root, version) for version in (1, 2)}
    assert {answer.version for answer in answers[40:]} == {2}
    for n, answer in enumerate(answers):
        (expected,) = releases[answer.version].recommend([f"u{n % 40}"], k=3)
        assert ids(answer) == expected.item_ids


def test_facts_of_a_release(root):
    facts = hosted(root).describe()
    manifest = json.loads((root / "manifest.json").read_text())
    assert facts == {
        "name": "movies",
        "version": 1,
        "versions": [1],
        "kind": "baseline",
        "model": "item_cf",
        "users": 50,
        "items": 30,
        "checksum": manifest["sha256"],
        "state": "available",
        "pinned": False,
        "rejected": [],
    }
