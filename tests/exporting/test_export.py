"""`export` writes any model, and says what it cannot do before anything is written."""

import pytest

import tfrecall as tr
from tfrecall.errors import ConfigError
from tfrecall.release.layout import StagedRelease


def test_a_baseline_is_written_by_the_same_function(tiny_log, tmp_path):
    release = tr.export(tr.Popularity().fit(tiny_log), tmp_path, exclude_seen=False)
    assert (release.manifest["kind"], release.version, release.exclude_seen) == ("baseline", 1, False)
    assert tr.export(tr.ItemCF().fit(tiny_log), tmp_path).version == 2


def test_options_of_another_kind_are_refused_before_anything_is_written(
    tiny_log, tmp_path, monkeypatch
):
    monkeypatch.setattr(StagedRelease, "describe", lambda *_: pytest.fail("something was written"))
    with pytest.raises(ConfigError, match="Popularity takes no `k`"):
        tr.export(tr.Popularity().fit(tiny_log), tmp_path / "new", k=5)
    assert not (tmp_path / "new").exists()


def test_anything_else_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="A dict cannot be exported"):
        tr.export({}, tmp_path)
