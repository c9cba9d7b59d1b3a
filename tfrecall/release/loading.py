"""Opens a release of any kind."""

from contextlib import suppress
from pathlib import Path

from tfrecall.core.storage import locked
from tfrecall.index.bundle import load_bundle
from tfrecall.release.baseline import BaselineRelease
from tfrecall.release.layout import finish_publishing, was_killed
from tfrecall.release.manifest import check_files, check_kind, read_manifest
from tfrecall.release.pipeline import PipelineRelease
from tfrecall.release.ranker import RankerRelease
from tfrecall.release.retriever import Release


def load(path: str | Path, version: int | None = None, *, verify: bool = True) -> Release:
    """Opens a release.

    Args:
        path: the release directory, as `export`, `tfrecall run` and the `save` of a baseline write it.
        version: None for the current one.
        verify: whether to compare the checksum of every file first.

    Raises:
        ReleaseError: naming the file that is missing, truncated, altered or foreign.
    """
    root = Path(path)
    if was_killed(root):  # or at work: then it holds the lock
        with suppress(OSError), locked(root, wait=False):
            finish_publishing(root)
    manifest = read_manifest(root, version)
    kind = check_kind(root, manifest)
    check_files(root, manifest, contents=verify)
    if kind == "baseline":
        return BaselineRelease(root, manifest)
    if kind == "ranker":
        return RankerRelease(root, manifest)
    if kind == "pipeline":
        return PipelineRelease(root, manifest)
    index = root / "index" / str(manifest["version"])
    bundle = load_bundle(index, verify=False, model=manifest["model"]["fingerprint"])
    return Release(root, manifest, bundle)
