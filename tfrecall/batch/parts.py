"""Parts of a job over a release: where they are written, and the release that workers open."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tfrecall.core.storage import remove_unfinished, scratch_directory, staged_directory
from tfrecall.errors import ExportError
from tfrecall.release.base import Release
from tfrecall.release.loading import load

_OPEN: "dict[Opening, Release]" = {}


@dataclass(frozen=True)
class Opening:
    """What a worker opens a release by, so that all open the same version.

    Attributes:
        root: the release directory, absolute.
        version: number of the version.
        trust: as for `load`.
    """

    root: Path
    version: int
    trust: bool

    @classmethod
    def of(cls, release: Release, trust: bool) -> "Opening":
        return cls(release.root.absolute(), release.version, trust)

    def open(self) -> Release:
        """The release, loaded once a process; another one takes its place."""
        if self not in _OPEN:
            _OPEN.clear()
            _OPEN[self] = load(self.root, self.version, trust=self.trust)
        return _OPEN[self]

    @contextmanager
    def shared(self, release: Release) -> Iterator[None]:
        """Give tasks that run in this process the release that is open already."""
        _OPEN[self] = release
        try:
            yield
        finally:
            _OPEN.pop(self, None)


def part_name(place: int, parts: int) -> str:
    """File name of a part; sorted names are in the order of the parts."""
    return f"part-{place:05d}-of-{parts:05d}.parquet"


@contextmanager
def new_parts(out: Path) -> Iterator[tuple[Path, Path]]:
    """Give a directory for what workers read, and one for their parts that becomes `out` at the end.

    Raises:
        ExportError: if `out` exists, or cannot be written.
    """
    if out.exists():
        raise ExportError(f"{out} exists already. Name a new directory for the parts, or remove it.")
    try:
        # Both beside the target: workers see the file system of the target, and perhaps no other.
        target = out.absolute()
        asked = target.with_name(f"{target.name}.asked")
        with scratch_directory(asked) as scratch, staged_directory(target) as staged:
            yield scratch, staged
            remove_unfinished(staged)  # of workers that were killed
    except OSError as error:
        raise ExportError(
            f"{out} could not be written: {error}. Check the path, the permissions and the free space; "
            "nothing is there."
        ) from error
