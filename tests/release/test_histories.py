"""A release answers from what users had, as its log ended or as a request says."""

import json
import shutil

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.commands import ask
from tests.tiny_histories import LENGTH, LIKED, N_GROUPS, newest
from tfrecall.batch import recommend_all
from tfrecall.data import Interactions
from tfrecall.errors import DataError, MissingColumnError
from tfrecall.exporting.context import past_items
from tfrecall.release.histories import UserHistories, padded_ids
from tfrecall.release.users import UserStore
from tfrecall.schema.features import History

KNOWN, ABSENT = "u1", "absent"


def vector(release, query):
    return release.embed(release.users.build_queries([query]).features)[0]


def same(release, one, two):
    np.testing.assert_allclose(vector(release, one), vector(release, two), rtol=1e-6, atol=1e-7)


def last_event(log, user):
    return log.queries.filter(pl.col("user_id") == user).sort("timestamp", maintain_order=True)[-1:]


def group_of(item):
    return int(item[1:]) % N_GROUPS


# Known users


@pytest.mark.slow
@pytest.mark.parametrize("user", [KNOWN, "u2", "u30"])
def test_a_known_user_is_answered_from_what_was_had_up_to_the_end(
    history_release, history_model, history_log, user
):
    asked = history_release.users.build_queries([user])
    had = [item for item in asked.features["history"][0] if item]
    assert had == newest(history_log, user, LENGTH)
    assert had[-1] == last_event(history_log, user)["item_id"][0]
    liked = [item for item in asked.features["liked"][0] if item]
    assert liked == newest(history_log, user, LIKED, least_rating=4)
    live = history_model.embed_queries(last_event(history_log, user))[0]
    np.testing.assert_allclose(vector(history_release, user), live, rtol=1e-5, atol=1e-6)


def test_what_a_query_gives_takes_the_place_of_what_is_known(
    history_release, history_model, history_log
):
    query = {"user_id": KNOWN, "history": ["i2", "i6"], "liked": ["i3"]}
    given = last_event(history_log, KNOWN).with_columns(
        history=pl.Series([["i2", "i6"]]), liked=pl.Series([["i3"]])
    )
    live = history_model.embed_queries(given)[0]
    np.testing.assert_allclose(vector(history_release, query), live, rtol=1e-5, atol=1e-6)
    assert not np.allclose(live, vector(history_release, KNOWN), atol=1e-3)


def test_one_list_given_leaves_the_other_as_it_is_known(history_release, history_log):
    liked = newest(history_log, KNOWN, LIKED, least_rating=4)
    query = {"user_id": KNOWN, "history": ["i2"]}
    same(history_release, query, {**query, "liked": liked})


def test_each_of_many_queries_is_answered_as_if_alone(history_release):
    queries = [
        KNOWN,
        "nobody",
        {"history": [f"i{n}" for n in range(30)], "device": "web"},
        {"user_id": "u3", "history": [], "liked": ["i2", "no such item", "i6", "i7", "i9"]},
        ABSENT,
    ]
    together = history_release.recommend(queries, 7)
    alone = [history_release.recommend([query], 7)[0] for query in queries]
    assert [answer.item_ids for answer in together] == [answer.item_ids for answer in alone]


# Somebody never seen


@pytest.mark.parametrize("group", range(N_GROUPS))
def test_three_clicks_of_somebody_never_seen_are_enough(history_release, group):
    """Users keep to their group: without the clicks one item in four would be of it."""
    clicks = [f"i{group + N_GROUPS * n}" for n in (0, 2, 4)]
    (answer,) = history_release.recommend([{"history": clicks}], 5)
    assert sum(group_of(item) == group for item in answer.item_ids) >= 4
    assert not set(clicks) & set(answer.item_ids)
    assert (answer.known, answer.defaulted) == (False, ("user_id", "device", "liked"))


def test_who_is_in_the_user_table_only_had_nothing(history_release):
    (answer,) = history_release.recommend([ABSENT], 3)
    assert not answer.known
    assert answer.defaulted == ("device", "history", "liked")
    same(history_release, ABSENT, {"user_id": ABSENT, "history": [], "liked": []})


@pytest.mark.parametrize(
    "history",
    [
        ["i1", "no such item", "i5"],
        ["i1", "i40", "i5"],  # of the catalogue, but nobody had it in training
        ["", "i1", "", "i5", ""],
        ["i1", "[UNK]", "i5"],
        [*["no such item"] * 9_997, "i1", *["no such item"] * LENGTH, "i5"],
        ("i1", "i5"),
        np.array(["i1", "i5"]),
        pl.Series(["i1", "i5"]),
    ],
    ids=["unknown", "never had", "padded", "token", "many", "tuple", "array", "series"],
)
def test_what_is_no_known_item_counts_for_nothing(history_release, history):
    same(history_release, {"history": history}, {"history": ["i1", "i5"]})


def test_of_ten_thousand_the_newest_count(history_release):
    many = [f"i{n % 40}" for n in range(10_000)]
    same(history_release, {"history": many}, {"history": many[-LENGTH:]})
    assert len(history_release.recommend([{"history": many}], 3, exclude_seen=False)[0].item_ids) == 3


@pytest.mark.parametrize("nothing", [None, [], [""], ["no such item"]])
def test_an_empty_list_is_that_of_somebody_who_had_nothing(history_release, nothing):
    same(history_release, {"history": nothing}, "nobody")
    same(history_release, {"user_id": KNOWN, "history": nothing}, {"user_id": KNOWN, "history": []})


@pytest.mark.parametrize(
    ("history", "said"),
    [
        ("i1", r"\"history\" takes a list of item ids.*Received: 'i1' of type str"),
        (7, "Received: 7 of type int"),
        ({"i1"}, "of type set"),
        ({"i1": 1}, "of type dict"),
        (np.array("i1"), "of type ndarray"),
        (np.array([["i1"]]), "of type ndarray"),
        ([True, 2], "Received as number 1 of 2: True of type bool"),
        (["i1", None], "Received as number 2 of 2: None of type NoneType"),
        (["i1", b"i2"], "of type bytes"),
        (["i1", 2.5], "2.5 of type float"),
        ([["i1", "i2"]], r"Received as number 1 of 1: \['i1', 'i2'\] of type list"),
        ([*["i1"] * 10_000, 3.5], "Received as number 10001 of 10,001: 3.5"),
        ([["i1"] * 10_000], r"'i1', .{150,200} of type list"),
    ],
)
def test_lists_that_cannot_be_used_are_refused_naming_what_came(history_release, history, said):
    with pytest.raises(DataError, match=said):
        history_release.recommend([KNOWN, {"history": history}], 3)


def test_a_list_of_another_name_is_refused_with_the_nearest(history_release, tiny_release):
    with pytest.raises(MissingColumnError, match=r'"histroy".*mean "history"'):
        history_release.recommend([{"histroy": ["i1"]}])
    with pytest.raises(MissingColumnError, match='does not take "history"'):
        tiny_release.recommend([{"history": ["i1"]}])


# What may come


def test_items_of_the_lists_given_are_left_out_beside_what_was_seen(history_release, history_log):
    seen = set(history_log.log.filter(pl.col("user_id") == KNOWN)["item_id"])
    fresh = [item for item in history_log.items["item_id"] if item not in seen]
    query = {"user_id": KNOWN, "history": [fresh[0], "no such item"], "liked": [fresh[1]]}
    (without,) = history_release.recommend([query], 41)
    assert set(without.item_ids) == set(fresh[2:])
    (whole,) = history_release.recommend([query], 41, exclude_seen=False)
    assert set(whole.item_ids) == set(history_log.items["item_id"])


# As a retriever, in bulk, with another index


def test_a_table_of_queries_gets_what_was_had_at_the_end_whatever_its_times(
    history_release, history_log
):
    first = history_log.queries.filter(pl.col("user_id") == KNOWN)[:1]
    device = first["device"][0]
    (found,) = history_release.embed_queries(first)
    expected = vector(history_release, {"user_id": KNOWN, "device": device})
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-7)


def test_a_table_may_hold_the_lists_itself(history_release):
    table = pl.DataFrame({"user_id": [KNOWN, None], "device": ["web", None]}).with_columns(
        history=pl.Series([["i1", "i5"], []], dtype=pl.List(pl.String))
    )
    found = history_release.embed_queries(table)
    one = {"user_id": KNOWN, "device": "web", "history": ["i1", "i5"]}
    np.testing.assert_allclose(found[0], vector(history_release, one), rtol=1e-6, atol=1e-7)
    nobody = vector(history_release, {})
    np.testing.assert_allclose(found[1], nobody, rtol=1e-6, atol=1e-7)


def test_a_table_without_users_is_refused(history_release):
    with pytest.raises(MissingColumnError, match='"user_id"'):
        history_release.embed_queries(pl.DataFrame({"device": ["web"]}))


def test_a_release_is_evaluated_on_later_rows_like_the_live_model(
    history_release, history_model, history_log
):
    """Asked after the end of the log, the live model knows as much as the release."""
    end = history_log.log["timestamp"].max()
    later = history_log.log.group_by("user_id", maintain_order=True).first()
    later = later.with_columns(timestamp=end + pl.int_range(pl.len()) + 1)
    queries = history_log.with_log(later.select(history_log.log.columns)).queries
    live = history_model.retriever().scores(queries)
    np.testing.assert_allclose(history_release.scores(queries), live, rtol=1e-4, atol=1e-5)


def test_everybody_is_answered_as_alone(history_release, tmp_path):
    file = tmp_path / "all.parquet"
    recommend_all(history_release, None, 4, file, block_users=7)
    users = [KNOWN, "u17", ABSENT]
    written = pl.read_parquet(file).filter(pl.col("user_id").is_in(users))
    for answer in history_release.recommend(users, 4):
        rows = written.filter(pl.col("user_id") == answer.user_id)
        assert rows["item_id"].to_list() == answer.item_ids


def test_vectors_of_users_are_made_of_their_histories(history_release, tmp_path):
    from tfrecall.batch.vectors import export_vectors

    export_vectors(history_release, tmp_path / "vectors")
    table = pl.read_parquet(tmp_path / "vectors" / "users.parquet")
    written = table.filter(pl.col("user_id") == KNOWN)["vector"].to_list()[0]
    np.testing.assert_allclose(written, vector(history_release, KNOWN), rtol=1e-5, atol=1e-6)


@pytest.mark.slow
def test_reindexing_keeps_the_histories(history_root, tmp_path):
    from dataclasses import replace

    from tests.tiny import ANNOY
    from tfrecall.release import load
    from tfrecall.release.reindex import reindex

    root = shutil.copytree(history_root, tmp_path / "release")
    again = reindex(root, replace(ANNOY, n_trees=3))
    queries = [KNOWN, {"history": ["i1", "i5"]}]
    assert again.recommend(queries, 5) == load(root, version=1).recommend(queries, 5)


# What is stored


def test_only_a_list_that_leaves_events_out_is_written(history_root, history_log):
    files = {file.name for file in (history_root / "context" / "1").glob("history_*")}
    assert files == {"history_liked_offsets.npy", "history_liked_items.npy"}
    items = np.load(history_root / "context" / "1" / "history_liked_items.npy")
    offsets = np.load(history_root / "context" / "1" / "history_liked_offsets.npy")
    liked = history_log.log.filter(pl.col("rating") >= 4).group_by("user_id").len()["len"].to_numpy()
    assert items.dtype == np.int32
    assert len(offsets) == history_log.users.height + 1
    assert len(items) == offsets[-1] == np.minimum(liked, LIKED).sum()


def test_the_manifest_names_the_lists(history_release):
    assert history_release.manifest["histories"] == {
        "history": {
            "history_length": LENGTH,
            "min_rating": None,
            "below_rating": None,
            "context": [],
        },
        "liked": {"history_length": LIKED, "min_rating": 4.0, "below_rating": None, "context": []},
    }


def test_a_missing_list_is_refused_by_name(history_root, tmp_path):
    from tfrecall.errors import ReleaseError
    from tfrecall.release import load

    root = shutil.copytree(history_root, tmp_path / "release")
    (root / "context" / "1" / "history_liked_items.npy").unlink()
    with pytest.raises(ReleaseError, match=r"history_liked_items.npy"):
        load(root)


def test_people_without_users_take_lists(tmp_path):
    from tfrecall.exporting.context import write_context

    ids = np.array(["a", "b"], dtype=object)
    write_context(
        tmp_path / "context", pl.DataFrame({"item_id": ids.tolist()}), None, {"history": "strings"}
    )
    people = UserStore.load(
        tmp_path / "context", {"history": "strings"}, {"history": ""}, {"history": 3}, ids
    )
    asked = people.build_queries(["u1", {"history": ["a", "x"]}])
    assert asked.features["history"].tolist() == [["", ""], ["a", "x"]]
    assert asked.lists == [{}, {"history": ["a", "x"]}]


EVENTS = st.lists(
    st.tuples(st.sampled_from("uvw"), st.integers(0, 4), st.integers(0, 3), st.sampled_from([1, 3, 5])),
    min_size=1,
    max_size=30,
)


@given(EVENTS, st.integers(1, 4), st.sampled_from([None, 3]), st.sampled_from([None, 5]), st.booleans())
def test_lists_hold_the_newest_events_that_the_bounds_keep(events, length, least, below, knows_all):
    """Against a sorted list for each user; item 0 may be one that the model does not know."""
    users, items, times, ratings = zip(*events, strict=True)
    log = Interactions(
        log=pl.DataFrame(
            {
                "user_id": users,
                "item_id": [f"i{item}" for item in items],
                "timestamp": [float(time) for time in times],
                "rating": [float(rating) for rating in ratings],
            }
        ),
        users=pl.DataFrame({"user_id": [*"uvwx"]}),
        items=pl.DataFrame({"item_id": [f"i{item}" for item in range(5)]}),
    )
    spec = History("past", history_length=length, min_rating=least, below_rating=below)
    index = np.array([int(knows_all), 1, 2, 3, 4], np.int32)
    past = past_items(log, {"past": spec}, index)["past"]
    expected = [
        [
            f"i{item}"
            for _, _, item, rating in sorted(
                (time, row, item, rating)
                for row, (who, item, time, rating) in enumerate(events)
                if who == user
            )
            if (knows_all or item) and rating >= (least or 0) and rating < (below or 9)
        ][-length:]
        for user in "uvwx"
    ]
    rows = np.array([0, -1, 3, 2, 1])
    wanted = padded_ids([[] if row < 0 else expected[row] for row in rows])
    assert past.ids(rows).tolist() == past.newest().ids(rows).tolist() == wanted.tolist()
    assert np.diff(past.newest().offsets).tolist() == [len(one) for one in expected]


def test_an_unrated_list_of_known_items_is_a_view_of_the_log(history_log):
    index = np.ones(history_log.items.height, np.int32)
    past = past_items(history_log, {"history": History()}, index)["history"]
    assert past.items is history_log.histories.items
    assert past.offsets is history_log.histories.offsets


def test_users_and_events_may_be_none():
    nobody = UserHistories(np.zeros(1, np.int64), np.zeros(0, np.int32), 3, np.array([], object))
    assert nobody.ids(np.array([-1, -1])).tolist() == [[""], [""]]
    assert nobody.ids(np.array([], np.int64)).shape == (0, 1)
    assert nobody.newest().items.tolist() == []
    idle = UserHistories(np.zeros(3, np.int64), np.zeros(0, np.int32), 3, np.array(["a"], object))
    assert idle.ids(np.array([1, 0])).tolist() == [[""], [""]]


# The command line


@pytest.mark.slow
def test_recommend_takes_a_history_of_somebody_new(history_root, history_release):
    arguments = ["recommend", history_root, "--history", "i1,i5,no such item", "-k", "3"]
    answer = json.loads(ask(*arguments, "--json").stdout)
    (expected,) = history_release.recommend([{"history": ["i1", "i5"]}], 3)
    (found,) = answer["recommendations"]
    assert answer["history"] == ["i1", "i5", "no such item"]
    assert answer["not_in_catalogue"] == ["no such item"]
    assert (found["user_id"], found["known"]) == (None, False)
    assert found["item_ids"] == expected.item_ids
    shown = " ".join(ask(*arguments).stdout.split())
    assert "Not in the catalogue, so they count for nothing: no such item." in shown
    assert "Recommended to somebody new (unknown: answered from the history" in shown


@pytest.mark.slow
def test_recommend_takes_a_history_of_the_user_who_is_named(history_root, history_release):
    arguments = ["recommend", history_root, "--user", KNOWN, "--history", "i2,i6", "-k", "3"]
    (found,) = json.loads(ask(*arguments, "--json").stdout)["recommendations"]
    (expected,) = history_release.recommend([{"user_id": KNOWN, "history": ["i2", "i6"]}], 3)
    assert found["item_ids"] == expected.item_ids
    assert f"Recommended to user {KNOWN}" in " ".join(ask(*arguments).stdout.split())


@pytest.mark.slow
def test_recommend_takes_features_beside_a_history(history_root, history_release):
    features = '{"device": "web", "liked": ["i1"]}'
    arguments = ["recommend", history_root, "--features", features, "--history", "i1", "-k", "3"]
    (found,) = json.loads(ask(*arguments, "--json").stdout)["recommendations"]
    query = {"device": "web", "liked": ["i1"], "history": ["i1"]}
    assert found["item_ids"] == history_release.recommend([query], 3)[0].item_ids


@pytest.mark.slow
def test_an_empty_history_is_one(history_root, history_release):
    (found,) = json.loads(ask("recommend", history_root, "--history", "", "--json").stdout)[
        "recommendations"
    ]
    assert found["item_ids"] == history_release.recommend([{}], 10)[0].item_ids


def test_a_history_of_several_or_for_a_model_without_is_refused(history_root, tiny_root):
    users = ["--user", "u1", "--user", "u2", "--history", "i1"]
    assert "Received 2 users" in ask("recommend", history_root, *users, status=1).stderr
    refused = ask("recommend", tiny_root, "--history", "i1", status=1).stderr
    assert "does not look at what users had" in refused
