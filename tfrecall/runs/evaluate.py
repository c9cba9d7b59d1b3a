"""Evaluation of a release on the test rows of its run."""

from typing import Any

from tfrecall.config.run import RunConfig
from tfrecall.core.progress import LogProgress, ProgressReporter
from tfrecall.errors import ConfigError
from tfrecall.evaluation import StageLosses, order_test, stage_losses
from tfrecall.release.base import Release
from tfrecall.release.pipeline import BasePipeline
from tfrecall.runs.facts import among_new_of, intervals_of
from tfrecall.runs.kinds import kind_of
from tfrecall.runs.preparation import prepare


def evaluate_release(
    release: Release,
    config: RunConfig,
    progress: ProgressReporter | None = None,
    *,
    shuffled_histories: bool = False,
) -> tuple[dict[str, Any], StageLosses | None]:
    """Evaluate a release on the test rows of its run.

    Args:
        release: a release of a retriever, a ranker or a pipeline.
        config: the configuration of the run.
        progress: receives steps, notes and counts; without it the logger "tfrecall" does.
        shuffled_histories: whether the rows are asked a second time with their histories shuffled.

    Returns:
        Figures as in `metrics.json`, with `order` where histories were shuffled, and of a pipeline the losses
        of each stage.
    """
    progress = progress or LogProgress()
    kind = kind_of(config)
    with progress.step("Prepare the data"):
        splits = prepare(config, progress)
        kind.check(splits)
    if splits.known.fingerprint != release.manifest.get("data", {}).get("fingerprint"):
        progress.warning("These are not the data of the run: the test rows may be others.")
    losses = order = None
    with progress.step("Evaluate on the test rows"):
        evaluation = kind.evaluate(release, splits, progress)
        # The lists of the pipeline were computed above: only those of its retrieval are new.
        if isinstance(release, BasePipeline):
            losses = stage_losses(
                release,
                splits.test,
                seen=splits.known,
                ks=config.evaluation.ks,
                ranking=evaluation.rankings[release.name],
                progress=progress,
            )
    if shuffled_histories:
        if config.ranks:
            raise ConfigError(
                f"{release.root} is a ranker, whose rows are rated, not ranked by histories. Leave "
                "`--shuffled-histories` out."
            )
        with progress.step("Ask again with shuffled histories"):
            order = order_test(
                release,
                splits.test,
                seen=splits.known,
                ks=config.evaluation.ks,
                progress=progress,
            )
    figures, leading = evaluation.to_dict(), kind.leading_rule(splits.known)
    beaten = kind.beaten(evaluation, leading)
    model = release.name if losses else config.model.type
    answer = {
        "recipe": config.recipe,
        "version": release.version,
        "data": {"test_rows": figures["rows"], "fingerprint": splits.known.fingerprint},
        **figures,
        "model": model,
        "intervals": intervals_of(figures, model),
        **among_new_of(figures, model),
        "beaten_by": None if beaten is None else beaten.to_dict(),
        **({} if leading is None else {"leading": leading}),
        **({} if order is None else {"order": order.to_dict()}),
        **({} if losses is None else {"name": model, "stages": losses.to_dict()}),
    }
    return answer, losses
