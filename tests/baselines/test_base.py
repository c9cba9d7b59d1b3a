"""What every model that answers from a history has in common: lists, reasons, releases, refusals."""

import numpy as np
import polars as pl
import pytest
from hypothesis import given

from tests.baselines.helpers import EVENTS, ITEMS, USERS, asked, log_of, make_train
from tests.properties import examples
from tfrecall.baselines.als import ALS
from tfrecall.baselines.ease import EASE
from tfrecall.baselines.item_cf import ItemCF
from tfrecall.baselines.item_transitions import ItemTransitions
from tfrecall.baselines.popularity import Popularity
from tfrecall.baselines.swing import Swing
from tfrecall.baselines.user_cf import UserCF
from tfrecall.core.retriever import Retriever
from tfrecall.data import split_random, synthetic
from tfrecall.errors import ConfigError, DataError
from tfrecall.evaluation import evaluate
from tfrecall.exporting.export import export

MODELS = {
    "popularity": Popularity,
    "recent_popularity": lambda: Popularity(3),
    "item_cf": ItemCF,
    "item_cf_of_times": lambda: ItemCF(
        4,
        similarity="conditional",
        inverse_user_frequency=True,
        pair_half_life_days=2,
        history_half_life_days=3,
        backward=0.5,
    ),
    "item_transitions": ItemTransitions,
    "ease": lambda: EASE(5),
    "swing": Swing,
    "user_cf": lambda: UserCF(4, inverse_item_frequency=True),
    "als": lambda: ALS(3),
}


@pytest.fixture(params=MODELS)
def make(request):
    if request.param == "als":
        pytest.importorskip("implicit")
    return MODELS[request.param]


@pytest.fixture(scope="module")
def parts():
    return split_random(synthetic(n_users=40, n_items=30, n_rows=600))


@pytest.fixture(scope="module", params=MODELS)
def fitted(request, parts):
    """Each model, fitted once to the same log."""
    if request.param == "als":
        pytest.importorskip("implicit")
    return MODELS[request.param]().fit(parts[0])


def test_contributions_add_up_to_the_score(fitted, parts):
    train, _ = parts
    model = fitted
    users = train.users["user_id"].to_list()[:8]
    scores = model.scores(asked(*users, "stranger"))
    for row, user in enumerate([*users, "stranger"]):
        for column in range(0, 30, 7):
            told = model.explain(user, train.items["item_id"][column])
            total = told.base + sum(reason.contribution for reason in told.reasons)
            assert total == pytest.approx(scores[row, column], rel=1e-4, abs=1e-6)
            assert told.score == pytest.approx(scores[row, column], rel=1e-5, abs=1e-6)


def test_reasons_are_what_the_user_had_the_strongest_first(fitted, parts):
    train, _ = parts
    user = train.users["user_id"][3]
    told = fitted.explain(user, "i0")
    had = train.log.filter(pl.col("user_id") == user)["item_id"].unique().to_list()
    contributions = [reason.contribution for reason in told.reasons]
    assert {reason.item_id for reason in told.reasons} <= set(had)
    assert contributions == sorted(contributions, reverse=True)
    assert all(reason.weight > 0 for reason in told.reasons)


def test_lists_are_the_best_scores_without_what_was_had(fitted, parts):
    train, _ = parts
    model, users = fitted, train.users["user_id"].to_list()
    scores = model.scores(asked(*users))
    for row, (user, answer) in enumerate(zip(users, model.recommend(users, 30), strict=True)):
        seen = set(train.log.filter(pl.col("user_id") == user)["item_id"])
        order = np.argsort(-scores[row], kind="stable")
        ids = [model.item_ids[i] for i in order if scores[row, i] != 0]
        assert answer.item_ids == [item for item in ids if item not in seen]
        assert answer.known
        assert answer.user_id == user
    (kept,) = model.recommend(users[:1], 1, exclude_seen=False)
    assert kept.scores == [scores[0].max()]


def test_lists_keep_to_what_is_allowed(fitted):
    model = fitted
    (answer,) = model.recommend(
        ["u1"], 30, allow=["i1", "i2", "i3", "no such"], exclude=["i2"], exclude_seen=False
    )
    assert set(answer.item_ids) <= {"i1", "i3"}


def test_an_item_is_not_similar_to_itself(fitted):
    answer = fitted.similar_items("i3", 29)
    assert answer.item_id == "i3"
    assert "i3" not in answer.item_ids
    assert answer.scores == sorted(answer.scores, reverse=True)


def test_a_release_answers_as_the_model(fitted, parts, tmp_path):
    train, test = parts
    model = fitted
    release = export(model, tmp_path / "release")
    queries = test.queries.drop("timestamp")
    assert (release.scores(queries) == model.scores(queries)).all()
    users = [*train.users["user_id"].to_list()[:5], "stranger"]
    assert release.recommend(users, 7) == model.recommend(users, 7)
    assert release.similar_items("i3", 7) == model.similar_items("i3", 7)
    assert release.explain("u1", "i3") == model.explain("u1", "i3")
    assert release.name == model.name
    assert isinstance(release, Retriever)


def test_a_release_is_judged_like_the_model(parts, tmp_path):
    train, test = parts
    model = ItemCF().fit(train)
    found = [
        evaluate(one, test, seen=train, ks=[5], baselines=False).test
        for one in (model, export(model, tmp_path))
    ]
    assert found[0] == found[1]


def test_unfitted_it_says_what_to_do(make):
    model = make()
    for ask in (
        lambda: model.scores(asked("u")),
        lambda: model.recommend(["u"]),
        lambda: model.similar_items("a"),
        lambda: model.explain("u", "a"),
        lambda: export(model, "nowhere"),
    ):
        with pytest.raises(ConfigError, match=rf"{type(model).__name__} .* Call `fit\(train\)` first"):
            ask()


def test_settings_make_the_same_model_again(make):
    model = make()
    assert type(model)(**model.settings).settings == model.settings


def test_who_had_nothing_gets_nothing_but_what_all_get(make):
    model = make().fit(log_of(u="abc", v="abd", w="acd"))
    for user in ("y", "stranger"):
        (answer,) = model.recommend([user], 2)
        assert not answer.known
        assert len(answer.item_ids) == (2 if isinstance(model, Popularity) else 0)
        assert model.explain(user, "a").reasons == []


def test_an_empty_log_gives_empty_lists(make, parts, tmp_path):
    train, _ = parts
    model = make().fit(train.with_log(train.log.head(0)))
    assert not model.scores(train.queries.head(3)).any()
    for one in (model, export(model, tmp_path)):
        assert [answer.item_ids for answer in one.recommend(["u1", "u2"], 3)] == [[], []]


@examples(20)
@given(EVENTS)
def test_rows_of_nobody_known_are_left_out(events):
    strange = [("stranger", "a", 3), ("u", "no such item", 4)]
    for model in (ItemCF(), ItemTransitions(), Popularity(), UserCF()):
        known = model.fit(make_train(events)).scores(asked(*USERS))
        assert (model.fit(make_train([*strange, *events])).scores(asked(*USERS)) == known).all()


def test_impossible_questions_are_refused():
    model = ItemCF().fit(log_of(u="ab", v="bc"))
    for k in (0, len(ITEMS) + 1, True, 1.5):
        with pytest.raises(ConfigError, match="`k` must be an integer from 1 to 6"):
            model.recommend(["u"], k)
    with pytest.raises(DataError, match='no item "aa" in the catalogue of 6'):
        model.explain("u", "aa")
    with pytest.raises(DataError, match="`users` takes a list of ids"):
        model.recommend("u")
    with pytest.raises(DataError, match="`exclude` takes a list of ids"):
        model.recommend(["u"], 1, exclude=[7])
