"""Output of the commands: steps and notes on standard error, answers on standard output.

Ids, titles and messages of data reach a terminal only through the consoles here, which show control
characters escaped and interpret no markup.
"""

import json
import time
import webbrowser
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from functools import cache
from pathlib import Path
from typing import Any

from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

from tfrecall.cli.exits import standard_output
from tfrecall.cli.narrow import fitted
from tfrecall.cli.status import StatusLine
from tfrecall.core.progress import ProgressReporter
from tfrecall.core.text import one_line, visible

# Seconds without output after which a running step prints its progress.
SECONDS_BETWEEN_COUNTS = 5.0
STARTING = "Start TensorFlow"


class _VisibleConsole(Console):
    """A console that escapes every text, cells and titles of tables included."""

    def render_str(self, text: str, **options: Any) -> Text:
        return super().render_str(visible(text), **options)

    def on_broken_pipe(self) -> None:
        raise  # Rich would exit with status 1; `standard_output` has the right one


# Markup off: "[rec]" is the title of a film. Highlighting off: Rich would colour numbers inside titles.
stderr = _VisibleConsole(stderr=True, highlight=False, markup=False, emoji=False)
stdout = _VisibleConsole(highlight=False, markup=False, emoji=False)


# One for each console: a terminal has one last line.
_status_line = cache(StatusLine)


def _status() -> StatusLine | None:
    """The status line of standard error; None where that is no terminal that can move its cursor."""
    interactive = stderr.is_interactive and not stderr.is_dumb_terminal
    return _status_line(stderr) if interactive else None


@contextmanager
def waiting(title: str) -> Iterator[None]:
    """Show on a terminal what is waited for; print nothing elsewhere."""
    with nullcontext() if (line := _status()) is None else line.showing(one_line(title)):
        yield


class Narrator(ProgressReporter):
    """Prints steps and notes on standard error; counts on a status line, or every few seconds as notes."""

    def __init__(self) -> None:
        self._last_output = time.perf_counter()

    @contextmanager
    def step(self, title: str) -> Iterator[None]:
        started = self._last_output = time.perf_counter()
        stderr.print(f"{title} ...", style="bold")
        with waiting(title):
            yield
        stderr.print(f"  done in {time.perf_counter() - started:.1f} s")

    def note(self, text: str) -> None:
        self._last_output = time.perf_counter()
        stderr.print(f"  {text}", soft_wrap=True)

    def progress(self, title: str, done: int, total: int, unit: str = "rows") -> None:
        if (line := _status()) is not None:
            line.count(one_line(f"{title}: {total:,} {unit}"), done, total)
        elif time.perf_counter() - self._last_output > SECONDS_BETWEEN_COUNTS:
            self.note(f"{title}: {done:,}{f' of {total:,}' if total else ''} {unit}")


def import_tensorflow() -> None:
    """Import TensorFlow, with a status line for the seconds that it takes."""
    with waiting(STARTING):
        from tfrecall._tensorflow import tf

        tf.get_logger().setLevel("ERROR")  # warnings of retracing, which users cannot act on


def open_page(page: Path) -> None:
    """Open a page in the browser; its address is told where there is none."""
    address = page.resolve().as_uri()
    if not webbrowser.open(address):
        stderr.print(f"No browser was found. Open it yourself: {address}", soft_wrap=True)


def name_rivals(facts: dict[str, Any] | None) -> bool:
    """Print the baselines that are better than a model on standard error, and say whether there are any.

    Args:
        facts: `beaten_by` of `metrics.json` or of a manifest.
    """
    if not facts:
        return False
    from tfrecall.evaluation.rivals import Beaten  # all metrics with it, which most answers do without

    stderr.print(f"Warning: {Beaten(**facts)}", soft_wrap=True)
    return True


def opened(root: Path, trust: bool) -> Any:
    """Load a release; on a terminal, name the baselines that were better on the test rows of its run.

    Raises:
        ReleaseError: if it cannot be loaded.
    """
    with waiting(f"Open {root}"):
        from tfrecall.release import load  # with Polars, which takes a part of the wait

        release = load(root, trust=trust)
    if stderr.is_terminal:
        name_rivals(release.manifest.get("beaten_by"))
    return release


def show(answer: dict[str, Any], as_json: bool, *tables: Table | str) -> None:
    """Print an answer on standard output: one JSON object, or tables and sentences."""
    with standard_output():
        if as_json:
            print(json.dumps(answer, default=str))  # dates of item tables
            return
        for table in tables:
            if isinstance(table, str):
                stdout.print(table, soft_wrap=True)  # paths stay in one piece
                continue
            if table.title and cell_len(str(table.title)) > stdout.measure(table).maximum:
                # Rich would break it into lines as short as those of the table.
                stdout.print(str(table.title), style="table.title")
                table.title = None
            stdout.print(fitted(table, stdout.width))
