"""The exported SavedModels, asked as TF Serving asks them: a v1 session on the signature's tensors."""

import numpy as np
import pytest

from tests.serving.session import Served
from tests.tiny import N_ITEMS
from tfrecall._keras import tf
from tfrecall.core.raw import raw_features
from tfrecall.exporting.retriever import sample_queries

K = 5  # of the release's `serving_default`


@pytest.fixture(scope="module")
def served(tiny_root):
    return {name: Served(tiny_root / name / "1") for name in ("query", "candidate", "retrieval")}


@pytest.fixture(scope="module")
def queries(tiny_model):
    """Six known users and, last, nobody known."""
    return sample_queries(tiny_model, 6)


@pytest.fixture(scope="module")
def scores(tiny_model, queries):
    """Of the live model: float32 `[7, 40]`."""
    return tiny_model.query_tower.embed(queries) @ tiny_model.embed_candidates().T


@pytest.fixture
def recommend(served, queries):
    """Asks `recommend` for the ids and scores of all queries."""

    def ask(k, exclude, **more):
        exclude = np.array(exclude, dtype=object).reshape(len(exclude), -1)
        name = "recommend_allowed" if more else "recommend"
        answer = served["retrieval"].ask(name, k=k, exclude=exclude, **more, **queries)
        return [[item.decode() for item in row] for row in answer["candidate_ids"]], answer["scores"]

    return ask


@pytest.mark.parametrize("rows", [1, 7])
def test_query_model_answers_like_the_live_tower(served, queries, tiny_model, rows):
    some = {name: values[:rows] for name, values in queries.items()}
    (answer,) = served["query"].ask("serving_default", **some).values()
    np.testing.assert_allclose(answer, tiny_model.query_tower.embed(some), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("rows", [1, N_ITEMS])
def test_candidate_model_answers_like_the_live_tower(served, tiny_model, rows):
    raw = raw_features(tiny_model.catalogue.items[:rows], tiny_model.candidate_tower.forms)
    (answer,) = served["candidate"].ask("serving_default", **raw).values()
    np.testing.assert_allclose(answer, tiny_model.embed_candidates()[:rows], rtol=1e-5, atol=1e-6)


def test_retrieval_gives_the_best_candidates_of_the_live_model(served, queries, scores, tiny_model):
    answer = served["retrieval"].ask("serving_default", **queries)
    best = np.argsort(-scores, axis=1, kind="stable")[:, :K]
    assert answer["candidate_ids"].astype(str).tolist() == tiny_model.catalogue.ids[best].tolist()
    np.testing.assert_allclose(answer["scores"], np.take_along_axis(scores, best, 1), rtol=1e-5)


def test_recommend_leaves_out_what_each_query_excludes(recommend, scores, tiny_model):
    order = tiny_model.catalogue.ids[np.argsort(-scores, axis=1, kind="stable")]
    ids, _ = recommend(3, [[row[0], "", "no such id"] for row in order])
    assert ids == [row[1:4].tolist() for row in order]


def test_more_than_the_catalogue_gives_all_of_it(recommend, tiny_model):
    ids, values = recommend(N_ITEMS + 100, [[""]] * 7)
    assert all(sorted(row) == sorted(tiny_model.catalogue.ids) for row in ids)
    assert np.isfinite(values).all()


def test_nothing_left_gives_empty_ids_and_minus_infinity(recommend, tiny_model):
    ids, values = recommend(2, [tiny_model.catalogue.ids.tolist()] * 7)
    assert ids == [["", ""]] * 7
    assert np.isneginf(values).all()


def test_no_exclusions_are_an_array_without_columns(recommend, served, queries):
    none = np.empty((7, 0), dtype=object)
    answer = served["retrieval"].ask("recommend", k=2, exclude=none, **queries)
    assert recommend(2, [[""]] * 7)[0] == answer["candidate_ids"].astype(str).tolist()


def test_recommend_allowed_gives_only_what_is_allowed_and_not_excluded(recommend):
    allow = np.array(["i3", "i5", "i7", "no such id", ""], dtype=object)
    ids, values = recommend(4, [["i5"]] * 7, allow=allow)
    assert all(set(row[:2]) == {"i3", "i7"} and row[2:] == ["", ""] for row in ids)
    assert np.isneginf(values[:, 2:]).all()


def test_only_the_padding_is_allowed_means_nothing(recommend):
    ids, _ = recommend(1, [[""]] * 7, allow=np.array([""], dtype=object))
    assert ids == [[""]] * 7


@pytest.mark.parametrize("k", [0, -1])
def test_k_below_one_is_refused(recommend, k):
    with pytest.raises(tf.errors.InvalidArgumentError, match="must be 1 or more"):
        recommend(k, [[""]] * 7)


def test_one_row_of_exclusions_for_many_queries_is_refused(recommend):
    with pytest.raises(tf.errors.InvalidArgumentError, match="one row of ids a query"):
        recommend(1, [["i1"]])


def test_tags_of_any_number_reach_the_query_model(served, queries, tiny_model):
    three = np.array([["a0", "b1", "a1"]] * 7, dtype=object)
    wide = {**queries, "tags": three}
    none = {**queries, "tags": np.full((7, 1), "", dtype=object)}
    for raw in (wide, none):
        (answer,) = served["query"].ask("serving_default", **raw).values()
        np.testing.assert_allclose(answer, tiny_model.query_tower.embed(raw), rtol=1e-5, atol=1e-6)
    assert not np.allclose(
        *(tiny_model.query_tower.embed(raw) for raw in (wide, none)), rtol=1e-3, atol=1e-3
    )


@pytest.mark.slow
def test_the_exported_encoding_is_that_of_the_input_pipeline(tiny_model, tiny_log):
    """The towers that are exported encode in one graph; `examples` encodes in `Dataset.map`."""
    from tfrecall.data.batches import examples

    batch = next(
        iter(examples(tiny_log, 200, shuffle=False, encode=tiny_model.encode, forms=tiny_model.forms))
    )
    raw = raw_features(tiny_log.queries[:200], tiny_model.query_tower.forms)
    tensors = {name: tf.constant(values) for name, values in raw.items()}
    graph = tf.function(tiny_model.query_tower.preprocess)(tensors)
    assert graph.keys() == batch["query"].keys()
    for name, values in graph.items():
        width = values.shape[1] if values.shape.rank > 1 else None
        expected = batch["query"][name].numpy()
        expected = expected if width is None else expected[:, :width]
        np.testing.assert_array_equal(values.numpy(), expected, err_msg=name)


@pytest.mark.slow
def test_numbers_may_come_as_float32(served, queries):
    narrow = {c: v.astype(np.float32) for c, v in queries.items() if v.dtype == np.float64}
    assert narrow
    # What float32 holds, as float64: times are rounded on both sides.
    wide = {c: v.astype(np.float64) for c, v in narrow.items()}
    for model, output in (("query", "query_embedding"), ("retrieval", "scores")):
        found = served[model].ask("serving_float32", **{**queries, **narrow})[output]
        expected = served[model].ask("serving_default", **{**queries, **wide})[output]
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


def test_the_manifest_says_what_stands_for_not_known(tiny_release, tiny_model):
    manifest = tiny_release.manifest
    assert manifest["query"]["defaults"].keys() == manifest["query"]["forms"].keys()
    defaults = manifest["candidate"]["defaults"]
    assert defaults == tiny_model.candidate_tower.unknowns
