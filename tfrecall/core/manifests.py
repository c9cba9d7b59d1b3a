"""Manifests: JSON files with facts about a directory, checksums of its files and one of themselves."""

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from tfrecall.errors import ReleaseError, TfrecallError

_PIECE_BYTES = 1 << 20
_Made = TypeVar("_Made")


class Facts(BaseModel):
    """Facts of a manifest: types are exact, unknown keys of later versions are allowed."""

    model_config = ConfigDict(strict=True, extra="allow", protected_namespaces=())


_Facts = TypeVar("_Facts", bound=Facts)


@dataclass(frozen=True)
class Owner:
    """The kind of directory that a manifest describes, for errors.

    Attributes:
        error: class of errors about it.
        again: the command that makes it anew, without a full stop.
    """

    error: type[TfrecallError]
    again: str


RELEASE = Owner(ReleaseError, "Export again")


class FileFacts(Facts):
    """Size and checksum of a file."""

    bytes: int
    sha256: str


def sha256(stream: IO[bytes]) -> str:
    """Checksum of the rest of a stream, read in pieces."""
    digest = hashlib.sha256()
    while piece := stream.read(_PIECE_BYTES):
        digest.update(piece)
    return digest.hexdigest()


def file_sha256(file: Path) -> str:
    """Checksum of the contents of a file."""
    with file.open("rb") as stream:
        return sha256(stream)


def describe(file: Path) -> dict[str, Any]:
    """Size and checksum of a file, for a manifest."""
    return {"bytes": file.stat().st_size, "sha256": file_sha256(file)}


def check_file(
    file: Path, facts: Mapping[str, Any], *, contents: bool = True, owner: Owner = RELEASE
) -> None:
    """Compares a file with its description.

    Args:
        file: the file.
        facts: the description, from `describe`.
        contents: whether to compare checksums, which reads the file; sizes are always compared.
        owner: the kind of directory.

    Raises:
        TfrecallError: the owner's, naming the file that is missing, unreadable, truncated or altered.
    """
    again = f"{owner.again} or copy it again."
    try:
        if not file.is_file():
            raise owner.error(f"{file} is missing. {again}")
        # The size first: it costs nothing, and a truncated copy, the usual damage, is then named as such.
        size = file.stat().st_size
        if size != facts["bytes"]:
            raise owner.error(
                f"{file} is truncated or altered: it has {size} bytes where the manifest says "
                f"{facts['bytes']}. {again}"
            )
        altered = contents and file_sha256(file) != facts["sha256"]
    except OSError as error:
        raise owner.error(f"{file} cannot be read: {error}. Check its permissions.") from error
    if altered:
        raise owner.error(f"{file} was altered: its SHA-256 differs from the manifest. {again}")


def manifest_checksum(manifest: dict[str, Any]) -> str:
    """SHA-256 of a manifest without its own key `sha256`, the same however the file is indented."""
    rest = {key: value for key, value in manifest.items() if key != "sha256"}
    # A round trip through JSON first: tuples, integer keys and floats are then what a reader will get.
    # Sorted keys: a tool that rewrites the file in another order does not break the seal.
    text = json.dumps(json.loads(json.dumps(rest)), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def parse_manifest(text: str, file: Path, owner: Owner = RELEASE) -> Any:
    """Parses the JSON of a manifest, without a check of its contents.

    Args:
        text: JSON.
        file: names the file in errors.
        owner: the kind of directory.

    Raises:
        TfrecallError: the owner's, if it is no JSON, or nested too deep to be a manifest.
    """
    try:
        return json.loads(text)
    except RecursionError as error:
        raise owner.error(f"{file} is nested too deep for a manifest. {owner.again}.") from error
    except ValueError as error:
        raise owner.error(f"{file} is truncated or altered: {error}. {owner.again}.") from error


def check_seal(file: Path, manifest: dict[str, Any], owner: Owner = RELEASE) -> None:
    """Refuses a manifest without the checksum of its own contents.

    Raises:
        TfrecallError: the owner's.
    """
    if not is_sealed(manifest):
        raise owner.error(
            f"{file} was altered: its checksum is another one. {owner.again} or copy it again."
        )


def is_sealed(manifest: dict[str, Any]) -> bool:
    """Whether a manifest has the checksum of its own contents."""
    try:
        return manifest.get("sha256") == manifest_checksum(manifest)
    except (RecursionError, ValueError):  # surrogates have no UTF-8
        return False


def check_facts_of(
    file: Path, manifest: dict[str, Any], facts: type[_Facts], owner: Owner = RELEASE
) -> _Facts:
    """Checks a manifest against its schema before anything is read from it, and gives what it holds.

    Args:
        file: the manifest, for errors.
        manifest: its contents.
        facts: the schema.
        owner: the kind of directory.

    Raises:
        TfrecallError: the owner's, naming the first place that is missing or of another type.
    """
    try:
        return facts.model_validate(manifest)
    except ValidationError as error:
        first, *more = error.errors(include_url=False, include_context=False)
        place = ".".join(map(str, first["loc"])) or "the manifest"
        value = "" if first["type"] == "missing" else f" Received: {first['input']!r:.100}."
        others = f" {len(more)} more places are wrong." if more else ""
        raise owner.error(
            f"{file} is damaged or foreign at {place}: {first['msg'].lower()}.{value}{others} {owner.again}."
        ) from error
    except RecursionError as error:
        raise owner.error(f"{file} is nested too deep for a manifest. {owner.again}.") from error


def restore(place: str, make: Callable[[], _Made]) -> _Made:
    """Makes an object from facts of a manifest.

    Args:
        place: names the facts in errors, such as `manifest.json, repeats`.
        make: the constructor, which refuses facts that make no sense.

    Raises:
        ReleaseError: naming the place, in place of any error of the constructor.
    """
    try:
        return make()
    except ReleaseError:
        raise
    # Facts of a foreign hand lead a constructor to any of these.
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        raise ReleaseError(f"{place} is damaged or foreign: {error}. Export again.") from error
