"""How well a ranker predicts the test rows, beside the mean and the biases of users and items."""

import copy
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

import numpy as np
import polars as pl

from tfrecall import metrics
from tfrecall.data.interactions import Interactions
from tfrecall.errors import DataError
from tfrecall.evaluation.calibration import calibration, click_histogram, rating_histogram
from tfrecall.evaluation.slices import ranking_masks
from tfrecall.labels import Label
from tfrecall.models.rating_baselines import RatingBiases, label_biases, mean_label

Kind = Literal["rating", "click", "list"]
# Probabilities of baselines that are a mean of labels may be 0 or 1, or beyond.
_LEAST = 1e-4


class Predictor(Protocol):
    """What gives a row of a log a score."""

    @property
    def name(self) -> str:
        """What tables call it."""
        ...

    def predictions(self, rows: Interactions) -> np.ndarray:
        """Of each row: float `[n_rows]`."""
        ...


@dataclass(frozen=True)
class Judge:
    """How scores are compared with labels.

    Attributes:
        kind: `rating` gives `rmse` and `mae`; `click` takes logits and gives `log_loss`, `auc` and
            `gauc`, the AUC of each user's rows; `list` gives `ndcg@<k>`, the mean over lists.
        label: what is predicted.
        group: with `list`, the column that names the list of a row.
        gain: with `list`, of a label: itself, or `exponential`, 2^label - 1.
        k: with `list`.
    """

    kind: Kind
    label: Label
    group: str = "user_id"
    gain: Literal["linear", "exponential"] = "exponential"
    k: int = 10

    def labels(self, rows: Interactions) -> np.ndarray:
        """The labels of rows: float64 `[n_rows]`."""
        return self.label.values(rows.log[self.label.column])

    def figures(self, scores: np.ndarray, rows: Interactions) -> dict[str, float]:
        """The metrics of some scores, by name."""
        labels = self.labels(rows)
        if self.kind == "rating":
            return {"rmse": metrics.rmse(scores, labels), "mae": metrics.mae(scores, labels)}
        if self.kind == "click":
            return _of_clicks(scores, labels, rows.user_rows)
        gains = 2.0**labels - 1.0 if self.gain == "exponential" else labels
        lists = rows.queries[self.group].cast(pl.String).fill_null("").rank("dense").to_numpy()
        found = metrics.graded_ndcg(scores, gains, lists, self.k)
        return {f"ndcg@{self.k}": float(found.mean()) if len(found) else float("nan")}

    def of_part(self, scores: np.ndarray, rows: Interactions) -> dict[str, float]:
        """The metrics that a part of the rows has: `gauc` is left out, for it compares a user's rows."""
        if self.kind != "click":
            return self.figures(scores, rows)
        return {"log_loss": metrics.log_loss(scores, self.labels(rows))}

    def expected(self, scores: np.ndarray) -> np.ndarray:
        """The labels that scores stand for: of clicks their probabilities."""
        return scores if self.kind != "click" else 1 / (1 + np.exp(-np.clip(scores, -500, 500)))

    def of_baseline(self, predictions: np.ndarray) -> np.ndarray:
        """Expected labels as scores: of clicks their logits."""
        if self.kind != "click":
            return predictions
        share = np.clip(predictions, _LEAST, 1 - _LEAST)
        return np.log(share / (1 - share))


@dataclass(frozen=True)
class RankingEvaluation:
    """How a ranker predicts the test rows, beside its baselines.

    Attributes:
        model: the model's name.
        rows: test rows.
        users: distinct users of the test rows.
        test: metric -> value.
        baselines: name -> metric -> value, on the same rows.
        slices: part of the rows -> `rows`, `test` and `baselines`; see `ranking_masks`. Parts without
            rows are left out. Where lists are judged there are those by history only, and none at all
            where a list has rows of several users.
        calibration: `test` and `baselines`, see `tfrecall.evaluation.calibration`, and `histogram`, the
            distributions of labels and predictions. Empty where lists are judged: their scores only order.
        predictions: model or baseline -> its score of each test row; not in `to_dict`.
        labels: of the test rows; not in `to_dict`.
    """

    model: str
    rows: int
    users: int
    test: dict[str, float]
    baselines: dict[str, dict[str, float]]
    slices: dict[str, dict[str, Any]]
    calibration: dict[str, Any]
    predictions: dict[str, np.ndarray] = field(repr=False, compare=False)
    labels: np.ndarray = field(repr=False, compare=False)

    def to_dict(self) -> dict[str, Any]:
        """The figures as plain Python types, ready for `json.dumps`."""
        return {
            "model": self.model,
            "rows": self.rows,
            "users": self.users,
            "test": dict(self.test),
            "baselines": {name: dict(figures) for name, figures in self.baselines.items()},
            "slices": copy.deepcopy(self.slices),
            "calibration": copy.deepcopy(self.calibration),
        }

    def table(self) -> pl.DataFrame:
        """One row a model, the evaluated one first, then the baselines."""
        rows = {self.model: self.test, **self.baselines}
        return pl.DataFrame([{"model": name, **figures} for name, figures in rows.items()])


def evaluate_ranking(
    model: Predictor,
    test: Interactions,
    judge: Judge,
    *,
    known: Interactions,
    baselines: Sequence[RatingBiases] | None = None,
) -> RankingEvaluation:
    """Judges a ranker by rows that it has not seen.

    Args:
        model: a trained `Ranker`, or a release of one behind `ReleasedRanker`.
        test: the rows.
        judge: how scores are compared with labels.
        known: what the baselines learn from.
        baselines: what stands beside it; the mean and the biases if None.

    Raises:
        DataError: if there are no rows, a row has no label or one outside the declared range, or a score
            is not finite.
    """
    judge.label.check(test.log, "test rows", learned=False)
    if not len(test):
        raise DataError("There are no test rows to judge by. Received a log of none.")
    if baselines is None:
        baselines = [mean_label(known, judge.label), label_biases(known, judge.label)]
    predictions = {model.name: np.asarray(model.predictions(test), np.float64)}
    wrong = int((~np.isfinite(predictions[model.name])).sum())
    if wrong:
        raise DataError(
            f"{model.name} gives {wrong:,} of {len(test):,} test rows a score that is NaN or infinite: the "
            "training diverged. Lower the learning rate and train again."
        )
    for baseline in baselines:
        predictions[baseline.name] = judge.of_baseline(baseline.predictions(test))
    figures = {name: judge.figures(scores, test) for name, scores in predictions.items()}
    users = test.log["user_id"].n_unique()
    own = figures.pop(model.name)
    return RankingEvaluation(
        model.name,
        len(test),
        users,
        own,
        figures,
        _slices(model.name, predictions, test, judge, known),
        _calibration(model.name, predictions, judge, judge.labels(test)),
        predictions,
        judge.labels(test),
    )


def _slices(
    model: str,
    predictions: dict[str, np.ndarray],
    test: Interactions,
    judge: Judge,
    known: Interactions,
) -> dict[str, dict[str, Any]]:
    masks = {name: mask for name, mask in ranking_masks(test, known).items() if mask.any()}
    if judge.kind == "list":
        # A list is judged as a whole, and its items differ in popularity.
        masks = {name: mask for name, mask in masks.items() if name.startswith("history")}
        if not _lists_are_of_users(test, judge.group):
            masks = {}
    found = {}
    for name, mask in masks.items():
        rows = test.with_log(test.log.filter(mask))
        figures = {n: _finite(judge.of_part(s[mask], rows)) for n, s in predictions.items()}
        own = figures.pop(model)
        found[name] = {"rows": int(mask.sum()), "test": own, "baselines": figures}
    return found


def _lists_are_of_users(test: Interactions, group: str) -> bool:
    pairs = test.queries.select(pl.col(group).alias("group"), pl.col("user_id").alias("user"))
    return pairs.n_unique() == pairs["group"].n_unique()


def _calibration(
    model: str, predictions: dict[str, np.ndarray], judge: Judge, labels: np.ndarray
) -> dict[str, Any]:
    if judge.kind == "list":
        return {}
    found = {name: calibration(judge.expected(s), labels) for name, s in predictions.items()}
    own = found.pop(model)
    drawn = rating_histogram if judge.kind == "rating" else click_histogram
    expected = judge.expected(predictions[model])
    return {"test": own, "baselines": found, "histogram": drawn(expected, labels)}


def _finite(figures: dict[str, float]) -> dict[str, float | None]:
    """None where nothing could be measured, as where no list has an order: JSON has no NaN."""
    return {name: value if np.isfinite(value) else None for name, value in figures.items()}


def _of_clicks(logits: np.ndarray, labels: np.ndarray, users: np.ndarray) -> dict[str, float]:
    clicked = labels > 0
    return {
        "log_loss": metrics.log_loss(logits, labels),
        "auc": metrics.auc(logits[clicked], logits[~clicked]),
        "gauc": metrics.gauc(logits[clicked], users[clicked], logits[~clicked], users[~clicked]),
    }
