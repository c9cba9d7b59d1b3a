"""The manifest of a release: facts about one version, and the check of its files against them."""

import hashlib
import json
import platform
from collections.abc import Iterable, Mapping
from contextlib import suppress
from datetime import datetime, timezone
from importlib.metadata import version as version_of
from pathlib import Path
from typing import Any

import numpy as np

from tfrecall.core.manifests import check_facts_of, check_file, check_seal, parse_manifest
from tfrecall.errors import ConfigError, ReleaseError
from tfrecall.release.facts import FACTS, Header
from tfrecall.release.parts import PARTS, unlisted

FORMAT = 1
MANIFEST = "manifest.json"
# The part with the documents of a run.
DOCUMENTS = "documents"
# The part with the state of a training, from which a warm start goes on; only trainers read it.
STATE = "state"
# Facts that each version has of its own; a reindexed version does not inherit them.
OF_THE_VERSION = ("format", "version", "kind", "created_at", "files", "sha256")
# Documents of version 0.4.0, stored in the release directory only.
_OLD_DOCUMENTS = ("metrics.json", "config.toml", "report.html")


def check_facts(facts: dict[str, Any] | None) -> None:
    """Refuse facts that a manifest cannot hold.

    Raises:
        ConfigError: if they cannot be written as JSON.
    """
    try:
        json.dumps(facts)
    except (TypeError, ValueError, RecursionError) as error:
        raise ConfigError(
            f"The manifest cannot hold these settings or `facts`: {error}. Give plain numbers, texts, "
            "lists and dictionaries."
        ) from error


def fingerprint(facts: Any, arrays: Iterable[np.ndarray]) -> str:
    """SHA-256 in hexadecimal of everything that determines a model's answers.

    Args:
        facts: settings and ids, as JSON can hold them.
        arrays: weights and vectors, in a fixed order.
    """
    digest = hashlib.sha256(json.dumps(facts, sort_keys=True).encode())
    for array in arrays:
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


def made_with(*packages: str) -> dict[str, str]:
    """Versions of Python and of some packages that made a release."""
    return {"python": platform.python_version(), **{name: version_of(name) for name in packages}}


def now() -> str:
    """Current time in UTC to the second, such as `2026-01-31T12:00:00+00:00`."""
    return datetime.now(timezone.utc).isoformat(timespec="seconds")


def documents(root: Path, manifest: dict[str, Any]) -> dict[str, str]:
    """Documents that a run added to its model, by file name; empty for a release without a run.

    Args:
        root: the release directory.
        manifest: of one version. A release of 0.4.0 keeps documents of its current version only, and has
            none where a killed export left those of another version.
    """
    beginning = f"{DOCUMENTS}/{manifest['version']}/"
    texts = _texts(root / name for name in manifest["files"] if name.startswith(beginning))
    if not texts and _is_current(root, manifest):
        texts = _old_documents(root)
        return texts if _are_of(texts, manifest) else {}
    return texts


def has_foreign_documents(root: Path, manifest: dict[str, Any]) -> bool:
    """Whether a killed export of version 0.4.0 left documents of another version beside the current one."""
    inside = any(name.startswith(f"{DOCUMENTS}/") for name in manifest["files"])
    texts = {} if inside else _old_documents(root)
    return bool(texts) and not _are_of(texts, manifest)


def check_documents(root: Path, manifest: dict[str, Any]) -> None:
    """Refuse a release whose documents a killed export of version 0.4.0 left beside another version.

    Raises:
        ReleaseError: naming the version that they are not of.
    """
    if has_foreign_documents(root, manifest):
        raise ReleaseError(
            f"metrics.json, config.toml or report.html in {root} are not those of version "
            f"{manifest['version']}: an export of tfrecall 0.4 was killed between them. Move them away, or run "
            "again."
        )


def inherited(manifest: dict[str, Any]) -> dict[str, Any]:
    """Facts that a version made from another one has of it, keys unknown here too."""
    return {key: value for key, value in manifest.items() if key not in OF_THE_VERSION}


def _texts(files: Iterable[Path]) -> dict[str, str]:
    texts = {}
    for file in files:
        with suppress(OSError, UnicodeDecodeError):
            texts[file.name] = file.read_text("utf-8")
    return texts


def _old_documents(root: Path) -> dict[str, str]:
    # No manifest lists them, so a link could show any file of the reader's.
    return _texts(file for name in _OLD_DOCUMENTS if not (file := root / name).is_symlink())


def _are_of(texts: Mapping[str, str], manifest: dict[str, Any]) -> bool:
    """Whether documents of the release directory are those of a version, by the figures that both hold."""
    # Version 0.4.0 replaced `metrics.json` first, so it tells for the others, too.
    try:
        metrics = json.loads(texts["metrics.json"])
        told = {key: metrics[key] for key in ("version", "test") if key == "version" or key in manifest}
    except (KeyError, TypeError, ValueError, RecursionError):
        return False
    # As texts: NaN among figures equals itself.
    known = {key: manifest[key] for key in told}
    return json.dumps(told, sort_keys=True) == json.dumps(known, sort_keys=True)


def _is_current(root: Path, manifest: dict[str, Any]) -> bool:
    try:
        return read_manifest(root)["version"] == manifest["version"]
    except ReleaseError:
        return False


def read_manifest(root: Path, version: int | None = None) -> dict[str, Any]:
    """Read the manifest of a version and check its header, but not the facts of its kind.

    Args:
        root: the release directory.
        version: None for the current one.

    Raises:
        ReleaseError: if there is no release or no such version, or if its manifest is damaged, altered or
            of another format.
    """
    file = root / MANIFEST if version is None else manifest_file(root, version)
    try:
        text = file.read_text("utf-8")
    except FileNotFoundError as error:
        present = ", ".join(map(str, versions(root))) or "none"
        what = "release" if version is None else f"version {version} of a release"
        raise ReleaseError(
            f"There is no {what} at {root}: {file} is missing. Versions there: {present}. Write one with "
            "`tfrecall run` or `tfrecall.export`."
        ) from error
    except (OSError, ValueError) as error:  # ValueError: bytes that are no UTF-8, a path with NUL
        raise ReleaseError(f"{file} cannot be read: {error}. Export again.") from error
    manifest = parse_manifest(text, file)
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        received = manifest.get("format") if isinstance(manifest, dict) else None
        raise ReleaseError(
            f"{file} is of format {received!r:.100}; this version of tfrecall reads format {FORMAT}. Export "
            "again."
        )
    check_seal(file, manifest)
    check_facts_of(file, manifest, Header)
    if version not in (None, manifest["version"]):
        raise ReleaseError(
            f"{file} is foreign: it belongs to version {manifest['version']}. Copy it again."
        )
    return manifest


def kind_of(manifest: Mapping[str, Any]) -> str:
    """The kind of a release; the first releases, of retrievers, do not name it."""
    return manifest.get("kind") or "retriever"


def check_kind(root: Path, manifest: dict[str, Any]) -> str:
    """Check the facts and parts that a release of its kind must have, and return the kind.

    Raises:
        ReleaseError: naming the place in the manifest that is missing or of another type.
    """
    kind, file = kind_of(manifest), manifest_file(root, manifest["version"])
    check_facts_of(file, manifest, FACTS[kind])
    listed = {name.split("/")[0] for name in manifest["files"]}
    # A part without listed files would be read unchecked.
    if missing := [part for part in PARTS[kind] if part not in listed]:
        raise ReleaseError(
            f"{file} is damaged or foreign at files: a {kind} has files in {', '.join(PARTS[kind])}, and none "
            f"is listed in {', '.join(missing)}. Export again."
        )
    if absent := unlisted(kind, manifest):
        more = f" and {len(absent) - 1} more" if len(absent) > 1 else ""
        raise ReleaseError(
            f"{file} is damaged or foreign at files: a {kind} has {absent[0]}{more}, and the manifest does not "
            "list it. Export again."
        )
    return kind


def manifest_file(root: Path, version: int) -> Path:
    """Path of the manifest of a version, current or not."""
    return root / "manifests" / f"{version}.json"


def versions(root: Path) -> list[int]:
    """The versions that were published, oldest first."""
    files = (root / "manifests").glob("*.json")
    return sorted(int(file.stem) for file in files if file.stem.isdecimal())


def check_files(root: Path, manifest: dict[str, Any], *, contents: bool = True) -> None:
    """Compare every file with the manifest.

    A checksum finds damage and parts that were mixed up. It is no signature: an author of a release can
    write any file and the checksum that goes with it.

    Args:
        root: the release directory.
        manifest: of the version to check.
        contents: whether to compare checksums, which reads every file; sizes are always compared.

    Raises:
        ReleaseError: naming the first file that is missing, unreadable, truncated, altered, or lies among
            the others without being listed.
    """
    for name, facts in manifest["files"].items():
        check_file(root / name, facts, contents=contents)
    version = str(manifest["version"])
    for part in dict.fromkeys(name.split("/")[0] for name in manifest["files"]):
        for file in (root / part / version).rglob("*"):
            # Hidden files are the desktop's or the file system's; nothing here reads them.
            if file.name.startswith(".") or not file.is_file():
                continue
            if file.relative_to(root).as_posix() not in manifest["files"]:
                raise ReleaseError(
                    f"{file} is foreign: the manifest does not list it. Remove it, or copy the release again."
                )


def check_links(root: Path, manifest: dict[str, Any]) -> None:
    """Refuse files that lie elsewhere: through links a release could show whatever its reader may read.

    The release directory itself may be a link, and links within it are fine.

    Args:
        root: the release directory.
        manifest: of the version to check.

    Raises:
        ReleaseError: naming the first file that a link leads out of the directory.
    """
    inside = root.resolve()
    for name in manifest["files"]:
        if not (root / name).resolve().is_relative_to(inside):
            raise ReleaseError(
                f"{root / name} is a link out of the release directory, or lies behind one. Copy the files, "
                "or trust the release: `trust=True`, on the command line `--trust`."
            )
