"""What every engine promises to the jobs that run on it."""

import functools
import os

import pytest

from tests.engines import tasks
from tests.progress import RecordedProgress
from tfrecall.engines import Engine, engine_of
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
# Beam starts a pipeline for each test, and fresh interpreters with two workers; Ray a cluster for all.
SLOW = ("beam", "beam 2", "ray")
MARKS = {name: [pytest.mark.slow] for name in SLOW} | {
    "prism": [
        pytest.mark.slow,
        pytest.mark.skipif(
            not PRISM, reason="Prism is a download from GitHub: give its path in PRISM_LOCATION"
        ),
    ]
}


@pytest.fixture(
    scope="module", params=[pytest.param(name, marks=MARKS.get(name, [])) for name in ENGINES]
)
def engine(request: pytest.FixtureRequest) -> Engine:
    return engine_of(*ENGINES[request.param])


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
