"""Models that do not belong together, and what two models know of the same users."""

from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from tfrecall.errors import ConfigError
from tfrecall.release.histories import UserHistories
from tfrecall.release.joining import check_joinable, join_users
from tfrecall.release.users import UserStore

IDS = np.array(["a", "b", "c"], dtype=object)
WHOLE = {"history_length": 5, "min_rating": None, "below_rating": None, "context": ()}


def people(users, forms, table=None, histories=None, seen=None, defaults=None):
    """Users who have seen `seen`, lists of rows, or nothing."""
    lists = seen or [[] for _ in users]
    offsets = np.cumsum([0, *map(len, lists)])
    items = np.array([item for row in lists for item in row], dtype=np.int32)
    known = {"string": "[UNK]", "strings": "", "number": 0.0}
    defaults = {c: known[form] for c, form in forms.items()} | (defaults or {})
    frame = pl.DataFrame({"user_id": users, **(table or {})})
    names = tuple(histories or {})
    return UserStore.of(frame, offsets, items, histories or {}, forms, defaults, names, {})


def past(lists, length):
    flat = np.array([item for row in lists for item in row], dtype=np.int32)
    return UserHistories(np.cumsum([0, *map(len, lists)]), flat, length, IDS)


NOBODY = people([], {"user_id": "string", "age": "number"}, {"age": pl.Series([], dtype=pl.Float64)})


def check(ranker_ids=IDS, forms=None, first=None, second=None, repeats=False):
    ranker = NOBODY if forms is None else replace(NOBODY, forms=forms)
    check_joinable(IDS, ranker_ids, NOBODY, ranker, first or {}, second or {}, repeats)


# Catalogues


def test_the_order_of_a_catalogue_does_not_matter():
    check(IDS[::-1])


def test_candidates_without_features_are_named():
    with pytest.raises(ConfigError, match=r"without features.*2 items: a, c"):
        check(np.array(["b"], dtype=object))


def test_another_catalogue_is_refused_by_what_differs():
    with pytest.raises(ConfigError, match=r"another catalogue.*1 items: d"):
        check(np.array([*IDS, "d"], dtype=object))


# Columns of queries


def test_a_column_that_two_models_read_otherwise_is_refused():
    with pytest.raises(ConfigError, match='"age", the retriever as a number and the ranker as a text'):
        check(forms={"age": "string"})


def test_a_history_of_other_events_is_refused():
    liked = {**WHOLE, "min_rating": 4.0}
    with pytest.raises(ConfigError, match=r"min_rating=None, that of the ranker 4\.0"):
        check(first={"history": WHOLE}, second={"history": liked}, forms={"history": "strings"})


def test_a_longer_history_of_the_same_events_is_fine():
    check(
        first={"history": WHOLE},
        second={"history": {**WHOLE, "history_length": 50}},
        forms={"history": "strings"},
    )


def test_lists_with_context_are_equally_long():
    told = {**WHOLE, "context": ("rating",), "history_length": 7}
    with pytest.raises(ConfigError, match="history_length=5, that of the ranker 7"):
        check(first={"history": WHOLE}, second={"history": told}, forms={"history": "strings"})


def test_a_history_and_a_feature_of_one_name_are_refused():
    with pytest.raises(ConfigError, match='"history" as what a user had'):
        check(first={"history": WHOLE}, forms={"history": "strings"})
    with pytest.raises(ConfigError, match='"history" as what a user had'):
        check(repeats=True, forms={"history": "strings"})
    check(repeats=True, second={"history": WHOLE}, forms={"history": "strings"})


# UserStore


def test_columns_of_both_models_are_known_of_each_user():
    first = people(
        ["u", "v"],
        {"user_id": "string", "town": "string"},
        {"town": ["X", None]},
        seen=[[0, 1], [2]],
    )
    second = people(
        ["w", "v"],
        {"user_id": "string", "age": "number", "town": "string"},
        {"age": [30.0, 40.0], "town": ["Y", "Z"]},
    )
    both = join_users(first, second)
    asked = both.build_queries(["u", "v", "w", "nobody"])
    assert asked.features["town"].tolist() == [
        "X",
        "[UNK]",
        "Y",
        "[UNK]",
    ]  # of v the first says: unknown
    assert asked.features["age"].tolist() == [0.0, 40.0, 30.0, 0.0]
    assert asked.known.tolist() == [True, True, False, False]
    assert both.seen(both.vocabulary.row("u")).tolist() == [0, 1]
    assert both.seen(both.vocabulary.row("w")).tolist() == []
    assert asked.defaulted[2:] == [(), ("age", "town")]


def test_lists_of_texts_of_unequal_width_are_joined():
    forms = {"user_id": "string", "tags": "strings"}
    first = people(["u"], forms, {"tags": [["a", "b"]]})
    second = people(["v"], forms, {"tags": [["c"]]})
    both = join_users(first, second)
    assert both.build_queries(["u", "v"]).features["tags"].tolist() == [["a", "b"], ["c", ""]]


def test_users_in_another_order_keep_their_histories():
    forms = {"user_id": "string", "history": "strings"}
    first = people(["u", "v"], {"user_id": "string"})
    second = people(["v", "u"], forms, histories={"history": past([[0], [1, 2]], 5)})
    both = join_users(first, second)
    assert both.build_queries(["u", "v", "nobody"]).features["history"].tolist() == [
        ["b", "c"],
        ["a", ""],
        ["", ""],
    ]


@pytest.mark.parametrize("lengths", [(2, 3), (3, 2)])
def test_of_a_history_that_both_take_the_longer_one_stands(lengths):
    forms = {"user_id": "string", "history": "strings"}
    lists = [[0, 1, 2, 0]]
    models = [people(["u"], forms, histories={"history": past(lists, n)}) for n in lengths]
    assert join_users(*models).build_queries(["u"]).features["history"].tolist() == [["b", "c", "a"]]


def test_models_of_the_same_users_share_their_arrays():
    first = people(["u", "v"], {"user_id": "string", "town": "string"}, {"town": ["X", "Y"]})
    second = people(["u", "v"], {"user_id": "string", "age": "number"}, {"age": [1.0, 2.0]})
    both = join_users(first, second)
    assert both.features["town"] is first.features["town"]
    assert both.features["age"] is second.features["age"]
