"""What Beam adds: results by files, bundles that run twice, workers that die."""

import pickle
import subprocess
import sys

import pytest

from tests.engines import tasks
from tfrecall.engines.beam import _file, _worked


def outcome(folder, place):
    return pickle.loads(_file(folder, place).read_bytes())


def test_a_bundle_that_runs_again_leaves_what_it_left(tmp_path):
    element = (7, pickle.dumps(3))
    for _ in range(2):
        _worked(tasks.squared, tmp_path, False, element)
        assert outcome(tmp_path, 7) == 9
    assert [file.name for file in tmp_path.iterdir()] == ["7.pickle"]


def test_a_second_run_that_fails_hides_no_result_and_one_that_ends_well_counts(tmp_path):
    element = (0, pickle.dumps(3))
    with pytest.raises(RuntimeError, match="part 3 has no column"):
        _worked(tasks.refused_at_3, tmp_path, False, element)
    assert outcome(tmp_path, 0).cause == "MissingColumnError: part 3 has no column"
    _worked(tasks.squared, tmp_path, False, element)
    with pytest.raises(RuntimeError, match="part 3 has no column"):
        _worked(tasks.refused_at_3, tmp_path, False, element)
    assert outcome(tmp_path, 0) == 9


@pytest.mark.slow
def test_a_killed_worker_ends_the_job_and_names_its_task():
    """In a process of its own: Beam tells of it in threads that outlive the job."""
    code = (
        "from tests.engines import tasks\nfrom tfrecall.engines import Beam\n"
        "Beam(processes=2).map(tasks.killed_at_3, [1, 2, 3, 4], title='Count')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=600)
    assert done.returncode == 1
    assert 'EngineError: "Count" stopped at the task 3: its process is gone' in done.stderr
