"""Diagnostics of a run, each at its moment: before training, during, after, and after evaluation."""

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
    below_baseline,
    below_popularity,
    best_epoch,
    few_rows,
    list_length,
    never_learned,
    same_lists,
)
from tfrecall.diagnostics.unknown_rows import UnknownRows
from tfrecall.diagnostics.vectors import collapsed_vectors, dead_dimensions
from tfrecall.evaluation import Evaluation, metrics, rank, top_k
from tfrecall.evaluation.rivals import Beaten
from tfrecall.models.two_tower import TwoTower

# Sizes of samples: vectors, users, and scores of 4 bytes, 1 GB. Larger ones would
# change no finding.
VECTORS, USERS, SCORES = 5_000, 200, 2**28


class Diagnostics:
    """Runs the diagnostics of one run and collects their findings.

    Args:
        config: the configuration of the run.
        progress: receives each finding as a note at once; None logs it to the logger "tfrecall".
        enabled: whether to run them; False leaves only the stop at numbers that are not finite.

    Attributes:
        findings: all findings so far, in order, each once.
    """

    def __init__(
        self,
        config: RunConfig,
        progress: ProgressReporter | None = None,
        *,
        enabled: bool = True,
    ) -> None:
        self.config = config
        self.enabled = enabled
        self.findings: list[Finding] = []
        self._progress = progress or LogProgress()
        self._unknown_rows = UnknownRows(config.training.batch_size)

    def check_data(
        self,
        train: Interactions,
        validation: Interactions | None,
        test: Interactions | None = None,
    ) -> None:
        """Look for features that leak the target, and for a test of few rows, before training."""
        if not self.enabled:
            return
        if test is not None:
            self._keep([few_rows(len(test))])
        self._keep(leaking_features(self.config.schema, train, validation))

    def callbacks(self) -> list[keras.callbacks.Callback]:
        """Callbacks of each fit of the run, which stop it at numbers that are not finite."""
        return [StopOnNonFinite(), *([self._unknown_rows] if self.enabled else [])]

    def check_fit(
        self,
        model: TwoTower,
        train: Interactions,
        validation: Interactions | None,
        history: Mapping[str, Sequence[float]],
        best: int,
    ) -> None:
        """Examine the curves of the first fit, and compare the model with popularity.

        Args:
            model: the model with its best weights.
            train: histories before the validation rows.
            validation: validation rows; None without them.
            history: value of each metric after each epoch.
            best: the best epoch, from 1.
        """
        if not self.enabled:
            return
        self.check_curves(history, best, is_validated=validation is not None)
        if validation is not None:
            self._keep([_against_popularity(model, train, validation, self.config)])

    def check_curves(
        self, history: Mapping[str, Sequence[float]], best: int, *, is_validated: bool
    ) -> None:
        """Examine the curves of a fit of any model.

        Args:
            history: value of each metric after each epoch.
            best: the best epoch, from 1.
            is_validated: whether there were validation rows.
        """
        if not self.enabled:
            return
        training, losses = self.config.training, history.get("loss", [])
        self._keep([never_learned(losses)])
        if is_validated and training.patience is not None:
            self._keep([best_epoch(history, training.monitor, best, len(losses), training.epochs)])

    def check_model(self, model: TwoTower, known: Interactions) -> None:
        """Examine vectors, unknown rows and equal lists of all users, after the last fit."""
        if not self.enabled:
            return
        queries = known.with_log(_one_row_a_user(known, VECTORS)).queries
        embedded = model.embed_queries(queries)
        vectors = (
            model.embed_candidates()
            if model.catalogue.vectors is None
            else model.catalogue.vectors.numpy()
        )
        some = _sample(vectors, VECTORS)
        of_queries = embedded.reshape(-1, embedded.shape[-1])  # several vectors a user with interests
        for side, part in (("query", of_queries), ("candidate", some)):
            collapsed = collapsed_vectors(part, side)
            self._keep([collapsed or dead_dimensions(part, side)])
        # With repeats lists begin with a user's own items; the towers alone may give what is popular.
        if model.repeats is None:
            self._keep([_same_lists(embedded, vectors, known)])
        self._keep(self._unknown_rows.findings())

    def check_test(self, evaluation: Evaluation, known: Interactions) -> None:
        """Compare the model with popularity on the test rows, after the evaluation."""
        if not self.enabled:
            return
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

    def check_baselines(self, beaten: Beaten | None) -> None:
        """Name the baselines that beat the model on the leading figure, after the evaluation."""
        if self.enabled and beaten is not None:
            self._keep([below_baseline(beaten)])

    def restore(self, findings: Iterable[Mapping[str, str]]) -> None:
        """Restore the findings of an interrupted run from their plain form."""
        self._keep(Finding(**finding) for finding in findings)  # type: ignore[arg-type]

    def _keep(self, findings: Iterable[Finding | None]) -> None:
        for finding in findings:
            if finding is not None and finding not in self.findings:
                self.findings.append(finding)
                self._progress.warning(str(finding))


def _against_popularity(
    model: TwoTower, train: Interactions, validation: Interactions, config: RunConfig
) -> Finding | None:
    n_items = train.items.height
    # Memory bounds the rows (rows * items scores), but fewer than 300 would make the figures noise: a
    # hit rate of 0.1 has a standard error of 0.017 there.
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
    """List length to compare by: the monitored one, at most a quarter of the catalogue."""
    # Of the measured lengths the nearest that is not longer, else the shortest.
    wanted = min(config.training.monitored_length or 100, max(1, n_items // 4))
    return min(ks, key=lambda k: (k > wanted, abs(k - wanted))) if ks else wanted


def _same_lists(queries: np.ndarray, vectors: np.ndarray, known: Interactions) -> Finding | None:
    n_items = len(vectors)
    some = _sample(queries, min(USERS, SCORES // n_items))
    k = list_length(n_items)
    rows = known.item_rows[known.item_rows >= 0]
    popular = np.argsort(-np.bincount(rows, minlength=n_items), kind="stable")[:k]
    return same_lists(top_k(best_scores(some, vectors), k), popular)


def _one_row_a_user(known: Interactions, most: int) -> pl.DataFrame:
    """Latest event of each user, for a sample of users."""
    latest = known.log.sort("timestamp", maintain_order=True).unique(
        "user_id", keep="last", maintain_order=True
    )
    return latest.sample(min(most, latest.height), seed=0)


def _sample(values: np.ndarray, most: int) -> np.ndarray:
    if len(values) <= most:
        return values
    return values[np.random.default_rng(0).choice(len(values), most, replace=False)]
