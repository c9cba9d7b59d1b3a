"""Answers from a release, held against the live model and the log it was trained on."""

import threading
from datetime import date

import numpy as np
import polars as pl
import pytest

from tests.tiny import ANNOY, N_ITEMS
from tfrecall.errors import ConfigError, DataError, MissingColumnError
from tfrecall.release.users import UserStore

KNOWN, ABSENT = "u1", "absent"


def had(log, user):
    return set(log.log.filter(pl.col("user_id") == user)["item_id"])


def best(model, features, without=()):
    """Ids by score of the live model, for one query given as a table of one row."""
    scores = model.embed_queries(features)[0] @ model.embed_candidates().T
    order = model.catalogue.ids[np.argsort(-scores, kind="stable")]
    return [item for item in order if item not in without]


def last_event(log, user):
    """The query of a user's last event: latest, and of those at the same time the last in the file."""
    return log.queries.filter(pl.col("user_id") == user).sort("timestamp", maintain_order=True)[-1:]


# Who is asked for


@pytest.mark.slow
def test_a_known_user_is_asked_as_of_the_last_event(tiny_release, tiny_model, tiny_log):
    (answer,) = tiny_release.recommend([KNOWN], 5)
    expected = best(tiny_model, last_event(tiny_log, KNOWN), had(tiny_log, KNOWN))[:5]
    assert (answer.user_id, answer.known, answer.defaulted) == (KNOWN, True, ())
    assert answer.item_ids == expected


def test_what_the_query_gives_takes_precedence(tiny_release, tiny_model, tiny_log):
    query = {"user_id": KNOWN, "home_town": "Town 2", "age": 69, "tags": ["a0"]}
    (answer,) = tiny_release.recommend([query], 5, exclude_seen=False)
    features = last_event(tiny_log, KNOWN).with_columns(
        home_town=pl.lit("Town 2"), age=pl.lit(69), tags=pl.Series([["a0"]])
    )
    assert answer.known
    assert answer.item_ids == best(tiny_model, features)[:5]


def test_an_unknown_user_is_marked_and_lists_what_was_missing(tiny_release):
    nobody, described = tiny_release.recommend(["nobody", {"age": 30, "level": 3}], 3)
    columns = ("user_id", "home_town", "born", "level", "tags", "age", "timestamp", "device")
    assert (nobody.user_id, nobody.known, nobody.defaulted) == ("nobody", False, columns[1:])
    assert described.user_id is None
    assert not described.known
    assert described.defaulted == tuple(c for c in columns if c not in ("age", "level"))


def test_nobody_has_the_unknown_value_of_each_feature(tiny_release, tiny_model, tiny_log):
    features = pl.DataFrame(
        {
            "user_id": [None],
            "home_town": [None],
            "born": [None],
            "level": [None],
            "tags": [[]],
            "age": [tiny_model.query_tower.unknowns["age"]],
            "timestamp": [tiny_log.log["timestamp"].max()],
            "device": [None],
        },
        schema_overrides={"tags": pl.List(pl.String)},
    )
    (answer,) = tiny_release.recommend([{}], 5)
    assert answer.item_ids == best(tiny_model, features)[:5]


def test_a_user_of_the_table_without_events_has_the_features_of_the_table(
    tiny_release, tiny_model, tiny_log
):
    (answer,) = tiny_release.recommend([ABSENT], 5)
    features = tiny_log.users.filter(pl.col("user_id") == ABSENT).with_columns(
        timestamp=pl.lit(tiny_log.log["timestamp"].max()), device=pl.lit(None, pl.String)
    )
    assert not answer.known
    assert answer.defaulted == ("timestamp", "device")
    assert answer.item_ids == best(tiny_model, features)[:5]


def test_each_of_many_queries_is_answered_as_if_alone(tiny_release):
    queries = [
        KNOWN,
        "nobody",
        {"user_id": "u2", "tags": ["a0", "b1", "a1", "b2"]},
        {"tags": []},
        {"user_id": "u3", "tags": None},
        {"age": 51.5, "tags": ["b0"]},
        ABSENT,
    ]
    together = tiny_release.recommend(queries, 7)
    alone = [tiny_release.recommend([query], 7)[0] for query in queries]
    assert [answer.item_ids for answer in together] == [answer.item_ids for answer in alone]
    np.testing.assert_allclose(
        [answer.scores for answer in together], [answer.scores for answer in alone], rtol=1e-5
    )


def test_values_come_as_they_stood_in_the_table(tiny_release):
    """Whole numbers and dates of a Categorical column became text in training, and so they do here."""
    native = {"born": date(1980, 1, 3), "level": 2, "age": np.int64(40)}
    text = {"born": "1980-01-03", "level": "2", "age": 40.0}
    assert tiny_release.recommend([native], 5) == tiny_release.recommend([text], 5)


def test_no_queries_have_no_answers(tiny_release):
    assert tiny_release.recommend([]) == []


# What may come


@pytest.mark.parametrize("index", ["exact", "annoy"])
def test_seen_excluded_and_not_allowed_items_do_not_come(tiny_release, tiny_log, index):
    seen = had(tiny_log, KNOWN)
    fresh = [item for item in tiny_log.items["item_id"] if item not in seen]
    allow = [*fresh[:6], *sorted(seen)[:2], "no such id"]
    (answer,) = tiny_release.recommend(
        [KNOWN], N_ITEMS, exclude=[fresh[0], "no such id", ""], allow=allow, index=index
    )
    assert set(answer.item_ids) == set(fresh[1:6])
    assert answer.scores == sorted(answer.scores, reverse=True)


def test_seen_items_come_back_on_request(tiny_release, tiny_log):
    (answer,) = tiny_release.recommend([KNOWN], N_ITEMS, exclude_seen=False)
    assert set(answer.item_ids) == set(tiny_log.items["item_id"])


def test_everything_excluded_is_an_empty_answer(tiny_release, tiny_log):
    (answer,) = tiny_release.recommend([KNOWN], 3, exclude=tiny_log.items["item_id"], columns=["title"])
    assert (answer.item_ids, answer.scores, answer.items) == ([], [], [])


def test_annoy_and_exact_agree_when_the_trees_are_searched_whole(tiny_release):
    annoy = tiny_release.bundle.annoy
    vectors = tiny_release.embed(
        {name: values[:20] for name, values in tiny_release.users.features.items()}
    )
    exact = tiny_release.bundle.exact.search(vectors, 10)
    found = annoy.search(vectors, 10, search_k=annoy.exhaustive)
    np.testing.assert_array_equal(found.rows, exact.rows)
    np.testing.assert_array_equal(found.scores, exact.scores)


def test_columns_of_the_item_table_come_with_each_item(tiny_release, tiny_log):
    (answer,) = tiny_release.recommend([KNOWN], 3, columns=["title", "genres", "released"])
    table = {row["item_id"]: row for row in tiny_log.items.to_dicts()}
    assert answer.items == [
        {name: table[item][name] for name in ("title", "genres", "released")}
        for item in answer.item_ids
    ]


@pytest.mark.parametrize("score", [None, "cosine", "inner"])
@pytest.mark.parametrize("index", [None, "exact", "annoy"])
def test_similar_items_are_those_of_the_largest_cosine_or_product(
    tiny_release, tiny_model, score, index
):
    vectors = np.asarray(tiny_model.embed_candidates(), np.float64)
    if score != "inner":
        vectors = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    order = np.argsort(-(vectors @ vectors[4]), kind="stable")
    answer = tiny_release.similar_items("i4", 3, score=score, index=index, columns=["title"])
    expected = [item for item in tiny_model.catalogue.ids[order] if item != "i4"][:3]
    assert answer.item_ids == expected
    assert [item["title"].split()[1] for item in answer.items] == [item[1:] for item in expected]
    np.testing.assert_allclose(answer.scores, np.sort(vectors @ vectors[4])[::-1][1:4], rtol=1e-5)


def test_columns_asked_for_twice_are_given_once(tiny_release):
    once = tiny_release.similar_items("i4", 3, columns=["title"])
    assert tiny_release.similar_items("i4", 3, columns=["title", "title"]) == once


def test_another_score_of_items_is_refused_with_the_nearest(tiny_release):
    with pytest.raises(ConfigError, match=r"Received: 'cosin'.*\"cosine\""):
        tiny_release.similar_items("i4", 3, score="cosin")
    with pytest.raises(ConfigError, match=r'no index "anoy"'):
        tiny_release.similar_items("i4", 3, index="anoy")


# What is refused


@pytest.mark.parametrize(
    ("query", "said"),
    [
        (42, "Received: 42 of type int"),
        (None, "of type NoneType"),
        (["u1"], "of type list"),
        ({"user_id": 4.5}, "User ids are strings or whole numbers. Received: 4.5"),
        ({"age": "forty"}, "\"age\" do not fit.*'forty'"),
        ({"age": None}, '"age" do not fit.*None'),
        ({"age": float("nan")}, '"age" do not fit.*nan'),
        ({"age": float("inf")}, '"age" do not fit.*inf'),
        ({"age": 10**400}, '"age" do not fit'),
        ({"age": [40]}, '"age" do not fit'),
        ({"home_town": ["Town 1"]}, '"home_town" do not fit'),
        ({"home_town": float("nan")}, '"home_town" do not fit'),
        ({"home_town": {"name": "Town 1"}}, '"home_town" do not fit'),
        ({"tags": "a0"}, '"tags" do not fit: it takes lists of texts'),
        ({"tags": [["a0"]]}, '"tags" do not fit'),
        ({"tags": ["a0", 1]}, '"tags" do not fit'),
    ],
)
def test_a_query_of_the_wrong_type_is_refused_naming_the_column(tiny_release, query, said):
    with pytest.raises(DataError, match=said):
        tiny_release.recommend([KNOWN, query], 3)


def test_a_column_that_the_model_does_not_take_is_refused_with_the_nearest(tiny_release):
    with pytest.raises(MissingColumnError, match=r'does not take "hometown".*mean "home_town"'):
        tiny_release.recommend([{"hometown": "Town 1"}])


@pytest.mark.parametrize("queries", ["u1", {"user_id": "u1"}, None, 3])
def test_a_query_that_is_not_in_a_list_is_refused(tiny_release, queries):
    with pytest.raises(DataError, match="is a list of user ids or dictionaries"):
        tiny_release.recommend(queries)


@pytest.mark.parametrize("k", [0, -1, N_ITEMS + 1, 2.0, True, None])
def test_an_impossible_k_is_refused(tiny_release, k):
    with pytest.raises(ConfigError, match=f"from 1 to {N_ITEMS}.*Received k={k}"):
        tiny_release.recommend([KNOWN], k)
    with pytest.raises(ConfigError, match=f"from 1 to {N_ITEMS}.*Received k={k}"):
        tiny_release.similar_items("i1", k)


@pytest.mark.parametrize("ids", ["i1", [1], None, 3])
def test_item_ids_are_a_list_of_strings(tiny_release, ids):
    with pytest.raises(DataError, match="A list of item ids"):
        tiny_release.recommend([KNOWN], 1, exclude=ids)
    if ids is not None:
        with pytest.raises(DataError, match="A list of item ids"):
            tiny_release.recommend([KNOWN], 1, allow=ids)


def test_wrong_names_are_refused_with_the_nearest(tiny_release):
    with pytest.raises(ConfigError, match=r'no index "anoy".*"annoy"'):
        tiny_release.recommend([KNOWN], 1, index="anoy")
    with pytest.raises(MissingColumnError, match=r'no column "titel".*"title"'):
        tiny_release.recommend([KNOWN], 1, columns=["titel"])
    with pytest.raises(DataError, match=r'no item "i400".*"i4'):
        tiny_release.similar_items("i400")


# As a retriever


def test_query_vectors_and_scores_are_those_of_the_live_model(tiny_release, tiny_model, tiny_log):
    queries = tiny_log.queries[:50]
    live = tiny_model.retriever()
    np.testing.assert_allclose(
        tiny_release.embed_queries(queries), tiny_model.embed_queries(queries), rtol=1e-5, atol=1e-6
    )
    np.testing.assert_allclose(tiny_release.scores(queries), live.scores(queries), rtol=1e-5, atol=1e-5)
    assert tiny_release.item_ids.tolist() == live.item_ids.tolist()
    assert (tiny_release.name, tiny_release.version) == ("tiny", 1)


def test_a_release_is_evaluated_like_the_live_model(tiny_release, tiny_model, tiny_log):
    from tfrecall.data import split_random
    from tfrecall.evaluation import evaluate

    train, test = split_random(tiny_log, 0.3, seed=2)
    of_release = evaluate(tiny_release, test, seen=train, ks=(5,), baselines=False).test
    of_model = evaluate(tiny_model, test, seen=train, ks=(5,), baselines=False).test
    for rule, figures in of_model.items():
        assert of_release[rule] == pytest.approx(figures, abs=1e-6)


@pytest.mark.slow
def test_threads_get_the_answers_that_one_gets(tiny_release):
    users = [f"u{i}" for i in range(24)]
    alone = [tiny_release.recommend([user], 4, columns=["title"])[0] for user in users]
    found = {}

    def ask(part):
        for user in users[part::4] * 5:
            found.setdefault(user, []).append(tiny_release.recommend([user], 4, columns=["title"])[0])

    threads = [threading.Thread(target=ask, args=[part]) for part in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(found[user] == [answer] * 5 for user, answer in zip(users, alone, strict=True))


# A release without a log


def test_people_without_users_answer_from_defaults(tmp_path):
    from tfrecall.exporting.context import write_context

    forms = {"user_id": "string", "tags": "strings", "age": "number"}
    write_context(tmp_path / "context", pl.DataFrame({"item_id": ["a"]}), None, forms)
    defaults = {"user_id": "[UNK]", "tags": "", "age": 33.0}
    people = UserStore.load(tmp_path / "context", forms, defaults)
    asked = people.build_queries(["u1", {"tags": ["x", "y"]}])
    assert asked.features["user_id"].tolist() == ["u1", "[UNK]"]
    assert asked.features["tags"].tolist() == [["", ""], ["x", "y"]]
    assert asked.features["age"].tolist() == [33.0, 33.0]
    assert asked.known.tolist() == [False, False]
    assert people.seen(-1).tolist() == []


# Another index


@pytest.mark.slow
def test_reindexing_publishes_a_version_that_answers_alike(tiny_root, tmp_path):
    import json
    import shutil
    from dataclasses import replace

    from tfrecall.release import load
    from tfrecall.release.reindex import reindex

    root = shutil.copytree(tiny_root, tmp_path / "release")
    (root / "metrics.json").write_text(json.dumps({"version": 1, "index": {}, "test": {"mrr": 0.5}}))
    again = reindex(root, replace(ANNOY, n_trees=9))
    metrics = json.loads((root / "metrics.json").read_text())
    assert again.version == load(root).version == 2
    assert again.bundle.annoy.settings.n_trees == 9
    assert metrics["version"] == 2
    assert metrics["index"] == again.bundle.summary() == again.manifest["index"]
    assert metrics["test"] == {"mrr": 0.5}
    assert again.recommend([KNOWN], 5) == load(root, version=1).recommend([KNOWN], 5)


@pytest.mark.parametrize("queries", [("u1",), np.array(["u1"]), pl.Series(["u1"])])
def test_user_ids_come_in_any_list(tiny_release, queries):
    assert tiny_release.recommend(queries, 3) == tiny_release.recommend(["u1"], 3)
