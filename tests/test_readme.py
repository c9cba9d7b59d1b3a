"""What the README says is true."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests import readme
from tfrecall.data import movielens
from tfrecall.data.datasets import cache

TEXT = readme.README.read_text("utf-8")


def test_command_section_is_what_the_commands_say():
    assert readme.with_commands(TEXT) == TEXT, "Run: python -m tests.readme"


def test_every_make_target_named_exists():
    targets = Path(readme.README.parent, "Makefile").read_text("utf-8")
    for target in ("demo", "test", "check", "imports"):
        assert f"`make {target}" in TEXT or f"make {target} " in TEXT
        assert f"\n{target}:" in targets


@pytest.mark.slow
def test_python_blocks_run(movielens_folder, tmp_path, monkeypatch):
    data = movielens("100k", movielens_folder / "ml-100k")
    cache.store(tmp_path / "cache" / "movielens-100k", data, "a folder")
    monkeypatch.setenv("TFRECALL_CACHE", str(tmp_path / "cache"))
    blocks = readme.python_blocks(TEXT)
    assert blocks
    script = tmp_path / "readme.py"
    script.write_text("\n".join(blocks), "utf-8")
    done = subprocess.run([sys.executable, script], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    assert "item_cf" in done.stdout  # the table with its baselines
    assert "movie_title" in done.stdout  # the recommendations
