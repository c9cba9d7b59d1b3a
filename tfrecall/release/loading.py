"""Loading of releases of all kinds."""

from contextlib import suppress
from pathlib import Path
from typing import Any

from tfrecall.core.storage import locked
from tfrecall.release.base import Release
from tfrecall.release.baseline import BaselineRelease
from tfrecall.release.layout import finish_publishing, was_killed
from tfrecall.release.manifest import check_files, check_kind, check_links, kind_of, read_manifest
from tfrecall.release.pipeline import PipelineRelease
from tfrecall.release.ranker import RankerRelease
from tfrecall.release.retriever import RetrieverRelease
from tfrecall.release.suspicious import GRAPH_FILES, check_graph

_KINDS: dict[str, type[RetrieverRelease | BaselineRelease | RankerRelease | PipelineRelease]] = {
    "retriever": RetrieverRelease,
    "baseline": BaselineRelease,
    "ranker": RankerRelease,
    "pipeline": PipelineRelease,
}


def load(
    path: str | Path, version: int | None = None, *, verify: bool = True, trust: bool = False
) -> Release:
    """Open a release.

    Args:
        path: the release directory, as `export`, `tfrecall run` and the `save` of a baseline write it.
        version: None for the current one.
        verify: whether to compare the checksum of every file first, which reads all of them; sizes are
            always compared.
        trust: whether to load models that hold operations which touch files, run Python or code of other
            libraries. A SavedModel is a program. Without trust its graph is searched for such operations
            before TensorFlow sees it, and links out of the directory are refused. With trust neither is
            looked at: know its author.

    A checksum promises that files are those that the manifest lists: it finds damage, cut downloads and
    mixed versions. It promises nothing about their author, who can write any checksum. Load releases from
    a place that only you can write to, or compare the SHA-256 of `manifest.json` with a value received
    another way.

    Returns:
        A release with the methods of its kind; `recommend` and `similar_items` of a retriever, a baseline
        and a pipeline, `predict` of a ranker.

    Raises:
        ReleaseError: naming the file that is missing, unreadable, truncated, altered or foreign, or the
            operation that needs trust.

    Example:

    >>> import tempfile
    >>> import tfrecall as tr
    >>> log = tr.data.synthetic(n_users=20, n_items=10, n_rows=100)
    >>> root = tr.export(tr.Popularity().fit(log), tempfile.mkdtemp()).root
    >>> len(tr.load(root).recommend(["u1"], k=3)[0].item_ids)
    3
    """
    root = Path(path)
    manifest = checked_manifest(root, version, verify=verify, trust=trust)
    if not trust:
        for name in manifest["files"]:
            if Path(name).name in GRAPH_FILES:
                check_graph((root / name).parent)
    return _KINDS[kind_of(manifest)].load(root, manifest)


def checked_manifest(
    root: Path, version: int | None = None, *, verify: bool = True, trust: bool = False
) -> dict[str, Any]:
    """The manifest of a version whose files are those that it lists; arguments and errors as for `load`.

    What a killed process began is finished first.
    """
    if was_killed(root):  # or is still publishing: then the lock is taken and this is skipped
        with suppress(OSError), locked(root, wait=False):
            finish_publishing(root)
    manifest = read_manifest(root, version)
    check_kind(root, manifest)
    if not trust:
        check_links(root, manifest)
    check_files(root, manifest, contents=verify)
    return manifest
