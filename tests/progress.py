"""A progress reporter that keeps what it receives."""

from tfrecall.core.progress import ProgressReporter


class RecordedProgress(ProgressReporter):
    """Notes as texts, counts as tuples of title, done, total and unit."""

    def __init__(self) -> None:
        self.notes: list[str] = []
        self.counts: list[tuple[str, int, int, str]] = []

    def note(self, text: str) -> None:
        self.notes.append(text)

    def progress(self, title: str, done: int, total: int, unit: str = "rows") -> None:
        self.counts.append((title, done, total, unit))
