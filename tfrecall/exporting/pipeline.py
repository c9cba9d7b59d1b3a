"""Pipeline of a retriever and a ranker, and its export."""

import shutil
from pathlib import Path
from typing import Any, cast

from tfrecall.core.top_k import check_k
from tfrecall.data.interactions import Interactions
from tfrecall.errors import ConfigError
from tfrecall.exporting.live import LiveRanker, LiveRetrieval
from tfrecall.exporting.ranker import export_ranker
from tfrecall.exporting.retriever import PACKAGES, export_retriever, tensorflow_errors
from tfrecall.exporting.round_trip import check_pipeline, sample_requests
from tfrecall.exporting.signatures import save_pipeline, write_warmup
from tfrecall.index.annoy import Annoy
from tfrecall.index.bundle import IndexSettings
from tfrecall.models.ranker import Ranker
from tfrecall.models.two_tower import TwoTower
from tfrecall.release.base import RecommendingRelease
from tfrecall.release.layout import stage
from tfrecall.release.loading import load
from tfrecall.release.manifest import check_facts, fingerprint, made_with
from tfrecall.release.parts import PARTS
from tfrecall.release.pipeline import N_CANDIDATES, RANKER_CONTEXT, BasePipeline, PipelineRelease
from tfrecall.release.ranker import RankerRelease
from tfrecall.release.rules import Rules

# Manifest entries of a stage's own version, which a pipeline replaces by its own.
_LEFT_OUT = ("format", "version", "files", "sha256")


class Pipeline(BasePipeline):
    """A retriever and a ranker in two stages, with the `recommend` of a release.

    Each stage is a live model or a release. The candidate vectors of a live retriever are computed once, as
    the pipeline is made: make a new one after more training.

    Args:
        retrieval: a `TwoTower` or a subclass, or the release of a retriever or a baseline.
        ranker: `Ranker`, or its release.
        n_candidates: number of candidates that the ranker scores.
        rules: diversity, caps, boosts and an allow-list (`tfrecall.Rules`).
        index: an approximate index of a live retriever, in addition to exact search; None for none.
        exclude_seen: whether a live retriever leaves out seen items; a release has its own setting.

    Raises:
        ConfigError: if the models do not belong together, naming the difference.

    Example:

    >>> import polars as pl
    >>> import tfrecall as tr
    >>> log = tr.data.synthetic(n_users=6, n_items=5, n_rows=40, seed=1)
    >>> log = log.with_log(log.log.with_columns(rating=pl.Series([3.0, 5.0] * 20)))
    >>> features = {"query": [tr.Categorical("user_id", 4)], "candidate": [tr.Categorical("item_id", 4)]}
    >>> towers = tr.TwoTower(tr.Schema(**features), [4])
    >>> ranker = tr.Ranker(tr.Schema(**features), crosses=["dot"])
    >>> for model in (towers, ranker):
    ...     model.adapt(log)  # and `tr.fit(model, log)`
    >>> pipeline = tr.Pipeline(towers, ranker, n_candidates=4)
    >>> (answer,) = pipeline.recommend(["u1"], k=2, exclude_seen=False)
    >>> len(answer.item_ids)
    2
    """

    def __init__(
        self,
        retrieval: TwoTower | RecommendingRelease,
        ranker: Ranker | RankerRelease,
        *,
        n_candidates: int = N_CANDIDATES,
        rules: Rules | None = None,
        index: IndexSettings | None = None,
        exclude_seen: bool = True,
    ) -> None:
        if not isinstance(retrieval, TwoTower | RecommendingRelease):
            raise ConfigError(
                "The first stage of a pipeline is a two-tower model or the release of a retriever. Received: "
                f"{type(retrieval).__name__}."
            )
        if not isinstance(ranker, Ranker | RankerRelease):
            raise ConfigError(
                "The second stage of a pipeline is a `Ranker` or its release. Received: "
                f"{type(ranker).__name__}."
            )
        first = (
            LiveRetrieval(retrieval, index, exclude_seen)
            if isinstance(retrieval, TwoTower)
            else retrieval
        )
        second = LiveRanker(ranker) if isinstance(ranker, Ranker) else ranker
        super().__init__(first, second, n_candidates, rules)

    @property
    def history_log(self) -> Interactions | None:
        """The log that histories of queries are taken from; None without live models with histories."""
        for model in (self.retrieval, self.ranker):
            if isinstance(model, LiveRetrieval | LiveRanker) and model.history_log is not None:
                return model.history_log
        return None


def export_pipeline(
    pipeline: BasePipeline,
    path: str | Path,
    *,
    k: int = 10,
    index: IndexSettings | None = Annoy(),  # noqa: B008 - frozen, so one default serves all calls
    facts: dict[str, Any] | None = None,
) -> PipelineRelease:
    """Write the next version of a release of a pipeline and open it.

    The release has the parts of both models, and `pipeline/`, one SavedModel of both
    (`tfrecall.exporting.signatures.save_pipeline`). This SavedModel holds the number of candidates, `k`,
    `exclude` and `allow`, but none of the `rules`, which the manifest keeps and `recommend` applies. It is
    loaded in a fresh process and compared with the pipeline here before anything is published.

    Args:
        pipeline: of live models, which are exported first, or of releases.
        path: the release directory; created if it does not exist.
        k: length of the lists that the `serving_default` signature of `pipeline` gives.
        index: an approximate index of a live retriever; a release has its own already.
        facts: further facts for the manifest, as JSON can hold them.

    Raises:
        ConfigError: if `k` is impossible, or the retriever is a baseline, which has no SavedModel.
        ExportError: if the directory cannot be written, or an exported model answers otherwise.

    Example:

    >>> import tfrecall as tr
    >>> towers = tr.load("saved_models/towers")  # doctest: +SKIP
    >>> ranker = tr.load("saved_models/ratings")  # doctest: +SKIP
    >>> pipeline = tr.Pipeline(towers, ranker, n_candidates=200)  # doctest: +SKIP
    >>> release = tr.export_pipeline(pipeline, "saved_models/pipeline")  # doctest: +SKIP
    >>> release.n_candidates  # doctest: +SKIP
    200
    """
    check_facts(facts)
    _check_k(pipeline, k)
    with stage(path) as staged, tensorflow_errors(staged):
        directory = staged.directory
        releases = directory / "stages"
        first = _retrieval_release(pipeline, releases / "retrieval", index)
        second = _ranker_release(pipeline, releases / "ranker")
        # The releases of live stages lie in `stages`, which is no part, so it is not published.
        first.copy_parts(PARTS["retriever"], directory)
        second.copy_parts(("ranker",), directory)
        shutil.copytree(second.context, directory / RANKER_CONTEXT)
        # Without rules, which the SavedModel does not hold: the comparison is of the same lists.
        live = BasePipeline(first, second, pipeline.n_candidates)
        count = min(pipeline.n_candidates, len(first.item_ids))
        target = directory / "pipeline"
        save_pipeline(directory / "retrieval", directory / "ranker", count, k, target)
        _write_warmup(live, target, count, k)
        difference = check_pipeline(live, directory, count, k)
        manifest = {**_facts(live, pipeline.rules, k, difference), **(facts or {})}
        staged.describe("pipeline", manifest)
    return cast(PipelineRelease, load(path, staged.version, verify=False))


def _check_k(pipeline: BasePipeline, k: int) -> None:
    check_k(k, min(pipeline.n_candidates, len(pipeline.item_ids)), of_what="candidates")
    if "scorer" in pipeline.retrieval.manifest:
        raise ConfigError(
            f"The retriever {pipeline.retrieval.name} is a baseline, which has no SavedModel to put into a "
            "pipeline's. Ask `tfrecall.Pipeline` in process, or train a two-tower model."
        )


def _retrieval_release(
    pipeline: BasePipeline, path: Path, index: IndexSettings | None
) -> RecommendingRelease:
    stage = pipeline.retrieval
    if isinstance(stage, LiveRetrieval):
        retriever = export_retriever(stage.model, path, index=index, exclude_seen=stage.exclude_seen)
        return cast(RecommendingRelease, retriever)
    return stage


def _ranker_release(pipeline: BasePipeline, path: Path) -> RankerRelease:
    stage = pipeline.ranker
    return export_ranker(stage.model, path) if isinstance(stage, LiveRanker) else cast(Any, stage)


def _write_warmup(pipeline: BasePipeline, target: Path, n_candidates: int, k: int) -> None:
    (one,) = sample_requests(pipeline, 1)
    free = {**one, "k": k, "n_candidates": n_candidates, "exclude": [[""]]}
    requests: list[tuple[str, dict[str, Any]]] = [("serving_default", one), ("recommend", free)]
    write_warmup(target, "pipeline", requests)


def _facts(pipeline: BasePipeline, rules: Rules, k: int, difference: float) -> dict[str, Any]:
    first, second = pipeline.retrieval.manifest, pipeline.ranker.manifest
    stages = (first["model"]["fingerprint"], second["model"]["fingerprint"])
    return {
        "model": {
            **first["model"],
            "name": pipeline.name,
            "type": "Pipeline",
            "fingerprint": fingerprint(stages, []),
        },
        "schema": first["schema"],
        "query": {"forms": pipeline.users.forms, "defaults": pipeline.users.defaults},
        "histories": {**second["histories"], **first.get("histories", {})},
        "repeats": first.get("repeats"),
        "exclude_seen": pipeline.exclude_seen,
        "k": k,
        "index": first["index"],
        "tuning": first["tuning"],
        "pipeline": {
            "n_candidates": pipeline.n_candidates,
            "rules": rules.to_dict(),
            "saved_model_holds": ["n_candidates", "k", "exclude", "allow"],
        },
        **{name: first[name] for name in ("config", "data") if name in first},
        "retrieval": _without_version(first),
        "ranker": _without_version(second),
        "round_trip": {"largest_relative_difference": difference},
        "made_with": made_with(*PACKAGES, "annoy"),
    }


def _without_version(manifest: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in manifest.items() if key not in _LEFT_OUT}
