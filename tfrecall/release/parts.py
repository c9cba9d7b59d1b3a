"""Parts of a release: directories of each kind, and the files that each must have.

A part without one of its files would load, and fail or answer otherwise later: TF Serving reads models that
Python does not, and lists of users have defaults where a file is missing.
"""

import re
from collections.abc import Iterator, Mapping
from fnmatch import fnmatchcase
from typing import Any

_RETRIEVER = ("query", "candidate", "retrieval", "index", "context")
# Kind of a release -> the directories that each of its versions has.
PARTS: dict[str, tuple[str, ...]] = {
    "retriever": _RETRIEVER,
    "baseline": ("context", "scorer"),
    "ranker": ("ranker", "context"),
    "pipeline": (*_RETRIEVER, "ranker", "ranker_context", "pipeline"),
}
_SAVED_MODEL = (
    "saved_model.pb",
    "fingerprint.pb",
    "variables/variables.index",
    "variables/variables.data-*",  # one or more
    "assets.extra/tf_serving_warmup_requests",
)
_CONTEXT = ("users.parquet", "items.parquet", "seen_offsets.npy", "seen_items.npy")
_FILES = {
    "index": ("manifest.json", "ids.parquet", "vectors.npy"),
    "scorer": (),
    "context": _CONTEXT,
    "ranker_context": _CONTEXT,
}
# Times of `seen_items.npy`, in seconds, in the same order.
TIMES = "seen_times.npy"
# Baselines always had times, Keras models since 0.7.0, of which a state before the release had none yet.
_TIMED_SINCE = (0, 8)
# Stage of a pipeline that a part with users comes from, which may be of an older version.
_STAGES = {"context": "retrieval", "ranker_context": "ranker"}


def unlisted(kind: str, manifest: Mapping[str, Any]) -> list[str]:
    """Files, or patterns of files, that a release must have and its manifest does not list.

    Args:
        kind: of the release.
        manifest: whose facts were checked.
    """
    version = manifest["version"]
    wanted = (
        f"{part}/{version}/{name}" for part in PARTS[kind] for name in _wanted(kind, part, manifest)
    )
    return [
        pattern
        for pattern in wanted
        if pattern not in manifest["files"]
        and not any(fnmatchcase(name, pattern) for name in manifest["files"])
    ]


def _wanted(kind: str, part: str, manifest: Mapping[str, Any]) -> Iterator[str]:
    yield from _FILES.get(part, _SAVED_MODEL)
    if part == "scorer":
        yield from (f"{name}.npy" for name in manifest["scorer"]["arrays"])
    if part in _STAGES:
        facts = manifest[_STAGES[part]] if kind == "pipeline" else manifest
        if kind == "baseline" or _made_with(facts) >= _TIMED_SINCE:
            yield TIMES
        for name in facts.get("stored_histories", ()):
            yield history_file(name, "offsets")
            yield history_file(name, "items")
            if name not in facts.get("histories", {}):  # a column beside one, of texts of its own
                yield history_file(name, "values", "json")


def history_file(name: str, part: str, suffix: str = "npy") -> str:
    """Name of a file of a history, in the part with users."""
    return f"history_{name}_{part}.{suffix}"


def _made_with(facts: Mapping[str, Any]) -> tuple[int, ...]:
    """Version of the package that exported a model, as far as its facts tell."""
    found = re.match(r"(\d+)\.(\d+)", facts.get("made_with", {}).get("tfrecall", ""))
    return tuple(map(int, found.groups())) if found else ()
