"""Output of the commands: steps and notes on standard error, answers on standard output.

Ids, titles and messages of data reach a terminal only through the consoles here, which show control
characters escaped and interpret no markup.
"""

import json
import os
import re
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from tfrecall.cli.exits import standard_output
from tfrecall.core.progress import ProgressReporter

# C0 and C1 controls but newline and tab (colours, cursor, titles and links of terminals), marks and
# overrides of writing direction, invisible signs, surrogates, tags. Joiners (U+200C, U+200D) stay: words
# of Persian and families of emoji are written with them.
_HIDDEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u00ad\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff"
    "\ufff9-\ufffb\ud800-\udfff\U000e0000-\U000e007f]"
)
# Seconds without output after which a running step prints its progress.
SECONDS_BETWEEN_COUNTS = 5.0


def visible(text: str) -> str:
    r"""Escape characters that a terminal obeys or hides; newlines and tabs stay.

    >>> print(visible("\x1b[31mred\x1b[0m \u202etxt.exe"))
    \x1b[31mred\x1b[0m \u202etxt.exe
    """
    return _HIDDEN.sub(lambda found: found[0].encode("unicode_escape").decode("ascii"), text)


def one_line(value: object) -> str:
    r"""Text of a value for a table or its title, where newlines and tabs are escaped as well.

    >>> one_line("a\nb")
    'a\\nb'
    """
    return visible(str(value)).replace("\n", r"\n").replace("\t", r"\t")


class _VisibleConsole(Console):
    """A console that escapes every text, cells and titles of tables included."""

    def render_str(self, text: str, **options: Any) -> Text:
        return super().render_str(visible(text), **options)

    def on_broken_pipe(self) -> None:
        raise  # Rich would exit with status 1; `standard_output` has the right one


# Markup off: "[rec]" is the title of a film. Highlighting off: Rich would colour numbers inside titles.
stderr = _VisibleConsole(stderr=True, highlight=False, markup=False, emoji=False)
stdout = _VisibleConsole(highlight=False, markup=False, emoji=False)


class Narrator(ProgressReporter):
    """Prints steps, notes and, every few seconds, counts on standard error."""

    def __init__(self) -> None:
        self._last_output = time.perf_counter()

    @contextmanager
    def step(self, title: str) -> Iterator[None]:
        started = self._last_output = time.perf_counter()
        stderr.print(f"{title} ...", style="bold")
        yield
        stderr.print(f"  done in {time.perf_counter() - started:.1f} s")

    def note(self, text: str) -> None:
        self._last_output = time.perf_counter()
        stderr.print(f"  {text}", soft_wrap=True)

    def progress(self, title: str, done: int, total: int, unit: str = "rows") -> None:
        if time.perf_counter() - self._last_output > SECONDS_BETWEEN_COUNTS:
            self.note(f"{title}: {done:,}{f' of {total:,}' if total else ''} {unit}")


def import_tensorflow() -> None:
    """Import TensorFlow without the notes about CUDA and CPU features that it prints then.

    C++ writes them before any log level applies, so file descriptor 2 itself is redirected.
    """
    sys.stderr.flush()
    # `sys.stderr` writes through descriptor 2, so it is flushed first and works again after `dup2`.
    kept = os.dup(2)
    with open(os.devnull, "w") as nowhere:
        os.dup2(nowhere.fileno(), 2)
    try:
        import tensorflow as tf

        tf.get_logger().setLevel("ERROR")  # warnings of retracing, which users cannot act on
    finally:
        os.dup2(kept, 2)
        os.close(kept)


def show(answer: dict[str, Any], as_json: bool, *tables: Table | str) -> None:
    """Print an answer on standard output: one JSON object, or tables and sentences."""
    with standard_output():
        if as_json:
            print(json.dumps(answer, default=str))  # dates of item tables
            return
        for table in tables:
            stdout.print(table, soft_wrap=isinstance(table, str))  # paths stay in one piece
