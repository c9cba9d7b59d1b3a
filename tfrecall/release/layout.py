"""A release on disk: versions side by side, and one manifest that names the current one.

    manifest.json            the current version: a copy of manifests/<version>.json
    manifests/<version>.json facts of the version, and size and SHA-256 of each of its files
    query/<version>/         SavedModel: raw query features -> vector
    candidate/<version>/     SavedModel: raw candidate features -> vector
    retrieval/<version>/     SavedModel: raw query features -> best candidates
    index/<version>/         vectors, ids, Annoy's trees
    context/<version>/       features and histories of users, columns of items
    documents/<version>/     of a run: metrics.json, config.toml, report.html
    state/<version>/         of a run that keeps it: weights and optimizer, for a warm start
    metrics.json, ...        copies of the current version's documents

A baseline has `context/` and `scorer/<version>/`, the arrays of its scores, instead. A ranker has
`context/` and `ranker/<version>/`, a SavedModel: raw query and candidate features -> score. A pipeline has
the parts of a retriever, `ranker/`, the ranker's users and items in `ranker_context/<version>/`, and
`pipeline/<version>/`, a SavedModel: raw query features -> final list.

`query/`, `candidate/` and `retrieval/` are base paths for TF Serving. A version is written into a scratch
directory and its parts are renamed into place; it counts from the moment `manifest.json` is replaced, one
atomic step. The copies of its documents follow; `.publishing` names the version until they are there, so
that the next `load` or writer finishes, or undoes, the work of a killed process. Earlier versions stay.
"""

import json
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import polars as pl

from tfrecall.core.manifests import describe, manifest_checksum
from tfrecall.core.storage import (
    LOCK,
    atomic_file,
    locked,
    make_directory,
    remove_unfinished,
    scratch_directory,
    sync_directory,
    sync_tree,
    write_atomically,
)
from tfrecall.errors import ConfigError, ExportError, ReleaseError, TfrecallError
from tfrecall.release.manifest import (
    DOCUMENTS,
    FORMAT,
    MANIFEST,
    STATE,
    check_files,
    manifest_file,
    now,
    read_manifest,
    versions,
)
from tfrecall.release.parts import PARTS

# Parts of all kinds of versions.
_ALL_PARTS = (*PARTS["pipeline"], *PARTS["baseline"], DOCUMENTS, STATE)
# Holds the number of the version that is being published; removed after the last step.
_JOURNAL = ".publishing"
# In the journal instead of a number: the current version changes to one that is there already.
_SHOW = "current"
# Prefix of the names of scratch directories, before the number of the version.
_VERSION = "version-"


class StagedRelease:
    """The next version of a release in the making. Made by `stage`.

    Attributes:
        root: the release directory.
        directory: a scratch directory, for one subdirectory a part.
        version: the number that the version will have.
        manifest: facts of the version; None before `describe`.
    """

    def __init__(self, root: Path, directory: Path, version: int) -> None:
        self.root = root
        self.directory = directory
        self.version = version
        self.manifest: dict[str, Any] | None = None
        self.parts: tuple[str, ...] = ()

    def describe(self, kind: str, facts: Mapping[str, Any]) -> dict[str, Any]:
        """Set the facts of the manifest, without which nothing is published.

        Args:
            kind: `retriever`, `baseline`, `ranker` or `pipeline`, which says the subdirectories of the version.
            facts: entries of the manifest beyond format, version, kind, time and files.

        Returns:
            The manifest so far, for documents about it.
        """
        head = {"format": FORMAT, "version": self.version, "kind": kind, "created_at": now()}
        self.manifest = {**head, **facts}
        self.parts = PARTS[kind]
        return self.manifest

    def write(self, name: str, text: str) -> None:
        """Add a document to the version; the release directory shows those of its current version.

        Args:
            name: of the file, such as `metrics.json`.
            text: its contents.

        Raises:
            ConfigError: if the name is that of the manifest or of a part, or no plain file name.
        """
        taken = (MANIFEST, "manifests", *_ALL_PARTS)
        if name in ("", *taken) or name.startswith(".") or Path(name).name != name:
            raise ConfigError(f'A document cannot be called "{name}". Give a plain file name.')
        folder = self.directory / DOCUMENTS
        folder.mkdir(exist_ok=True)
        (folder / name).write_text(text, "utf-8")


@contextmanager
def stage(root: str | Path) -> Iterator[StagedRelease]:
    """Publish the next version of a release when the block ends well.

    The block fills the directory and calls `describe`; otherwise nothing is published. Whatever fails, the
    version before stays current and nothing is left behind; a release directory that was made for this
    goes, too. Exporters at the same time have different numbers; of these the largest becomes current.

    Args:
        root: the release directory.

    Raises:
        ExportError: if it cannot be written.

    Example:

    >>> import tempfile
    >>> root = Path(tempfile.mkdtemp())
    >>> with stage(root) as staged:
    ...     for part in ("context", "scorer"):
    ...         (staged.directory / part).mkdir()
    ...         _ = (staged.directory / part / "numbers").write_text("0.5")
    ...     staged.write("metrics.json", "{}")
    ...     _ = staged.describe("baseline", {"model": {}})
    >>> staged.version, sorted(path.name for path in root.glob("[a-z]*"))
    (1, ['context', 'documents', 'manifest.json', 'manifests', 'metrics.json', 'scorer'])
    """
    root = Path(root)
    with ExitStack() as undo:
        try:
            if not root.exists():
                undo.callback(_remove_if_empty, root)
            make_directory(root)
            with locked(root):
                finish_publishing(root)
                version = _next_version(root)
                directory = undo.enter_context(scratch_directory(root / f"{_VERSION}{version}"))
        except OSError as error:
            raise ExportError(
                f"The release directory {root} cannot be written: {error}. Choose another with `--out`."
            ) from error
        staged = StagedRelease(root, directory, version)
        try:
            yield staged
            if staged.manifest is not None:
                _publish(staged, staged.manifest)
        except TfrecallError:
            raise
        except (OSError, pl.exceptions.PolarsError) as error:
            raise ExportError(
                f"The release could not be written to {root}: {error}. Check the permissions and the free "
                "space there. The version before is untouched."
            ) from error


def check_writable(root: str | Path) -> None:
    """Refuse a release directory that cannot be written, before work is spent on it.

    Raises:
        ExportError: naming the directory and the cause.
    """
    with stage(root):
        pass


def previous_version(root: Path) -> int:
    """The newest version before the current one.

    Raises:
        ReleaseError: if there is none.
    """
    current = read_manifest(root)["version"]
    earlier = [number for number in versions(root) if number < current]
    if not earlier:
        raise ReleaseError(
            f"{root} has no version before its current one, version {current}. There are: "
            f"{', '.join(map(str, versions(root)))}."
        )
    return earlier[-1]


def make_current(root: str | Path, version: int | None = None) -> int:
    """Make a version that was published earlier, or later, the current one.

    Its files are checked first. Services change to it at their next look; no version is removed.

    Args:
        root: the release directory.
        version: its number; None for the one before the current one.

    Returns:
        The number of the version that is current now.

    Raises:
        ReleaseError: if there is no such version, or it is damaged.
        ExportError: if the directory cannot be written.
    """
    root = Path(root)
    try:
        version = previous_version(root) if version is None else version
        check_files(root, read_manifest(root, version))
        with locked(root):
            finish_publishing(root)
            # With this the next writer shows the documents of whatever is current then.
            write_atomically(root / _JOURNAL, _SHOW)
            write_atomically(root / MANIFEST, manifest_file(root, version).read_text("utf-8"))
            finish_publishing(root)
    except OSError as error:
        raise ExportError(
            f"Version {version} of {root} could not be made current: {error}. Check the permissions and the "
            "free space there."
        ) from error
    return version


def finish_publishing(root: Path) -> None:
    """Finish or undo the publication of a killed process. The caller holds the lock of the root.

    A version that is current already gets the copies of its documents; otherwise all its parts are removed.

    Raises:
        OSError: if the directory cannot be written.
    """
    journal = root / _JOURNAL
    if journal.exists():
        text = journal.read_text("utf-8")
        # The journal is complete before anything moves, so an unreadable one stands for no moved part.
        if text == _SHOW:
            current = _current_version(root)
            if current is not None:
                _show_documents(root, current)
        elif text.isdecimal():
            if int(text) == _current_version(root):
                _show_documents(root, int(text))
            else:
                _discard(root, int(text))
        journal.unlink()
    for folder in (root, root / "manifests"):
        remove_unfinished(folder)
    _remove_leftovers_of_0_4(root)


def was_killed(root: Path) -> bool:
    """Whether a process is publishing here, or was killed while it did."""
    # No error of a path that is none, such as one that is too long: reading the manifest has a better one.
    return os.path.exists(root / _JOURNAL)


def _publish(staged: StagedRelease, facts: dict[str, Any]) -> None:
    parts = [*staged.parts, *(p for p in (DOCUMENTS, STATE) if (staged.directory / p).exists())]
    files = _describe_files(staged.directory, staged.version, parts)
    manifest = {**facts, "files": files}
    manifest["sha256"] = manifest_checksum(manifest)
    # To disk before the lock is taken: it is the slow step, and other exporters need not wait for it.
    for part in parts:
        sync_tree(staged.directory / part)
    with locked(staged.root):
        finish_publishing(staged.root)
        _install(staged, parts, json.dumps(manifest, indent=2))
    staged.manifest = manifest


def _install(staged: StagedRelease, parts: Sequence[str], text: str) -> None:
    """Move all parts into place, `manifest.json` last; undo it on failure."""
    root, version = staged.root, staged.version
    current = _current_version(root)
    # Another exporter that started later may be done already: then its larger number stays current.
    becomes_current = current is None or version > current
    journal = root / _JOURNAL
    try:
        write_atomically(journal, str(version))
        for part in parts:
            make_directory(root / part)
            os.rename(staged.directory / part, root / part / str(version))
            sync_directory(root / part)
        write_atomically(manifest_file(root, version), text)
        if becomes_current:
            write_atomically(root / MANIFEST, text)
            _show_documents(root, version)
        journal.unlink()
    except BaseException as error:
        # The disk decides, not the line that failed: an interrupt may come right after the rename.
        if not _is_current(root, text):
            _discard(root, version)
            journal.unlink(missing_ok=True)
        elif isinstance(error, OSError):  # after the step that counts: the next load does the rest
            raise ExportError(
                f"Version {version} is published, but the copies of its documents in {root} could not be "
                f"written: {error}. They lie in {root / DOCUMENTS / str(version)}."
            ) from error
        raise


def _show_documents(root: Path, version: int) -> None:
    """Copy the documents of a version to the release directory; foreign files stay."""
    # Over the documents of all versions, so that one that this version lacks disappears.
    for name in sorted({path.name for path in (root / DOCUMENTS).glob("*/*")}):
        document = root / DOCUMENTS / str(version) / name
        if document.is_file():
            with atomic_file(root / name) as stream:
                stream.write(document.read_bytes())
        else:
            (root / name).unlink(missing_ok=True)


def _is_current(root: Path, text: str) -> bool:
    try:
        return (root / MANIFEST).read_text("utf-8") == text
    except (OSError, UnicodeDecodeError):
        return False


def _discard(root: Path, version: int) -> None:
    manifest_file(root, version).unlink(missing_ok=True)
    for part in _ALL_PARTS:
        shutil.rmtree(root / part / str(version), ignore_errors=True)
    # Directories of parts that the first export created and left empty; `rmdir` refuses the others.
    for name in (*_ALL_PARTS, "manifests"):
        with suppress(OSError):
            (root / name).rmdir()


def _current_version(root: Path) -> int | None:
    try:
        return read_manifest(root)["version"]
    except ReleaseError:
        return None


def _describe_files(
    directory: Path, version: int, parts: Sequence[str]
) -> dict[str, dict[str, int | str]]:
    """Size and checksum of each file, by its later path in the release directory."""
    return {
        f"{part}/{version}/{file.relative_to(directory / part).as_posix()}": describe(file)
        for part in parts
        for file in sorted(path for path in (directory / part).rglob("*") if path.is_file())
    }


def _next_version(root: Path) -> int:
    """Choose a number that no version, leftover part or live exporter has; under the lock of the root."""
    # Scratch directories are called `.version-7.<random>`.
    parts = (path.name for part in _ALL_PARTS for path in (root / part).glob("*"))
    staged = (path.name.split(".")[1] for path in root.glob(f".{_VERSION}*.*"))
    names = [*parts, *(name.removeprefix(_VERSION) for name in staged)]
    return 1 + max([*versions(root), *(int(name) for name in names if name.isdecimal())], default=0)


def _remove_leftovers_of_0_4(root: Path) -> None:
    """Remove temporary files of killed processes of version 0.4.0, which had other names."""
    for name in (MANIFEST, "metrics.json", "config.toml", "report.html"):
        for file in root.glob(f".{name}.{'[0-9a-f]' * 8}"):
            file.unlink(missing_ok=True)  # written with the lock of the root, so its writer is gone
    for directory in root.glob(".unfinished-*"):
        # Held by another, or just removed by its owner.
        with suppress(OSError), locked(directory, wait=False):
            shutil.rmtree(directory, ignore_errors=True)


def _remove_if_empty(root: Path) -> None:
    with suppress(OSError), locked(root):
        if [path.name for path in root.iterdir()] == [LOCK]:
            (root / LOCK).unlink()
            root.rmdir()
