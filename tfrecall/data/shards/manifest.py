"""The manifest of a folder of shards: what it holds, and the check of its files against it."""

import json
from pathlib import Path
from typing import Any

from tfrecall.core.manifests import (
    Facts,
    Owner,
    check_facts_of,
    check_file,
    check_seal,
    describe,
    manifest_checksum,
    parse_manifest,
)
from tfrecall.errors import DataError

MANIFEST = "manifest.json"
# Tells the manifest of shards from that of a release.
KIND = "shards"
FORMAT = 1
# Columns beside those of the log: the row in the log as read, and a hash of the row as read. No log has them.
PLACE, ROW = "__place__", "__row__"
USERS, ITEMS = "users.parquet", "items.parquet"
_SHARDS = Owner(DataError, "Prepare the log again")


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
        text = file.read_text("utf-8")
    except (OSError, ValueError) as error:  # ValueError: bytes that are no UTF-8
        raise DataError(f"{file} cannot be read: {error}. {_SHARDS.again}.") from error
    found = parse_manifest(text, file, _SHARDS)
    if not isinstance(found, dict) or found.get("kind") != KIND:
        raise DataError(
            f"{file} is no manifest of shards. Give a folder that `tfrecall prepare` wrote."
        )
    if found.get("format") != FORMAT:
        raise DataError(
            f"{file} is of format {found.get('format')!r:.100}; this version of tfrecall reads {FORMAT}. "
            f"{_SHARDS.again}."
        )
    check_seal(file, found, _SHARDS)
    return check_facts_of(file, found, Manifest, _SHARDS)


def check_part(folder: Path, facts: Part) -> Path:
    """The path of a listed file, whose content is as the manifest says.

    Raises:
        DataError: naming the file that is missing, truncated, altered or of another folder.
    """
    if Path(facts.name).name != facts.name:
        raise DataError(f"{folder / MANIFEST} lists {facts.name!r}, no plain name. {_SHARDS.again}.")
    file = folder / facts.name
    check_file(file, {"bytes": facts.bytes, "sha256": facts.sha256}, owner=_SHARDS)
    return file
