"""Lines of the log: one for each record, whatever it holds."""

import json
import logging

import pytest

from tfrecall.serving import logs


@pytest.fixture
def write(capsys):
    loggers = [logging.getLogger(name) for name in ("tfrecall", "uvicorn")]
    before = [(one.handlers, one.propagate, one.level) for one in loggers]

    def write(form, *records, level="info"):
        logs.configure(level, form)
        for name, rank, message, fields in records:
            logging.getLogger(name).log(rank, message, extra={"fields": fields})
        return capsys.readouterr().err.splitlines()

    yield write
    for one, (handlers, propagate, level) in zip(loggers, before, strict=True):
        one.handlers, one.propagate = handlers, propagate
        one.setLevel(level)


def test_json_has_the_fields_of_a_record(write):
    [line] = write(
        "json", ("tfrecall.serving.access", logging.INFO, "GET", {"status": 200, "path": "/"})
    )
    told = json.loads(line)
    assert told["time"].endswith("+00:00")
    del told["time"]
    assert told == {
        "level": "info",
        "logger": "tfrecall.serving.access",
        "message": "GET",
        "status": 200,
        "path": "/",
    }


@pytest.mark.parametrize("form", logs.FORMATS)
def test_line_breaks_of_clients_make_no_lines_of_the_log(write, form):
    lines = write(form, ("tfrecall.x", logging.INFO, "a\nb\x1b[31m", {"path": "/\r\nc"}))
    assert len(lines) == 1
    assert "\x1b" not in lines[0]


def test_level_leaves_out_lines(write):
    records = [("tfrecall.x", logging.INFO, "a", {}), ("tfrecall.x", logging.WARNING, "b", {})]
    assert len(write("text", *records, level="info")) == 2
    assert len(write("text", *records, level="warning")) == 1


def test_servers_own_account_of_a_failed_start_is_left_out(write):
    assert write("text", ("uvicorn.error", logging.ERROR, "Traceback ...", {})) == []


def test_stack_of_an_error_is_in_the_log(write, capsys):
    write("json")
    try:
        raise RuntimeError("of a model")
    except RuntimeError:
        logging.getLogger("tfrecall.serving").exception("A request failed")
    assert "RuntimeError: of a model" in json.loads(capsys.readouterr().err)["exception"]
