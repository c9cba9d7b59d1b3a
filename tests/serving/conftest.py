"""Releases of the tests of the service: baselines, which need no TensorFlow."""

import shutil
from pathlib import Path

import pytest

import tfrecall as tr
from tfrecall.serving import hosting, service

COLLECT_GARBAGE = hosting.collect_garbage


@pytest.fixture(scope="session", autouse=True)
def _garbage_stays():
    """A service looks through the objects of its process when it starts and when a version changes.

    Here those are the million of TensorFlow and the collected tests: a second for each of a hundred services.
    """
    with pytest.MonkeyPatch.context() as patch:
        for module in (hosting, service):
            patch.setattr(module, "collect_garbage", lambda: None)
        yield


@pytest.fixture
def garbage_is_collected(monkeypatch):
    """The versions of a service are freed as in a process of its own."""
    monkeypatch.setattr(hosting, "collect_garbage", COLLECT_GARBAGE)


@pytest.fixture(scope="session")
def log():
    return tr.data.synthetic(n_users=50, n_items=30, n_rows=600)


@pytest.fixture(scope="session")
def item_cf(log, tmp_path_factory):
    """Root of a release that only reads its files: copy it to change it."""
    return tr.export(tr.ItemCF().fit(log), tmp_path_factory.mktemp("release") / "item_cf").root


@pytest.fixture(scope="session")
def popularity(log, tmp_path_factory):
    """Root of a release of another model, which only reads its files."""
    model = tr.Popularity().fit(log)
    return tr.export(model, tmp_path_factory.mktemp("release") / "popularity").root


@pytest.fixture
def item_cf_copy(item_cf, tmp_path):
    """Root of a release of the test's own."""
    return Path(shutil.copytree(item_cf, tmp_path / "movies"))
