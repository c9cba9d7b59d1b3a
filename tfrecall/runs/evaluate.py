"""Evaluation of a model or a release on the test rows of a run."""

from typing import Any

from tfrecall.baselines.registry import check_baselines
from tfrecall.config.run import RunConfig
from tfrecall.core.progress import LogProgress, ProgressReporter
from tfrecall.data.repeat_consumption import leading_rule
from tfrecall.evaluation import Evaluation, StageLosses, baselines_of, evaluate, stage_losses
from tfrecall.evaluation.ranking import evaluate_ranking
from tfrecall.evaluation.released import ReleaseRanker
from tfrecall.models.two_tower import TwoTower
from tfrecall.release.pipeline import TwoStages
from tfrecall.release.ranker import RankerRelease
from tfrecall.release.retriever import Release
from tfrecall.runs.preparation import Prepared, prepare
from tfrecall.runs.ranking import judge_of


def judge(
    config: RunConfig, prepared: Prepared, model: TwoTower | Release, progress: ProgressReporter
) -> Evaluation:
    """Evaluate a retriever on the test rows, beside the baselines that the configuration names."""
    return evaluate(
        model,
        prepared.test,
        seen=prepared.known,
        ks=config.evaluation.ks,
        baselines=baselines_of(
            prepared.known,
            sequences=bool(config.schema.histories),
            names=config.evaluation.baselines,
        ),
        progress=progress,
    )


def evaluate_release(
    release: Release, config: RunConfig, progress: ProgressReporter | None = None
) -> tuple[dict[str, Any], StageLosses | None]:
    """Evaluate a release on the test rows of its run.

    Args:
        release: a release of a retriever, a ranker or a pipeline.
        config: the configuration of the run.
        progress: receives steps, notes and counts; without it the logger "tfrecall" does.

    Returns:
        Figures as in `metrics.json`, and of a pipeline the losses of each stage.
    """
    progress = progress or LogProgress()
    with progress.step("Prepare the data"):
        prepared = prepare(config, progress)
        check_baselines(config.evaluation.baselines or (), prepared.known)
    if prepared.known.fingerprint != release.manifest.get("data", {}).get("fingerprint"):
        progress.note("These are not the data of the run: the test rows may be others.")
    more: dict[str, Any] = {}
    losses = None
    with progress.step("Evaluate on the test rows"):
        if isinstance(release, RankerRelease):
            ranker = ReleaseRanker(release.name, release)
            figures = evaluate_ranking(
                ranker, prepared.test, judge_of(config), known=prepared.known
            ).to_dict()
        else:
            evaluation = judge(config, prepared, release, progress)
            figures = evaluation.to_dict()
            more["leading"] = leading_rule(config.evaluation.seen, prepared.known)
            if isinstance(release, TwoStages):
                losses = _stage_losses(release, config, prepared, evaluation, progress)
                more |= {"stages": losses.to_dict()}
    answer = {
        "recipe": config.recipe,
        "version": release.version,
        "data": {"test_rows": figures["rows"], "fingerprint": prepared.known.fingerprint},
        **figures,
        "model": release.name if losses else config.model.type,
        **more,
    }
    return answer, losses


def _stage_losses(
    pipeline: TwoStages,
    config: RunConfig,
    prepared: Prepared,
    evaluation: Evaluation,
    progress: ProgressReporter,
) -> StageLosses:
    return stage_losses(
        pipeline,
        prepared.test,
        seen=prepared.known,
        ks=config.evaluation.ks,
        ranking=evaluation.rankings[pipeline.name],
        progress=progress,
    )
