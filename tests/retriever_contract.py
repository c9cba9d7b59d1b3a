"""What every retriever has to keep: call `check_retriever` and `check_learning` in its own test."""

from collections.abc import Callable

import numpy as np
import polars as pl

from tfrecall.baselines.popularity import Popularity
from tfrecall.core.retriever import Retriever
from tfrecall.data import split_random, synthetic
from tfrecall.data.interactions import Interactions
from tfrecall.evaluation import evaluate

Fit = Callable[[Interactions], Retriever]

K = 10
# A row hits by chance at K / 100 items = .10. Bounds on both sides: .05 is four standard errors of
# the 800 test rows, and a model far below chance is as broken as one far above it.
CHANCE = (0.05, 0.15)


def check_retriever(fit: Fit) -> None:
    """Name, catalogue, shape, dtype, finite scores, unknown users, rows apart from each other."""
    train, test = split_random(synthetic(n_users=40, n_items=30, n_rows=600))
    model = fit(train)
    queries = test.queries.drop("item_id")
    scores = model.scores(queries)
    assert isinstance(model, Retriever)
    assert model.name
    assert model.item_ids.dtype == object
    assert model.item_ids.tolist() == train.items["item_id"].to_list()
    assert scores.shape == (test.log.height, 30)
    assert scores.dtype == np.float32
    assert np.isfinite(scores).all()
    _check_rows_apart(model, queries, scores)
    _check_unknown_user(model, queries)
    assert model.scores(queries.head(0)).shape == (0, 30)


def check_learning(fit: Fit, margin: float) -> None:
    """Beats popularity by `margin` where there is structure; stays at chance where there is none.

    Judged by hit_rate@10 of 100 items with seen items kept: in the synthetic log people choose
    items again, and which items somebody has left says something by itself.
    """
    hit_rate, popularity = _hit_rates(fit, structure=0.9)
    assert hit_rate >= popularity + margin
    hit_rate, _ = _hit_rates(fit, structure=0.0)
    assert CHANCE[0] <= hit_rate <= CHANCE[1]


def _check_rows_apart(model: Retriever, queries: pl.DataFrame, scores: np.ndarray) -> None:
    """A query is answered alike alone, in another order, and beside others."""
    np.testing.assert_allclose(model.scores(queries.reverse()), scores[::-1], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(model.scores(queries[3:4]), scores[3:4], rtol=1e-5, atol=1e-6)


def _check_unknown_user(model: Retriever, queries: pl.DataFrame) -> None:
    stranger = queries.head(2).with_columns(pl.lit("nobody").alias("user_id"))
    assert np.isfinite(model.scores(stranger)).all()


def _hit_rates(fit: Fit, structure: float) -> tuple[float, float]:
    train, test = split_random(synthetic(structure=structure))
    model = fit(train)
    result = evaluate(model, test, seen=train, ks=[K], baselines=[Popularity().fit(train)])
    name = f"hit_rate@{K}"
    return result.test["seen_kept"][name], result.baselines["popularity"]["seen_kept"][name]
