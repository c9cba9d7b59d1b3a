"""A status line at the bottom of a terminal: the present work, with the time left if known."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from io import UnsupportedOperation

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, SpinnerColumn, Task, TextColumn
from rich.table import Column
from rich.text import Text

BAR_WIDTH = 20
# A terminal with fewer columns shows the share alone.
WITHOUT_BAR = 60
# Columns of the spinner, of "100 %, 9:59:59 left" and of what is between.
BESIDE_TITLE = 24


class StatusLine:
    """Titles of nested work, of which the innermost is shown; gone when the outermost has ended.

    Args:
        console: an interactive console. What is printed on it meanwhile appears above the line.
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        self._titles: list[str] = []
        self._counted = ""

    @contextmanager
    def showing(self, title: str) -> Iterator[None]:
        """Shows a title, with the seconds since it began."""
        self._titles.append(title)
        try:
            if len(self._titles) > 1:
                self._begin(title)
                yield
            else:
                with _own_stream(self._console), _progress(self._console) as self._progress:
                    self._begin(title)
                    yield
        finally:
            self._titles.pop()
            if self._titles:
                self._begin(self._titles[-1])

    def count(self, title: str, done: int, total: int) -> None:
        """Shows a count as a bar in place of the title, until all is done."""
        if not self._titles or not total:
            return
        if done >= total:
            self._begin(self._titles[-1])
        elif title != self._counted:
            self._begin(title, total, done)
            self._counted = title
        else:
            self._progress.update(self._progress.task_ids[0], completed=done)

    def _begin(self, title: str, total: int | None = None, done: int = 0) -> None:
        """Replace the one task: that of Rich cannot lose its total."""
        self._counted = ""
        for task in self._progress.task_ids:
            self._progress.remove_task(task)
        shown = Text(title)
        bar = 0 if self._console.width < WITHOUT_BAR else BAR_WIDTH
        shown.truncate(max(1, self._console.width - BESIDE_TITLE - bar), overflow="ellipsis")
        self._progress.add_task(shown.plain, total=total, completed=done)


def _progress(console: Console) -> Progress:
    return Progress(
        SpinnerColumn("line"),  # ASCII, for terminals in other encodings
        TextColumn("{task.description}", markup=False, table_column=Column(no_wrap=True)),
        *([] if console.width < WITHOUT_BAR else [_Bar(bar_width=BAR_WIDTH)]),
        _Seconds(Column(no_wrap=True)),
        console=console,
        transient=True,
        refresh_per_second=4,
    )


@contextmanager
def _own_stream(console: Console) -> Iterator[None]:
    """Gives the console a descriptor of its own: standard error's is redirected while TensorFlow starts."""
    before = console._file
    try:
        copy = os.dup(console.file.fileno())
    except (OSError, UnsupportedOperation):  # a stream without a descriptor, which nothing redirects
        yield
        return
    with open(copy, "w", encoding=console.encoding, errors="backslashreplace") as stream:
        console.file = stream
        try:
            yield
        finally:
            console._file = before


class _Bar(BarColumn):
    """A bar where the total is known, else nothing."""

    def render(self, task: Task) -> Text:  # type: ignore[override]
        return Text() if task.total is None else super().render(task)  # type: ignore[return-value]


class _Seconds(ProgressColumn):
    """The time left where the total is known, else the time since the work began."""

    max_refresh = 0.5

    def render(self, task: Task) -> Text:
        if task.total is None:
            return Text(clock(task.elapsed or 0))
        left = task.time_remaining
        return Text(f"{task.percentage:.0f} %" + ("" if left is None else f", {clock(left)} left"))


def clock(seconds: float) -> str:
    """Minutes and seconds, or hours, minutes and seconds.

    >>> clock(7.4), clock(3725)
    ('0:07', '1:02:05')
    """
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
