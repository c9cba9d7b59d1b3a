"""A release on disk: versions beside each other, and one manifest that says which one answers.

    manifest.json            the current version: a copy of manifests/<version>.json
    manifests/<version>.json what that version is, and size and SHA-256 of each of its files
    query/<version>/         SavedModel: raw query features -> vector
    candidate/<version>/     SavedModel: raw candidate features -> vector
    retrieval/<version>/     SavedModel: raw query features -> best candidates
    index/<version>/         vectors, ids, Annoy's trees
    context/<version>/       what is known of users and items: features, histories, item columns
    metrics.json, config.toml, report.html, of the current version

A baseline has `context/` and `scorer/<version>/`, the arrays that its scores are made of, instead. A
ranker has `context/` and `ranker/<version>/`, a SavedModel: raw query and candidate features -> score.
A pipeline has the parts of a retriever, `ranker/`, what that knows of users and items in
`ranker_context/<version>/`, and `pipeline/<version>/`, a SavedModel: raw query features -> final list.

`query/`, `candidate/` and `retrieval/` are what TF Serving takes as a model's base path. A version is
written into a temporary directory and its parts are renamed into place; it counts from the moment that
`manifest.json` is replaced, which is one atomic step. Earlier versions stay as they are.
"""

import json
import os
import shutil
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

from tfrecall.core.storage import LOCK, describe, locked, manifest_checksum, write_atomically
from tfrecall.errors import ExportError, ReleaseError
from tfrecall.release.manifest import FORMAT, MANIFEST, manifest_file, read_manifest, versions

PARTS = ("query", "candidate", "retrieval", "index", "context")
RANKER_PARTS = ("ranker", "context")
PIPELINE_PARTS = (*PARTS, "ranker", "ranker_context", "pipeline")
# Whatever any version may consist of.
_ALL_PARTS = (*PIPELINE_PARTS, "scorer")
# Names the version whose parts are being moved, so that what a killed process moved is found again.
_JOURNAL = ".publishing"
_UNFINISHED = ".unfinished-"

# Texts to publish with a version, by file name, made from its whole manifest.
Documents = Callable[[dict[str, Any]], dict[str, str]]


@contextmanager
def unfinished(root: Path) -> Iterator[Path]:
    """A temporary directory inside the release directory, gone afterwards whatever happens.

    What a killed process left behind is removed on the way. A release directory that was not there
    and is still empty in the end goes, too.

    Raises:
        ExportError: if it cannot be made.
    """
    directory = root / f"{_UNFINISHED}{uuid.uuid4().hex[:12]}"
    with ExitStack() as undo:
        try:
            if not root.exists():
                undo.callback(_remove_if_empty, root)
            root.mkdir(parents=True, exist_ok=True)
            with locked(root):
                _remove_leftovers(root)
                undo.callback(shutil.rmtree, directory, ignore_errors=True)
                directory.mkdir()
                undo.enter_context(locked(directory))
        except OSError as error:
            raise ExportError(
                f"The release directory {root} cannot be written: {error}. Choose another with `--out`."
            ) from error
        yield directory


def publish(
    root: Path,
    directory: Path,
    manifest: dict[str, Any],
    documents: Documents | None = None,
    parts: Sequence[str] = PARTS,
) -> dict[str, Any]:
    """Makes the parts in a temporary directory the next version.

    One process at a time publishes; others wait. No version number is used twice, not even that of a
    version that a killed process left half-published.

    Args:
        root: the release directory.
        directory: from `unfinished`; holds one subdirectory a part.
        manifest: what the version says of itself, but for format, version and files.
        documents: what to write beside `manifest.json`.
        parts: what the version consists of.

    Returns:
        The whole manifest.

    Raises:
        ExportError: if it cannot be written; the version before stays in place.
    """
    try:
        files = _describe_files(directory, parts)
        with locked(root):
            version = 1 + max([*versions(root), *_part_versions(root)], default=0)
            _discard_killed(root)
            manifest = _complete(manifest, version, files)
            _install(root, directory, parts, manifest, documents(manifest) if documents else {})
    except OSError as error:
        raise ExportError(
            f"The next version could not be written to {root}: {error}. Check the permissions and the "
            "free space there. The version before is untouched."
        ) from error
    return manifest


def _complete(manifest: dict[str, Any], version: int, files: dict[str, Any]) -> dict[str, Any]:
    named = {
        "/".join([part, str(version), name]): facts
        for part, described in files.items()
        for name, facts in described.items()
    }
    whole = {"format": FORMAT, "version": version, **manifest, "files": named}
    return {**whole, "sha256": manifest_checksum(whole)}


def _install(
    root: Path,
    directory: Path,
    parts: Sequence[str],
    manifest: dict[str, Any],
    documents: dict[str, str],
) -> None:
    """Moves everything into place, `manifest.json` last; back again if that fails."""
    version, text = manifest["version"], json.dumps(manifest, indent=2)
    journal = root / _JOURNAL
    with ExitStack() as undo:
        undo.callback(journal.unlink, missing_ok=True)
        journal.write_text(str(version), "utf-8")
        try:
            undo_documents = undo.enter_context(ExitStack())
            for part in parts:
                (root / part).mkdir(exist_ok=True)
                os.rename(directory / part, root / part / str(version))
            write_atomically(manifest_file(root, version), text)
            for name, document in documents.items():
                _keep(root / name, directory, undo_documents)
                write_atomically(root / name, document)
            write_atomically(root / MANIFEST, text)
            undo_documents.pop_all()
        except BaseException:
            # An interruption may come after the step that counts.
            if _is_current(root, text):
                undo_documents.pop_all()
            else:
                _discard(root, version)
            raise


def _keep(file: Path, directory: Path, undo: ExitStack) -> None:
    """Sees to it that a file becomes again what it is now, even if the disk is full then."""
    if file.exists():
        undo.callback(os.replace, shutil.copy2(file, directory / file.name), file)
    else:
        undo.callback(file.unlink, missing_ok=True)


def _is_current(root: Path, text: str) -> bool:
    try:
        return (root / MANIFEST).read_text("utf-8") == text
    except (OSError, UnicodeDecodeError):
        return False


def _discard(root: Path, version: int) -> None:
    manifest_file(root, version).unlink(missing_ok=True)
    for part in _ALL_PARTS:
        shutil.rmtree(root / part / str(version), ignore_errors=True)
    # What the first export made and did not fill.
    for name in (*_ALL_PARTS, "manifests"):
        with suppress(OSError):
            (root / name).rmdir()


def _discard_killed(root: Path) -> None:
    """Removes what a process moved that was killed before its version counted."""
    journal = root / _JOURNAL
    if journal.exists():
        version = journal.read_text("utf-8")
        if version.isdecimal() and int(version) != _current_version(root):
            _discard(root, int(version))
        journal.unlink()


def _current_version(root: Path) -> int | None:
    try:
        return read_manifest(root)["version"]
    except ReleaseError:
        return None


def _describe_files(directory: Path, parts: Sequence[str]) -> dict[str, dict[str, dict[str, Any]]]:
    """For each part the size and checksum of its files."""
    return {
        part: {
            file.relative_to(directory / part).as_posix(): describe(file)
            for file in sorted(path for path in (directory / part).rglob("*") if path.is_file())
        }
        for part in parts
    }


def _part_versions(root: Path) -> list[int]:
    """Versions of parts, published or left behind by a killed process."""
    names = (path.name for part in _ALL_PARTS for path in (root / part).glob("*"))
    return [int(name) for name in names if name.isdecimal()]


def _remove_leftovers(root: Path) -> None:
    """Removes the temporary directories that nobody holds; to be called with the lock of the root."""
    for directory in root.glob(f"{_UNFINISHED}*"):
        # Held by another, or just removed by one who is done.
        with suppress(OSError), locked(directory, wait=False):
            shutil.rmtree(directory, ignore_errors=True)


def _remove_if_empty(root: Path) -> None:
    with suppress(OSError), locked(root):
        if [path.name for path in root.iterdir()] == [LOCK]:
            (root / LOCK).unlink()
            root.rmdir()
