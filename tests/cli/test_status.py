"""What a terminal shows while work goes on: a line with the title, the share and the time left."""

import io
import os
import re
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest
from rich.console import Console

import tfrecall
from tfrecall.cli import console
from tfrecall.cli.status import StatusLine


def terminal(width=80, **options):
    return Console(file=io.StringIO(), force_terminal=True, width=width, color_system=None, **options)


def lines(screen):
    """Everything ever shown, an overwritten line as one of its own, without control sequences."""
    text = re.sub(r"\x1b\[[\d?]*[A-Za-z]", "", screen.file.getvalue())
    return [line.strip() for line in re.split(r"[\r\n]+", text) if line.strip()]


def test_the_innermost_title_is_shown_and_the_outer_one_again_after_it():
    screen = terminal()
    line = StatusLine(screen)
    with line.showing("Evaluate"), line.showing("Read [the] log"):
        pass
    titles = [re.sub(r"^[-\\|/] | +\d:\d\d$", "", shown) for shown in lines(screen)]
    assert list(dict.fromkeys(titles)) == ["Evaluate", "Read [the] log"]
    assert titles[-1] == "Evaluate"


def test_counts_are_a_bar_with_the_share_until_all_is_done():
    screen = terminal()
    line = StatusLine(screen)
    with line.showing("Evaluate"):
        line.count("item_cf", 500, 2000)
        assert "item_cf" in lines(screen)[-1]
        assert lines(screen)[-1].endswith("25 %")
        line.count("item_cf", 2000, 2000)
        assert "Evaluate" in lines(screen)[-1]
        line.count("a count of unknown total", 7, 0)
        assert "Evaluate" in lines(screen)[-1]


def test_the_time_left_follows_from_the_speed():
    now = [0.0]
    screen = terminal(get_time=lambda: now[0])
    line = StatusLine(screen)
    with line.showing("Evaluate"):
        for done in (100, 200, 300):
            now[0] += 10
            line.count("rows", done, 1000)
    # 100 rows in 10 s, so the 700 left take 70 s.
    assert any(shown.endswith("30 %, 1:10 left") for shown in lines(screen)), lines(screen)


@pytest.mark.parametrize("width", [40, 80])
def test_long_titles_leave_one_line(width):
    screen = terminal(width)
    line = StatusLine(screen)
    with line.showing("Export, index and compare 千と千尋 in a fresh process " * 3):
        line.count("a count with a long name of the model that is evaluated " * 3, 1, 3)
    assert {len(shown) <= width for shown in lines(screen)} == {True}
    assert all("…" in shown for shown in lines(screen))


def test_text_printed_meanwhile_stays():
    screen = terminal()
    with StatusLine(screen).showing("Evaluate"):
        screen.print("a note")
    assert "a note" in lines(screen)
    assert screen.file.getvalue().endswith("\x1b[2K")  # the line itself is gone


def test_a_count_without_work_is_ignored():
    screen = terminal()
    StatusLine(screen).count("rows", 1, 2)
    assert lines(screen) == []


def test_an_error_ends_the_line():
    line = StatusLine(terminal())
    with pytest.raises(ValueError, match="broken"), line.showing("Evaluate"):
        raise ValueError("broken")
    with line.showing("again"):
        pass


# The narrator on it


def test_a_terminal_gets_a_line_and_a_file_gets_notes(monkeypatch):
    monkeypatch.setattr(console, "SECONDS_BETWEEN_COUNTS", -1)
    for screen in (terminal(), Console(file=io.StringIO(), width=80)):
        monkeypatch.setattr(console, "stderr", screen)
        narrator = console.Narrator()
        with narrator.step("Evaluate"):
            narrator.progress("item_cf", 500, 2000)
        shown = lines(screen)
        assert shown[0] == "Evaluate ..."
        assert re.fullmatch(r"done in \d\.\d s", shown[-1])
        assert ("item_cf: 500 of 2,000 rows" in shown) is not screen.is_terminal
        assert any("25 %" in line for line in shown) is screen.is_terminal


def test_waiting_is_told_to_terminals_only(monkeypatch):
    for screen in (terminal(), Console(file=io.StringIO())):
        monkeypatch.setattr(console, "stderr", screen)
        with console.waiting("Start \x1b[31mTensorFlow"):
            pass
        assert any(r"Start \x1b[31mTensorFlow" in line for line in lines(screen)) is screen.is_terminal


# A terminal of its own

# In the place of TensorFlow: a note and an error of C++, and a line of Python beside them.
NOISY = """
import logging, os, types
from tfrecall.cli import console
os.write(2, b"I0000 00:00:17.5  1 cudart_stub.cc:31] Could not find cuda drivers\\n")
os.write(2, b"an error of C++\\n")
console.stderr.print("a line of Python")
config = types.SimpleNamespace(list_physical_devices=lambda kind: [])
get_logger = lambda: logging.getLogger("tensorflow")
"""


@pytest.mark.slow
def test_the_line_is_shown_while_the_notes_of_tensorflow_are_kept_back(tmp_path):
    (tmp_path / "tensorflow.py").write_text(NOISY)
    code = "from tfrecall.cli.console import import_tensorflow; import_tensorflow()"
    ours, theirs = os.openpty()
    places = [str(tmp_path), str(Path(tfrecall.__file__).parents[1])]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(places), "TERM": "xterm"}
    with subprocess.Popen([sys.executable, "-c", code], stderr=theirs, env=environment) as program:
        os.close(theirs)
        shown = b""
        with suppress(OSError):  # Linux tells the end so
            while part := os.read(ours, 4096):
                shown += part
    os.close(ours)
    assert program.returncode == 0
    text = shown.decode()
    assert "Could not find cuda" not in text
    # The console writes at once, the rest of C++ comes when the import is over.
    assert (
        text.index("Start TensorFlow") < text.index("a line of Python") < text.index("an error of C++")
    )
    assert text.rstrip().endswith("\x1b[2K")
