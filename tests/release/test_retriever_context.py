"""A release knows of the events of its users what the log said, and of others what a request says."""

import json
import shutil

import numpy as np
import polars as pl
import pytest

from tests import commands
from tests.models.test_context import with_lists
from tests.tiny_histories import CONTEXT, LENGTH, LIKED, past
from tfrecall._keras import tf
from tfrecall.errors import DataError, MissingColumnError, ReleaseError
from tfrecall.exporting.context import write_context
from tfrecall.exporting.retriever import STRANGE_VALUE, sample_queries
from tfrecall.release import load
from tfrecall.release.users import UserStore

KNOWN = "u1"
CLICKS = {"history": ["i2", "i6", "i9"], "liked": []}


def vector(release, query):
    return release.embed(release.users.build_queries([query]).features)[0]


def same(release, one, two):
    np.testing.assert_allclose(vector(release, one), vector(release, two), rtol=1e-6, atol=1e-7)


def differs(release, one, two):
    assert not np.allclose(vector(release, one), vector(release, two), atol=1e-3)


# Known users


@pytest.mark.parametrize("user", [KNOWN, "u2", "u30"])
def test_a_known_user_is_answered_with_what_the_log_says(
    context_release, context_model, history_log, user
):
    asked = context_release.users.build_queries([user]).features
    had, liked = past(history_log, user, LENGTH), past(history_log, user, LIKED, 4)
    assert asked["history"][0].tolist() == had["items"]
    assert asked["history_rating"][0].tolist() == had["rating"]
    assert asked["history_gap"][0].tolist() == had["gap"]
    assert asked["liked_device"][0].tolist()[: len(liked["items"])] == liked["device"]
    live = context_model.embed_queries(pl.DataFrame({"user_id": [user]}))[0]
    np.testing.assert_allclose(vector(context_release, user), live, rtol=1e-5, atol=1e-6)


def test_of_given_events_nothing_is_known_but_what_is_given(context_release, history_log):
    had = past(history_log, KNOWN, LENGTH)
    query = {"user_id": KNOWN, "history": had["items"]}
    told = {**query, "history_rating": had["rating"], "history_gap": had["gap"]}
    same(context_release, told, KNOWN)
    differs(context_release, query, KNOWN)
    same(context_release, query, {**query, "history_rating": None, "history_gap": [None, *[""] * 4]})


def test_each_of_many_queries_is_answered_as_if_alone(context_release):
    queries = [
        KNOWN,
        "nobody",
        {"history": [f"i{n}" for n in range(30)], "history_rating": [n % 6 for n in range(30)]},
        {"user_id": "u3", **CLICKS, "history_gap": ["start", "days", None]},
        CLICKS,
        "absent",
    ]
    together = context_release.recommend(queries, 7)
    alone = [context_release.recommend([query], 7)[0] for query in queries]
    assert [answer.item_ids for answer in together] == [answer.item_ids for answer in alone]


# Given histories


def test_what_is_told_of_clicks_moves_the_answer(context_release, context_model):
    rated = {**CLICKS, "history_rating": [5, 1.0, "3"]}
    differs(context_release, rated, CLICKS)
    same(context_release, rated, {**CLICKS, "history_rating": ["5", "1", "3"]})
    table = pl.DataFrame({"user_id": [None], "history": [CLICKS["history"]], "liked": [[]]})
    table = table.with_columns(history_rating=pl.Series([[5.0, 1.0, 3.0]]))
    live = context_model.embed_queries(table.cast({"user_id": pl.String, "liked": pl.List(pl.String)}))
    np.testing.assert_allclose(vector(context_release, rated), live[0], rtol=1e-5, atol=1e-6)


def test_values_that_training_never_saw_are_not_known(context_release):
    same(context_release, {**CLICKS, "history_rating": [99, "web", None]}, CLICKS)


def test_what_is_told_of_unknown_ids_and_padding_counts_for_nothing(context_release):
    rated = {**CLICKS, "history_rating": [5, 1, 3]}
    strange = {
        **CLICKS,
        "history": ["i2", "no such item", "i6", "", "i9"],
        "history_rating": [5, 2, 1, 2, 3],
    }
    same(context_release, strange, rated)


def test_an_answer_says_what_was_not_told(context_release):
    (answer,) = context_release.recommend([{**CLICKS, "history_rating": [5, 1, 3]}], 3)
    assert answer.defaulted == ("user_id", "history_gap", "liked_device")


@pytest.mark.parametrize(
    ("query", "error", "said"),
    [
        ({**CLICKS, "history_rating": [5]}, DataError, "1 values for 3 ids"),
        ({**CLICKS, "history_rating": [5] * 4}, DataError, "4 values for 3 ids"),
        ({"history": None, "history_rating": [5]}, DataError, "1 values for 0 ids"),
        (
            {"user_id": KNOWN, "history_rating": [5]},
            DataError,
            'list "history", which the query does not',
        ),
        ({**CLICKS, "history_rating": "5"}, DataError, "takes a list"),
        ({**CLICKS, "history_gap": ["week", "", ""]}, DataError, 'Did you mean "weeks"'),
        ({**CLICKS, "history_ratings": [5]}, MissingColumnError, 'Did you mean "history_rating"'),
    ],
)
def test_context_that_cannot_be_used_is_refused_naming_what_came(context_release, query, error, said):
    with pytest.raises(error, match=said):
        context_release.recommend([KNOWN, query], 3)


def test_arrays_are_taken(context_release):
    arrays = {"history": np.array(CLICKS["history"]), "history_rating": np.array([5.0, 1.0, 3.0])}
    same(context_release, {**CLICKS, **arrays}, {**CLICKS, "history_rating": [5, 1, 3]})


# Tables


def test_a_table_is_answered_like_the_live_model(context_release, context_model, history_log):
    users = history_log.users.select("user_id").head(12)
    for queries in (
        users,
        with_lists(users, history_log),
        with_lists(users, history_log, context=False),
    ):
        live = context_model.embed_queries(queries)
        np.testing.assert_allclose(context_release.embed_queries(queries), live, rtol=1e-5, atol=1e-6)


def test_a_table_of_other_lengths_is_refused(context_release):
    table = pl.DataFrame({"user_id": ["u1"], "history": [["i1", "i2"]], "history_rating": [["5"]]})
    with pytest.raises(DataError, match="1 values for 2 ids"):
        context_release.embed_queries(table)


# What is exported and stored


@pytest.mark.slow
def test_signatures_take_context_beside_the_ids(context_root):
    for name in ("query", "retrieval"):
        signature = tf.saved_model.load(str(context_root / name / "1")).signatures["serving_default"]
        inputs = signature.structured_input_signature[1]
        assert set(inputs) == {
            "user_id", "history", "history_rating", "history_gap", "liked", "liked_device",
        }  # fmt: skip
        assert inputs["history_gap"].shape.as_list() == [None, None]
        assert inputs["history_gap"].dtype == tf.string


@pytest.mark.slow
def test_the_exported_model_refuses_context_of_another_length(context_root):
    signature = tf.saved_model.load(str(context_root / "query" / "1")).signatures["serving_default"]
    lists = {name: tf.constant([[""]]) for name in ("liked", "liked_device", "history_gap")}
    lists |= {"history": tf.constant([["i1"]]), "history_rating": tf.constant([["5", "5"]])}
    with pytest.raises(tf.errors.InvalidArgumentError, match="needs one value for each id"):
        signature(user_id=tf.constant(["u1"]), **lists)


def test_the_round_trip_asks_with_known_context_and_with_strange(context_model):
    queries = sample_queries(context_model, 4)
    for name in CONTEXT:
        values = queries[f"history_{name}"]
        assert values.shape == queries["history"].shape
        assert all(values[0])
        assert STRANGE_VALUE in values[-2]
    assert not any(queries["history_rating"][-1])


def test_the_manifest_names_the_context(context_release):
    told = context_release.manifest["histories"]
    assert {name: history["context"] for name, history in told.items()} == {
        "history": ["rating", "gap"],
        "liked": ["device"],
    }


def test_only_events_that_count_are_stored(context_root, history_log):
    folder = context_root / "context" / "1"
    codes, offsets = (np.load(folder / f"history_liked_device_{p}.npy") for p in ("items", "offsets"))
    liked = history_log.log.filter(pl.col("rating") >= 4).group_by("user_id").len()["len"].to_numpy()
    assert len(codes) == offsets[-1] == np.minimum(liked, LIKED).sum()
    values = json.loads((folder / "history_liked_device_values.json").read_text())
    assert sorted(values) == ["app", "web"]


@pytest.mark.parametrize("part", ["items.npy", "offsets.npy", "values.json"])
def test_missing_context_is_refused_by_name(context_root, tmp_path, part):
    root = shutil.copytree(context_root, tmp_path / "release")
    (root / "context" / "1" / f"history_history_gap_{part}").unlink()
    with pytest.raises(ReleaseError, match=f"history_history_gap_{part}"):
        load(root)


def test_people_without_users_take_context(tmp_path):
    ids = np.array(["a", "b"], dtype=object)
    forms = {"history": "strings", "history_rating": "strings"}
    write_context(tmp_path / "context", pl.DataFrame({"item_id": ids.tolist()}), None, forms)
    people = UserStore.load(
        tmp_path / "context",
        forms,
        dict.fromkeys(forms, ""),
        {"history": 3},
        ids,
        contexts={"history": ["rating"]},
    )
    asked = people.build_queries(["u1", {"history": ["a", "x"], "history_rating": [5, None]}])
    assert asked.features["history_rating"].tolist() == [["", ""], ["5", ""]]
    assert asked.lists == [{}, {"history": ["a", "x"]}]


# The command line


def ask(*arguments):
    return json.loads(commands.ask(*arguments).stdout)["recommendations"]


@pytest.mark.slow
def test_recommend_takes_context_as_features(context_root, context_release):
    query = {"history": ["i2", "i6"], "history_rating": [5, 1]}
    for arguments in (
        ["--features", json.dumps(query)],
        ["--features", json.dumps({"history_rating": [5, 1]}), "--history", "i2,i6"],
    ):
        (found,) = ask("recommend", context_root, *arguments, "-k", "3", "--json")
        assert found["item_ids"] == context_release.recommend([query], 3)[0].item_ids
    (found,) = ask("recommend", context_root, "--history", "i2,i6", "-k", "3", "--json")
    expected = context_release.recommend([{"history": ["i2", "i6"]}], 3)
    assert found["item_ids"] == expected[0].item_ids
