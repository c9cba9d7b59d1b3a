"""Releases of models whose queries have several vectors: the same answers wherever they are asked."""

import json
import shutil

import numpy as np
import polars as pl
import pytest
from typer.testing import CliRunner

from tests.tiny import ANNOY
from tests.tiny_interests import DIM, INTERESTS
from tfrecall._keras import tf
from tfrecall.batch.vectors import export_vectors
from tfrecall.cli import app
from tfrecall.evaluation.released import ReleaseRetriever
from tfrecall.exporting.export import export
from tfrecall.exporting.retriever import sample_queries
from tfrecall.index.repeats import Repeats
from tfrecall.release.reindex import reindex

ASKED = {"device": "web", "history": ["i3", "no such item", "i9", "i20"]}


def signature(root, name, of="serving_default", version=1):
    return tf.saved_model.load(str(root / name / str(version))).signatures[of]


def best(vectors, candidates):
    return np.einsum("nkd,md->nkm", vectors, candidates).max(axis=1)


def order_of(scores):
    return np.argsort(-scores, axis=1, kind="stable")


@pytest.fixture(scope="module")
def live_scores(interest_model):
    queries = sample_queries(interest_model, 6)
    return best(interest_model.query_tower.embed(queries), interest_model.embed_candidates())


def test_the_manifests_say_how_many_vectors_a_query_has(interest_release, tiny_release):
    assert interest_release.interests == interest_release.manifest["model"]["interests"] == INTERESTS
    assert interest_release.bundle.manifest["interests"] == INTERESTS
    assert tiny_release.interests == tiny_release.bundle.manifest["interests"] == 1


def test_the_exported_query_model_gives_all_vectors(interest_root, interest_model):
    queries = sample_queries(interest_model, 6)
    served = signature(interest_root, "query")
    assert served.structured_outputs["query_embedding"].shape.as_list() == [None, INTERESTS, DIM]
    vectors = served(**{name: tf.constant(values) for name, values in queries.items()})
    expected = interest_model.query_tower.embed(queries)
    np.testing.assert_allclose(vectors["query_embedding"], expected, rtol=1e-5, atol=1e-6)


@pytest.mark.slow
def test_the_exported_retrieval_model_scores_by_the_best_vector(
    interest_root, interest_model, interest_release, live_scores
):
    queries = {name: tf.constant(v) for name, v in sample_queries(interest_model, 6).items()}
    ids, expected = interest_release.item_ids, -np.sort(-live_scores, axis=1)
    answer = signature(interest_root, "retrieval")(**queries)
    np.testing.assert_allclose(answer["scores"], expected[:, :5], rtol=1e-5, atol=1e-6)
    found = [[item.decode() for item in row] for row in answer["candidate_ids"].numpy()]
    assert found == ids[order_of(live_scores)[:, :5]].tolist()
    free = signature(interest_root, "retrieval", "recommend")
    without = free(k=tf.constant(4), exclude=tf.constant([row[:1] for row in found]), **queries)
    np.testing.assert_allclose(without["scores"], expected[:, 1:5], rtol=1e-5, atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("index", ["exact", "annoy"])
def test_python_answers_as_the_saved_model(interest_root, interest_release, index):
    (answer,) = interest_release.recommend([ASKED], 40, exclude_seen=False, index=index)
    served = signature(interest_root, "retrieval", "recommend")(
        device=tf.constant(["web"]),
        history=tf.constant([ASKED["history"]]),
        k=tf.constant(40),
        exclude=tf.constant([[""]]),
    )
    assert answer.item_ids == [item.decode() for item in served["candidate_ids"].numpy()[0]]
    np.testing.assert_allclose(answer.scores, served["scores"].numpy()[0], rtol=1e-5, atol=1e-6)


def test_the_command_line_answers_alike(interest_root, interest_release):
    (answer,) = interest_release.recommend(["u1"], 5)
    told = CliRunner().invoke(
        app, ["recommend", str(interest_root), "--user", "u1", "-k", "5", "--json"]
    )
    assert told.exit_code == 0, told.output
    (printed,) = json.loads(told.stdout)["recommendations"]
    assert printed["item_ids"] == answer.item_ids
    np.testing.assert_allclose(printed["scores"], answer.scores, rtol=1e-6, atol=1e-7)


def test_a_release_scores_like_its_model(interest_model, interest_release, history_log):
    last = history_log.queries.sort("timestamp", maintain_order=True).group_by("user_id").last()
    scores = ReleaseRetriever("same", interest_release).scores(last)
    np.testing.assert_allclose(scores, interest_model.retriever().scores(last), rtol=1e-5, atol=1e-6)
    vectors = interest_release.embed_queries(last)
    assert vectors.shape == (len(last), INTERESTS, DIM)


def test_similar_items_have_one_vector_each(interest_release):
    found = interest_release.similar_items("i3", 5)
    vectors = np.asarray(interest_release.bundle.exact.vectors, np.float64)
    vectors = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    scores = vectors @ vectors[interest_release.item_ids.tolist().index("i3")]
    by_score = interest_release.item_ids[np.argsort(-scores, kind="stable")]
    assert found.item_ids == [item for item in by_score if item != "i3"][:5]
    assert interest_release.similar_items("i3", 5, index="annoy").item_ids == found.item_ids


def test_vectors_for_a_database_have_a_row_for_each_interest(interest_release, tmp_path):
    facts = export_vectors(interest_release, tmp_path / "out")
    users = pl.read_parquet(tmp_path / "out" / "users.parquet")
    items = pl.read_parquet(tmp_path / "out" / "items.parquet")
    known = len(interest_release.users.ids)
    assert users.columns == ["user_id", "interest", "vector"]
    assert (facts["interests"], facts["users"], users.height) == (INTERESTS, known, INTERESTS * known)
    assert users["interest"].to_list() == [0, 1, 2] * known
    products = users["vector"].to_numpy() @ items["vector"].to_numpy().T
    names, scores = users["user_id"].to_list()[::INTERESTS], products.reshape(known, INTERESTS, -1)
    answers = interest_release.recommend(names, 41, exclude_seen=False)
    places = {item: i for i, item in enumerate(items["item_id"])}
    for row, answer in zip(scores.max(axis=1), answers, strict=True):
        found = row[[places[item] for item in answer.item_ids]]
        np.testing.assert_allclose(found, answer.scores, rtol=1e-5, atol=1e-6)


def test_one_vector_a_user_stays_as_it_was(history_release, tmp_path):
    facts = export_vectors(history_release, tmp_path / "out")
    assert facts["interests"] == 1
    assert pl.read_parquet(tmp_path / "out" / "users.parquet").columns == ["user_id", "vector"]


@pytest.mark.slow
def test_repeats_score_own_items_beside_the_best_vector(interest_model, tmp_path):
    repeats = Repeats(recency=0.7, bias=1.0, blend=0.4, length=6)
    interest_model.repeats = repeats
    try:
        release = export(interest_model, tmp_path / "release", index=None, k=5, exclude_seen=False)
    finally:
        interest_model.repeats = None
    (answer,) = release.recommend([ASKED], 41)
    features = release.users.build_queries([ASKED]).features
    scores = best(release.embed(features), np.asarray(release.bundle.exact.vectors)).astype(np.float32)
    own = release.bundle.exact.rows(ASKED["history"])
    repeats.apply(scores, [own])
    assert answer.item_ids == release.item_ids[order_of(scores)[0]].tolist()
    np.testing.assert_allclose(answer.scores, -np.sort(-scores[0]), rtol=1e-5, atol=1e-6)


@pytest.mark.slow
def test_another_index_is_tuned_to_all_vectors(interest_root, tmp_path):
    shutil.copytree(interest_root, tmp_path / "copy")
    release = reindex(tmp_path / "copy", ANNOY)
    assert release.interests == release.bundle.manifest["interests"] == INTERESTS
    exact, annoy = (
        release.recommend([ASKED], 10, index=name)[0].item_ids for name in ("exact", "annoy")
    )
    assert len(set(exact) & set(annoy)) >= 9
