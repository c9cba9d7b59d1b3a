"""Answers of a batch are those of the release to each request alone, for releases of all kinds."""

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import tfrecall as tr
from tests.properties import examples
from tests.tiny import ANNOY
from tfrecall.errors import ConfigError, DataError, TfrecallError, UnsupportedError
from tfrecall.release.rules import Rules
from tfrecall.serving.answering import Answerer
from tfrecall.serving.observer import Observer
from tfrecall.serving.recent import RecentEvents
from tfrecall.serving.requests import (
    ItemsAnswer,
    RankRequest,
    RecommendAnswer,
    RecommendRequest,
    SimilarRequest,
)

# Seconds since 1970, later than any event of the logs.
NOW = 4e9
USERS = ["u1", "u2", "u3", "u7", "absent", "nobody"]
ITEMS = ["i1", "i2", "i3", "i5", "i8", "i13", "unknown"]
RULES = [
    {"diversity": 0.4},
    {"boosts": [{"by": 5.0, "items": ["i3", "i5"]}]},
    {"allow": ["i1", "i2", "i3", "i5"]},
    {"allow": ["i1", "i2"], "diversity": 0.2},
]


@pytest.fixture(scope="session")
def repeating_root(request, release_copy):
    from tests.tiny_repeats import export_repeating

    return release_copy(
        "serving-repeats",
        lambda root: export_repeating(request.getfixturevalue("history_model"), root, ANNOY),
    )


# One kind of model is enough while working: each loads its own.
KINDS = [
    "item_cf",
    "pipeline_root",
    *(
        pytest.param(root, marks=pytest.mark.slow)
        for root in ("tiny_root", "repeating_root", "interest_root", "context_root")
    ),
]


@pytest.fixture(scope="module", params=KINDS)
def release(request):
    return tr.load(request.getfixturevalue(request.param))


def ids(answer):
    return [item.item_id for item in answer.items]


def requests_to(release):
    """Requests of every form, wrong ones among them."""
    maybe = {
        "exclude": st.lists(st.sampled_from(ITEMS), max_size=4),
        "allow": st.none() | st.lists(st.sampled_from(ITEMS), max_size=5),
        "exclude_seen": st.sampled_from([None, True, False]),
    }
    if release.needs_tensorflow:
        maybe["index"] = st.sampled_from([None, "exact", "annoy"])
    if release.users.item_lists:
        maybe["history"] = st.none() | st.lists(st.sampled_from(ITEMS), max_size=5)
    if hasattr(release, "rules"):
        maybe["rules"] = st.none() | st.sampled_from(RULES)
    return st.builds(
        RecommendRequest,
        user_id=st.none() | st.sampled_from(USERS),
        k=st.sampled_from([1, 2, 5, 10, 0, 1000]),
        features=st.none() | st.just({"no_such_column": 1}),
        **maybe,
    )


def alone(release, request):
    """The answer of the release to one request, as its documentation says to ask."""
    query = {} if request.user_id is None else {"user_id": request.user_id}
    query |= request.features or {}
    if request.history is not None:
        query |= dict.fromkeys(release.users.item_lists, request.history)
    options = {} if request.rules is None else {"rules": Rules.from_dict(request.rules)}
    return release.recommend(
        [query],
        request.k,
        exclude=request.exclude,
        exclude_seen=request.exclude_seen,
        allow=request.allow,
        index=request.index,
        **options,
    )[0]


@settings(examples(15), suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_a_batch_has_the_answers_of_each_request_alone(release, data):
    requests = data.draw(st.lists(requests_to(release), min_size=1, max_size=8))
    answers = Answerer("r", release, fallback=False).recommend(requests)
    assert len(answers) == len(requests)
    for request, answer in zip(requests, answers, strict=True):
        try:
            expected = alone(release, request)
        except TfrecallError:
            assert isinstance(answer, TfrecallError)  # of two faults either may be told
            continue
        assert isinstance(answer, RecommendAnswer), answer
        assert ids(answer) == expected.item_ids
        np.testing.assert_allclose(
            [item.score for item in answer.items], expected.scores, rtol=1e-6, atol=1e-6
        )
        assert (answer.user_id, answer.known) == (request.user_id, expected.known)
        if answer.defaulted:
            assert answer.defaulted == [*expected.defaulted]


def test_columns_reasons_and_stages_belong_to_their_requests(pipeline_root, item_cf):
    pipeline = Answerer("p", tr.load(pipeline_root))
    plain, staged = pipeline.recommend(
        [RecommendRequest(user_id="u1", k=3), RecommendRequest(user_id="u2", k=3, stages=True)]
    )
    assert not plain.stages
    (details,) = pipeline.release.recommend(["u2"], 3, details=True)
    assert staged.stages["candidates"] == details.candidates
    plain, explained = Answerer("b", tr.load(item_cf)).recommend(
        [
            RecommendRequest(user_id="u1", k=3),
            RecommendRequest(user_id="u2", k=3, explain=True, columns=["item_id"]),
        ]
    )
    assert [item.because for item in plain.items] == [None] * 3
    assert [item.columns for item in plain.items] == [None] * 3
    explanation = tr.load(item_cf).explain("u2", explained.items[0].item_id)
    strongest = explanation.strongest(3)
    assert [one.contribution for one in explained.items[0].because] == [
        reason.contribution for reason in strongest
    ]
    assert [item.columns["item_id"] for item in explained.items] == ids(explained)


@pytest.mark.slow
def test_ranks_are_those_of_the_ranker_best_first(rating_root, pipeline_root):
    items = ["i3", "i1", "i8", "i2"]
    for root in (rating_root, pipeline_root):
        release = tr.load(root)
        ranker = getattr(release, "ranker", release)
        answer = Answerer("r", release).rank(RankRequest(items=items, user_id="u1"))
        scores = dict(zip(items, ranker.predict(["u1"], items).tolist(), strict=True))
        assert ids(answer) == sorted(items, key=lambda item: -scores[item])
        np.testing.assert_allclose(
            [item.score for item in answer.items], sorted(scores.values())[::-1], rtol=1e-6
        )


def test_one_wrong_request_of_a_batch_fails_alone_and_few_calls_find_it(item_cf, monkeypatch):
    """An error that is not ours, as TensorFlow raises them in the middle of a batch."""
    release = tr.load(item_cf)
    calls, search = [], release.search

    def fragile(asked, *args, **kwargs):
        calls.append(len(asked.users))
        if "u5" in asked.user_ids:
            raise ArithmeticError("u5")
        return search(asked, *args, **kwargs)

    release.search = fragile
    requests = [RecommendRequest(user_id=f"u{n}", k=3) for n in range(32)]
    answers = Answerer("r", release).recommend(requests)
    assert [n for n, answer in enumerate(answers) if isinstance(answer, Exception)] == [5]
    assert isinstance(answers[5], ArithmeticError)
    # Halves of 32, 16, 8, 4 and 2: one call for the whole, and two for each of five halvings.
    assert len(calls) == 1 + 2 * 5


@pytest.mark.parametrize(
    "options",
    [
        {"rules": {"diversity": 0.5}},
        {"stages": True},
        {"columns": ["none"]},
        {"features": {"user_id": "u2"}},
        {"history": ["i1"], "features": {"history": ["i2"]}},
        {"index": "annoy"},
    ],
    ids=str,
)
def test_requests_that_cannot_be_answered_are_refused(item_cf, options):
    (answer,) = Answerer("r", tr.load(item_cf)).recommend([RecommendRequest(user_id="u1", **options)])
    assert isinstance(answer, (ConfigError, DataError))


@pytest.mark.parametrize(
    "rules",
    [{"no": 1}, {"caps": 3}, {"boosts": [1]}, {"boosts": {"by": 1}}, {"diversity": "x"}, {"allow": 3}],
    ids=str,
)
def test_rules_of_another_form_are_refused(pipeline_root, rules):
    (answer,) = Answerer("p", tr.load(pipeline_root)).recommend(
        [RecommendRequest(user_id="u1", rules=rules)]
    )
    assert isinstance(answer, (ConfigError, DataError))


def test_a_ranker_says_what_to_ask_instead(rating_root):
    answers = Answerer("r", tr.load(rating_root)).answer(
        [RecommendRequest(user_id="u1"), SimilarRequest(item_id="i1"), RankRequest(items=["i1"])]
    )
    assert [type(answer) for answer in answers] == [UnsupportedError, UnsupportedError, ItemsAnswer]


def test_titles_and_ids_of_a_history_are_the_same(item_cf):
    release = tr.load(item_cf)
    titles = release.item_names()
    by_title, by_id = Answerer("r", release).recommend(
        [
            RecommendRequest(history=[titles["i3"], titles["i5"], "no such"]),
            RecommendRequest(history=["i3", "i5"]),
        ]
    )
    assert ids(by_title) == ids(by_id)
    assert by_title.not_in_catalogue == ["no such"]


# Events after the training log


@pytest.mark.parametrize(
    "kind",
    ["item_cf", *(pytest.param(k, marks=pytest.mark.slow) for k in ("context_root", "repeating_root"))],
)
def test_new_events_are_history_and_seen_at_once(kind, request):
    release = tr.load(request.getfixturevalue(kind))
    recent = RecentEvents()
    answerer = Answerer("r", release, recent=recent)
    asked = RecommendRequest(user_id="u1", k=8)
    before = ids(*answerer.recommend([asked]))
    new = [before[1], "i8"]
    recent.add_all([("u1", item, NOW) for item in new])
    (after,) = answerer.recommend([asked])
    assert after.known
    if release.exclude_seen:
        assert not set(new) & set(ids(after))
    stored = {
        name: release.users.histories[name].ids(np.array([release.users.vocabulary.row("u1")]))[0]
        if name in release.users.histories
        else release.item_ids[release.users.seen(release.users.vocabulary.row("u1"))]
        for name in release.users.item_lists
    }
    is_counted = kind == "repeating_root"
    query = {
        # A model of repeats counts all events of an item; for others one that came again moves to the end.
        name: [item for item in past.tolist() if item and (is_counted or item not in new)] + new
        for name, past in stored.items()
    }
    if kind != "context_root":  # whose stored ratings go with the stored events
        (expected,) = release.recommend([{"user_id": "u1", **query}], 8)
        assert ids(after) == expected.item_ids
    (other,) = answerer.recommend([RecommendRequest(user_id="u2", k=8)])
    assert ids(other) == release.recommend(["u2"], 8)[0].item_ids


def test_new_events_of_unknown_users_count_too(item_cf):
    recent = RecentEvents()
    answerer = Answerer("r", tr.load(item_cf), recent=recent)
    recent.add("new", "i3", NOW)
    recent.add("new", "not in the catalogue", NOW)
    (answer,) = answerer.recommend([RecommendRequest(user_id="new", k=5)])
    assert answer.fallback is None
    (expected,) = tr.load(item_cf).recommend([{"history": ["i3"]}], 5)
    assert ids(answer) == expected.item_ids


@pytest.mark.slow
def test_item_that_came_again_keeps_its_count_and_a_logged_event_counts_once(repeating_root):
    release = tr.load(repeating_root)
    users = release.users
    row = users.vocabulary.row("u1")
    stored, times = release.item_ids[users.seen(row)].tolist(), users.times(row).tolist()
    recent = RecentEvents()
    # The newest event of the log came as feedback, too; then an item of the log came twice more.
    recent.add_all([("u1", stored[-1], times[-1]), ("u1", stored[0], NOW), ("u1", stored[0], NOW + 60)])
    answerer = Answerer("r", release, recent=recent)
    (answer,) = answerer.recommend([RecommendRequest(user_id="u1", k=8)])
    query = {"user_id": "u1", "history": [*stored, stored[0], stored[0]]}
    (expected,) = release.recommend([query], 8)
    assert [item.score for item in answer.items] == pytest.approx(expected.scores, rel=1e-6)
    assert ids(answer) == expected.item_ids
    (once,) = release.recommend([{**query, "history": [*stored[1:], stored[0]]}], 8)
    assert once.scores != pytest.approx(expected.scores, rel=1e-6)  # so that the test can fail


@pytest.mark.slow
def test_new_events_are_left_out_where_a_model_has_no_history(tiny_root):
    release = tr.load(tiny_root)
    recent = RecentEvents()
    answerer = Answerer("r", release, recent=recent)
    best = release.recommend(["u1"], 3)[0].item_ids
    recent.add("u1", best[0], NOW)
    left, kept = answerer.recommend(
        [
            RecommendRequest(user_id="u1", k=2),
            RecommendRequest(user_id="u1", k=40, exclude_seen=False),
        ]
    )
    assert ids(left) == best[1:]
    assert best[0] in ids(kept)
    popular = answerer.popular(RecommendRequest(user_id="u1", k=40), "failed")
    assert best[0] not in ids(popular)


@pytest.mark.slow
def test_context_of_stored_events_stays_beside_them(context_root):
    """The stored ratings of the stored events, and unknown ones for the new event."""
    release = tr.load(context_root)
    recent = RecentEvents()
    answerer = Answerer("r", release, recent=recent)
    recent.add("u1", "i8", NOW)
    row = np.array([release.users.vocabulary.row("u1")])
    users, query = release.users, {"user_id": "u1"}
    for name in users.item_lists:
        stored = [item for item in users.histories[name].ids(row)[0].tolist() if item]
        kept = [place for place, item in enumerate(stored) if item != "i8"]
        query[name] = [stored[place] for place in kept] + ["i8"]
        for context in users.contexts.get(name, ()):
            values = users.histories[f"{name}_{context}"].ids(row)[0].tolist()
            assert any(values)  # so that the test can fail
            query[f"{name}_{context}"] = [values[place] or None for place in kept] + [None]
    (answer,) = answerer.recommend([RecommendRequest(user_id="u1", k=8)])
    assert ids(answer) == release.recommend([query], 8)[0].item_ids
    np.testing.assert_allclose(
        [item.score for item in answer.items], release.recommend([query], 8)[0].scores, rtol=1e-6
    )


# Popular items


@given(
    st.lists(st.integers(0, 19), max_size=60),
    st.lists(st.integers(-1, 19), max_size=25),
    st.none() | st.lists(st.integers(-1, 19), max_size=9),
    st.integers(1, 20),
)
def test_popular_lists_equal_sorted_counts(events, barred, allowed, k):
    from tfrecall.release.base import Items, Release
    from tfrecall.serving.fallbacks import Popular

    class Users:
        seen_items = np.array(events, dtype=np.int32)

    ids = np.array([f"i{row}" for row in range(20)], dtype=object)
    release = Release(Path(), {}, Users(), Items(ids, dict))
    rows, counts = Popular(release).best(k, np.array(barred, dtype=np.int64), allowed)
    wanted = [row for row in range(20) if row not in barred and (allowed is None or row in allowed)]
    expected = sorted(wanted, key=lambda row: (-events.count(row), row))[:k]
    assert rows.tolist() == expected
    assert counts.tolist() == [events.count(row) for row in expected]
    assert all(a >= b for a, b in pairwise(counts.tolist()))


def test_observers_hear_of_stages_of_a_pipeline(pipeline_root):
    class Heard(Observer):
        def stages(self, release, seconds, requests):
            self.named = {release: set(seconds)}

    heard = Heard()
    Answerer("p", tr.load(pipeline_root), observer=heard).recommend([RecommendRequest(user_id="u1")])
    assert heard.named == {"p": {"query", "retrieval", "ranking", "rules", "answer"}}
