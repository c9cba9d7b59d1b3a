"""Answers from the release of a pipeline."""

from pathlib import Path
from typing import Any

from tfrecall.index.bundle import load_bundle
from tfrecall.release.ranker import RankerRelease
from tfrecall.release.release import Release
from tfrecall.release.rules import Rules
from tfrecall.release.two_stages import TwoStages

RANKER_CONTEXT = "ranker_context"


class PipelineRelease(TwoStages):
    """A loaded release of a pipeline: a retriever's and a ranker's in one directory. Made by `load`."""

    def __init__(self, root: Path, manifest: dict[str, Any]) -> None:
        version = manifest["version"]
        first, second = ({**manifest[of], "version": version} for of in ("retrieval", "ranker"))
        model = first["model"]["fingerprint"]
        bundle = load_bundle(root / "index" / str(version), verify=False, model=model)
        told = manifest["pipeline"]
        super().__init__(
            Release(root, first, bundle),
            _RankerPart(root, second),
            told["n_candidates"],
            Rules.from_dict(told["rules"]),
        )
        self.manifest = manifest


class _RankerPart(RankerRelease):
    """The ranker in a pipeline's directory, where `context` is the retriever's."""

    def _part(self, part: str) -> Path:
        return super()._part(RANKER_CONTEXT if part == "context" else part)
