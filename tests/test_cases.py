"""The folder of small inputs that once failed: each case's script gives what its `expected.json` says."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

FOLDER = Path(os.environ.get("TFRECALL_CASES", Path(__file__).parents[2] / "shared" / "cases"))
SCRIPTS = sorted(FOLDER.glob("*/run.py"))
MISSING = "The cases are not here; set TFRECALL_CASES to their folder."
CHANGES = {
    # The scripts import modules where 0.4.0 had them.
    "from tfrecall.metrics import": "from tfrecall.evaluation.metrics import",
    # They compare scores for equality; those of one query and of two may differ in the last digit.
    "x.scores[0]": "float(f'{x.scores[0]:.6g}')",
}


@pytest.fixture(scope="module")
def folder() -> Path:
    """The folder of the cases."""
    if not SCRIPTS:
        pytest.skip(MISSING)
    return FOLDER


def answer(case: Path, scratch: Path) -> Any:
    """What the script of a case prints, run in a copy of its folder with this Python."""
    # The folder may be read-only, and the scripts write beside themselves.
    shutil.copytree(case, scratch, copy_function=shutil.copyfile)
    scratch.chmod(0o755)
    script = scratch / "run.py"
    text = script.read_text("utf-8")
    for old, new in CHANGES.items():
        text = text.replace(old, new)
    script.write_text(text, "utf-8")
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def asked(answered: Any, expected: Any) -> Any:
    """The part of an answer that is expected: scripts also print what helps to understand a failure."""
    if not isinstance(expected, dict) or not isinstance(answered, dict):
        return answered
    return {key: asked(answered.get(key), value) for key, value in expected.items()}


@pytest.mark.slow
@pytest.mark.parametrize("name", [script.parent.name for script in SCRIPTS] or ["none"])
def test_a_case_gives_what_is_expected(name, folder, tmp_path):
    expected = json.loads((folder / name / "expected.json").read_text("utf-8"))
    assert asked(answer(folder / name, tmp_path / name), expected) == expected


def test_only_what_is_expected_is_compared():
    assert asked({"a": {"b": 1, "said": "x"}, "why": ""}, {"a": {"b": 2}}) == {"a": {"b": 1}}
    assert asked({"a": "refused"}, {"a": {"b": 2}}) == {"a": "refused"}
    assert asked({}, {"a": 1}) == {"a": None}
