"""Items added to a release and removed from it: vectors, lists of all indexes, SavedModels, histories."""

import json
import shutil

import numpy as np
import polars as pl
import pytest

from tests.commands import ask
from tests.tiny import ANNOY
from tests.tiny_histories import LENGTH, newest
from tfrecall._keras import tf
from tfrecall.baselines.popularity import Popularity
from tfrecall.core.raw import raw_features
from tfrecall.data import synthetic
from tfrecall.errors import ConfigError, DataError, MissingColumnError
from tfrecall.exporting.export import export
from tfrecall.exporting.item_changes import changed
from tfrecall.exporting.items import change_items
from tfrecall.models.two_tower import TwoTower
from tfrecall.release import load
from tfrecall.schema.features import Categorical, Schema

NEW = pl.DataFrame(
    {
        "item_id": ["n1", "n2"],
        "title": ["Item 3", None],
        "genres": [["x1", "y0"], []],
        "price": [4, 7.5],
        "colour": ["red", "blue"],
    },
    strict=False,
)
REMOVED = ["i5", "i0", "i39"]


def best(vectors, query, ids, k, without=()):
    order = ids[np.argsort(-(vectors @ query), kind="stable")]
    return [item for item in order if item not in without][:k]


def of_saved_model(release, queries, k, signature="recommend", **more):
    """The lists of the SavedModel `retrieval`, for users as the release knows them."""
    features = release.users.build_queries(queries).features
    model = tf.saved_model.load(str(release.part("retrieval")))
    specs = model.signatures[signature].structured_input_signature[1]
    given = {"k": k, "exclude": [[""]] * len(queries), **features, **more}
    tensors = {name: tf.constant(given[name], spec.dtype) for name, spec in specs.items()}
    found = model.signatures[signature](**tensors)
    return [[item.decode() for item in row] for row in found["candidate_ids"].numpy()]


# What is refused, before anything is loaded


@pytest.mark.parametrize(
    ("added", "removed", "error", "message"),
    [
        (None, [], ConfigError, "Nothing would change"),
        (NEW[:0], [], ConfigError, "Nothing would change"),
        (
            NEW.with_columns(item_id=pl.Series(["n1", "i7"])),
            [],
            DataError,
            "1 of the items .* already: i7",
        ),
        (NEW.with_columns(item_id=pl.lit("n1")), [], DataError, "added once. Received twice: n1"),
        (NEW.with_columns(item_id=pl.Series(["n1", None])), [], DataError, "none of them null"),
        (NEW.with_columns(item_id=pl.Series(["n1", ""])), [], DataError, "none of them null"),
        (NEW.with_columns(item_id=pl.Series([1, 2])), [], DataError, "are texts.* Received: Int64"),
        (NEW.drop("item_id"), [], MissingColumnError, "no column `item_id`"),
        (NEW.drop("price", "title"), [], MissingColumnError, "reads title, price, which the items"),
        (NEW.with_columns(price=pl.lit("much")), [], DataError, '"price" .* holds String'),
        (None, ["i5", "i99"], DataError, 'no item "i99"'),
        (None, [f"i{row}" for row in range(40)], ConfigError, "No item would be left: 40 are removed"),
    ],
)
def test_changes_that_cannot_be_made_are_refused(tiny_release, added, removed, error, message):
    with pytest.raises(error, match=message):
        changed(tiny_release, added, removed)


def test_fractions_are_no_whole_numbers(tiny_release, monkeypatch):
    whole = tiny_release.items.with_columns(pl.col("price").cast(pl.Int64))
    monkeypatch.setattr(type(tiny_release), "items", whole)
    assert changed(tiny_release, NEW.with_columns(price=pl.lit(4.0)), []).added["price"].to_list() == [
        4,
        4,
    ]
    with pytest.raises(DataError, match="fractions are no whole numbers"):
        changed(tiny_release, NEW, [])


def test_the_catalogue_after_is_what_was_kept_and_then_what_was_added(tiny_release):
    change = changed(tiny_release, NEW, REMOVED)
    kept = [item for item in tiny_release.item_ids if item not in REMOVED]
    assert change.ids.tolist() == [*kept, "n1", "n2"]
    assert change.table.schema == tiny_release.items.schema
    assert change.added["released"].to_list() == [None, None]  # a column that no feature reads
    assert sorted(change.retired) == sorted(REMOVED)
    names = [*change.ids, *change.retired]
    assert [names[row] for row in change.rows] == tiny_release.item_ids.tolist()


def test_an_item_removed_and_added_at_once_has_its_new_features(tiny_release):
    again = NEW[:1].with_columns(item_id=pl.lit("i5"))
    change = changed(tiny_release, again, ["i5"])
    assert change.ids[-1] == "i5"
    assert change.table[-1]["title"].item() == "Item 3"
    assert not len(change.retired)


@pytest.mark.slow
def test_only_a_retriever_alone_is_changed(tiny_log, pipeline_root, rating_root, tmp_path):
    baseline = export(Popularity().fit(tiny_log), tmp_path / "popular").root
    for root in (baseline, pipeline_root, rating_root):
        with pytest.raises(ConfigError, match="is no release of a retriever alone"):
            change_items(root, removed=["i1"])


# What is published


@pytest.fixture(scope="module")
def root(tiny_root, tmp_path_factory):
    root = shutil.copytree(tiny_root, tmp_path_factory.mktemp("items") / "release")
    change_items(root, NEW, REMOVED)
    return root


@pytest.fixture(scope="module")
def release(root):
    return load(root)


@pytest.mark.slow
def test_vectors_of_added_items_are_those_of_the_trained_tower(release, tiny_release, tiny_model):
    assert (release.version, len(release.item_ids)) == (2, 40 - 3 + 2)
    vectors = np.asarray(release.bundle.exact.vectors)
    expected = tiny_model.candidate_tower.embed(
        raw_features(changed(tiny_release, NEW, []).added, tiny_model.candidate_tower.forms)
    )
    assert vectors[-2:] == pytest.approx(expected, rel=1e-5, abs=1e-6)
    kept = [row for row, item in enumerate(tiny_release.item_ids) if item not in REMOVED]
    assert np.array_equal(vectors[:-2], np.asarray(tiny_release.bundle.exact.vectors)[kept])


@pytest.mark.slow
@pytest.mark.parametrize("index", ["exact", "annoy"])
def test_lists_hold_what_is_new_and_nothing_that_is_gone(release, index):
    queries = ["u1", "u7", {}]
    query = release.embed(release.users.build_queries(queries).features)
    for one, answer in enumerate(release.recommend(queries, 39, exclude_seen=False, index=index)):
        expected = best(np.asarray(release.bundle.exact.vectors), query[one], release.item_ids, 39)
        assert answer.item_ids == expected
        assert {"n1", "n2"} <= set(answer.item_ids)
        assert not set(REMOVED) & set(answer.item_ids)


@pytest.mark.slow
def test_the_saved_model_answers_like_python(release):
    queries = ["u1", "u7", {}]
    expected = [answer.item_ids for answer in release.recommend(queries, 39, exclude_seen=False)]
    assert of_saved_model(release, queries, 39) == expected
    among = release.recommend(queries, 2, exclude_seen=False, allow=["n1", "i5", "i8"])
    found = of_saved_model(release, queries, 2, "recommend_allowed", allow=["n1", "i5", "i8"])
    assert found == [answer.item_ids for answer in among]
    assert of_saved_model(release, queries, 5, "serving_default") == [ids[:5] for ids in expected]


@pytest.mark.slow
def test_seen_items_are_left_out_by_their_new_rows(release, tiny_log):
    for user in ("u1", "u2", "u9"):
        had = set(tiny_log.log.filter(pl.col("user_id") == user)["item_id"])
        (answer,) = release.recommend([user], 39)
        assert set(answer.item_ids) == set(release.item_ids) - had
        assert answer.known


@pytest.mark.slow
def test_added_items_are_marked_counted_and_have_their_columns(release, tiny_release):
    (answer,) = release.recommend(["u1"], 39, exclude_seen=False, columns=["title", "cold"])
    told = dict(zip(answer.item_ids, answer.items, strict=True))
    assert told["n1"] == {"title": "Item 3", "cold": True}
    assert [item for item, one in told.items() if one["cold"]] == [i for i in told if i in ("n1", "n2")]
    facts = release.manifest
    assert facts["items_changed"] == {"version": 1, "added": 2, "removed": 3}
    assert facts["model"]["candidates"] == 39
    assert facts["model"]["cold_candidates"] == 2
    assert facts["model"]["fingerprint"] != tiny_release.manifest["model"]["fingerprint"]


@pytest.mark.slow
def test_the_version_before_is_as_it_was_and_warm_up_requests_are_there(root, release, tiny_release):
    before = load(root, 1)
    assert before.recommend(["u1"], 5) == tiny_release.recommend(["u1"], 5)
    requests = "assets.extra/tf_serving_warmup_requests"
    assert (release.part("retrieval") / requests).read_bytes() == (
        before.part("retrieval") / requests
    ).read_bytes()


@pytest.fixture(scope="module")
def small_root(tmp_path_factory):
    """A release of a model that reads titles alone, not to be changed: it takes a quarter of the time.

    It has fewer users than the comparison takes items.
    """
    schema = Schema(query=[Categorical("user_id", 2)], candidate=[Categorical("title", 2)])
    model = TwoTower(schema, layer_sizes=[])
    model.adapt(synthetic(12, 40, 200))
    return export(model, tmp_path_factory.mktemp("titles") / "release", index=None, k=5).root


@pytest.mark.slow
def test_nothing_is_published_if_the_models_answer_otherwise(small_root, tmp_path, monkeypatch):
    from tfrecall.errors import ExportError
    from tfrecall.exporting import items

    root = shutil.copytree(small_root, tmp_path / "release")
    right = items._embedded
    monkeypatch.setattr(items, "_embedded", lambda change: right(change) + 0.1)
    with pytest.raises(ExportError, match="does not answer like the live model"):
        change_items(root, NEW)
    assert load(root).version == 1


# Histories


def saved_histories(release, users):
    queries = release.users.build_queries(users)
    return release.embed(queries.features)


@pytest.mark.slow
def test_histories_that_hold_removed_items_are_read_as_before(history_root, history_log, tmp_path):
    root = shutil.copytree(history_root, tmp_path / "release")
    before = load(root)
    users = [user for user in before.users.ids if newest(history_log, user, LENGTH)][:12]
    gone = sorted({newest(history_log, user, LENGTH)[-1] for user in users[:3]})
    after = change_items(root, removed=gone)
    assert not set(gone) & set(after.item_ids)
    asked = [*users, {"history": [gone[0], "i1"]}]
    np.testing.assert_array_equal(saved_histories(after, asked), saved_histories(before, asked))
    for user, answer in zip(users, after.recommend(users, len(after.item_ids)), strict=True):
        had = set(history_log.log.filter(pl.col("user_id") == user)["item_id"])
        assert set(answer.item_ids) == set(after.item_ids) - had
    explained = after.explain(users[0], after.item_ids[3])
    (expected,) = after.recommend([users[0]], len(after.item_ids), exclude_seen=False)
    score = dict(zip(expected.item_ids, expected.scores, strict=True))[after.item_ids[3]]
    assert explained.score == pytest.approx(score, rel=1e-5)
    assert newest(history_log, users[0], LENGTH)[-1] in {one.item_id for one in explained.reasons}


@pytest.mark.slow
def test_changes_follow_one_another(history_root, history_log, tmp_path):
    root = shutil.copytree(history_root, tmp_path / "release")
    before = load(root)
    users = before.users.ids[:10]
    items = before.items
    change_items(root, removed=["i1", "i2"])
    second = change_items(root, items.filter(pl.col("item_id") == "i2"), ["i3"])
    assert second.item_ids.tolist() == [i for i in before.item_ids if i not in ("i1", "i2", "i3")] + [
        "i2"
    ]
    np.testing.assert_array_equal(saved_histories(second, users), saved_histories(before, users))
    assert sorted(second.users.retired) == ["i1", "i3"]
    # The id is known to the model, so the item that came back has its trained vector.
    place = before.item_ids.tolist().index("i2")
    vectors = np.asarray(before.bundle.exact.vectors)
    assert np.asarray(second.bundle.exact.vectors)[-1] == pytest.approx(vectors[place], abs=1e-6)
    third = change_items(root, items.filter(pl.col("item_id").is_in(["i1", "i3"])))
    assert sorted(third.item_ids) == sorted(before.item_ids)
    assert not len(third.users.retired)
    np.testing.assert_array_equal(saved_histories(third, users), saved_histories(before, users))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["repeating_root", "interest_root", "context_root"])
def test_other_kinds_of_retrievers_are_compared_in_the_same_way(name, request, tmp_path):
    root = shutil.copytree(request.getfixturevalue(name), tmp_path / "release")
    before = load(root)
    added = before.items[:1].with_columns(item_id=pl.lit("new"))
    after = change_items(root, added, ["i1", "i4"], index=ANNOY)
    users = before.users.ids[:6]
    np.testing.assert_array_equal(saved_histories(after, users), saved_histories(before, users))
    answers = after.recommend(users, 10, exclude_seen=False, index="exact")
    if before.repeats is None:
        assert of_saved_model(after, users, 10) == [answer.item_ids for answer in answers]
    assert not {"i1", "i4"} & {item for answer in answers for item in answer.item_ids}
    assert after.bundle.annoy is not None


# The command


@pytest.mark.slow
def test_the_command_reads_a_table_and_says_what_it_did(small_root, tmp_path):
    root = shutil.copytree(small_root, tmp_path / "release")
    NEW.select("item_id", "title", "colour").write_parquet(tmp_path / "new.parquet")
    told = ask("index", root, "--add", tmp_path / "new.parquet", "--remove", "i5,i0", "--remove", "i39")
    assert "2 items added, 3 removed, 39 in all" in told.stdout
    assert "no column colour: left out" in told.stdout
    assert load(root).version == 2
    answer = json.loads(ask("index", root, "--remove", "n1", "--json").stdout)
    assert answer["items"] == {"version": 2, "added": 0, "removed": 1}
    assert "n1" not in load(root).item_ids
    refused = ask("index", root, "--remove", "n1", status=1)
    assert 'no item "n1"' in refused.stderr


@pytest.mark.slow
def test_a_service_changes_to_the_new_items_by_itself(tiny_root, root, release, tmp_path):
    from tfrecall.serving.config import ServingConfig
    from tfrecall.serving.hosting import Hosted
    from tfrecall.serving.requests import RecommendRequest

    served = shutil.copytree(tiny_root, tmp_path / "release")
    host = Hosted("tiny", served, ServingConfig({"tiny": served}))
    shutil.copytree(
        root, served, dirs_exist_ok=True
    )  # the changed version, and the manifest that names it
    assert host.refresh()
    request = RecommendRequest(user_id="u1", k=39, exclude_seen=False, columns=["cold"])
    (answer,) = host.answerer.recommend([request])
    (expected,) = release.recommend(["u1"], 39, exclude_seen=False)
    assert [item.item_id for item in answer.items] == expected.item_ids
    assert {item.item_id for item in answer.items if item.columns["cold"]} == {"n1", "n2"}
