"""The release of a ranker: what is written answers as the live model does."""

import json
import shutil

import numpy as np
import pytest

from tests.tiny_ratings import rating_interactions
from tfrecall._keras import tf
from tfrecall.core.raw import raw_features
from tfrecall.errors import ConfigError, DataError, ExportError, MissingColumnError, ReleaseError
from tfrecall.evaluation.released import ReleaseRanker
from tfrecall.exporting.ranker import export_ranker
from tfrecall.release import load

USERS = ["u3", "u8", "u3", "absent", "nobody"]
ITEMS = ["i1", "i2", "i39", "i0", "i7"]


@pytest.mark.slow
def test_the_release_predicts_what_the_model_predicts(rating_model, rating_release):
    expected = rating_model.scores(USERS, ITEMS)
    assert rating_release.predict(USERS, ITEMS) == pytest.approx(expected, abs=1e-5)
    one = rating_model.scores(["u3"], ITEMS)
    assert rating_release.predict(["u3"], ITEMS) == pytest.approx(one, abs=1e-5)
    assert rating_release.predict(["u3"], []).shape == (0,)


@pytest.mark.slow
def test_both_signatures_give_the_same(rating_model, rating_root):
    loaded = tf.saved_model.load(str(rating_root / "ranker" / "1"))
    release = load(rating_root)
    features = release.users.build_queries(USERS).features
    queries = {name: tf.constant(values) for name, values in features.items()}
    items = release.items.filter(release.items["item_id"].is_in(ITEMS))
    raw = raw_features(items, rating_model.candidate_tower.forms)
    candidates = {name: tf.constant(values) for name, values in raw.items()}
    by_features = loaded.signatures["serving_default"](**queries, **candidates)["score"].numpy()
    ids = tf.constant(items["item_id"].to_list())
    by_ids = loaded.signatures["rank"](**queries, candidate_ids=ids)["score"].numpy()
    assert by_features.dtype == np.float32
    assert by_features == pytest.approx(by_ids, abs=1e-6)
    two = {name: values[:2] for name, values in queries.items()}
    with pytest.raises(tf.errors.InvalidArgumentError, match="a single one"):
        loaded.signatures["rank"](**two, candidate_ids=ids)


def test_the_manifest_says_what_it_is(rating_root, rating_model):
    manifest = json.loads((rating_root / "manifest.json").read_text("utf-8"))
    assert manifest["kind"] == "ranker"
    assert manifest["label"] == {"column": "rating", "low": 1, "high": 5, "threshold": None}
    assert manifest["model"]["candidates"] == len(rating_model.catalogue)
    assert set(manifest["query"]["forms"]) == {"user_id", "rated", "device"}
    assert manifest["round_trip"]["largest_relative_difference"] < 1e-5
    assert {name.split("/")[0] for name in manifest["files"]} == {"ranker", "context"}


def test_who_asks_may_say_what_was_had(rating_release):
    nothing, some = (
        rating_release.predict([{"rated": had}], ["i4"])[0] for had in ([], ["i1", "i2", "i5"])
    )
    assert nothing != some
    assert rating_release.predict([{"user_id": "u3"}], ["i4"]) == rating_release.predict(["u3"], ["i4"])


@pytest.mark.parametrize(
    ("queries", "items", "error", "words"),
    [
        (["u1"], ["i99"], DataError, 'no item "i99"'),
        (["u1", "u2"], ["i1"], DataError, "2 users and 1 items"),
        ("u1", ["i1"], DataError, "single text"),
        ([{"devise": "app"}], ["i1"], MissingColumnError, 'Did you mean "device"'),
    ],
)
def test_questions_that_cannot_be_answered_are_refused(rating_release, queries, items, error, words):
    with pytest.raises(error, match=words):
        rating_release.predict(queries, items)


def test_a_ranker_finds_nothing_itself(rating_release):
    with pytest.raises(ConfigError, match="tfrecall rank"):
        rating_release.recommend(["u1"])


def test_a_damaged_release_is_refused(rating_root, tmp_path):
    copy = shutil.copytree(rating_root, tmp_path / "copy")
    file = next((copy / "ranker" / "1" / "variables").glob("*.data*"))
    file.write_bytes(b"x" + file.read_bytes()[1:])
    with pytest.raises(ReleaseError, match="variables"):
        load(copy)


@pytest.mark.slow
def test_the_next_version_stands_beside_the_first(rating_model, rating_root, tmp_path):
    copy = shutil.copytree(rating_root, tmp_path / "copy")
    release = export_ranker(rating_model, copy, facts={"run": 7})
    assert release.version == 2
    assert release.manifest["run"] == 7
    assert load(copy, 1).predict(["u3"], ITEMS) == pytest.approx(release.predict(["u3"], ITEMS))


@pytest.mark.slow
def test_scores_that_are_not_finite_are_not_published(rating_model, tmp_path):
    before = float(rating_model.offset)
    rating_model.offset.assign(float("nan"))
    try:
        with pytest.raises(ExportError, match="NaN or infinite"):
            export_ranker(rating_model, tmp_path / "out")
    finally:
        rating_model.offset.assign(before)
    assert not (tmp_path / "out").exists()


def test_a_release_is_judged_like_its_model(rating_model, rating_release):
    later = rating_interactions(200)
    rows = later.with_log(later.log.with_columns(later.log["timestamp"] + 1e7))
    found = ReleaseRanker("again", rating_release).predictions(rows)
    assert found == pytest.approx(rating_model.predictions(rows), abs=1e-5)
