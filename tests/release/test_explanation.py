"""Releases of towers say what a score rests on: what changes as something is taken away by hand."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest

from tests import commands
from tests.tiny_histories import LENGTH, newest
from tfrecall.core.manifests import manifest_checksum
from tfrecall.core.vocabulary import Vocabulary
from tfrecall.errors import DataError, MissingColumnError
from tfrecall.index.repeats import Repeats
from tfrecall.release import explanation as left_out
from tfrecall.release import load
from tfrecall.release.histories import UserHistories

KNOWN, TARGET = "u1", "i6"
GIVEN = {"device": "web", "history": ["i2", "i7", "i11"], "liked": ["i7", "i3"]}


def score(release, query, item_id=TARGET):
    """As lists say it."""
    (answer,) = release.recommend([query], len(release.item_ids), exclude_seen=False)
    return dict(zip(answer.item_ids, answer.scores, strict=True))[item_id]


def without(query, item):
    """The request without one item, with nothing said of its events."""
    left = dict(query)
    for name in ("history", "liked"):
        if name not in query:
            continue
        kept = [place for place, held in enumerate(query[name]) if held != item]
        for column in query:
            if column == name or column.startswith(f"{name}_"):
                left[column] = [query[column][place] for place in kept]
    return left


def of_items(told):
    return {reason.item_id: reason.contribution for reason in told.reasons if reason.item_id}


def of_features(told):
    return {reason.feature: reason.contribution for reason in told.reasons if reason.feature}


def check_items(release, query, given=None, item_id=TARGET):
    """Each contribution is what the score loses as the item leaves the request."""
    told = release.explain(query, item_id)
    given = query if given is None else given
    whole = score(release, query, item_id)
    assert told.score == pytest.approx(whole, rel=1e-5)
    held = {item for name in ("history", "liked") for item in given.get(name, [])}
    assert set(of_items(told)) == held & set(release.item_ids)
    for item, contribution in of_items(told).items():
        expected = whole - score(release, without(given, item), item_id)
        assert contribution == pytest.approx(expected, abs=1e-4)
    return told


# Against requests made by hand


@pytest.mark.parametrize("item_id", [TARGET, "i2", "i40"])
def test_an_item_counts_for_what_the_score_loses_without_it(history_release, item_id):
    """i2 is in the history itself, i40 was never had by anybody."""
    told = check_items(history_release, GIVEN, item_id=item_id)
    assert (told.user_id, told.item_id, told.additive) == (None, item_id, False)
    assert told.base == pytest.approx(score(history_release, {}, item_id), rel=1e-5, abs=1e-6)
    assert any(of_items(told).values())


def test_a_feature_counts_for_what_the_score_loses_if_it_is_not_known(history_release):
    query = {"user_id": KNOWN, **GIVEN}
    told = history_release.explain(query, TARGET)
    whole, found = score(history_release, query), of_features(told)
    assert sorted(found) == ["device", "user_id"]
    for column, value in {"device": None, "user_id": "nobody"}.items():
        expected = whole - score(history_release, {**query, column: value})
        assert found[column] == pytest.approx(expected, abs=1e-4)
    values = {reason.feature: reason.value for reason in told.reasons if reason.feature}
    assert values == {"device": "web", "user_id": KNOWN}


def test_features_of_every_kind_are_taken_away(tiny_release):
    defaults = tiny_release.manifest["query"]["defaults"]
    asked = tiny_release.users.build_queries(["u8"]).features
    whole = {
        column: [tag for tag in values[0] if tag] if column == "tags" else values[0]
        for column, values in asked.items()
    }
    told = tiny_release.explain("u8", "i3")
    assert of_features(told).keys() == asked.keys()
    assert not of_items(told)
    for column, contribution in of_features(told).items():
        unknown = {**whole, column: "nobody" if column == "user_id" else defaults[column]}
        if column == "tags":
            unknown["tags"] = None
        lost = score(tiny_release, whole, "i3") - score(tiny_release, unknown, "i3")
        assert contribution == pytest.approx(lost, abs=1e-5), column
    assert len(set(of_features(told).values())) > 4


def test_the_context_of_an_item_goes_with_it(context_release):
    query = {
        "user_id": KNOWN,
        "history": ["i2", "i7", "i11", "i2"],
        "history_rating": [5, 1, None, 4],
        "history_gap": ["start", "days", "seconds", "hours"],
        "liked": ["i7", "i3"],
        "liked_device": ["web", "app"],
    }
    told = check_items(context_release, query)
    assert sorted(of_items(told)) == ["i11", "i2", "i3", "i7"], "i2 goes with both its events"
    plain = {name: query[name] for name in ("user_id", "history", "liked")}
    assert of_items(told) != of_items(check_items(context_release, plain))


def test_a_known_user_is_explained_by_what_is_known(context_release, context_model, history_log):
    known = context_release.users.build_queries([KNOWN]).features
    given = {"user_id": KNOWN, **{c: v[0].tolist() for c, v in known.items() if v.ndim == 2}}
    assert [item for item in given["history"] if item] == newest(history_log, KNOWN, LENGTH)
    for name in ("history", "liked"):
        beside = [c for c in given if c == name or c.startswith(f"{name}_")]
        there = [place for place, item in enumerate(given[name]) if item]
        given.update({column: [given[column][place] for place in there] for column in beside})
    check_items(context_release, KNOWN, given)


@pytest.mark.slow
@pytest.mark.parametrize("item_id", ["i2", "i6", "i7"])
def test_of_several_interests_the_best_one_that_is_left_scores(interest_release, item_id):
    query = {"history": ["i2", "i7", "i11", "i3"], "device": "web"}
    check_items(interest_release, query, item_id=item_id)


@pytest.mark.slow
@pytest.mark.usefixtures("eager_steps")
@pytest.mark.parametrize("kind", ["DSSM", "YouTubeDNN"])
def test_releases_of_every_model_of_towers_are_explained(kind, history_log, tmp_path):
    import tfrecall
    from tests.tiny_histories import SCHEMA
    from tfrecall.exporting.export import export
    from tfrecall.tasks.full_softmax import FullSoftmax
    from tfrecall.training import fit

    settings = {} if kind == "DSSM" else {"task": FullSoftmax()}
    model = getattr(tfrecall, kind)(SCHEMA, [8], **settings)
    fit(model, history_log, epochs=1, batch_size=256, seed=1, verbose=0)
    told = check_items(export(model, tmp_path / "release", index=None), GIVEN)
    changes = of_items(told)
    assert all(changes[item] for item in ("i2", "i7", "i11"))
    assert changes["i3"] == 0, "in `liked` alone, where i7 of the same group stands beside it"
    assert of_features(told)["device"] != 0


# What `repeats` weigh


@pytest.fixture(scope="module", params=["tiny_root", "history_root"])
def repeating(request, tmp_path_factory):
    """Without a history feature, and with one that reads the same list."""
    told = tmp_path_factory.mktemp("repeating") / "release"
    root = shutil.copytree(request.getfixturevalue(request.param), told)
    manifest = json.loads((root / "manifest.json").read_text("utf-8"))
    manifest["repeats"] = Repeats(recency=0.7, decay=0.01, bias=3.0, blend=0.4, length=4).to_dict()
    manifest["sha256"] = manifest_checksum(manifest)
    (root / "manifest.json").write_text(json.dumps(manifest), "utf-8")
    return load(root)


def test_an_item_goes_from_what_is_had_again_too(repeating):
    """The score of i7 falls by what repeating adds; that of others moves up a place."""
    query = {"history": ["i7", "unheard of", "i2", "i7"]}
    for item_id in ("i7", "i2", "i6"):
        told = check_items(repeating, query, item_id=item_id)
        assert (of_items(told)["i7"] > 2) == (item_id == "i7")
    assert of_items(repeating.explain(query, "i2"))["i7"] < 0, "i2 would be the latest"


def test_only_the_latest_that_repeats_weigh_are_reasons(repeating, tiny_release):
    query = {"history": [f"i{place}" for place in range(20)]}
    held = set(of_items(repeating.explain(query, "i19")))
    length = LENGTH if "history" in repeating.users.histories else 4
    assert held == {f"i{place}" for place in range(20 - length, 20)}
    lists = (repeating.users.seen(repeating.users.vocabulary.row("u3"))[-length:],)
    assert set(of_items(repeating.explain("u3", "i19"))) >= set(repeating.item_ids[lists[0]])


# Requests out of the ordinary


@pytest.mark.parametrize("user", ["nobody", "absent"])
def test_who_had_nothing_is_explained_by_features_alone(history_release, user):
    told = history_release.explain(user, TARGET)
    assert not of_items(told)
    assert of_features(told)["device"] == 0, "it is not known"
    if user == "nobody":
        assert told.score == pytest.approx(told.base, rel=1e-5)
        assert set(of_features(told).values()) == {0.0}
    assert told.base == pytest.approx(score(history_release, {}), rel=1e-5)


@pytest.mark.parametrize("nothing", [None, [], [""], ["no such item"]])
def test_an_empty_history_gives_no_reasons(history_release, nothing):
    query = {"history": nothing, "liked": nothing, "device": "web"}
    told = history_release.explain(query, TARGET)
    assert [reason.feature for reason in told.reasons if reason.contribution] == ["device"]
    assert told.score - told.base == pytest.approx(of_features(told)["device"], rel=1e-6)


def test_items_that_nobody_had_in_training_count_for_nothing(history_release):
    many = ["i1", "i40", "no such item", *(f"i{place}" for place in range(2, 2 + LENGTH - 1)), "i40"]
    told = history_release.explain({"history": many}, TARGET)
    assert set(of_items(told)) == {"i40", *(f"i{place}" for place in range(1, LENGTH + 1))}
    assert of_items(told)["i40"] == 0
    assert all(value for item, value in of_items(told).items() if item != "i40")


@pytest.mark.parametrize("count", [LENGTH + 1, 50, 750, 10_000])
def test_nothing_older_takes_the_place_of_what_is_taken_away(history_release, count):
    many = [f"i{place % 40}" for place in range(count)]
    long = history_release.explain({"history": many}, TARGET)
    short = history_release.explain({"history": many[-LENGTH:]}, TARGET)
    assert long.score == pytest.approx(score(history_release, {"history": many}), rel=1e-5)
    assert of_items(long) == pytest.approx(of_items(short), abs=1e-6)
    assert set(of_items(long)) == set(many[-LENGTH:])


def test_long_lists_are_asked_in_parts_that_fit_memory(history_release, monkeypatch):
    expected = history_release.explanations(GIVEN, [TARGET, "i2"])
    sizes, embed = [], history_release.embed
    monkeypatch.setattr(left_out, "CELLS", 3 * LENGTH**2)
    monkeypatch.setattr(
        history_release, "embed", lambda some: sizes.append(len(some["device"])) or embed(some)
    )
    found = history_release.explanations(GIVEN, [TARGET, "i2"])
    # Whole, nobody, four items, two features.
    assert sizes == [3, 3, 2]
    for one, other in zip(found, expected, strict=True):
        assert of_items(one) == pytest.approx(of_items(other), abs=1e-5)


@pytest.mark.parametrize("length", [50, 750])
def test_of_long_histories_each_row_lacks_one_item(history_release, length):
    """The rows that a model of that length would be asked with, without the model."""
    ids = np.array([f"i{place}" for place in range(1000)], dtype=object)
    past = UserHistories(np.zeros(1, np.int64), np.arange(1000), length, ids)
    known = history_release.users
    people = replace(known, histories={**known.histories, "history": past}, seen_items=past.items)
    asked = people.build_queries([{"history": ids.tolist()}])
    lists = left_out.listed(people, asked.features, Vocabulary(ids.tolist()))
    own = {column: asked.features[column] for column in ("user_id", "device")}
    variants = left_out.LeaveOneOut.of(lists, own, people.defaults)
    assert variants.items.tolist() == list(range(1000 - length, 1000))
    held = variants.features["history"]
    assert held.shape == (2 + length + 2, length)
    lengths = (held != "").sum(axis=1).tolist()
    # Whole, nobody, each item, user_id and device.
    assert lengths == [length, 0, *[length - 1] * length, length, length]
    assert (held[2 : 2 + length].diagonal() == "").all()


def test_many_items_are_explained_by_one_call(history_release, monkeypatch):
    alone = [history_release.explain(KNOWN, item) for item in (TARGET, "i2", TARGET)]
    calls, embed = [], history_release.embed
    monkeypatch.setattr(history_release, "embed", lambda some: calls.append(1) or embed(some))
    assert history_release.explanations(KNOWN, [TARGET, "i2", TARGET]) == alone
    assert history_release.explanations(KNOWN, []) == []
    assert len(calls) == 1


def test_reasons_come_strongest_first(history_release):
    reasons = history_release.explain({"user_id": KNOWN, **GIVEN}, TARGET).reasons
    contributions = [reason.contribution for reason in reasons]
    assert contributions == sorted(contributions, reverse=True)
    assert all((reason.item_id is None) != (reason.feature is None) for reason in reasons)
    assert {reason.weight for reason in reasons} == {None}


def test_what_cannot_be_explained_is_refused(history_release):
    with pytest.raises(DataError, match='no item "x"'):
        history_release.explain(KNOWN, "x")
    with pytest.raises(MissingColumnError, match=r'"histroy".*mean "history"'):
        history_release.explain({"histroy": ["i1"]}, TARGET)
    with pytest.raises(DataError, match="takes a list of item ids"):
        history_release.explain({"history": "i1"}, TARGET)


# The command


def ask(*arguments):
    return commands.ask(*arguments).stdout


@pytest.mark.slow
def test_recommend_says_why(history_root, history_release):
    command = ["recommend", history_root, "--user", KNOWN, "--user", "nobody", "-k", "2", "--explain"]
    found = json.loads(ask(*command, "--json"))
    for answer, told in zip(found["recommendations"], found["explanations"], strict=True):
        for item_id, score_, one in zip(answer["item_ids"], answer["scores"], told, strict=True):
            expected = history_release.explain(answer["user_id"], item_id)
            assert (one["item_id"], one["additive"]) == (item_id, False)
            assert one["score"] == pytest.approx(score_, rel=1e-5)
            assert one["base"] == pytest.approx(expected.base, rel=1e-6)
            names = [reason.get("item_id", reason.get("feature")) for reason in one["because"]]
            there = [reason for reason in expected.reasons if reason.contribution]
            assert names == [reason.item_id or reason.feature for reason in there]
    shown = " ".join(ask(*command).split())
    assert "because of" in shown
    assert "need not add up" in shown
    assert "nothing by itself" in shown


def test_rounding_is_no_contribution():
    """Two vectors that differ in the last digit of float32: the difference says nothing of the feature."""
    # The score is 3 x 1 + 4 x 1 = 7. Without "a" the query is (3 + 2e-7, 4): 2e-7 above, a third of what
    # float32 can tell at 7; without "b" it is (2, 4): the score is 6, so "b" contributes 1.
    queries = np.array([[3.0, 4.0], [0.0, 0.0], [3.0 + 2e-7, 4.0], [2.0, 4.0]])
    variants = left_out.LeaveOneOut(
        {}, [left_out.NO_ROWS] * 4, np.empty(0, np.int64), {"a": "x", "b": "y"}
    )
    (told,) = left_out.explained(
        "u1", np.array(["i1"], object), np.array([0]), variants, queries, np.ones((1, 2)), None
    )
    assert [(reason.feature, reason.contribution) for reason in told.reasons] == [
        ("b", 1.0),
        ("a", 0.0),
    ]
    assert (told.score, told.base) == (7.0, 0.0)
