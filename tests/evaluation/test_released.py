"""Figures of a table are those of the release's own answers, whatever kind it is, under both rules.

Each test row is asked as a request for the whole catalogue. An oracle finds the target in the answer.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
import pytest

from tfrecall.baselines.ease import EASE
from tfrecall.baselines.popularity import Popularity
from tfrecall.data import Interactions, synthetic
from tfrecall.evaluation import evaluate
from tfrecall.evaluation.released import retriever_of
from tfrecall.exporting.export import export
from tfrecall.index.repeats import Repeats
from tfrecall.release import load

KS = (1, 5, 10)
ROWS = 90


@dataclass(frozen=True)
class Case:
    """A release, the log that it knows, and the columns of a request that a test row has."""

    release: Any
    known: Interactions
    context: tuple[str, ...] = ()


@pytest.fixture(scope="module")
def repeating_root(request, release_copy):
    """A release whose users come back: towers and repeats blended."""

    def write(root):
        model = request.getfixturevalue("tiny_model")
        model.repeats = Repeats(recency=0.7, decay=0.01, bias=3.0, blend=0.4, length=6)
        try:
            export(model, root, index=None, k=5, exclude_seen=False)
        finally:
            model.repeats = None

    return release_copy("repeating", write)


@pytest.fixture(scope="module")
def baseline_case(tmp_path_factory):
    known = synthetic(n_users=30, n_items=25, n_rows=400, seed=2)
    return lambda model: Case(export(model.fit(known), tmp_path_factory.mktemp("release") / "r"), known)


@pytest.fixture(
    params=[
        "popularity",
        "ease",
        "tiny",
        pytest.param("repeating", marks=pytest.mark.slow),
        pytest.param("histories", marks=pytest.mark.slow),
        pytest.param("interests", marks=pytest.mark.slow),
        pytest.param("pipeline", marks=pytest.mark.slow),
    ]
)
def case(request) -> Case:
    of = request.getfixturevalue
    match request.param:
        case "popularity":
            return of("baseline_case")(Popularity())
        case "ease":
            return of("baseline_case")(EASE())
        case "tiny":
            return Case(of("tiny_release"), of("tiny_log"), ("timestamp", "device"))
        case "repeating":
            return Case(load(of("repeating_root")), of("tiny_log"), ("timestamp", "device"))
        case "histories":
            return Case(of("history_release"), of("history_log"), ("device",))
        case "interests":
            return Case(of("interest_release"), of("history_log"), ("device",))
        case _:
            return Case(of("pipeline_release"), of("rating_log"), ("device",))


def later_rows(known: Interactions, share_had: float) -> Interactions:
    """Rows after the log; in a share of them the user comes back to an item, in the others it is new."""
    random = np.random.default_rng(1)
    had = known.log.select("user_id", "item_id").unique(maintain_order=True)
    some = pl.DataFrame({"user_id": had["user_id"].unique(maintain_order=True)})
    new = some.join(known.items.select("item_id"), how="cross").join(
        had, on=["user_id", "item_id"], how="anti", maintain_order="left"
    )
    n_had = int(share_had * ROWS)
    chosen = [
        part[random.choice(len(part), size=n, replace=False).tolist()]
        for part, n in ((had, n_had), (new, ROWS - n_had))
    ]
    log = pl.concat(chosen)[random.permutation(ROWS).tolist()].with_columns(
        timestamp=known.log["timestamp"].max() + pl.int_range(1, ROWS + 1).cast(pl.Float64),
        rating=pl.lit(4.0),
        device=pl.lit("web"),
    )
    return known.with_log(log)


def ranks_of(
    case: Case, test: Interactions, exclude_seen: bool
) -> tuple[np.ndarray, list[list[float]]]:
    """Place of each row's target in the answer, and places of a user's targets in that of the first row."""
    asked = test.queries.select("user_id", *case.context).to_dicts()
    k = len(case.release.item_ids)
    answers = case.release.recommend(asked, k, exclude_seen=exclude_seen)
    targets = test.log["item_id"].to_list()
    rows = [place(answer, target) for answer, target in zip(answers, targets, strict=True)]
    lists: dict[str, list[float]] = {}
    for user in dict.fromkeys(test.log["user_id"]):
        own = [n for n, answer in enumerate(answers) if answer.user_id == user]
        first = answers[own[0]]  # times ascend
        lists[user] = [place(first, item) for item in {targets[n] for n in own}]
    return np.array(rows), list(lists.values())


def place(answer: Any, target: str) -> float:
    """Number of other items with at least the target's score, inf if it is not listed."""
    scores = dict(zip(answer.item_ids, answer.scores, strict=True))
    if target not in scores:
        return np.inf
    return sum(score >= scores[target] for item, score in scores.items() if item != target)


@pytest.mark.parametrize("share_had", [0.0, 0.4, 1.0])
def test_figures_are_those_of_the_answers(case: Case, share_had: float) -> None:
    test = later_rows(case.known, share_had)
    found = evaluate(retriever_of("asked", case.release), test, seen=case.known, ks=KS, baselines=False)
    assert found.targets_had == int(share_had * ROWS)
    for rule, figures in found.test.items():
        ranks, lists = ranks_of(case, test, exclude_seen=rule == "seen_removed")
        expected = {"mrr": np.mean(1 / (ranks + 1))}
        for k in KS:
            expected[f"hit_rate@{k}"] = np.mean(ranks < k)
            expected[f"ndcg@{k}"] = np.mean(np.where(ranks < k, 1 / np.log2(ranks + 2), 0))
            recalls = [np.mean(np.array(places) < k) for places in lists]
            expected[f"user_recall@{k}"] = np.mean(recalls)
        assert {name: figures[name] for name in expected} == pytest.approx(expected, abs=1e-12), rule
    if share_had == 1:
        assert found.test["seen_removed"]["mrr"] == 0 < found.test["seen_kept"]["mrr"]
