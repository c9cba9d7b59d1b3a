"""What every engine promises to the jobs that run on it."""

import functools
import os

import polars as pl
import pytest

import tfrecall as tr
from tests.engines import tasks
from tests.progress import RecordedProgress
from tfrecall.batch import recommend_all
from tfrecall.engines import Engine, Local, engine_of
from tfrecall.errors import EngineError, MissingColumnError

PRISM = os.environ.get("PRISM_LOCATION", "")
ENGINES = {
    "local": ("local", (), None),
    "local 2": ("local", (), 2),
    "beam": ("beam", (), None),
    "beam 2": ("beam", (), 2),
    "prism": ("beam", ("runner=PrismRunner", f"prism_location={PRISM}"), None),
    "ray": ("ray", (), 2),
}
# Beam starts a pipeline for each test, and fresh interpreters with two workers; Ray a cluster for all, jobs of
# the package among them.
SLOW = ("beam", "beam 2", "ray")
MARKS = {name: [pytest.mark.slow] for name in SLOW} | {
    "prism": [
        pytest.mark.slow,
        pytest.mark.skipif(
            not PRISM, reason="Prism is a download from GitHub: give its path in PRISM_LOCATION"
        ),
    ]
}


@pytest.fixture(scope="module")
def made():
    """Engines by name, each made once: Ray's cluster lives as long as its engine."""
    return functools.cache(lambda name: engine_of(*ENGINES[name]))


@pytest.fixture(params=[pytest.param(name, marks=MARKS.get(name, [])) for name in ENGINES])
def engine(made, request: pytest.FixtureRequest) -> Engine:
    return made(request.param)


def test_results_come_in_the_order_of_the_tasks(engine):
    recorded = RecordedProgress()
    add_one = functools.partial(tasks.squared, plus=1)
    found = engine.map(add_one, [5, 1, 4, 1, 3], title="Square", progress=recorded)
    assert found == [26, 2, 17, 2, 10]
    assert recorded.counts[-1] == ("Square", 5, 5, "parts")
    done = [count[1] for count in recorded.counts]
    assert done == sorted(set(done))


def test_no_tasks_have_no_results(engine):
    assert engine.map(tasks.squared, [], title="Square") == []


def test_an_error_of_the_package_comes_through_as_it_is(engine):
    with pytest.raises(MissingColumnError, match=r"^part 3 has no column$"):
        engine.map(tasks.refused_at_3, [1, 2, 3, 4], title="Read")


def test_any_other_error_names_the_work_the_task_and_the_cause(engine):
    told = r'"Divide" stopped at the task 3: ZeroDivisionError: .* by zero\..*start it again'
    with pytest.raises(EngineError, match=told):
        engine.map(tasks.broken_at_3, [1, 2, 3, 4], title="Divide")


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["ray"], indirect=True)
def test_jobs_of_the_package_leave_the_same_files_on_a_cluster(engine, tmp_path):
    """Shards of a log to the last byte, and lists to the last bit of a score.

    The tests of the jobs run them on the engines that take no seconds to start.
    """
    log = tr.data.synthetic(n_users=90, n_items=20, n_rows=1500, seed=4)
    log.log.write_csv(tmp_path / "log.csv")
    release = tr.export(tr.ItemCF().fit(log), tmp_path / "release")
    for name, on in (("here", Local()), ("there", engine)):
        out = tmp_path / name
        tr.data.prepare(tmp_path / "log.csv", out / "shards", partitions=3, engine=on, piece_bytes=9000)
        recommend_all(release, k=5, out=out / "lists", block_users=4, engine=on)
    here, there = (tmp_path / name for name in ("here", "there"))
    for file in (here / "shards").iterdir():
        assert (there / "shards" / file.name).read_bytes() == file.read_bytes()
    names = [sorted(path.name for path in (place / "lists").iterdir()) for place in (here, there)]
    assert len(names[0]) == 12
    assert names[0] == names[1]
    rows = [pl.read_parquet(place / "lists").rows() for place in (here, there)]
    assert rows[0] == rows[1]
