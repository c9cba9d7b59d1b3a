"""Trained weights and releases of the shared fixtures, built once per state of the sources.

They lie under `.pytest_cache/built_once/STATE/` of the checkout, where the workers of a run and the runs
after it find them. A change of the package, of the log, or of a version of TensorFlow is another state.
"""

import fcntl
import hashlib
import importlib.metadata
import json
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
CACHE = ROOT / ".pytest_cache" / "built_once"
# Rooms above and beside those that train and export, which the import contracts keep from importing them.
UNUSED = ("batch", "cli", "diagnostics", "report", "runs", "serving")
PACKAGES = ("annoy", "numpy", "polars", "tensorflow", "tf-keras", "tensorflow-recommenders")
# A run that still reads a state has touched it within this time.
KEPT_SECONDS = 3600


def fit_once(model: Any, data: Any, **settings: Any) -> None:
    """`tfrecall.fit`, or where an equal model was fitted before: `adapt`, and its weights.

    The model answers, evaluates, explains and exports alike either way. It has no optimizer of a fit, so
    tests of training fit for themselves.
    """
    from tfrecall._keras import tf
    from tfrecall.training import fit

    config = {**model.get_config(), "class": type(model).__name__}
    identity = json.dumps([config, settings, data.fingerprint], sort_keys=True, default=repr)
    name = f"{model.name}-{hashlib.sha256(identity.encode()).hexdigest()[:12]}"

    def train(folder: Path) -> None:
        fit(model, data, **settings)
        tf.train.Checkpoint(model=model).write(str(folder / "weights"))

    folder, is_new = _built(name, train)
    if not is_new:
        model.adapt(data)
        # Variables that are made later get their values then.
        tf.train.Checkpoint(model=model).read(str(folder / "weights")).expect_partial()
        model.compile()  # `evaluate` asks for it


def release_once(name: str, target: Path, export: Callable[[Path], Any]) -> Path:
    """A copy at `target` of what `export` writes, which is called where nobody did before."""
    folder, _ = _built(f"release-{name}", lambda folder: export(folder / "root"))
    return Path(shutil.copytree(folder / "root", target))


def _built(name: str, build: Callable[[Path], None]) -> tuple[Path, bool]:
    """The folder that `build` filled, and whether it was filled now; others wait for it."""
    states, folder = CACHE / _state(), CACHE / _state() / name
    states.mkdir(parents=True, exist_ok=True)
    with _locked(states / f"{name}.lock"):
        if folder.exists():
            return folder, False
        unfinished = Path(tempfile.mkdtemp(prefix=".unfinished-", dir=states))
        try:
            build(unfinished)
            unfinished.rename(folder)
        finally:
            shutil.rmtree(unfinished, ignore_errors=True)
    return folder, True


@contextmanager
def _locked(file: Path) -> Iterator[None]:
    """Among all processes; not by `tfrecall.core.storage`, which is what some of the tests test."""
    with file.open("w") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        yield


@cache
def _state() -> str:
    """Of all that weights and releases depend on. The first call removes what no run uses any more."""
    digest = hashlib.sha256(sys.version.encode())
    for package in PACKAGES:
        digest.update(f"{package} {importlib.metadata.version(package)}\n".encode())
    rooms = (room for room in (ROOT / "tfrecall").glob("*") if room.name not in UNUSED)
    package = (file for room in rooms for file in (room.rglob("*.py") if room.is_dir() else [room]))
    for file in (*sorted(package), *sorted((ROOT / "tests").glob("*.py"))):
        digest.update(f"{file.relative_to(ROOT)}\n".encode() + file.read_bytes())
    state = digest.hexdigest()[:16]
    (CACHE / state).mkdir(parents=True, exist_ok=True)
    (CACHE / state).touch()
    for other in CACHE.iterdir():
        if other.name != state and time.time() - other.stat().st_mtime > KEPT_SECONDS:
            shutil.rmtree(other, ignore_errors=True)
    return state
