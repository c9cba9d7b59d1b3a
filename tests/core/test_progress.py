"""Progress goes to the logger by default, to nobody with the base class."""

import inspect
import logging

import pytest

import tfrecall
from tests.progress import RecordedProgress
from tfrecall.core.progress import LogProgress, ProgressReporter


def use(progress: ProgressReporter) -> None:
    with progress.step("Fit %d% the model"):
        progress.progress("epoch 1", 3, 10, "steps")
        progress.note("100 % of the rows")
        progress.warning("The loss rises")


def test_the_base_class_is_silent(caplog, capsys) -> None:
    caplog.set_level(logging.DEBUG, "tfrecall")
    use(ProgressReporter())
    assert caplog.records == []
    assert capsys.readouterr() == ("", "")


def test_steps_and_notes_are_information_and_counts_are_details(caplog) -> None:
    caplog.set_level(logging.DEBUG, "tfrecall")
    use(LogProgress())
    assert [(record.levelname, record.getMessage()) for record in caplog.records] == [
        ("INFO", "Fit %d% the model"),
        ("DEBUG", "epoch 1: 3 of 10 steps"),
        ("INFO", "100 % of the rows"),
        ("WARNING", "The loss rises"),
    ]


def test_warnings_are_notes_where_nothing_else_is_said() -> None:
    recorded = RecordedProgress()
    use(recorded)
    assert recorded.notes == ["100 % of the rows", "The loss rises"]


def test_a_step_ends_with_its_error() -> None:
    with pytest.raises(ValueError, match="broken"), LogProgress().step("Fit"):
        raise ValueError("broken")


@pytest.mark.parametrize("name", ["compare", "cross_validate", "evaluate", "fit", "stage_losses"])
def test_public_functions_take_a_reporter(name) -> None:
    parameter = inspect.signature(getattr(tfrecall, name)).parameters["progress"]
    assert parameter.default is None
