"""The manifest of a folder of shards: what it holds, and the check of its files against it."""

import json
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from tfrecall.core.manifests import Facts, describe, file_sha256, is_sealed, manifest_checksum
from tfrecall.errors import DataError

MANIFEST = "manifest.json"
# Tells the manifest of shards from that of a release.
KIND = "shards"
FORMAT = 1
# Columns beside those of the log: the row in the log as read, and a hash of the row as read. No log has them.
PLACE, ROW = "__place__", "__row__"
USERS, ITEMS = "users.parquet", "items.parquet"


class Part(Facts):
    """One file with the number of its rows, and for a partition of its users."""

    name: str
    rows: int
    bytes: int
    sha256: str
    users: int = 0


class Numbers(Facts):
    """Rows of the log as read, dropped by reason, and kept; users with events; rounds of minima."""

    read: int
    repeated: int
    no_user: int
    no_item: int
    missing_items: int
    filtered: dict[str, int]
    kept: int
    users: int
    rounds: int


class Manifest(Facts):
    """Facts about a folder of shards.

    Attributes:
        format: version of the format.
        kind: "shards".
        name: name of the data in tables and reports.
        settings: how the log was read, cleaned and filtered; settings at their defaults are left out.
        columns: names of the columns of the log, each with its Polars type.
        counts: numbers of rows, users and items.
        partitions: the shards, in order.
        users, items: the tables, whole.
        notes: sentences on everything that was filtered, repaired or recognised.
    """

    format: int
    kind: str
    name: str
    settings: dict[str, Any]
    columns: dict[str, str]
    counts: Numbers
    partitions: list[Part]
    users: Part
    items: Part
    notes: list[str]


def shard_name(partition: int) -> str:
    """Name of the file of a partition."""
    return f"shard-{partition:06d}.parquet"


def part(file: Path, rows: int, users: int = 0) -> dict[str, Any]:
    """Facts about a written file."""
    return {"name": file.name, "rows": rows, "users": users, **describe(file)}


def sealed(manifest: dict[str, Any]) -> str:
    """The text of a manifest, with its checksum."""
    manifest = {**manifest, "sha256": manifest_checksum(manifest)}
    return json.dumps(manifest, indent=2, ensure_ascii=False) + "\n"


def is_shards(path: str | Path) -> bool:
    """Whether a path is a folder of shards, by its manifest."""
    file = Path(path) / MANIFEST
    try:
        if not file.is_file():
            return False
        found = json.loads(file.read_text("utf-8"))
    except (OSError, ValueError, RecursionError):
        # A damaged manifest beside shards is told of when it is read.
        return (Path(path) / shard_name(0)).is_file()
    return isinstance(found, dict) and found.get("kind") == KIND


def read_manifest(folder: Path) -> Manifest:
    """Reads and checks the manifest of a folder.

    Raises:
        DataError: if it is missing, damaged, altered or of another format.
    """
    file = folder / MANIFEST
    try:
        found = json.loads(file.read_text("utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"{file} cannot be read as a manifest of shards: {error}. {_AGAIN}") from error
    if not isinstance(found, dict) or found.get("kind") != KIND:
        raise DataError(
            f"{file} is no manifest of shards. Give a folder that `tfrecall prepare` wrote."
        )
    if found.get("format") != FORMAT:
        raise DataError(
            f"{file} is of format {found.get('format')!r:.100}; this version of tfrecall reads {FORMAT}. "
            f"{_AGAIN}"
        )
    if not is_sealed(found):
        raise DataError(f"{file} was altered: its checksum is another one. {_AGAIN}")
    try:
        return Manifest.model_validate(found)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False)[0]
        place = ".".join(map(str, first["loc"]))
        raise DataError(f"{file} is damaged at {place}: {first['msg'].lower()}. {_AGAIN}") from error


def check_part(folder: Path, facts: Part) -> Path:
    """The path of a listed file, whose content is as the manifest says.

    Raises:
        DataError: naming the file that is missing, truncated, altered or of another folder.
    """
    file = folder / facts.name
    if Path(facts.name).name != facts.name or not file.is_file():
        raise DataError(f"{file} is missing. {_AGAIN}")
    try:
        size = file.stat().st_size
        if size != facts.bytes:
            raise DataError(
                f"{file} is truncated, altered or of another folder: it has {size:,} bytes where the manifest "
                f"says {facts.bytes:,}. {_AGAIN}"
            )
        if file_sha256(file) != facts.sha256:
            raise DataError(
                f"{file} was altered or is of another folder: its SHA-256 differs from the manifest. {_AGAIN}"
            )
    except OSError as error:
        raise DataError(f"{file} cannot be read: {error}. Check its permissions.") from error
    return file


_AGAIN = "Copy the folder again, or prepare the log again."
