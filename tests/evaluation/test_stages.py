"""A pipeline judged: final lists as answered, and what each stage loses."""

import numpy as np
import polars as pl
import pytest

from tests.tiny_pipeline import N_CANDIDATES
from tfrecall.core.seen import Seen
from tfrecall.data import Interactions
from tfrecall.evaluation import evaluate, stage_losses
from tfrecall.evaluation.metrics import MISS
from tfrecall.evaluation.ranks import rank
from tfrecall.release.pipeline import BasePipeline
from tfrecall.release.rules import Rules


@pytest.fixture(scope="module")
def halves(rating_log):
    """The log that the models know, and three later rows of each user with items that are new to them."""
    random = np.random.default_rng(0)
    had = rating_log.log.select("user_id", "item_id").unique()
    pairs = rating_log.log.select(pl.col("user_id").unique(maintain_order=True)).join(
        rating_log.items.select("item_id"), how="cross"
    )
    new = pairs.join(had, on=["user_id", "item_id"], how="anti", maintain_order="left")
    new = new[random.permutation(len(new)).tolist()].group_by("user_id", maintain_order=True).head(3)
    log = new.with_columns(
        timestamp=rating_log.log["timestamp"].max() + pl.int_range(1, len(new) + 1).cast(pl.Float64),
        rating=pl.lit(4.0),
        device=pl.lit("web"),
    )
    later = Interactions.from_frame(log, users=rating_log.users, items=rating_log.items, name="later")
    return rating_log, later


@pytest.fixture(scope="module")
def losses(pipeline_release, halves):
    known, test = halves
    return stage_losses(pipeline_release, test, seen=known, ks=(1, 5, N_CANDIDATES))


def asked(queries):
    """The same as requests."""
    return queries.select("user_id", "device").to_dicts()


def test_only_candidates_have_scores(pipeline_release, halves):
    queries = halves[1].queries[:30]
    scores = pipeline_release.scores(queries)
    there = np.isfinite(scores)
    answers = pipeline_release.recommend(asked(queries), N_CANDIDATES)
    for row, answer in zip(scores, answers, strict=True):
        ids = pipeline_release.item_ids[np.argsort(-row, kind="stable")]
        assert ids[: len(answer.item_ids)].tolist() == answer.item_ids
    assert there.sum(axis=1).tolist() == [len(answer.item_ids) for answer in answers]


@pytest.mark.parametrize("rule", Seen)
def test_each_rule_has_candidates_of_its_own(pipeline_release, halves, rule):
    queries = halves[1].queries[:30]
    scores = pipeline_release.under(rule).scores(queries)
    answers = pipeline_release.recommend(
        asked(queries), N_CANDIDATES, exclude_seen=rule is Seen.REMOVED
    )
    for row, answer in zip(scores, answers, strict=True):
        assert set(pipeline_release.item_ids[np.isfinite(row)]) == set(answer.item_ids)
    assert pipeline_release.exclude_seen, "the release itself is as it was"


@pytest.mark.parametrize("rules", [Rules(caps={"genres": 2}), Rules(diversity=0.5)], ids=str)
def test_with_rules_the_scores_are_places_in_the_list(pipeline_release, halves, rules):
    queries = halves[1].queries[:20]
    stages = pipeline_release.retrieval, pipeline_release.ranker
    pipeline = BasePipeline(*stages, n_candidates=N_CANDIDATES, rules=rules)
    scores = pipeline.scores(queries)
    answers = pipeline.recommend(asked(queries), N_CANDIDATES)
    for row, answer in zip(scores, answers, strict=True):
        listed = np.argsort(-row, kind="stable")[: np.isfinite(row).sum()]
        assert pipeline.item_ids[listed].tolist() == answer.item_ids


def test_an_allow_list_leaves_the_others_without_a_score(pipeline_release, halves):
    stages = pipeline_release.retrieval, pipeline_release.ranker
    pipeline = BasePipeline(*stages, rules=Rules(allow=["i1", "i2", "not there"]))
    there = np.isfinite(pipeline.scores(halves[1].queries[:10]))
    assert set(pipeline.item_ids[np.flatnonzero(there.any(axis=0))]) <= {"i1", "i2"}


def test_a_pipeline_is_evaluated_like_any_retriever(pipeline_release, halves):
    known, test = halves
    judged = evaluate(pipeline_release, test, seen=known, ks=(5,), baselines=False)
    assert judged.model == "finds > ratings"
    ranks = judged.rankings[judged.model].removed.rows
    assert judged.test["seen_removed"]["hit_rate@5"] == pytest.approx((ranks < 5).mean())
    assert ((ranks < N_CANDIDATES) | (ranks == MISS)).all()


def test_live_models_are_judged_like_their_release(live_pipeline, pipeline_release, halves):
    """Histories end with the log in a release, and with each row in a live model, so only users differ."""
    queries = (
        halves[1]
        .queries[:10]
        .with_columns(history=pl.Series([["i1", "i2"]] * 10), rated=pl.Series([["i3"]] * 10))
    )
    live, released = live_pipeline.scores(queries), pipeline_release.scores(queries)
    np.testing.assert_array_equal(np.isfinite(live), np.isfinite(released))
    np.testing.assert_allclose(live, released, rtol=1e-5)


# What each stage loses


def test_candidates_bound_what_a_ranker_can_find(losses):
    assert losses.rule == "seen_removed"
    for k, told in losses.lists.items():
        for metric in ("hit_rate", "ndcg", "user_recall", "user_ndcg"):
            assert told["perfect"][metric] >= told["pipeline"][metric]
            assert 0 <= told["pipeline"][metric] <= 1
        assert told["perfect"]["hit_rate"] == losses.candidates["hit_rate"], k


def test_lists_as_long_as_the_candidates_lose_nothing_by_ranking(losses):
    told = losses.lists[N_CANDIDATES]
    assert told["pipeline"]["hit_rate"] == told["perfect"]["hit_rate"]
    assert told["retrieval"]["hit_rate"] == told["perfect"]["hit_rate"]


def test_losses_row_by_row(pipeline_release, halves, losses):
    known, test = halves
    final = rank(pipeline_release, test, seen=known, ks=(1,)).removed
    found = (final.rows != MISS).mean()
    assert losses.candidates["hit_rate"] == pytest.approx(found)
    row = losses.table().filter(pl.col("k") == 5).to_dicts()[0]
    assert row["lost by retrieval"] == pytest.approx(1 - found)
    assert row["lost by ranking"] == pytest.approx(found - (final.rows < 5).mean())


def test_a_perfect_ranker_puts_all_that_was_found_first(pipeline_release, halves, losses):
    known, test = halves
    targets = rank(pipeline_release, test, seen=known, ks=(1,)).removed.targets
    # Of each user min(5, found) of all targets.
    shares = [
        min(5, (targets.ranks[targets.users == user] != MISS).sum()) / (targets.users == user).sum()
        for user in range(targets.users.max() + 1)
    ]
    assert losses.lists[5]["perfect"]["user_recall"] == pytest.approx(np.mean(shares))


def test_a_ranking_that_is_there_is_not_made_again(pipeline_release, halves, losses):
    known, test = halves
    ks = (1, 5, N_CANDIDATES)
    judged = evaluate(pipeline_release, test, seen=known, ks=ks, baselines=False)
    again = stage_losses(
        pipeline_release, test, seen=known, ks=ks, ranking=judged.rankings[judged.model]
    )
    assert again == losses
    assert set(again.to_dict()["lists"]) == {"@1", "@5", f"@{N_CANDIDATES}"}
