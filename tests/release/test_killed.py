"""Writers that are killed before any call that changes files: one whole version, and the next writer tidies up.

Parts are stand-ins, and versions of a release are published, indexed and changed by the same function `stage`.
"""

import pytest

from tests.processes import Forked

# Audit events come before each call, from whatever module. Writing has none: a file is torn where the next one
# kills, and has a temporary name then.
CODE = """
import os, shutil, signal, sys
from itertools import count
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from tests.release.test_layout import assert_version_answers, publish_one
from tfrecall.release.layout import make_current
from tfrecall.release.manifest import check_files, documents, read_manifest

os.fsync = lambda descriptor: None  # no power is cut
CHANGES = {"os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.truncate"}

def die_before(step):
    left = step
    def die(event, args):
        nonlocal left
        writes = event == "open" and isinstance(args[2], int) and args[2] & (os.O_WRONLY | os.O_RDWR)
        if event in CHANGES or writes:
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)
    sys.addaudithook(die)

def killed(step, operation, root):
    child = os.fork()
    if child == 0:
        die_before(step)
        operation(root)
        os._exit(0)
    return os.waitpid(child, 0)[1] == signal.SIGKILL

def publish(root):
    publish_one(root, "new", metrics="new", notes="new")

def roll_back(root):
    make_current(root, 1)

def contents(root):
    return {path: path.read_bytes() for path in root.rglob("*") if path.is_file() and path.name != ".lock"}

folder = Path(sys.argv[2])
template = folder / "template"
publish_one(template, "first", metrics="first")
publish_one(template, "second", metrics="second", extra="second")
for operation, old, new in ((publish, "second", "new"), (roll_back, "second", "first")):
    told = set()
    for step in count(1):
        root = shutil.copytree(template, folder / "root")
        if not killed(step, operation, root):
            break
        manifest = read_manifest(root)
        check_files(root, manifest)
        told.add(manifest["text"])
        assert manifest["text"] in (old, new), step
        operation(root)
        # With or without a death before it: the same version and documents, and nothing beside.
        manifest = read_manifest(root)
        check_files(root, manifest)
        assert manifest["text"] == new, step
        shown = {file.name: file.read_text() for file in root.glob("*.json") if file.name != "manifest.json"}
        assert shown == documents(root, manifest), step
        assert [path for path in root.rglob(".*") if path.name != ".lock"] == [], step
        numbers = {str(int(path.stem)) for path in (root / "manifests").iterdir()}
        assert {path.name for path in root.glob("*/*") if path.is_dir()} == numbers, step
        shutil.rmtree(root)
    assert told == {old, new}
    print(operation.__name__, step - 1)
    shutil.rmtree(root)
"""


@pytest.mark.slow
def test_killed_before_any_change_one_whole_version_is_left(tmp_path, request):
    status, output, errors = Forked(CODE, request.config.rootpath, tmp_path).ended()
    assert status == 0, errors
    died = dict(line.split() for line in output.splitlines())
    # Two locks, a scratch directory, six parts with a file each, two documents; then journal, parts and
    # manifests by name, three copies of documents. Of a rollback: lock, journal, manifest, documents.
    assert int(died["publish"]) > 30
    assert int(died["roll_back"]) > 8
