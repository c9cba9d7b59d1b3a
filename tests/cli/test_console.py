"""Nothing of data reaches a terminal as a command, and an output that takes no more ends a command quietly."""

import io
import json
import os
import subprocess
import sys

import pytest
import typer
from hypothesis import given
from hypothesis import strategies as st

from tfrecall.cli import console
from tfrecall.cli.options import guarded
from tfrecall.cli.run import _name_unused, _usual_budget
from tfrecall.cli.tables import item_table
from tfrecall.errors import DataError

# Red, a link of a terminal (OSC 8), its C1 form, a right-to-left override, an invisible sign, a lone
# surrogate, and what Rich would take for markup.
EVIL = "\x1b[31mred \x1b]8;;http://x\x07link\x9b2J \u202etxt.exe\u2066 a\u200bb \udc80 [bold]"
SHOWN = r"\x1b[31mred \x1b]8;;http://x\x07link\x9b2J \u202etxt.exe\u2066 a\u200bb \udc80 [bold]"


@pytest.fixture
def screen(monkeypatch):
    """Both streams of a terminal with colours, in one text."""
    text = io.StringIO()
    for name in ("stdout", "stderr"):
        terminal = type(console.stdout)(
            file=text, force_terminal=True, width=300, highlight=False, markup=False, emoji=False
        )
        monkeypatch.setattr(console, name, terminal)
    return text


def shown(screen):
    """The text without the colours that are ours: bold on and off."""
    return screen.getvalue().replace("\x1b[1m", "").replace("\x1b[0m", "").replace("\x1b[3m", "")


def test_notes_steps_and_counts_are_escaped(screen, monkeypatch):
    monkeypatch.setattr(console, "SECONDS_BETWEEN_COUNTS", -1)
    narrator = console.Narrator()
    with narrator.step(EVIL):
        narrator.note(EVIL)
        narrator.progress(EVIL, 1, 2)
    # Step, note and count, the first and the last also on the status line, which moves the cursor.
    assert shown(screen).count(SHOWN) >= 5
    assert not [
        sign for sign in ("\x1b[31m", "\x1b]", "\x07", "\x9b", "\u202e") if sign in shown(screen)
    ]


def test_cells_headings_and_titles_of_tables_are_escaped(screen):
    rows = [{"item_id": EVIL, EVIL: [EVIL, "two\nlines"], "tab": "a\tb"}]
    console.show({}, False, item_table(EVIL, rows, whole=[EVIL]), EVIL)
    # Title, heading, id, list and sentence.
    assert "".join(shown(screen).split()).count("".join(SHOWN.split())) == 5
    assert r"two\nlines" in shown(screen)
    assert r"a\tb" in shown(screen)
    assert "\x1b" not in shown(screen)


def test_errors_are_escaped(screen):
    @guarded
    def command():
        raise DataError(f"There is no user {EVIL}.")

    with pytest.raises(typer.Exit):
        command()
    assert shown(screen) == f"Error: There is no user {SHOWN}.\n"


def test_json_is_untouched(capsys):
    console.show({"title": EVIL}, True)
    assert json.loads(capsys.readouterr().out) == {"title": EVIL}


@given(st.text())
def test_plain_text_stays_and_nothing_else_does(text):
    plain = "".join(c for c in text if c.isprintable() or c in "\n\t\u200c\u200d")
    assert console.visible(plain) == plain
    assert not {"\x1b", "\x9b", "\u202e", "\r"} & set(console.visible(text))


@pytest.mark.parametrize("text", ["می\u200cخواهم", "👩\u200d👧", "Amélie", "千と千尋"])
def test_words_that_need_joiners_stay(text):
    assert console.one_line(text) == text


# An output that takes no more

COMMANDS = [["recipes", "list"], ["recipes", "list", "--json"], ["recipes", "show", "two_tower_ml100k"]]


def ended(arguments, **streams):
    code = "import sys; from tfrecall.cli import main; sys.argv[0] = 'tfrecall'; main()"
    command = [sys.executable, "-c", code, *arguments]
    return subprocess.run(command, check=False, stderr=subprocess.PIPE, text=True, **streams)


@pytest.mark.slow
@pytest.mark.parametrize("arguments", COMMANDS, ids=" ".join)
def test_a_reader_that_went_away_ends_a_command_quietly(arguments):
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w") as pipe:
        done = ended(arguments, stdout=pipe)
    assert (done.returncode, done.stderr) == (141, "")


@pytest.mark.slow
@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
@pytest.mark.parametrize("arguments", [*COMMANDS, ["--help"]], ids=" ".join)
def test_a_full_output_is_an_error_without_a_traceback(arguments):
    with open("/dev/full", "w") as full:
        done = ended(arguments, stdout=full)
    assert done.returncode == 1
    assert "Error: the output cannot be written: [Errno 28]" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("closed", [[1], [2], [0, 1, 2]], ids=str)
def test_closed_streams_do_no_harm(closed, tmp_path):
    """Closed as a shell does by `>&-`: the next file that is opened would take the number."""
    code = (
        f"import os, sys; [os.close(number) for number in {closed}]\n"
        f"os.execv(sys.executable, [sys.executable, '-m', 'tfrecall.cli', 'recipes', 'list', '--json'])"
    )
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("{") is (1 not in closed)


def test_settings_that_the_chosen_baseline_does_not_use_are_named(capsys):
    _name_unused(["data.separator=;", "training.epochs=3"], "item_transitions")
    told = capsys.readouterr().err
    assert "has no use for training.epochs=3." in told
    assert "--budget 0" in told
    _name_unused(["evaluation.ks=[1]"], "item_transitions")
    assert capsys.readouterr().err == ""


def test_settings_of_a_training_ask_for_no_tournament(capsys):
    assert _usual_budget(500_000, ["training.epochs=3", "evaluation.ks=[1]"]) == 0.0
    assert capsys.readouterr().err.startswith("training.epochs=3: settings of a training")
    assert _usual_budget(500_000, ["index.n_trees=3"]) == 600.0
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("opens", [True, False])
def test_a_page_is_opened_or_its_address_told(monkeypatch, capsys, tmp_path, opens):
    asked = []
    monkeypatch.setattr(console.webbrowser, "open", lambda address: asked.append(address) or opens)
    page = tmp_path / "a report.html"
    console.open_page(page)
    assert asked == [page.as_uri()]
    told = "" if opens else f"No browser was found. Open it yourself: {page.as_uri()}\n"
    assert capsys.readouterr().err == told
