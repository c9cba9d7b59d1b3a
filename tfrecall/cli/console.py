"""What the command line shows: steps and tables on standard error, answers on standard output."""

import json
import os
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.table import Table

from tfrecall.core.progress import ProgressReporter
from tfrecall.evaluation.summary import headline

# Titles and messages are shown as they are: "[rec]" is a film, not markup.
stderr = Console(stderr=True, highlight=False, markup=False, emoji=False)
stdout = Console(highlight=False, markup=False, emoji=False)

# A step that says nothing for so long says how far it has come.
SECONDS_BETWEEN_REPORTS = 5.0


class Narrator(ProgressReporter):
    """Prints steps, notes and, every few seconds, counts on standard error."""

    def __init__(self) -> None:
        self._last_word = time.perf_counter()

    @contextmanager
    def step(self, title: str) -> Iterator[None]:
        started = self._last_word = time.perf_counter()
        stderr.print(f"{title} ...", style="bold")
        yield
        stderr.print(f"  done in {time.perf_counter() - started:.1f} s")

    def note(self, text: str) -> None:
        self._last_word = time.perf_counter()
        stderr.print(f"  {text}", soft_wrap=True)

    def progress(self, title: str, done: int, total: int, unit: str = "rows") -> None:
        if time.perf_counter() - self._last_word > SECONDS_BETWEEN_REPORTS:
            self.note(f"{title}: {done:,}{f' of {total:,}' if total else ''} {unit}")


def import_tensorflow() -> None:
    """Imports TensorFlow without the notes about CUDA and CPU features that it prints then.

    They are written by C++ before any log level counts, so standard error itself is put aside.
    """
    sys.stderr.flush()
    kept = os.dup(2)
    with open(os.devnull, "w") as nowhere:
        os.dup2(nowhere.fileno(), 2)
    try:
        import tensorflow as tf

        tf.get_logger().setLevel("ERROR")  # of functions traced anew, which is no fault of a user's
    finally:
        os.dup2(kept, 2)
        os.close(kept)


def show(answer: dict[str, Any], as_json: bool, *tables: Table | str) -> None:
    """Prints an answer: as one JSON object, or as tables for people."""
    if as_json:
        print(json.dumps(answer, default=str))  # dates of item tables
        return
    for table in tables:
        stdout.print(table, soft_wrap=isinstance(table, str))  # paths stay in one piece


def metric_table(metrics: dict[str, Any]) -> Table:
    """The model beside its baselines, seen items removed and kept, the rule that leads first."""
    names = headline(metrics["test"]["seen_kept"], of_users=False)
    table = Table(title=f"{metrics['recipe']} on {metrics['data']['test_rows']:,} test rows")
    table.add_column("model", overflow="fold")
    table.add_column("seen")
    for name in names:
        table.add_column(_heading(name), justify="right")
    models = {metrics["model"]: metrics["test"], **metrics["baselines"]}
    leading = metrics.get("leading", "seen_removed")
    for rule in sorted(("seen_removed", "seen_kept"), key=lambda rule: rule != leading):
        for i, (model, rules) in enumerate(models.items()):
            cells = [f"{rules[rule][name]:.3f}" for name in names]
            last = i == len(models) - 1
            style = "bold" if i == 0 else ""
            table.add_row(model, rule.removeprefix("seen_"), *cells, style=style, end_section=last)
    return table


def ranking_table(metrics: dict[str, Any]) -> Table:
    """A ranker beside its baselines."""
    table = Table(title=f"{metrics['recipe']} on {metrics['data']['test_rows']:,} test rows")
    table.add_column("model")
    for name in metrics["test"]:
        table.add_column(name, justify="right")
    models = {metrics["model"]: metrics["test"], **metrics["baselines"]}
    for i, (model, figures) in enumerate(models.items()):
        cells = [f"{value:.4f}" for value in figures.values()]
        table.add_row(model, *cells, style="bold" if i == 0 else "")
    return table


def item_table(title: str, rows: Sequence[dict[str, Any]]) -> Table:
    """Items with their scores and columns."""
    table = Table(title=title, title_justify="left")
    columns = list(dict.fromkeys(name for row in rows for name in row))
    for column in columns:
        justify: Any = "right" if column == "score" else "left"
        table.add_column(
            _heading(column), justify=justify, overflow="fold"
        )  # names cut short are alike
    for row in rows:
        table.add_row(*(_cell(row.get(column)) for column in columns))
    return table


def _heading(name: str) -> str:
    """A metric on two lines, so that a table of several fits 80 columns."""
    return name.replace("@", "\n@")


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.3f}"
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value))
    return "" if value is None else str(value)
