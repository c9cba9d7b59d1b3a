"""Figures among new items alone: candidates without a row before the test."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import polars as pl

from tfrecall.core.progress import ProgressReporter
from tfrecall.core.retriever import AnswersByRule, Retriever
from tfrecall.core.seen import Seen
from tfrecall.data.interactions import Interactions
from tfrecall.evaluation.ranks import MAX_SCORES, Ranking, rank
from tfrecall.evaluation.slices import slice_masks
from tfrecall.evaluation.summary import Figures, row_figures


@dataclass(frozen=True, eq=False)
class Among:
    """A retriever whose catalogue is a part of another one's.

    Attributes:
        retriever: scores its whole catalogue.
        rows: int `[any]`, the columns of these scores that are kept.
    """

    retriever: Retriever
    rows: np.ndarray

    @property
    def name(self) -> str:
        """Name of the retriever."""
        return self.retriever.name

    @property
    def item_ids(self) -> np.ndarray:
        """The part of the catalogue."""
        return self.retriever.item_ids[self.rows]

    def scores(self, queries: pl.DataFrame) -> np.ndarray:
        """Scores of the part, as the retriever gives them."""
        return self.retriever.scores(queries)[:, self.rows]


def figures_among_new(
    retrievers: Sequence[Retriever],
    test: Interactions,
    seen: Interactions,
    ks: Sequence[int],
    progress: ProgressReporter | None,
) -> dict[str, Any]:
    """Metrics of the test rows of new items, ranked among the new items of each catalogue.

    Returns:
        `among_new`, name -> rule -> metric -> value, and `new_items`, the number of candidates of the first
        retriever. Without such rows there are no figures.
    """
    mask = slice_masks(test, seen)["new_items"]
    if not mask.any():
        return {"among_new": {}, "new_items": 0}
    rows = test.with_log(test.log.filter(pl.Series(mask)))
    had = set(seen.log["item_id"].unique())
    new = {
        one.name: np.array([i for i, item in enumerate(one.item_ids) if item not in had], np.int64)
        for one in retrievers
    }
    found = {}
    for one in retrievers:
        if len(new[one.name]):
            ranking = _ranked(one, new[one.name], rows, seen, ks, progress)
            found[one.name] = {rule.value: _figures(ranking, rule, ks) for rule in rules_of(one)}
    return {"among_new": found, "new_items": len(new[retrievers[0].name])}


def _ranked(
    retriever: Retriever,
    new: np.ndarray,
    test: Interactions,
    seen: Interactions,
    ks: Sequence[int],
    progress: ProgressReporter | None,
) -> Ranking:
    # The whole catalogue is scored, of which a block must not have more than others do.
    size = max(1, min(2048, MAX_SCORES // len(retriever.item_ids)))

    def ranked(one: Retriever) -> Ranking:
        return rank(Among(one, new), test, seen=seen, ks=ks, block_size=size, progress=progress)

    if isinstance(retriever, AnswersByRule):
        kept, removed = (ranked(retriever.under(rule)) for rule in (Seen.KEPT, Seen.REMOVED))
        return replace(kept, removed=removed.removed)
    return ranked(retriever)


def _figures(ranking: Ranking, rule: Seen, ks: Sequence[int]) -> Figures:
    return row_figures(ranking.by(rule).rows, ks)


def rules_of(retriever: Retriever) -> list[Seen]:
    """The rules that a baseline can be measured by: only "kept" if it ranks nothing but seen items."""
    return [Seen.KEPT] if getattr(retriever, "ranks_seen_only", False) else list(Seen)
