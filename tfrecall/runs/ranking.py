"""The main job of a ranker: prepare, fit, evaluate, export, and write down how it went."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from tfrecall.config.ranking import RankingTaskConfig
from tfrecall.config.run import RunConfig
from tfrecall.core.progress import LogProgress, ProgressReporter
from tfrecall.data.interactions import Interactions
from tfrecall.diagnostics.examiner import Examiner
from tfrecall.errors import ConfigError
from tfrecall.evaluation.ranking import RankingEvaluation, RatingJudge, evaluate_ranking
from tfrecall.exporting.ranker import stage_ranker
from tfrecall.release.layout import check_writable, stage
from tfrecall.release.loading import load
from tfrecall.release.ranker import RankerRelease
from tfrecall.report import page_or_error, ranking_page
from tfrecall.runs.facts import Stopwatch, data_facts, finite, timings
from tfrecall.runs.memory import check_memory
from tfrecall.runs.preparation import Prepared, prepare
from tfrecall.runs.train import checkpoints_of, train
from tfrecall.training import Fitted


@dataclass(frozen=True)
class RankingOutcome:
    """What a run of a ranker leaves behind; `metrics` is what it writes to `metrics.json`."""

    metrics: dict[str, Any]
    evaluation: RankingEvaluation
    release: RankerRelease
    prepared: Prepared


def run_ranking(
    config: RunConfig,
    out: str | Path | None = None,
    progress: ProgressReporter | None = None,
    *,
    fresh: bool = False,
    tensorboard: str | Path | None = None,
) -> RankingOutcome:
    """Does everything that the configuration of a ranker describes, as `runs.retrieval.run` of a retriever.

    Args:
        config: with `model.type = "ranker"`.
        out: the release directory; `saved_models/<recipe>` by default.
        progress: receives steps, notes and counts; without it the logger "tfrecall" does.
        fresh: whether to discard checkpoints that an interrupted run left.
        tensorboard: a directory for TensorBoard: curves.

    Raises:
        TfrecallError: if something cannot be done, saying what to do.
    """
    progress = progress or LogProgress()
    root, judge, clock = (
        Path(out or Path("saved_models") / config.recipe),
        judge_of(config),
        Stopwatch(),
    )
    check_writable(root)
    with progress.step("Prepare the data"), clock.time("prepare"):
        prepared = prepare(config, progress)
        check_labels(judge, prepared)
        check_memory(config, prepared.known, progress)
        examiner = Examiner(config, progress)
        examiner.examine_data(prepared.train, prepared.validation)
    checkpoints = checkpoints_of(config, prepared, root, progress)
    if fresh:
        checkpoints.discard()
    with progress.step("Fit the model"), clock.time("fit"):
        model, fitted = train(
            config, prepared, progress, examiner, checkpoints=checkpoints, tensorboard=tensorboard
        )
    with progress.step("Evaluate on the test rows"), clock.time("evaluate"):
        evaluation = evaluate_ranking(model, prepared.test, judge, known=prepared.known)
    with (
        progress.step("Export and compare in a fresh process"),
        clock.time("export"),
        stage(root) as staged,
    ):
        facts = {"config": config.to_dict(), "data": data_facts(prepared), "test": evaluation.test}
        manifest = stage_ranker(model, staged, facts=facts)
        metrics = {
            **_metrics(config, prepared, fitted, evaluation, manifest, clock),
            "diagnostics": [finding.to_dict() for finding in examiner.findings],
        }
        staged.write("metrics.json", json.dumps(metrics, indent=2))
        staged.write("config.toml", config.to_toml())
        staged.write("report.html", page_or_error(lambda: ranking_page(metrics, manifest), progress))
    release = cast(RankerRelease, load(root, staged.version, verify=False))
    checkpoints.discard()
    return RankingOutcome(metrics, evaluation, release, prepared)


def judge_of(config: RunConfig) -> RatingJudge:
    """How the rows of a run are judged.

    Raises:
        ConfigError: if it is the run of a retriever.
    """
    task = config.task
    if not isinstance(task, RankingTaskConfig):
        raise ConfigError(
            f'"{config.recipe}" is the run of a retriever: it has the task "{task.type}". Use `run`.'
        )
    settings = {name: getattr(task, name) for name in ("group", "gain", "k") if hasattr(task, name)}
    return RatingJudge(task.type, task.target, **settings)


def check_labels(judge: RatingJudge, prepared: Prepared) -> None:
    """Refuses labels before anything is trained on them.

    Raises:
        DataError: if labels of any part are missing or outside the declared range, or those of the training
            rows are all alike.
    """
    parts: dict[str, Interactions | None] = {
        "training rows": prepared.train,
        "validation rows": prepared.validation,
        "test rows": prepared.test,
    }
    for what, rows in parts.items():
        if rows is not None:
            judge.label.check(rows.log, what, learned=what == "training rows")


def _metrics(
    config: RunConfig,
    prepared: Prepared,
    fitted: Fitted,
    evaluation: RankingEvaluation,
    manifest: dict[str, Any],
    clock: Stopwatch,
) -> dict[str, Any]:
    judged = evaluation.to_dict()
    return {
        "recipe": config.recipe,
        "model": config.model.type,
        "task": config.task.type,
        "version": manifest["version"],
        "data": data_facts(prepared),
        "test": judged["test"],
        "baselines": judged["baselines"],
        "slices": judged["slices"],
        "calibration": judged["calibration"],
        "training": {"best_epoch": fitted.best_epoch, "history": finite(fitted.history)},
        "timings": timings(fitted, clock),
        "notes": [*prepared.known.notes, *prepared.test.notes[len(prepared.known.notes) :]],
    }
