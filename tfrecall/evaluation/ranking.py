"""Evaluation of rankers: predictions against labels, baselines, slices and calibration."""

import copy
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import polars as pl

from tfrecall.baselines.rating import RatingBiases, label_biases, mean_label
from tfrecall.core.html import html_table
from tfrecall.data.interactions import Interactions
from tfrecall.errors import DataError
from tfrecall.evaluation import metrics
from tfrecall.evaluation.bootstrap import mean_intervals
from tfrecall.evaluation.slices import ranking_masks
from tfrecall.schema.labels import Gain, Kind, Label, gains

# Ten points can be read off a picture, and each holds enough rows to say something.
BINS = 10
# Labels of more different values are drawn in bins of equal width.
MOST_VALUES = 20


def calibration(predictions: np.ndarray, labels: np.ndarray, bins: int = BINS) -> dict[str, Any]:
    """Compares mean predictions and mean labels in bins of similar predictions.

    Rows are sorted by their prediction and cut into bins of about equal size, so that each mean is about
    equally certain, however skewed the predictions are. Rows of equal predictions share a bin, so there may
    be fewer bins: one if all predictions are equal.

    Args:
        predictions: float `[n_rows]`, expected labels: of clicks probabilities.
        labels: float `[n_rows]`.
        bins: number of bins at most.

    Returns:
        `bins`, ascending, each with `low` and `high`, its extreme predictions, `rows`, and the means
        `prediction` and `label`; and `error`, the mean distance of both means over rows: 0 if predictions are
        right on average in every bin, None without rows.

    >>> measured = calibration(np.array([1.0, 2.0, 2.0, 4.0]), np.array([1.0, 1.0, 2.0, 5.0]), bins=2)
    >>> [(one["rows"], round(one["label"], 2)) for one in measured["bins"]], round(measured["error"], 2)
    ([(3, 1.33), (1, 5.0)], 0.5)

    Reference:
        Nguyen and O'Connor, "Posterior Calibration and Exploratory Analysis for Natural Language
        Processing Models", EMNLP 2015, section 4.1.
    """
    order = np.argsort(predictions, kind="stable")
    values = np.asarray(predictions, np.float64)[order]
    if not len(values):
        return {"error": None, "bins": []}
    _, last, ties = np.unique(values, return_index=True, return_counts=True)
    # The bin of a value is that of the middle of its rows, so that equal predictions stay together: in the
    # example the middles 0, 1.5 and 3 times 2 bins / 4 rows are 0, .75 and 1.5, of bins 0, 0 and 1.
    middles = last + (ties - 1) / 2
    # Numbered anew: a frequent value may leave bins empty.
    _, owners = np.unique(np.floor(middles * bins / len(values)).astype(int), return_inverse=True)
    owners = np.repeat(owners, ties)
    rows = np.bincount(owners)
    mean_values = np.bincount(owners, values) / rows
    mean_labels = np.bincount(owners, np.asarray(labels, np.float64)[order]) / rows
    ends = np.cumsum(rows)
    columns = (values[ends - rows], values[ends - 1], rows, mean_values, mean_labels)
    names = ("low", "high", "rows", "prediction", "label")
    rows_of_bins = zip(*(column.tolist() for column in columns), strict=True)
    return {
        "error": float((rows * np.abs(mean_values - mean_labels)).sum() / len(values)),
        "bins": [dict(zip(names, one, strict=True)) for one in rows_of_bins],
    }


def histogram(at: Sequence[float], values: np.ndarray) -> list[int]:
    """Counts the values nearest to each of some ascending numbers; ties go to the lower number.

    Every value counts, however far away.

    >>> histogram([1, 2, 5], np.array([-9.0, 1.4, 1.6, 3.5, 4.0, 99.0]))
    [2, 2, 2]
    """
    # Nearest means: between the middles on both sides. `side="left"` gives a tie to the lower number.
    middles = (np.asarray(at, np.float64)[1:] + np.asarray(at, np.float64)[:-1]) / 2
    counts = np.bincount(np.searchsorted(middles, values, side="left"), minlength=len(at))
    return [int(count) for count in counts]


def label_values(labels: np.ndarray) -> list[float]:
    """Numbers at which a histogram of labels counts: their values, or centres of bins if there are many.

    >>> label_values(np.array([3.0, 1.0, 3.0]))
    [1.0, 3.0]
    """
    values = np.unique(np.asarray(labels, np.float64))
    if len(values) <= MOST_VALUES:
        return values.tolist()
    edges = np.linspace(values[0], values[-1], MOST_VALUES + 1)
    return ((edges[1:] + edges[:-1]) / 2).tolist()


def rating_histogram(predictions: np.ndarray, labels: np.ndarray) -> dict[str, list[Any]]:
    """Counts labels and predictions `at` the values of the labels; a prediction counts at the nearest."""
    at = label_values(labels)
    return {
        "at": at,
        "labels": histogram(at, labels),
        "predictions": histogram(at, predictions),
    }


def click_histogram(probabilities: np.ndarray, labels: np.ndarray) -> dict[str, list[Any]]:
    """Counts the probabilities of clicked rows and of others, in tenths."""
    # Centres of the tenths: .05, .15, ..., .95.
    at = [(2 * i + 1) / (2 * BINS) for i in range(BINS)]
    return {
        "at": at,
        "clicked": histogram(at, probabilities[labels > 0]),
        "not_clicked": histogram(at, probabilities[labels <= 0]),
    }


# Probabilities of baselines that are a mean of labels may be 0 or 1, or beyond.
_LEAST = 1e-4


class SupportsPredict(Protocol):
    """A model that predicts the label of each row of a log, as a score."""

    @property
    def name(self) -> str:
        """Name of the model in tables."""
        ...

    def predictions(self, rows: Interactions) -> np.ndarray:
        """Scores each row: float `[n_rows]`."""
        ...


@dataclass(frozen=True)
class RatingJudge:
    """Compares scores with labels.

    Attributes:
        kind: `rating` gives `rmse` and `mae`; `click` takes logits and gives `log_loss`, `auc` and
            `gauc`, the AUC of each user's rows; `list` gives `ndcg@<k>`, the mean over lists.
        label: the predicted label.
        group: with `list`, the column that names the list of a row.
        gain: with `list`, the gain of a label: `linear` is the label itself, `exponential` 2^label - 1.
        k: with `list`, the length that counts.
    """

    kind: Kind
    label: Label
    group: str = "user_id"
    gain: Gain = "exponential"
    k: int = 10

    def check(self, rows: Interactions, what: str, *, learned: bool = False) -> None:
        """Refuses rows whose labels cannot be compared with scores, as `Label.check` does."""
        self.label.check(rows.log, what, learned=learned, kind=self.kind, gain=self.gain)

    def labels(self, rows: Interactions) -> np.ndarray:
        """Labels of rows: float64 `[n_rows]`."""
        return self.label.values(rows.log[self.label.column])

    def figures(self, scores: np.ndarray, rows: Interactions) -> dict[str, float]:
        """Computes the metrics of scores, by name."""
        labels = self.labels(rows)
        if self.kind == "rating":
            return {"rmse": metrics.rmse(scores, labels), "mae": metrics.mae(scores, labels)}
        if self.kind == "click":
            return _of_clicks(scores, labels, rows.user_rows)
        values = self._of_lists(scores, rows, labels)
        return {f"ndcg@{self.k}": float(values.mean()) if len(values) else float("nan")}

    def intervals(
        self, predictions: dict[str, np.ndarray], rows: Interactions
    ) -> dict[str, dict[str, list[float]]]:
        """95 % intervals of the first metric, by bootstrap over users: name -> metric -> low and high end.

        With kind `list` over lists. Empty where nothing can be measured.
        """
        labels, users = self.labels(rows), rows.log["user_id"].rank("dense").to_numpy() - 1
        if self.kind == "rating":
            squares = [np.square(scores - labels) for scores in predictions.values()]
            ends = np.sqrt(mean_intervals(squares, users)).tolist()
        elif self.kind == "click":
            losses = [metrics.row_log_losses(scores, labels) for scores in predictions.values()]
            ends = mean_intervals(losses, users)
        else:
            of_lists = [self._of_lists(scores, rows, labels) for scores in predictions.values()]
            if not len(of_lists[0]):
                return {}
            ends = mean_intervals(of_lists, np.arange(len(of_lists[0])))
        name = {"rating": "rmse", "click": "log_loss", "list": f"ndcg@{self.k}"}[self.kind]
        return {model: {name: pair} for model, pair in zip(predictions, ends, strict=True)}

    def _of_lists(self, scores: np.ndarray, rows: Interactions, labels: np.ndarray) -> np.ndarray:
        lists = rows.queries[self.group].cast(pl.String).fill_null("").rank("dense").to_numpy()
        return metrics.graded_ndcg(scores, gains(labels, self.gain), lists, self.k)

    def of_part(self, scores: np.ndarray, rows: Interactions) -> dict[str, float]:
        """Computes the metrics of a slice; of clicks only `log_loss`, as AUCs compare rows within users."""
        if self.kind != "click":
            return self.figures(scores, rows)
        return {"log_loss": metrics.log_loss(scores, self.labels(rows))}

    def expected(self, scores: np.ndarray) -> np.ndarray:
        """Converts scores to expected labels: of clicks their probabilities."""
        # exp(710) overflows float64; at 500 the probability has long been 0 or 1.
        return scores if self.kind != "click" else 1 / (1 + np.exp(-np.clip(scores, -500, 500)))

    def of_baseline(self, predictions: np.ndarray) -> np.ndarray:
        """Converts expected labels to scores: of clicks their logits."""
        if self.kind != "click":
            return predictions
        # The logit of 0 or 1 is infinite, and one wrong row would make the log loss infinite with it.
        share = np.clip(predictions, _LEAST, 1 - _LEAST)
        return np.log(share / (1 - share))


@dataclass(frozen=True)
class RankingEvaluation:
    """Metrics of a ranker on the test rows, and of its baselines.

    Attributes:
        model: the model's name.
        rows: test rows.
        users: distinct users of the test rows.
        test: metric -> value.
        baselines: name -> metric -> value, on the same rows.
        slices: part of the rows, by popularity of the item or length of the history -> `rows`, `test` and
            `baselines`. Parts without rows are left out. With kind `list` there are those by history
            only, and none at all if a list has rows of several users.
        calibration: `test` and `baselines`, as `calibration` returns them, and `histogram`, the
            distributions of labels and predictions. Empty with kind `list`, whose scores only order.
        predictions: model or baseline -> its score of each test row; not in `to_dict`.
        labels: labels of the test rows; not in `to_dict`.
        intervals: model or baseline -> first metric -> low and high end of its 95 % interval, by bootstrap
            over users, or with kind `list` over lists.
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
    intervals: dict[str, dict[str, list[float]]] = field(default_factory=dict)

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
            "intervals": copy.deepcopy(self.intervals),
        }

    def table(self) -> pl.DataFrame:
        """One row a model, the evaluated one first, then the baselines."""
        rows = {self.model: self.test, **self.baselines}
        return pl.DataFrame([{"model": name, **figures} for name, figures in rows.items()])

    def _repr_html_(self) -> str:
        title = f"{self.model}: {self.rows:,} test rows of {self.users:,} users"
        return html_table(self.table().to_dicts(), title)


def evaluate_ranking(
    model: SupportsPredict,
    test: Interactions,
    judge: RatingJudge,
    *,
    known: Interactions,
    baselines: Sequence[RatingBiases] | None = None,
) -> RankingEvaluation:
    """Evaluates a ranker on rows that it was not trained on.

    Args:
        model: a trained `Ranker`, or a release of one behind `ReleaseRanker`.
        test: rows with labels.
        judge: compares scores with labels.
        known: the log that baselines are fitted to.
        baselines: fitted baselines; None for the mean and the biases of users and items.

    Raises:
        DataError: if `test` is empty, a row has no label or one outside the declared range, or a score
            is not finite.
    """
    judge.check(test, "test rows")
    if not len(test):
        raise DataError("There are no test rows to evaluate. Received an empty log as `test`.")
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
        judge.intervals(predictions, test),
    )


def _slices(
    model: str,
    predictions: dict[str, np.ndarray],
    test: Interactions,
    judge: RatingJudge,
    known: Interactions,
) -> dict[str, dict[str, Any]]:
    masks = {name: mask for name, mask in ranking_masks(test, known).items() if mask.any()}
    if judge.kind == "list":
        # A list is judged as a whole, and its items differ in popularity.
        masks = {name: mask for name, mask in masks.items() if name.startswith("history")}
        if not _lists_are_of_users(test, judge.group):
            masks = {}
    slices = {}
    for name, mask in masks.items():
        rows = test.with_log(test.log.filter(mask))
        figures = {n: _finite(judge.of_part(s[mask], rows)) for n, s in predictions.items()}
        own = figures.pop(model)
        slices[name] = {"rows": int(mask.sum()), "test": own, "baselines": figures}
    return slices


def _lists_are_of_users(test: Interactions, group: str) -> bool:
    # As many distinct pairs as lists: no list has rows of a second user.
    pairs = test.queries.select(pl.col(group).alias("group"), pl.col("user_id").alias("user"))
    return pairs.n_unique() == pairs["group"].n_unique()


def _calibration(
    model: str, predictions: dict[str, np.ndarray], judge: RatingJudge, labels: np.ndarray
) -> dict[str, Any]:
    if judge.kind == "list":
        return {}
    calibrations = {name: calibration(judge.expected(s), labels) for name, s in predictions.items()}
    own = calibrations.pop(model)
    drawn = rating_histogram if judge.kind == "rating" else click_histogram
    expected = judge.expected(predictions[model])
    return {"test": own, "baselines": calibrations, "histogram": drawn(expected, labels)}


def _finite(figures: dict[str, float]) -> dict[str, float | None]:
    """Replaces NaN, of metrics without rows or pairs, by None: JSON has no NaN."""
    return {name: value if np.isfinite(value) else None for name, value in figures.items()}


def _of_clicks(logits: np.ndarray, labels: np.ndarray, users: np.ndarray) -> dict[str, float]:
    clicked = labels > 0
    return {
        "log_loss": metrics.log_loss(logits, labels),
        "auc": metrics.auc(logits[clicked], logits[~clicked]),
        "gauc": metrics.gauc(logits[clicked], users[clicked], logits[~clicked], users[~clicked]),
    }
