"""Asks every diagnostic at its moment in a run, and keeps what they say."""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import polars as pl

from tfrecall._keras import keras
from tfrecall.baselines.popularity import Popularity
from tfrecall.config.run import RunConfig
from tfrecall.core.progress import LogProgress, ProgressReporter
from tfrecall.core.seen import Seen
from tfrecall.core.top_k import best_scores
from tfrecall.data.interactions import Interactions
from tfrecall.data.repeat_consumption import leading_rule
from tfrecall.diagnostics.divergence import StopOnNonFinite
from tfrecall.diagnostics.finding import Finding
from tfrecall.diagnostics.leaks import leaking_features
from tfrecall.diagnostics.quality import (
    below_popularity,
    best_epoch,
    list_length,
    never_learned,
    same_lists,
)
from tfrecall.diagnostics.unknown_rows import UnknownRows
from tfrecall.diagnostics.vectors import collapsed_vectors, dead_dimensions
from tfrecall.evaluation import Evaluation, metrics, rank, top_k
from tfrecall.models.two_tower import TwoTower

# A sample of so many vectors, users, and scores (4 bytes each) says as much as all.
VECTORS, USERS, SCORES = 5_000, 200, 2**28


class Examiner:
    """The diagnostics of one run.

    Args:
        config: of the run.
        progress: receives each finding as a note as soon as it is made; without it the logger
            "tfrecall" does.

    Attributes:
        findings: all so far, in the order they were made, each once.
    """

    def __init__(self, config: RunConfig, progress: ProgressReporter | None = None) -> None:
        self.config = config
        self.findings: list[Finding] = []
        self._progress = progress or LogProgress()
        self._unknown_rows = UnknownRows(config.training.batch_size)

    def examine_data(self, train: Interactions, validation: Interactions | None) -> None:
        """Before training: features that know the answer."""
        self._keep(leaking_features(self.config.schema, train, validation))

    def callbacks(self) -> list[keras.callbacks.Callback]:
        """For each fit of the run: stops at numbers that are not finite."""
        return [StopOnNonFinite(), self._unknown_rows]

    def examine_fit(
        self,
        model: TwoTower,
        train: Interactions,
        validation: Interactions | None,
        history: Mapping[str, Sequence[float]],
        best: int,
    ) -> None:
        """After the fit that validation rows judged: curves, and the model against popularity.

        Args:
            model: with its best weights.
            train, validation: what users had before the validation rows, and those.
            history: of each metric its value after each epoch.
            best: the best epoch, from 1.
        """
        self.examine_curves(history, best, is_validated=validation is not None)
        if validation is not None:
            self._keep([_against_popularity(model, train, validation, self.config)])

    def examine_curves(
        self, history: Mapping[str, Sequence[float]], best: int, *, is_validated: bool
    ) -> None:
        """As `examine_fit`, of a fit whose model is no retriever."""
        training, losses = self.config.training, history.get("loss", [])
        self._keep([never_learned(losses)])
        if is_validated and training.patience is not None:
            self._keep([best_epoch(history, training.monitor, best, len(losses), training.epochs)])

    def examine_model(self, model: TwoTower, known: Interactions) -> None:
        """After the last fit: vectors, unknown rows, and whether everybody gets the same list."""
        queries = known.with_log(_one_row_a_user(known, VECTORS)).queries
        asked = model.embed_queries(queries)
        vectors = (
            model.embed_candidates()
            if model.catalogue.vectors is None
            else model.catalogue.vectors.numpy()
        )
        some = _sample(vectors, VECTORS)
        of_queries = asked.reshape(-1, asked.shape[-1])  # several each, if they have interests
        for side, part in (("query", of_queries), ("candidate", some)):
            collapsed = collapsed_vectors(part, side)
            self._keep([collapsed or dead_dimensions(part, side)])
        self._keep([_same_lists(asked, vectors, known)])
        self._keep(self._unknown_rows.findings())

    def examine_test(self, evaluation: Evaluation, known: Interactions) -> None:
        """After the evaluation: the model against popularity again, on the rows that count."""
        popularity = evaluation.baselines.get("popularity")
        if popularity is None:
            return
        k = _list_length(self.config, known.items.height, self.config.evaluation.ks)
        rule, metric = leading_rule(self.config.evaluation.seen, known), f"hit_rate@{k}"
        self._keep(
            [
                below_popularity(
                    evaluation.test[rule][metric],
                    popularity[rule][metric],
                    metric=metric,
                    rule=rule,
                    rows=evaluation.rows,
                    where="test",
                )
            ]
        )

    def take_up(self, findings: Iterable[Mapping[str, str]]) -> None:
        """Goes on from the plain forms of what an interrupted run had found."""
        self._keep(Finding(**finding) for finding in findings)  # type: ignore[arg-type]

    def _keep(self, findings: Iterable[Finding | None]) -> None:
        for finding in findings:
            if finding is not None and finding not in self.findings:
                self.findings.append(finding)
                self._progress.note(str(finding))


def _against_popularity(
    model: TwoTower, train: Interactions, validation: Interactions, config: RunConfig
) -> Finding | None:
    n_items = train.items.height
    # With fewer than some hundred rows the figures would be noise.
    most = max(300, min(20_000, SCORES // n_items))
    held = validation.with_log(validation.log.sample(min(most, len(validation)), seed=0))
    k = _list_length(config, n_items)
    rates = []
    for retriever in (model.retriever(train), Popularity().fit(train)):
        ranking = rank(retriever, held, seen=train, ks=(k,))
        rates.append({r: float(metrics.hit_rate(ranking.by(r).rows, k).mean()) for r in Seen})
    rule = leading_rule(config.evaluation.seen, train)
    return below_popularity(
        rates[0][rule],
        rates[1][rule],
        metric=f"hit_rate@{k}",
        rule=rule,
        rows=len(held),
        where="validation",
    )


def _list_length(config: RunConfig, n_items: int, ks: Sequence[int] = ()) -> int:
    """The length that training watches if the catalogue is long enough, of those measured if any."""
    wanted = min(config.training.monitored_length or 100, max(1, n_items // 4))
    return min(ks, key=lambda k: (k > wanted, abs(k - wanted))) if ks else wanted


def _same_lists(queries: np.ndarray, vectors: np.ndarray, known: Interactions) -> Finding | None:
    n_items = len(vectors)
    asked = _sample(queries, min(USERS, SCORES // n_items))
    k = list_length(n_items)
    rows = known.item_rows[known.item_rows >= 0]
    popular = np.argsort(-np.bincount(rows, minlength=n_items), kind="stable")[:k]
    return same_lists(top_k(best_scores(asked, vectors), k), popular)


def _one_row_a_user(known: Interactions, most: int) -> pl.DataFrame:
    """The latest event of each user, of some users."""
    latest = known.log.sort("timestamp", maintain_order=True).unique(
        "user_id", keep="last", maintain_order=True
    )
    return latest.sample(min(most, latest.height), seed=0)


def _sample(values: np.ndarray, most: int) -> np.ndarray:
    if len(values) <= most:
        return values
    return values[np.random.default_rng(0).choice(len(values), most, replace=False)]
