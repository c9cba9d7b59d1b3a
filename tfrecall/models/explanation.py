"""Explanations of a model in training, as its release would give them."""

from collections.abc import Callable
from functools import partial

import numpy as np
import polars as pl

from tfrecall.core.results import Explanation
from tfrecall.models.queries import query_defaults
from tfrecall.models.repeats import histories
from tfrecall.models.two_tower import TwoTower
from tfrecall.release.explanation import NO_ROWS, LeaveOneOut, Listed, explained


def explainer(model: TwoTower) -> Callable[[pl.DataFrame, np.ndarray], list[Explanation]]:
    """Explains lists of a model with its present weights; the catalogue is embedded once."""
    return partial(explanations, model, model.embed_candidates())


def explanations(
    model: TwoTower, vectors: np.ndarray, query: pl.DataFrame, rows: np.ndarray
) -> list[Explanation]:
    """Explains the scores of some items for one query by leaving out its items and features in turn.

    Args:
        model: a fitted model.
        vectors: the vectors of the catalogue.
        query: one row of a table of queries, in the form of `embed_queries`. Histories end at the time
            of the query.
        rows: int `[n]`, rows of the catalogue.
    """
    raw, specs = model.raw_queries(query), model.schema.histories
    lists = [
        _listed(model, raw, [column, *spec.context_columns.values()]) for column, spec in specs.items()
    ]
    listed = {column for one in lists for column in one.columns}
    own = {column: raw[column] for column in model.query_tower.forms if column not in listed}
    past = NO_ROWS
    if model.repeats is not None and model.interactions is not None:
        past = histories(model.interactions, query["user_id"])[0][-model.repeats.length :]
    variants = LeaveOneOut.of(lists, own, query_defaults(model), past.astype(np.int64))
    length = max((spec.history_length for spec in specs.values()), default=1)
    return explained(
        query["user_id"][0] if "user_id" in query.columns else None,
        model.catalogue.ids,
        rows,
        variants,
        variants.embedded(model.query_tower.embed, length),
        vectors,
        model.repeats,
    )


def _listed(model: TwoTower, raw: dict[str, np.ndarray], columns: list[str]) -> Listed:
    """The newest known items of one history; a cell of padding if it has none."""
    cells, ids = raw[columns[0]][0], model.catalogue.ids
    index = model.query_tower.histories[0].index(ids)
    # Histories from the log are indexes already; those given with the query are ids.
    known = cells if cells.dtype != object else model.query_tower.histories[0].index(cells)
    # `index` goes from catalogue row to history index, `rows` back: -1 where no row has the index.
    # Candidates unknown to histories share the index 0, which is padding, so it is reset.
    rows = np.full(int(index.max(initial=0)) + 1, -1)
    rows[index] = np.arange(len(ids))
    rows[0] = -1
    kept = np.flatnonzero(known)[-model.schema.histories[columns[0]].history_length :]
    kept = kept if len(kept) else np.array([len(cells) - 1])
    return Listed(rows[known[kept]], {column: raw[column][0][kept] for column in columns})
