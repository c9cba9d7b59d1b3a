"""Parts of a run that differ between retrievers, baselines and rankers: checks, evaluation, export, report."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Generic, TypeVar, cast

from tfrecall.baselines.base import HistoryModel
from tfrecall.baselines.registry import baselines_of_new, check_baselines, usual_baselines
from tfrecall.config.ranking import RankingTaskConfig
from tfrecall.config.run import RunConfig
from tfrecall.core.progress import ProgressReporter
from tfrecall.core.seen import Seen
from tfrecall.core.titles import title_column, titles
from tfrecall.data.interactions import Interactions
from tfrecall.data.repeat_consumption import leading_rule, repeated_share
from tfrecall.diagnostics.diagnostics import Diagnostics
from tfrecall.errors import ConfigError
from tfrecall.evaluation import Evaluation, baselines_of, evaluate
from tfrecall.evaluation.ranking import RankingEvaluation, RatingJudge, evaluate_ranking
from tfrecall.evaluation.released import ReleaseRanker, ReleaseRetriever
from tfrecall.evaluation.rivals import Beaten, beaten_by
from tfrecall.evaluation.summary import primary_metrics
from tfrecall.exporting.baseline import stage_baseline
from tfrecall.exporting.ranker import stage_ranker
from tfrecall.exporting.retriever import stage_retriever
from tfrecall.index.annoy import Annoy
from tfrecall.models.explanation import explainer
from tfrecall.models.ranker import Ranker
from tfrecall.models.two_tower import TwoTower
from tfrecall.release.base import Release
from tfrecall.release.layout import StagedRelease
from tfrecall.release.ranker import RankerRelease
from tfrecall.report import RunReportData, example_lists, ranking_page, run_page
from tfrecall.runs.build import baseline_of
from tfrecall.runs.preparation import DataSplits, check_answerable
from tfrecall.training.tensorboard import write_projector

Model = TypeVar("Model", TwoTower, Ranker, HistoryModel)
Result = TypeVar("Result", Evaluation, RankingEvaluation)
# Metrics of each model by name.
Figures = dict[str, dict[str, float]]


class RunKind(ABC, Generic[Model, Result]):
    """Steps of a run that differ between retrievers, baselines and rankers.

    Args:
        config: the configuration of the run.

    Raises:
        ConfigError: if its settings are impossible, before any data is read.
    """

    export_title: str

    def __init__(self, config: RunConfig) -> None:
        self.config = config

    @abstractmethod
    def check(self, splits: DataSplits) -> None:
        """Refuse data that cannot be trained on or evaluated, before training."""

    def leading_rule(self, known: Interactions) -> str | None:
        """The rule that leads the figures, `seen_removed` or `seen_kept`; None if there is only one."""
        return None

    def rule_note(self, known: Interactions, leading: str | None) -> str | None:
        """Sentence on the leading rule, with the reason for it."""
        return None

    def write_vectors(self, model: Model, directory: str | Path) -> None:
        """Write item vectors for TensorBoard; nothing for a model without vectors."""
        return

    @abstractmethod
    def evaluate(
        self,
        model: Model | Release,
        splits: DataSplits,
        progress: ProgressReporter,
        *,
        alone: bool = False,
    ) -> Result:
        """Evaluate a model, or its release, and the configured baselines on the test rows.

        Args:
            model: the model.
            splits: the rows.
            progress: receives how far it has come.
            alone: whether to leave out the baselines, where they take time.
        """

    def diagnose(
        self, diagnostics: Diagnostics, model: Model, evaluation: Result, splits: DataSplits
    ) -> None:
        """Run the diagnostics of a trained model."""
        return

    @abstractmethod
    def stage(
        self, model: Model, staged: StagedRelease, leading: str | None, facts: dict[str, Any]
    ) -> dict[str, Any]:
        """Fill a staged release and return its manifest."""

    @abstractmethod
    def metrics(self, evaluation: Result, manifest: dict[str, Any]) -> dict[str, Any]:
        """Entries of `metrics.json` that only this kind has."""

    @abstractmethod
    def report(
        self,
        metrics: dict[str, Any],
        manifest: dict[str, Any],
        model: Model | Release,
        evaluation: Result,
        splits: DataSplits,
    ) -> str:
        """Render the report as HTML."""

    @abstractmethod
    def figures(self, evaluation: Result, leading: str | None) -> Figures:
        """Metrics of the model, named by its type, and of each baseline, under the leading rule."""

    @abstractmethod
    def primary_metrics(self, metrics: Sequence[str]) -> list[str]:
        """Select the metrics that tables show from all measured ones, the leading figure first."""

    def beaten(self, evaluation: Result, leading: str | None) -> Beaten | None:
        """Baselines that beat the model on the leading figure; None if there are none."""
        own = getattr(evaluation, "own_rows", ())
        every = self.figures(evaluation, leading)
        figures = {name: of for name, of in every.items() if name not in own}
        metric = self.primary_metrics(list(next(iter(figures.values()))))[0]
        return beaten_by(figures, metric, leading)


class _ListKind(RunKind[Model, Evaluation]):
    """Runs whose model ranks the whole catalogue, seen items removed and kept."""

    def check(self, splits: DataSplits) -> None:
        k, items = self.config.export.k, splits.known.items.height
        if k > items:
            raise ConfigError(
                f"`export.k` is {k}, but the catalogue has only {items} items. Set it to at most that: "
                f"--set export.k={items}."
            )
        check_baselines(self.config.evaluation.baselines or (), splits.learned)

    def leading_rule(self, known: Interactions) -> str:
        return leading_rule(self.config.evaluation.seen, known)

    def rule_note(self, known: Interactions, leading: str | None) -> str:
        seen = self.config.evaluation.seen
        share = (
            f"{100 * repeated_share(known):.1f} % of the events repeat an item that the user had before"
        )
        reason = share if seen == "auto" else f"`evaluation.seen` is {seen}"
        verb = "keep" if leading == Seen.KEPT else "leave out"
        return (
            f"{reason}: lists {verb} what a user had, here and in what the release answers by default."
        )

    def evaluate(
        self,
        model: Model | Release,
        splits: DataSplits,
        progress: ProgressReporter,
        *,
        alone: bool = False,
    ) -> Evaluation:
        if isinstance(model, Release):
            check_answerable(self.config, str(model.root))
        names = () if alone else self._baselines(splits.learned)
        return evaluate(
            model,
            splits.test,
            seen=splits.learned,
            history=splits.history,
            ks=self.config.evaluation.ks,
            baselines=baselines_of(splits.learned, names=names),
            progress=progress,
            among_new=self.config.split.method == "new_items",
        )

    def _baselines(self, known: Interactions) -> Sequence[str]:
        """Names of the baselines of the table."""
        names, sequences = self.config.evaluation.baselines, bool(self.config.schema.histories)
        if names is None and self.config.split.method == "new_items":
            return baselines_of_new(known)
        return usual_baselines(known, sequences=sequences) if names is None else names

    def metrics(self, evaluation: Evaluation, manifest: dict[str, Any]) -> dict[str, Any]:
        counts = {name: getattr(evaluation, name) for name in ("unknown_targets", "targets_had")}
        told = {name: getattr(evaluation, name) for name in ("own_rows", "last_events")}
        return {**counts, **{name: value for name, value in told.items() if value}}

    def figures(self, evaluation: Evaluation, leading: str | None) -> Figures:
        rule = str(leading)
        others = {name: rules[rule] for name, rules in evaluation.baselines.items() if rule in rules}
        return {self.config.model.type: evaluation.test[rule], **others}

    def primary_metrics(self, metrics: Sequence[str]) -> list[str]:
        return primary_metrics(metrics, of_users=False)


class RetrievalKind(_ListKind[TwoTower]):
    """Runs of retrievers that are trained."""

    export_title = "Export, index and compare in a fresh process"

    def __init__(self, config: RunConfig) -> None:
        super().__init__(config)
        # Made here, not in `stage`: impossible index settings fail before hours of training.
        self._annoy = Annoy(**vars(config.index))

    def write_vectors(self, model: TwoTower, directory: str | Path) -> None:
        write_projector(directory, model.embed_candidates(), model.catalogue)

    def diagnose(
        self, diagnostics: Diagnostics, model: TwoTower, evaluation: Evaluation, splits: DataSplits
    ) -> None:
        diagnostics.check_model(model, splits.known)
        diagnostics.check_test(evaluation, splits.known)

    def stage(
        self, model: TwoTower, staged: StagedRelease, leading: str | None, facts: dict[str, Any]
    ) -> dict[str, Any]:
        return stage_retriever(
            model,
            staged,
            index=self._annoy,
            k=self.config.export.k,
            exclude_seen=leading == Seen.REMOVED,
            facts=facts,
        )

    def metrics(self, evaluation: Evaluation, manifest: dict[str, Any]) -> dict[str, Any]:
        return {**super().metrics(evaluation, manifest), "index": manifest["index"]}

    def report(
        self,
        metrics: dict[str, Any],
        manifest: dict[str, Any],
        model: TwoTower | Release,
        evaluation: Evaluation,
        splits: DataSplits,
    ) -> str:
        known, test = splits.known, splits.test
        if isinstance(model, TwoTower):
            live = RunReportData(
                metrics, manifest, model.retriever(), known, test, evaluation, explainer(model)
            )
            return run_page(live)
        # From a release, where no Keras model is left: vectors and explanations are the exported ones.
        released = ReleaseRetriever(model.name, model)
        reasons = released.explanations
        return run_page(RunReportData(metrics, manifest, released, known, test, evaluation, reasons))


class BaselineKind(_ListKind[HistoryModel]):
    """Runs of baselines, which count: no training, no vectors, no index."""

    export_title = "Export"

    def __init__(self, config: RunConfig) -> None:
        super().__init__(config)
        baseline_of(config)  # wrong settings fail before the data are read

    def check(self, splits: DataSplits) -> None:
        super().check(splits)
        baseline_of(self.config).check(splits.known)

    def _baselines(self, known: Interactions) -> Sequence[str]:
        return [name for name in super()._baselines(known) if name != self.config.model.type]

    def stage(
        self, model: HistoryModel, staged: StagedRelease, leading: str | None, facts: dict[str, Any]
    ) -> dict[str, Any]:
        return stage_baseline(model, staged, exclude_seen=leading == Seen.REMOVED, facts=facts)

    def metrics(self, evaluation: Evaluation, manifest: dict[str, Any]) -> dict[str, Any]:
        return {**super().metrics(evaluation, manifest), "index": {}}

    def report(
        self,
        metrics: dict[str, Any],
        manifest: dict[str, Any],
        model: HistoryModel | Release,
        evaluation: Evaluation,
        splits: DataSplits,
    ) -> str:
        return run_page(RunReportData(metrics, manifest, model, splits.known, splits.test, evaluation))


class RankingKind(RunKind[Ranker, RankingEvaluation]):
    """Runs of rankers: the label of each test row is predicted."""

    export_title = "Export and compare in a fresh process"

    def __init__(self, config: RunConfig) -> None:
        super().__init__(config)
        self._judge = judge_of(config)
        if config.split.test_events != "all":
            raise ConfigError(
                "The rows of a ranker are rated, not asked one after another. Received: `split.test_events` is "
                f'"{config.split.test_events}". Set it to "all".'
            )

    def check(self, splits: DataSplits) -> None:
        parts = {
            "training rows": splits.train,
            "validation rows": splits.validation,
            "test rows": splits.test,
        }
        for name, rows in parts.items():
            if rows is not None:
                self._judge.check(rows, name, learned=name == "training rows")

    def evaluate(
        self,
        model: Ranker | Release,
        splits: DataSplits,
        progress: ProgressReporter,
        *,
        alone: bool = False,
    ) -> RankingEvaluation:
        ranker = (
            model
            if isinstance(model, Ranker)
            else ReleaseRanker(model.name, cast(RankerRelease, model))
        )
        return evaluate_ranking(ranker, splits.test, self._judge, known=splits.known)

    def stage(
        self, model: Ranker, staged: StagedRelease, leading: str | None, facts: dict[str, Any]
    ) -> dict[str, Any]:
        return stage_ranker(model, staged, facts=facts)

    def metrics(self, evaluation: RankingEvaluation, manifest: dict[str, Any]) -> dict[str, Any]:
        return {"task": self.config.task.type, "calibration": evaluation.to_dict()["calibration"]}

    def report(
        self,
        metrics: dict[str, Any],
        manifest: dict[str, Any],
        model: Ranker | Release,
        evaluation: RankingEvaluation,
        splits: DataSplits,
    ) -> str:
        items = splits.known.items
        names = titles(items, title_column(items, manifest.get("schema", {}).get("candidate", ())))
        return ranking_page(
            metrics, manifest, example_lists(splits.test, evaluation, self._judge, names)
        )

    def figures(self, evaluation: RankingEvaluation, leading: str | None) -> Figures:
        return {self.config.model.type: evaluation.test, **evaluation.baselines}

    def primary_metrics(self, metrics: Sequence[str]) -> list[str]:
        return list(metrics)


def kind_of(config: RunConfig) -> RunKind[Any, Any]:
    """The kind of a run: `RankingKind`, `BaselineKind`, or `RetrievalKind` for all other models.

    Raises:
        ConfigError: if its settings are impossible.
    """
    if config.counts:
        return BaselineKind(config)
    return RankingKind(config) if config.ranks else RetrievalKind(config)


def judge_of(config: RunConfig) -> RatingJudge:
    """The evaluation of a ranking task: label, metrics and groups.

    Raises:
        ConfigError: if the configuration is of a retriever.
    """
    task = config.task
    if not isinstance(task, RankingTaskConfig):
        raise ConfigError(
            f'"{config.recipe}" is the run of a retriever: it has the task "{task.type}".'
        )
    settings = {name: getattr(task, name) for name in ("group", "gain", "k") if hasattr(task, name)}
    return RatingJudge(task.type, task.target, **settings)
