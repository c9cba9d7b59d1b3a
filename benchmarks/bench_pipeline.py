"""Milliseconds of `recommend` through both stages for one user in process, 200 candidates on ML-1M."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

import tfrecall as tr
from benchmarks.measure import movielens_folder, report, seconds_of

REQUESTS, WARM_UP, N_CANDIDATES = 500, 20, 200
# Enough to fit the vectors of all items; how well they are fitted does not change the time.
ROWS = 100_000


def milliseconds(ask: Callable[[str], Any], users: list[str]) -> np.ndarray:
    """Of each request, one user after the other."""
    for user in users[:WARM_UP]:
        ask(user)
    asked = (users[i % len(users)] for i in range(REQUESTS))
    return np.array([1000 * seconds_of(partial(ask, user)) for user in asked])


def fitted(data: Any) -> tuple[Any, Any]:
    """A retriever and a ranker with a feature of each usual kind."""
    candidate = [tr.Categorical("item_id"), tr.MultiCategorical("movie_genres")]
    query = [tr.Categorical("user_id"), tr.History("history", tr.Categorical("item_id"))]
    retrieval = tr.TwoTower(tr.Schema(query=query, candidate=candidate), [64, 32], name="retrieval")
    tr.fit(retrieval, data, epochs=1, batch_size=2048, verbose=0)
    ranked = [tr.Categorical("user_id"), tr.Bucketized("timestamp", 100)]
    ranker = tr.Ranker(tr.Schema(query=ranked, candidate=candidate), (256, 64), name="ranker")
    tr.fit(ranker, data, epochs=1, batch_size=2048, verbose=0)
    return retrieval, ranker


def main() -> None:
    """Fits, exports, asks."""
    everything = tr.data.movielens("1m", movielens_folder("1m"))
    data = everything.with_log(everything.log.sample(ROWS, seed=0))
    users = data.users["user_id"].to_list()
    with TemporaryDirectory() as folder:
        live = tr.Pipeline(*fitted(data), n_candidates=N_CANDIDATES)
        release = tr.export_pipeline(live, Path(folder) / "release")
        features = {user: release.users.build_queries([user]).features for user in users}
        own = list(release.ranker.users.forms)
        found = release.retrieval.recommend(users[:1], N_CANDIDATES)[0].item_ids
        lists = np.array([found], dtype=object)
        rules = tr.Rules(diversity=0.3, caps={"movie_genres": 3})
        asked: dict[str, Callable[[str], Any]] = {
            "": lambda user: release.recommend([user]),
            "annoy_": lambda user: release.recommend([user], index="annoy"),
            "rules_": lambda user: release.recommend([user], rules=rules),
            "retrieval_": lambda user: release.retrieval.recommend([user], N_CANDIDATES),
            "ranking_": lambda user: release.ranker.score_lists(
                {name: features[user][name] for name in own}, lists
            ),
        }
        took = {name: milliseconds(ask, users) for name, ask in asked.items()}
    quantiles = {
        f"{name}p{q}_ms": float(np.percentile(times, q))
        for name, times in took.items()
        for q in (50, 95)
    }
    report("pipeline", items=len(release.item_ids), candidates=N_CANDIDATES, **quantiles)


if __name__ == "__main__":
    main()
