"""Where the release of a baseline keeps what: the names that its writer and its reader share."""

from pathlib import Path

# What the manifest calls a release of a model that answers from what users had.
KIND = "baseline"
PARTS = ("context", "scorer")
# When each of `seen_items.npy` was had, in seconds.
TIMES = "seen_times.npy"


def scorer_file(directory: Path, name: str) -> Path:
    """Where an array of the scorer lies."""
    return directory / f"{name}.npy"
