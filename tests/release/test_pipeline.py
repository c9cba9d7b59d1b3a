"""A pipeline's lists, held against the retrieval's scores and the ranker's, item by item."""

import json

import numpy as np
import polars as pl
import pytest

from tests.commands import ask
from tests.tiny_pipeline import N_CANDIDATES
from tests.tiny_ratings import N_ITEMS
from tfrecall.batch import recommend_all
from tfrecall.errors import ConfigError, DataError, MissingColumnError
from tfrecall.release import load
from tfrecall.release.rules import Boost, Rules

KNOWN, OTHER, ABSENT = "u1", "u2", "absent"
HISTORY = {"history": ["i3", "i8"], "rated": ["i8"]}


def had(log, user):
    return set(log.log.filter(pl.col("user_id") == user)["item_id"])


def best_first(pipeline, query, barred=(), count=N_CANDIDATES):
    """Candidates and their scores by the stages alone, each asked apart."""
    of_retrieval = {"user_id", *pipeline.retrieval.users.forms, "history"}
    of_ranker = {"user_id", *pipeline.ranker.users.forms}
    query = {"user_id": query} if isinstance(query, str) else query
    first = {name: value for name, value in query.items() if name in of_retrieval}
    second = {name: value for name, value in query.items() if name in of_ranker}
    (found,) = pipeline.retrieval.recommend([first], N_ITEMS, exclude_seen=False)
    candidates = [item for item in found.item_ids if item not in barred][:count]
    scores = pipeline.ranker.predict([second], candidates)
    return [candidates[i] for i in np.argsort(-scores, kind="stable")], np.sort(scores)[::-1]


# The two stages


@pytest.mark.slow
@pytest.mark.parametrize("user", [KNOWN, OTHER, ABSENT])
def test_the_ranker_orders_what_the_retrieval_finds(pipeline_release, rating_log, user):
    (answer,) = pipeline_release.recommend([user], 5)
    items, scores = best_first(pipeline_release, user, had(rating_log, user))
    assert answer.item_ids == items[:5]
    np.testing.assert_allclose(answer.scores, scores[:5], rtol=1e-6, atol=1e-7)


def test_histories_of_a_request_reach_the_model_that_takes_them(pipeline_release):
    (answer,) = pipeline_release.recommend([HISTORY], 5)
    items, _ = best_first(pipeline_release, HISTORY, {"i3", "i8"})
    assert answer.item_ids == items[:5]
    assert set(answer.defaulted) == {"device", "user_id"}


def test_what_only_the_ranker_is_told_counts_as_had(pipeline_release):
    (answer,) = pipeline_release.recommend([{"rated": ["i8", "i9"]}], N_CANDIDATES, details=True)
    assert not {"i8", "i9"} & set(answer.candidates)


def test_excluded_items_make_room_for_other_candidates(pipeline_release):
    (before,) = pipeline_release.recommend([KNOWN], 5, details=True)
    barred = before.candidates[:3]
    (after,) = pipeline_release.recommend([KNOWN], 5, exclude=barred, details=True)
    assert not set(barred) & set(after.candidates)
    assert set(before.candidates) - set(barred) <= set(after.candidates)


def test_seen_items_are_kept_if_that_is_asked_for(pipeline_release):
    items, _ = best_first(pipeline_release, KNOWN)
    (answer,) = pipeline_release.recommend([KNOWN], 5, exclude_seen=False)
    assert answer.item_ids == items[:5]


def test_each_of_many_queries_is_answered_as_if_alone(pipeline_release):
    queries = [KNOWN, HISTORY, ABSENT, "nobody", {"user_id": OTHER, "device": "web"}]
    together = pipeline_release.recommend(queries, 7)
    alone = [pipeline_release.recommend([query], 7)[0] for query in queries]
    assert [answer.item_ids for answer in together] == [answer.item_ids for answer in alone]
    assert pipeline_release.recommend([]) == []


def test_as_many_candidates_as_items_is_the_ranker_alone(pipeline_release, rating_release):
    (answer,) = pipeline_release.recommend([KNOWN], 10, n_candidates=10_000, exclude_seen=False)
    everything = rating_release.predict([KNOWN], rating_release.item_ids.tolist())
    np.testing.assert_allclose(answer.scores, np.sort(everything)[::-1][:10], rtol=1e-6, atol=1e-7)


def test_annoy_proposes_candidates_too(pipeline_release):
    (answer,) = pipeline_release.recommend([KNOWN], 5, index="annoy")
    assert len(answer.item_ids) == 5
    with pytest.raises(ConfigError, match='no index "faiss"'):
        pipeline_release.recommend([KNOWN], 5, index="faiss")


# Short lists and empty ones


def test_a_list_is_as_short_as_its_candidates(pipeline_release):
    (answer,) = pipeline_release.recommend([KNOWN], N_ITEMS)
    assert len(answer.item_ids) == N_CANDIDATES
    (answer,) = pipeline_release.recommend([ABSENT], 5, allow=["i1", "i2", "not there"])
    assert sorted(answer.item_ids) == ["i1", "i2"]


def test_where_everything_is_barred_the_list_is_empty(pipeline_release):
    for answer in pipeline_release.recommend([KNOWN, "nobody"], 5, allow=[]):
        assert (answer.item_ids, answer.scores) == ([], [])
    every = pipeline_release.item_ids.tolist()
    assert pipeline_release.recommend([KNOWN], 5, exclude=every)[0].item_ids == []
    rules = Rules(diversity=0.5, caps={"genres": 1})
    assert pipeline_release.recommend([KNOWN], 5, exclude=every, rules=rules)[0].item_ids == []


# Rules


def test_rules_apply_to_the_ranked_candidates(pipeline_release):
    (plain,) = pipeline_release.recommend([KNOWN], N_CANDIDATES, columns=["genres"])
    (answer,) = pipeline_release.recommend(
        [KNOWN], 5, rules=Rules(caps={"genres": 1}), columns=["genres"]
    )
    genres = [genre for item in answer.items for genre in item["genres"]]
    assert len(genres) == len(set(genres))
    kept = [item for item in plain.item_ids if item in answer.item_ids]
    assert answer.item_ids == kept


def test_diversity_keeps_the_first_item_and_changes_those_after_it(pipeline_release):
    (plain,) = pipeline_release.recommend([KNOWN], 6)
    (answer,) = pipeline_release.recommend([KNOWN], 6, rules=Rules(diversity=0.7))
    assert answer.item_ids[0] == plain.item_ids[0]
    assert answer.item_ids != plain.item_ids
    vectors = pipeline_release.bundle.exact.vectors
    rows = [pipeline_release.bundle.exact.rows(one.item_ids) for one in (plain, answer)]
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    alike = [np.tril(unit[some] @ unit[some].T, -1).max(axis=1)[1:].mean() for some in rows]
    assert alike[1] < alike[0]


def test_boosts_are_added_to_the_scores(pipeline_release):
    (plain,) = pipeline_release.recommend([KNOWN], N_CANDIDATES, columns=["genres"])
    last, score = plain.item_ids[-1], dict(zip(plain.item_ids, plain.scores, strict=True))
    boosts = [Boost(10, items=[last, "not there"]), Boost(-5, column="genres", values=["x0"])]
    (answer,) = pipeline_release.recommend([KNOWN], N_CANDIDATES, rules=Rules(boosts=boosts))
    genres = dict(zip(plain.item_ids, (item["genres"] for item in plain.items), strict=True))
    for item, got in zip(answer.item_ids, answer.scores, strict=True):
        expected = score[item] + 10 * (item == last) - 5 * ("x0" in genres[item])
        assert got == pytest.approx(expected, rel=1e-5)
    assert answer.scores == sorted(answer.scores, reverse=True)


def test_an_allow_list_of_the_rules_and_of_the_request_hold_together(pipeline_release):
    rules = Rules(allow=["i1", "i2", "i3"])
    asked = {"exclude_seen": False, "rules": rules}
    (answer,) = pipeline_release.recommend([KNOWN], 5, **asked)
    assert sorted(answer.item_ids) == ["i1", "i2", "i3"]
    (answer,) = pipeline_release.recommend([KNOWN], 5, allow=["i3", "i4"], **asked)
    assert answer.item_ids == ["i3"]


# On request: candidates and timings


def test_a_frame_has_the_lists_of_the_answers(pipeline_release):
    lists = pipeline_release.recommend([KNOWN, HISTORY], 3)
    frame = pipeline_release.recommend([KNOWN, HISTORY], 3, as_frame=True)
    assert frame["item_id"].to_list() == [item for one in lists for item in one.item_ids]
    assert frame["rank"].to_list() == [1, 2, 3, 1, 2, 3]
    assert frame["score"].to_list() == pytest.approx([score for one in lists for score in one.scores])


def test_details_tell_candidates_in_the_order_of_the_retrieval(pipeline_release, rating_log):
    (answer,) = pipeline_release.recommend([KNOWN], 5, details=True)
    barred = sorted(had(rating_log, KNOWN))
    (found,) = pipeline_release.retrieval.recommend([KNOWN], N_CANDIDATES, exclude=barred)
    assert answer.candidates == found.item_ids
    assert answer.retrieval_scores == found.scores
    score = dict(zip(answer.candidates, answer.ranker_scores, strict=True))
    assert [score[item] for item in answer.item_ids] == answer.scores
    assert set(answer.milliseconds) == {"query", "retrieval", "ranking", "rules"}
    json.dumps(vars(answer))


# Refusals


def test_what_neither_model_takes_is_refused(pipeline_release):
    with pytest.raises(MissingColumnError, match='does not take "mood"'):
        pipeline_release.recommend([{"mood": "good"}])
    with pytest.raises(DataError, match="list of user ids"):
        pipeline_release.recommend(KNOWN)


@pytest.mark.parametrize("wrong", [{"k": 0}, {"k": N_ITEMS + 1}, {"n_candidates": 0}, {"k": True}])
def test_numbers_out_of_range_are_refused(pipeline_release, wrong):
    with pytest.raises(ConfigError, match="must be an integer from 1"):
        pipeline_release.recommend([KNOWN], **wrong)


def test_rules_of_columns_that_are_not_there_are_refused(pipeline_release):
    with pytest.raises(MissingColumnError, match=r'no column "genre".*"genres"'):
        pipeline_release.recommend([KNOWN], rules=Rules(caps={"genre": 2}))


def test_reasons_are_told_by_the_retrieval_alone(pipeline_release):
    with pytest.raises(ConfigError, match=r"pipeline\.retrieval\.explain"):
        pipeline_release.explain(KNOWN, "i1")
    assert pipeline_release.retrieval.explain(KNOWN, "i1").item_id == "i1"


# What a release can do besides


def test_a_pipeline_is_a_release_in_everything_else(pipeline_release, tmp_path):
    assert pipeline_release.similar_items("i1", 3).item_ids
    file = tmp_path / "all.parquet"
    done = recommend_all(pipeline_release, [KNOWN, ABSENT], 4, file)
    rows = pl.read_parquet(file).filter(pl.col("user_id") == KNOWN)
    assert (done.users, done.unknown) == (2, 1)
    assert rows["item_id"].to_list() == pipeline_release.recommend([KNOWN], 4)[0].item_ids


def test_a_live_pipeline_writes_lists_of_all_users(live_pipeline, tmp_path):
    done = recommend_all(live_pipeline, None, 3, tmp_path / "all.parquet")
    assert done.users == len(live_pipeline.users.ids)
    assert done.rows <= 3 * done.users


# On the command line


@pytest.mark.slow
def test_the_command_line_gives_the_same_lists(pipeline_root, pipeline_release):
    told = json.loads(ask("recommend", pipeline_root, "--user", KNOWN, "--stages", "--json").stdout)
    (mine,) = told["recommendations"]
    (answer,) = pipeline_release.recommend([KNOWN], 10, details=True)
    for name in ("item_ids", "scores", "candidates", "ranker_scores"):
        assert mine[name] == getattr(answer, name)
    text = ask("recommend", pipeline_root, "--user", KNOWN, "-k", N_ITEMS, "--stages").stdout
    assert f"{N_CANDIDATES} of the {N_ITEMS} wanted" in text
    assert "ranking" in text


def test_an_empty_list_is_told_in_words(pipeline_root, pipeline_release):
    barred = [part for item in pipeline_release.item_ids for part in ("--exclude", item)]
    assert "no items are left" in ask("recommend", pipeline_root, "--user", KNOWN, *barred).stdout


def test_stages_are_told_of_pipelines_only(rating_root, pipeline_root, tiny_root):
    told = ask("recommend", tiny_root, "--user", KNOWN, "--stages", status=1).stderr
    assert "told of pipelines" in told


def test_a_loaded_pipeline_says_what_it_is(pipeline_root):
    release = load(pipeline_root)
    assert release.manifest["kind"] == "pipeline"
    assert release.name == "finds > ratings"
    assert release.manifest["pipeline"]["n_candidates"] == N_CANDIDATES
    assert set(release.manifest["query"]["forms"]) == {"user_id", "history", "rated", "device"}
