"""Releases of the tests of the service: baselines, which need no TensorFlow."""

import shutil
from pathlib import Path

import pytest

import tfrecall as tr


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
