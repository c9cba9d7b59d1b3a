"""The pages build without a warning, and the built pages need nothing from elsewhere."""

import os
import re
import subprocess
import sys

import pytest

from tests.docs.markdown import ROOT

pytest.importorskip("mkdocs", reason="The extra docs is not installed.")


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The built pages."""
    folder = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", folder],
        cwd=ROOT,
        capture_output=True,
        text=True,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


@pytest.mark.slow
def test_pages_load_nothing_from_elsewhere(site):
    for page in site.rglob("*.html"):
        text = page.read_text("utf-8")
        for tag in re.findall(r"<(?:script|link|img|iframe)[^>]*>", text):
            assert not re.search(r'(?:src|href)="(?:https?:)?//', tag) or 'rel="canonical"' in tag, tag


@pytest.mark.slow
def test_sections_of_docstrings_are_tables(site):
    text = (site / "reference" / "api" / "models.html").read_text("utf-8")
    section = text.split('id="tr.TwoTower"')[1].split("<h2 id=")[0]
    for parameter in ("schema", "layer_sizes", "dropout", "correct_sampling_bias"):
        assert f"<code>{parameter}</code>" in section
    assert "<table>" in section
