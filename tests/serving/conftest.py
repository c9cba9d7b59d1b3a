"""Releases of the tests of the service: baselines, which need no TensorFlow."""

import pytest

import tfrecall as tr


@pytest.fixture(scope="session")
def log():
    return tr.data.synthetic(n_users=50, n_items=30, n_rows=600)


@pytest.fixture(scope="session")
def item_cf(log, tmp_path_factory):
    """Root of a release that only reads its files: copy it to change it."""
    return tr.export(tr.ItemCF().fit(log), tmp_path_factory.mktemp("release") / "item_cf").root
