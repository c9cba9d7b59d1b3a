"""`tfrecall tune` without the library that searches."""

import sys

import pytest

from tests.cli.test_cli import ask


@pytest.fixture
def without_optuna(monkeypatch):
    for name in [name for name in sys.modules if name.startswith("tfrecall.runs.tuning")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "optuna", None)


@pytest.mark.usefixtures("without_optuna")
def test_a_missing_library_is_named_with_its_extra(tmp_path):
    result = ask("tune", "two_tower_ml100k", "--out", tmp_path / "best.toml", status=1)
    assert "pip install 'tfrecall[tune]'" in result.stderr
