"""Manifest of an index bundle: its schema, and how it is written, read and checked."""

import json
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from tfrecall.core.manifests import (
    Facts,
    FileFacts,
    check_facts_of,
    check_seal,
    describe,
    manifest_checksum,
    parse_manifest,
)
from tfrecall.errors import ReleaseError

FORMAT = "tfrecall.index"
FORMAT_VERSION = 1
MANIFEST = "manifest.json"


class AnnoyFacts(Facts):
    """An index of Annoy; settings and tuning are checked by the classes made of them."""

    metric: Literal["angular", "augmented_angular"]
    tuning: dict[str, Any]


class LibraryFacts(Facts):
    """An index of faiss or ScaNN; the same holds."""

    augmented: bool
    tuning: dict[str, Any]


class IndexFacts(Facts):
    """The schema of an index's manifest."""

    dimension: Annotated[int, Field(ge=1)]
    count: Annotated[int, Field(ge=1)]
    normalized: bool
    max_norm: float
    model: str | None
    annoy: AnnoyFacts | None
    # Manifests up to 0.9 lack what follows.
    faiss: LibraryFacts | None = None
    scann: LibraryFacts | None = None
    storage: Literal["float32", "bfloat16", "int8"] = "float32"
    # Plain names: a foreign manifest must not lead to files outside its directory.
    files: dict[Annotated[str, Field(pattern=r"^[^/\\]+$")], FileFacts]


def write_manifest(directory: Path, facts: dict[str, Any], files: list[str]) -> None:
    """Writes the manifest of a finished bundle.

    Args:
        directory: where the files lie.
        facts: further keys of the manifest, of JSON types.
        files: names of the files to describe by size and checksum.
    """
    manifest = {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        **facts,
        "files": {name: describe(directory / name) for name in files},
    }
    manifest["sha256"] = manifest_checksum(manifest)
    text = json.dumps(manifest, indent=2) + "\n"
    (directory / MANIFEST).write_text(text, encoding="utf-8")


def read_manifest(directory: Path, model: str | None) -> dict[str, Any]:
    """Reads and checks the manifest of a bundle.

    Args:
        directory: the bundle.
        model: the required fingerprint of the model; None to accept any.

    Raises:
        ReleaseError: if it is missing, no manifest, altered, of another format or of another model.
    """
    path = directory / MANIFEST
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise ReleaseError(
            f"{path} is missing, so {directory} is no index bundle. "
            "Pass the directory that `write_bundle` wrote."
        ) from error
    except UnicodeDecodeError as error:
        raise ReleaseError(f"{path} is truncated or altered: {error}. Export again.") from error
    except OSError as error:
        raise ReleaseError(f"{path} cannot be read: {error}. Check its permissions.") from error
    manifest = parse_manifest(text, path)
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        raise ReleaseError(f'{path} is foreign: it does not say "format": "{FORMAT}".')
    if manifest.get("format_version") != FORMAT_VERSION:
        raise ReleaseError(
            f"{path} has format version {manifest.get('format_version')!r}; this version of "
            f"tfrecall reads {FORMAT_VERSION}. Export again, or use the version that wrote it."
        )
    check_seal(path, manifest)
    check_facts_of(path, manifest, IndexFacts)
    if model is not None and manifest["model"] != model:
        raise ReleaseError(
            f"{path} belongs to another model: it was written for {manifest['model']!r}, asked for "
            f"is {model!r}. Export model and index together."
        )
    return manifest
