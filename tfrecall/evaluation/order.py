"""Order test of a model: the same test rows asked with their histories shuffled."""

import copy
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import polars as pl

from tfrecall.core.columns import TIMESTAMP, USER
from tfrecall.core.event_context import context_column
from tfrecall.core.progress import ProgressReporter
from tfrecall.core.ragged import Ragged
from tfrecall.core.retriever import GivesRetriever, ReadsHistories, Retriever
from tfrecall.core.seen import Seen
from tfrecall.core.vocabulary import Vocabulary
from tfrecall.data.interactions import Interactions
from tfrecall.errors import ConfigError, DataError
from tfrecall.evaluation.bootstrap import ratio_intervals
from tfrecall.evaluation.ranks import Ranking, rank
from tfrecall.evaluation.released import ReleaseRetriever
from tfrecall.evaluation.summary import row_figures, row_values
from tfrecall.release.base import Release
from tfrecall.release.pipeline import BasePipeline
from tfrecall.release.users import UserStore
from tfrecall.schema.features import Schema


@dataclass(frozen=True)
class OrderTest:
    """Figures of a model on test rows with their histories as they are, and shuffled.

    Attributes:
        rows, users: numbers of test rows and of their users.
        ordered, shuffled: rule -> metric -> value; metrics are means over rows.
        loss: rule -> metric -> `loss`, the share of the figure that shuffling takes away, with `low` and
            `high`, its 95 % interval by bootstrap over users; None where the figure is 0.
    """

    rows: int
    users: int
    ordered: dict[str, dict[str, float]]
    shuffled: dict[str, dict[str, float]]
    loss: dict[str, dict[str, dict[str, float] | None]]

    def to_dict(self) -> dict[str, Any]:
        """Plain Python types, ready for `json.dumps`."""
        return asdict(self)


def order_test(
    model: Retriever | GivesRetriever | Release,
    test: Interactions,
    *,
    seen: Interactions,
    ks: Sequence[int] = (1, 5, 10, 20, 50, 100),
    seed: int = 0,
    progress: ProgressReporter | None = None,
) -> OrderTest:
    """Asks a trained model for the same rows twice: with histories as they are, and in random order.

    A model that loses nothing knows whom it asks for, but not what came last. Of each history the newest
    events that the model reads are shuffled, their ratings and other context with them; times stay in their
    places. What the model learned stays, too. A model without histories loses nothing.

    Args:
        model: a trained model, a fitted baseline or a release.
        test: rows to predict, each after the events of its user in `seen`.
        seen: interactions before the test rows; histories of a release are its own.
        ks: lengths of lists.
        seed: seed of the order.
        progress: receives the model's name, rows done and all rows after each block.

    Raises:
        ConfigError: if the model is a pipeline, whose parts read their own histories.
        DataError: if a test row lies before an event of its user in `seen`, which shuffling would move.

    Example:

    >>> import polars as pl
    >>> import tfrecall as tr
    >>> log = pl.DataFrame({"user_id": [*"uuuvvv"], "item_id": [*"abcabc"], "timestamp": [1, 2, 3] * 2})
    >>> seen = tr.data.Interactions.from_frame(log)
    >>> test = seen.with_log(pl.DataFrame({"user_id": ["u"], "item_id": ["a"], "timestamp": [9.0]}))
    >>> tr.order_test(tr.ItemCF().fit(seen), test, seen=seen, ks=(2,)).loss["seen_kept"]["mrr"]["loss"]
    0.0

    Reference:
        Klenitskiy et al., "Does It Look Sequential? An Analysis of Datasets for Evaluation of Sequential
        Recommendations", RecSys 2024.
    """
    asked = _retrievers(model, test, seen, seed)
    ordered, shuffled = (rank(one, test, seen=seen, ks=ks, progress=progress) for one in asked)
    people = Vocabulary(test.log[USER].unique(maintain_order=True))
    users = people.rows(test.log[USER])
    return OrderTest(
        rows=len(test),
        users=len(people),
        ordered={rule.value: row_figures(ordered.by(rule).rows, ks) for rule in Seen},
        shuffled={rule.value: row_figures(shuffled.by(rule).rows, ks) for rule in Seen},
        loss={rule.value: _losses(ordered, shuffled, rule, users, ks) for rule in Seen},
    )


def shuffled_log(log: Interactions, newest: int | None = None, seed: int = 0) -> Interactions:
    """Shuffles the events of each user, all but their times.

    Args:
        log: the events.
        newest: number of newest events of each user that change places; None for all.
        seed: seed of the order.

    >>> log = Interactions.from_frame(
    ...     pl.DataFrame({"user_id": [*"uuuv"], "item_id": [*"abca"], "timestamp": [1, 2, 3, 4]})
    ... )
    >>> sorted(shuffled_log(log).log.rows()) == sorted(log.log.rows())
    False
    """
    histories = log.histories
    moved = histories.order[_permutation(histories, newest, seed)]
    times = log.log[TIMESTAMP][histories.order]
    return log.with_log(log.log[moved].with_columns(times))


def _permutation(lists: Ragged, newest: int | None, seed: int) -> np.ndarray:
    """Places of values after a shuffle of the last ones of each list: int64 `[n_values]`."""
    places = np.arange(lists.offsets[0], lists.offsets[-1])
    keys = np.random.default_rng(seed).random(len(places))
    if newest is not None:
        # Below all random keys and in their order: earlier events stay where they are.
        back = lists.lengths[lists.owners()] - lists.positions()
        keys = np.where(back > newest, -back.astype(np.float64), keys)
    return places[np.lexsort((keys, lists.owners()))]


def _retrievers(
    model: Retriever | GivesRetriever | Release, test: Interactions, seen: Interactions, seed: int
) -> tuple[Retriever, Retriever]:
    if isinstance(model, ReleaseRetriever):
        model = model.release
    if isinstance(model, BasePipeline):
        raise ConfigError(
            f"The order test takes a retriever. Received: the pipeline {model.root}, whose parts have "
            "histories of their own. Test the release of its retrieval."
        )
    if isinstance(model, Release):
        other = copy.copy(model)
        other.users = _shuffled_users(model.users, seed)
        return ReleaseRetriever(model.name, model), ReleaseRetriever(model.name, other)
    _check_after(test, seen)
    if isinstance(model, ReadsHistories):
        return model.reading(seen), model.reading(shuffled_log(seen, seed=seed))
    if isinstance(model, Retriever):
        return model, model
    schema = getattr(model, "schema", None)
    histories = schema.histories.values() if isinstance(schema, Schema) else ()
    newest = max((one.history_length for one in histories), default=None)
    mixed = shuffled_log(seen, newest, seed)
    return model.retriever(seen), model.retriever(mixed)


def _shuffled_users(users: UserStore, seed: int) -> UserStore:
    """The users of a release with the order of their events lost."""
    times = {context_column(name, TIMESTAMP) for name in users.contexts}
    histories = {}
    for name, past in users.histories.items():
        # Contexts are parallel to their list: equal lengths and an equal seed move them alike.
        cut = past.newest()
        order = _permutation(Ragged(cut.items, cut.offsets), None, seed)
        histories[name] = cut if name in times else replace(cut, items=cut.items[order])
    seen = Ragged(np.asarray(users.seen_items), np.asarray(users.seen_offsets))
    items = seen.values[_permutation(seen, None, seed)]
    return replace(users, histories=histories, seen_items=items)


def _check_after(test: Interactions, seen: Interactions) -> None:
    newest = seen.log.group_by(USER).agg(newest=pl.col(TIMESTAMP).max())
    rows = test.log.select(USER, TIMESTAMP).join(newest, on=USER, how="left")
    early = rows.filter(pl.col(TIMESTAMP) < pl.col("newest")).height
    if early:
        raise DataError(
            f"{early:,} of {len(test):,} test rows lie before an event of their user in `seen`, which a "
            "shuffle would move into their histories. Split by time, or leave the last events out."
        )


def _losses(
    ordered: Ranking, shuffled: Ranking, rule: Seen, users: np.ndarray, ks: Sequence[int]
) -> dict[str, dict[str, float] | None]:
    first, second = (row_values(one.by(rule).rows, ks) for one in (ordered, shuffled))
    names = [name for name, values in first.items() if values.any()]
    ends = ratio_intervals([second[n] for n in names], [first[n] for n in names], users)
    found: dict[str, dict[str, float] | None] = dict.fromkeys(first)
    for name, (low, high) in zip(names, ends, strict=True):
        loss = 1 - float(second[name].mean() / first[name].mean())
        # The share that is left, from low to high, is a loss from high to low.
        found[name] = {"loss": loss, "low": 1 - high, "high": 1 - low}
    return found
