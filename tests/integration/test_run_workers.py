"""`tfrecall run` on two workers: one release, written by the chief."""

import json

import pytest

from tests.integration.runs import SMALL, options, write_files
from tests.processes import Forked
from tests.training.workers import ports
from tfrecall.release import load

pytestmark = pytest.mark.slow

RUN = """
import os, sys
os.environ["TF_CONFIG"] = sys.argv.pop(1)
from tfrecall import cli
cli.main()
"""
SETTINGS = (
    *SMALL,
    *("training.refit=true", "training.checkpoint_seconds=0", "evaluation.baselines=[]"),
)


def test_the_chief_alone_writes_the_release(tmp_path):
    addresses = [f"localhost:{port}" for port in ports(2)]
    started = []
    for index in range(2):
        folder = tmp_path / str(index)
        folder.mkdir()
        cluster = {"cluster": {"worker": addresses}, "task": {"type": "worker", "index": index}}
        given = options(*SETTINGS)
        arguments = ["run", *write_files(folder), *given, "--strategy", "multi_worker_mirrored"]
        started.append(Forked(RUN, json.dumps(cluster), *arguments, "--allow-worse"))
    chief, worker = (process.ended() for process in started)

    assert [chief[0], worker[0]] == [0, 0], (chief, worker)
    assert "This worker is done" in worker[2]
    assert not (tmp_path / "1" / "out").exists()
    release = load(tmp_path / "0" / "out")
    assert len(release.recommend(["u1"], k=3)[0].item_ids) == 3
    assert not (tmp_path / "0" / "out" / "checkpoints").exists()
    history = json.loads((release.root / "metrics.json").read_text("utf-8"))["training"]["history"]
    assert len(history["loss"]) == 2
