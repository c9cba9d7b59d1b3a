"""The main job: prepare, fit, evaluate, export, index, and write down how it went."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tfrecall.baselines.registry import check_baselines
from tfrecall.config.run import RunConfig
from tfrecall.core.progress import LogProgress, ProgressReporter
from tfrecall.core.seen import Seen
from tfrecall.data.interactions import Interactions
from tfrecall.data.repeat_consumption import leading_rule, repeated_share
from tfrecall.diagnostics.examiner import Examiner
from tfrecall.evaluation import Evaluation
from tfrecall.evaluation.released import ReleaseRetriever
from tfrecall.exporting.retriever import stage_retriever
from tfrecall.index.annoy import Annoy
from tfrecall.models.explanation import explainer
from tfrecall.release.layout import check_writable, stage
from tfrecall.release.loading import load
from tfrecall.release.retriever import Release
from tfrecall.report import RunReportData, page_or_error, run_page
from tfrecall.runs.evaluate import judge
from tfrecall.runs.facts import Stopwatch, data_facts, finite, timings
from tfrecall.runs.memory import check_memory
from tfrecall.runs.preparation import Prepared, prepare
from tfrecall.runs.train import checkpoints_of, train
from tfrecall.training import Fitted
from tfrecall.training.tensorboard import write_projector


@dataclass(frozen=True)
class Outcome:
    """What a run leaves behind; `metrics` is what it writes to `metrics.json`."""

    metrics: dict[str, Any]
    evaluation: Evaluation
    release: Release
    prepared: Prepared

    def report(self) -> str:
        """Render the report of `report.html` again, from the exported model."""
        released = ReleaseRetriever(self.release.name, self.release)
        known, test = self.prepared.known, self.prepared.test
        return run_page(
            RunReportData(
                self.metrics,
                self.release.manifest,
                released,
                known,
                test,
                self.evaluation,
                released.explanations,
            )
        )


def run(
    config: RunConfig,
    out: str | Path | None = None,
    progress: ProgressReporter | None = None,
    *,
    fresh: bool = False,
    tensorboard: str | Path | None = None,
) -> Outcome:
    """Does everything that a configuration describes.

    What cannot work is found out before training: data, schema and the release directory are checked
    first. A run that fails or is interrupted publishes nothing; its checkpoints stay in the release
    directory, and the next run of the same configuration on the same data goes on from them.

    Args:
        config: see `tfrecall.config.run`.
        out: the release directory; `saved_models/<recipe>` by default.
        progress: receives steps, notes and counts; without it the logger "tfrecall" does.
        fresh: whether to discard checkpoints that an interrupted run left.
        tensorboard: a directory for TensorBoard: curves, and the candidate vectors with their titles.

    Raises:
        TfrecallError: if something cannot be done, saying what to do.
    """
    progress = progress or LogProgress()
    root = Path(out or Path("saved_models") / config.recipe)
    check_writable(root)
    annoy = Annoy(**vars(config.index))
    clock = Stopwatch()
    with progress.step("Prepare the data"), clock.time("prepare"):
        prepared = prepare(config, progress)
        check_memory(config, prepared.known, progress)
        check_baselines(config.evaluation.baselines or (), prepared.known)
        leading = leading_rule(config.evaluation.seen, prepared.known)
        progress.note(_words_on_seen(config, prepared.known, leading))
        examiner = Examiner(config, progress)
        examiner.examine_data(prepared.train, prepared.validation)
    checkpoints = checkpoints_of(config, prepared, root, progress)
    if fresh:
        checkpoints.discard()
    with progress.step("Fit the model"), clock.time("fit"):
        model, fitted = train(
            config, prepared, progress, examiner, checkpoints=checkpoints, tensorboard=tensorboard
        )
        if tensorboard:
            write_projector(tensorboard, model.embed_candidates(), model.catalogue)
    with progress.step("Evaluate on the test rows"), clock.time("evaluate"):
        evaluation = judge(config, prepared, model, progress)
        examiner.examine_model(model, prepared.known)
        examiner.examine_test(evaluation, prepared.known)
    with (
        progress.step("Export, index and compare in a fresh process"),
        clock.time("export"),
        stage(root) as staged,
    ):
        facts = {"config": config.to_dict(), "data": data_facts(prepared), "test": evaluation.test}
        manifest = stage_retriever(
            model,
            staged,
            index=annoy,
            k=config.export.k,
            exclude_seen=leading == Seen.REMOVED,
            facts=facts,
        )
        metrics = {
            **_metrics(config, prepared, fitted, evaluation, manifest, clock),
            "leading": leading,
            "diagnostics": [finding.to_dict() for finding in examiner.findings],
        }
        page = page_or_error(
            lambda: run_page(
                RunReportData(
                    metrics,
                    manifest,
                    model.retriever(),
                    prepared.known,
                    prepared.test,
                    evaluation,
                    explainer(model),
                )
            ),
            progress,
        )
        staged.write("metrics.json", json.dumps(metrics, indent=2))
        staged.write("config.toml", config.to_toml())
        staged.write("report.html", page)
    release = load(root, staged.version, verify=False)
    checkpoints.discard()
    return Outcome(metrics, evaluation, release, prepared)


def _words_on_seen(config: RunConfig, known: Interactions, leading: str) -> str:
    share = f"{100 * repeated_share(known):.1f} % of the events repeat an item that the user had before"
    why = (
        share if config.evaluation.seen == "auto" else f"`evaluation.seen` is {config.evaluation.seen}"
    )
    if leading == Seen.KEPT:
        return f"{why}: lists keep what a user had, here and in what the release answers by default."
    return f"{why}: lists leave out what a user had, here and in what the release answers by default."


def _metrics(
    config: RunConfig,
    prepared: Prepared,
    fitted: Fitted,
    evaluation: Evaluation,
    manifest: dict[str, Any],
    clock: Stopwatch,
) -> dict[str, Any]:
    judged = evaluation.to_dict()
    return {
        "recipe": config.recipe,
        "model": config.model.type,
        "version": manifest["version"],
        "data": data_facts(prepared),
        "test": judged["test"],
        "baselines": judged["baselines"],
        "slices": judged["slices"],
        "unknown_targets": judged["unknown_targets"],
        "training": {"best_epoch": fitted.best_epoch, "history": finite(fitted.history)},
        "timings": timings(fitted, clock),
        "index": manifest["index"],
        "notes": [*prepared.known.notes, *prepared.test.notes[len(prepared.known.notes) :]],
    }
