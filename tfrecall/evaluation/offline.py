"""Offline evaluation of a retriever and its baselines on the same test rows."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl

from tfrecall.baselines.registry import fit_baselines, usual_baselines
from tfrecall.core.columns import USER
from tfrecall.core.progress import ProgressReporter
from tfrecall.core.retriever import GivesRetriever, ReadsHistories, Retriever
from tfrecall.core.seen import Seen
from tfrecall.core.vocabulary import Vocabulary
from tfrecall.data.interactions import Interactions
from tfrecall.data.sequences import check_apart
from tfrecall.errors import ConfigError
from tfrecall.evaluation.bootstrap import figure_intervals
from tfrecall.evaluation.new_items import figures_among_new, rules_of
from tfrecall.evaluation.ranks import Ranking, rank
from tfrecall.evaluation.report import Evaluation
from tfrecall.evaluation.slices import slice_masks
from tfrecall.evaluation.summary import (
    Figures,
    primary_metrics,
    row_figures,
    summarize,
    summarize_slices,
)
from tfrecall.evaluation.truth import had_before
from tfrecall.schema.features import Schema


def evaluate(
    model: Retriever | GivesRetriever,
    test: Interactions,
    *,
    seen: Interactions,
    history: Interactions | None = None,
    ks: Sequence[int] = (1, 5, 10, 20, 50, 100),
    baselines: bool | Sequence[Retriever] = True,
    block_size: int = 2048,
    progress: ProgressReporter | None = None,
    among_new: bool = False,
) -> Evaluation:
    """Computes every metric over the whole catalogue, seen items kept and removed, in one pass.

    The rank of a target is the number of other candidates that score at least as much: ties count against
    the model. Row metrics (hit_rate, ndcg, mrr) are means over test rows; user metrics (user_recall,
    user_precision, user_ndcg, user_map) are means over the users of the test rows, of one list each;
    coverage, novelty, popularity_share and gini describe those lists. `tfrecall.evaluation.metrics`
    defines each.

    Where seen items are removed, a target that the user had before is a miss, as for a release asked to
    leave them out: 0 to row metrics, a target without a hit to user metrics. `targets_had` counts such rows.
    A baseline that ranks nothing but seen items has no figures there.

    With `history`, evaluation is successive: each row is asked with all events of its user before it, also
    earlier test rows; what models and baselines learned stays, and the items that count as seen grow. Then
    `last_events` has the figures of each user's last test row alone.

    A model that reads the time of the request is told that of each row, and has a second row among the
    baselines: asked as of the user's newest event.

    Args:
        model: a fitted retriever, or a model in training, such as `TwoTower`.
        test: rows to predict; targets outside the model's catalogue count as misses.
        seen: interactions before the test rows: the training log, or training and validation together.
        history: the log with all events, the test rows among them, with the item table of `seen`; None for the
            histories that the model has, the same for all rows of a user.
        ks: lengths of lists.
        baselines: True fits those of `baselines_of(seen)`; fitted retrievers are used as they are;
            False or an empty sequence leaves baselines out.
        block_size: most queries scored at once; fewer where a block would exceed 128 MB.
        progress: receives the model's name, rows done and all rows after each block; without it the
            logger "tfrecall" does.
        among_new: whether to rank the test rows of new items, those without a row in `seen`, also among the new
            items of the catalogue alone: can the model tell them apart, whatever place it gives them among all?

    Raises:
        DataError: if `test` is empty, one of its rows is in the log that the model takes histories from, or one
            is missing in `history`.
        ConfigError: if an argument makes no sense or a model's scores are unusable.

    Example:

    >>> import polars as pl
    >>> import tfrecall as tr
    >>> log = pl.DataFrame({"user_id": [*"uuvvw"], "item_id": [*"ababa"], "timestamp": [1, 2, 1, 2, 1]})
    >>> seen = tr.data.Interactions.from_frame(log)
    >>> after = pl.DataFrame({"user_id": ["w"], "item_id": ["b"], "timestamp": [3]})
    >>> test = seen.with_log(after)
    >>> tr.evaluate(tr.ItemCF().fit(seen), test, seen=seen, ks=(1,)).test["seen_removed"]["hit_rate@1"]
    1.0
    """
    # A model that looks histories up in a log of its own could read a target from it.
    history_log = getattr(model, "history_log", None)
    if history_log is not None and history is None:
        check_apart(test, history_log)
    retriever = _with_histories(model, history)

    def ranked(one: Retriever) -> Ranking:
        settings: dict[str, Any] = {"ks": ks, "block_size": block_size, "progress": progress}
        return rank(one, test, seen=seen, history=history, **settings)

    def figures(ranking: Ranking, one: Retriever) -> dict[str, Figures]:
        return summarize(ranking, seen, one.item_ids, ks)

    def of_rival(ranking: Ranking, one: Retriever) -> dict[str, Figures]:
        whole = figures(ranking, one)
        return {rule: whole[rule] for rule in rules_of(one)}

    ids = test.log[USER]
    ranking = ranked(retriever)
    others = [_with_histories(one, history) for one in _fitted(baselines, seen)]
    untimed = _untimed(model, history)
    others += untimed
    rivals = {one.name: (ranked(one), one) for one in others}
    measured = {name: of_rival(*pair) for name, pair in rivals.items()}
    own = figures(ranking, retriever)
    every = [retriever, *others]
    rankings = {**{name: pair[0] for name, pair in rivals.items()}, retriever.name: ranking}
    # A baseline may bear the name of the model: then name, ranking and interval are the model's.
    tables = {retriever.name: own, **measured, retriever.name: own}
    return Evaluation(
        model=retriever.name,
        rows=len(test),
        users=ids.n_unique(),
        unknown_targets=ranking.unknown_targets,
        test=own,
        slices=summarize_slices(ranking, slice_masks(test, seen, history), ks),
        baselines=measured,
        rankings=rankings,
        targets_had=int(np.count_nonzero(had_before(test, seen, history))),
        intervals=_intervals(tables, rankings, ids),
        own_rows=[one.name for one in untimed],
        last_events=None
        if history is None
        else _last_events(retriever.name, tables, rankings, test, ks),
        **(figures_among_new(every, test, seen, ks, progress) if among_new else {}),
    )


def _last_events(
    model: str,
    measured: dict[str, dict[str, Figures]],
    rankings: dict[str, Ranking],
    test: Interactions,
    ks: Sequence[int],
) -> dict[str, Any] | None:
    """Figures of each user's last test row, with intervals; None where no user has two test rows."""
    ends = test.histories.offsets[1:][test.histories.lengths > 0]
    rows = np.sort(test.histories.order[ends - 1])
    if len(rows) == len(test):
        return None
    last = {name: ranking.of_rows(rows) for name, ranking in rankings.items()}
    figures = {
        name: {rule: row_figures(last[name].by(Seen(rule)).rows, ks) for rule in rules}
        for name, rules in measured.items()
    }
    intervals = _intervals(figures, last, test.log[USER][rows])
    return {"rows": len(rows), "test": figures.pop(model), "baselines": figures, "intervals": intervals}


def _intervals(
    measured: dict[str, dict[str, Figures]], rankings: dict[str, Ranking], user_ids: pl.Series
) -> dict[str, dict[str, dict[str, list[float]]]]:
    """Intervals of the leading figure of all models, from the same resamples of users."""
    (metric, *_) = primary_metrics(next(iter(measured.values()))[Seen.KEPT])
    places = [(name, Seen(rule)) for name, rules in measured.items() for rule in rules]
    users = Vocabulary(user_ids.unique(maintain_order=True)).rows(user_ids)
    ends = figure_intervals([rankings[name].by(rule) for name, rule in places], users, metric)
    found: dict[str, dict[str, dict[str, list[float]]]] = {name: {} for name in measured}
    for (name, rule), interval in zip(places, ends, strict=True):
        found[name][rule.value] = {metric: interval}
    return found


def baselines_of(
    seen: Interactions, *, sequences: bool = False, names: Sequence[str] | None = None
) -> list[Retriever]:
    """Fits the baselines that a model is compared with.

    Args:
        seen: the log to fit them to. If consumption repeats, baselines of the user's own items are added.
        sequences: adds `item_transitions`, the baseline of models that use the order of a history.
        names: names of `tfrecall.schema.baselines.BASELINES`; None for the usual ones.
    """
    chosen = usual_baselines(seen, sequences=sequences) if names is None else names
    return list(fit_baselines(chosen, seen))


def _untimed(model: Any, history: Interactions | None) -> list[Retriever]:
    """The model without the time of the request, as a row of its own: another question."""
    schema = getattr(model, "schema", None)
    timed = isinstance(schema, Schema) and schema.is_timed
    return [model.untimed_retriever(history)] if timed else []


def _with_histories(model: Retriever | GivesRetriever, history: Interactions | None) -> Retriever:
    """The retriever of a model, with the histories of another log if there is one."""
    if not isinstance(model, Retriever):
        return model.retriever() if history is None else model.retriever(history)
    return model if history is None or not isinstance(model, ReadsHistories) else model.reading(history)


def _fitted(baselines: bool | Sequence[Retriever], seen: Interactions) -> Sequence[Retriever]:
    if isinstance(baselines, bool):
        return baselines_of(seen) if baselines else []
    # Figures are kept by name: the second of two equal names would replace the first.
    names = [model.name for model in baselines]
    if len(set(names)) < len(names):
        raise ConfigError(f"Baselines need different names. Received: {names}.")
    return baselines
