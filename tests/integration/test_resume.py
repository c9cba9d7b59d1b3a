"""A run that is killed again and again ends like one that was left alone."""

import json
import signal
import time

import numpy as np
import pytest

from tests.commands import ask
from tests.integration.runs import SMALL, options, write_files
from tests.processes import Forked

pytestmark = pytest.mark.slow

# Something random in every place, and state in the task, so that whatever is forgotten shows.
SETTINGS = (
    # Beside the ids a number, which the model has statistics of.
    SMALL[0].replace("]", ", {type='numeric', column='age'}]"),
    SMALL[1],
    "training.checkpoint_seconds=0",
    "training.refit=true",
    "training.epochs=6",
    "training.patience=6",
    "training.monitor=loss",
    "training.schedule=cosine",
    "training.clip_norm=1.0",
    "model.dropout=0.2",
    "task.type=in_batch",
    "task.memory_size=64",
    "task.num_uniform_negatives=8",
    "task.frequency=streaming",
)
# Kills itself with the temporary file of the n-th checkpoint written in part.
KILLED_WHILE_WRITING = """
import os, signal, sys
from tfrecall import cli
from tfrecall.training import checkpoints
original, left = checkpoints._add, [int(sys.argv.pop(1))]
def add(archive, name, array):
    checksum = original(archive, name, array)
    left[0] -= name == "optimizer/0"
    if not left[0]:
        archive.fp.flush()
        os.kill(os.getpid(), signal.SIGKILL)
    return checksum
checkpoints._add = add
cli.main()
"""


def started(arguments, code="from tfrecall import cli; cli.main()", *before):
    return Forked(code, *before, "run", *arguments, "--allow-worse")


def ended(process, status):
    """What it told, when it is over."""
    ended_with, _, told = process.ended()
    assert ended_with == status, told[-2000:]
    return told


def killed_when(process, condition):
    while not process.is_over and not condition():
        time.sleep(0.002)
    process.kill()
    return ended(process, -signal.SIGKILL)


def result(root):
    """All that does not depend on the clock."""
    metrics = json.loads((root / "metrics.json").read_text("utf-8"))
    del metrics["timings"], metrics["index"]
    return metrics, np.load(root / "index" / "1" / "vectors.npy")


def newest(root):
    files = (root / "checkpoints").glob("0*.npz")
    return max((int(file.stem) for file in files), default=0)


def test_killed_at_several_moments_a_run_ends_like_one_left_alone(tmp_path):
    *arguments, _, _ = write_files(tmp_path)
    arguments += options(*SETTINGS)
    whole, root = tmp_path / "whole", tmp_path / "killed"
    alone = started([*arguments, "--out", str(whole)])
    arguments += ["--out", str(root)]

    # The third is cut short while it is written.
    ended(started(arguments, KILLED_WHILE_WRITING, "3"), -signal.SIGKILL)
    assert newest(root) == 2
    assert list((root / "checkpoints").glob(".*.unfinished"))
    # Six of the first fit, so the seventh is the refit's.
    told = killed_when(started(arguments), lambda: newest(root) >= 7)
    assert "Resuming after epoch" in told
    assert "(fit), checkpoint of " in told
    assert not list((root / "checkpoints").glob(".*.unfinished"))
    told = ended(started(arguments), 0)
    assert "(refit), checkpoint of " in told
    assert not (root / "checkpoints").exists()

    ended(alone, 0)
    (metrics, vectors), (same_metrics, same_vectors) = result(whole), result(root)
    assert same_metrics == metrics
    np.testing.assert_array_equal(same_vectors, vectors)


def test_checkpoints_of_another_run_are_refused_until_they_are_discarded(tmp_path):
    arguments = write_files(tmp_path)
    settings = options(*SMALL, "training.checkpoint_seconds=0", "training.epochs=500")
    root = tmp_path / "out"
    killed_when(started([*arguments, *settings]), lambda: newest(root) >= 1)
    other = options("training.learning_rate=0.05", "training.patience=1")

    # In this process: nothing is trained.
    told = " ".join(ask("run", *arguments, *settings, *other, "--allow-worse", status=1).stderr.split())
    assert "training.learning_rate: 0.1 there, 0.05 now" in told
    assert "training.patience: 3 there, 1 now" in told
    assert "--fresh" in told
    assert "Traceback" not in told

    # The same numbers under another name and described otherwise are the same training.
    same = options("description=Another", "evaluation.ks=[5]")
    seen = newest(root)
    told = killed_when(started([*arguments, *settings, *same]), lambda: newest(root) > seen)
    assert "Resuming after epoch" in told

    seen = newest(root)
    told = killed_when(started([*arguments, *settings, *other, "--fresh"]), lambda: newest(root) < seen)
    assert "Resuming" not in told
    assert "Error" not in told
