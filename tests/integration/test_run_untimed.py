"""Inferred runs of logs without times: the release answers as the table says, strangers by what is popular."""

import numpy as np
import polars as pl
import pytest

from tfrecall.config.inference import propose
from tfrecall.runs.run import run

pytestmark = pytest.mark.slow
WIDTH = 12


def walks(users=400, follow=0.8, seed=0):
    """Users of five groups of twelve items, half of them of the first, who mostly take the next item.

    Each item once a user.
    """
    random, rows = np.random.default_rng(seed), []
    for user in range(users):
        first = 0 if user % 2 else user // 2 % 5 * WIDTH
        left = list(random.permutation(WIDTH))
        item = left[0]
        for _ in range(6):
            left.remove(item)
            rows.append((f"u{user}", f"i{first + item}"))
            item = (item + 1) % WIDTH
            if item not in left or random.random() > follow:
                item = left[0]
    return pl.DataFrame(rows, schema=["user_id", "item_id"], orient="row")


@pytest.fixture(scope="module", params=["events", "shuffled"])
def ran(request, tmp_path_factory):
    """The outcome of a run on the file in order, whose history is ordered, or shuffled: a bag."""
    folder = tmp_path_factory.mktemp("untimed")
    log = walks()
    if request.param == "shuffled":
        log = log.sample(fraction=1.0, shuffle=True, seed=1)
    log.write_csv(folder / "log.csv")
    config = propose(folder / "log.csv").config(["training.epochs=8", "index.n_trees=5"])
    assert config.schema.query[-1].anytime == (request.param == "shuffled")
    return run(config, folder / "release")


def test_the_release_hits_as_often_as_the_table_says(ran):
    test, rule = ran.splits.test, ran.metrics["leading"]
    lists = ran.release.recommend(test.log["user_id"].to_list(), k=5, index="exact")
    hits = [target in one.item_ids for one, target in zip(lists, test.log["item_id"], strict=True)]
    assert rule == "seen_removed"
    assert np.mean(hits) == pytest.approx(ran.metrics["test"][rule]["hit_rate@5"], abs=1 / len(test))


def test_it_is_above_popularity_and_item_cf(ran):
    rule = ran.metrics["leading"]
    ours = ran.metrics["test"][rule]["ndcg@5"]
    for name in ("popularity", "item_cf"):
        # Of six left of a group of twelve any is as likely in the bag; 400 rows have an error of .02.
        assert ours >= ran.metrics["baselines"][name][rule]["ndcg@5"] - 0.04


def test_strangers_are_answered_with_what_is_popular(ran):
    (stranger,) = ran.release.recommend(["nobody"], k=5, index="exact")
    assert {int(item[1:]) // WIDTH for item in stranger.item_ids} == {0}
