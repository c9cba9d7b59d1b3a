"""What every index does, held against a stable argsort of all scores in NumPy."""

import tempfile
from collections.abc import Callable
from dataclasses import asdict, replace
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.properties import examples
from tfrecall.errors import ConfigError, DataError
from tfrecall.index import Annoy, Exact, Faiss, Hits, Index, Scann, load_bundle, write_bundle
from tfrecall.index.approximate import Approximate
from tfrecall.index.reduced import Storage

EVERYTHING = 2**30  # an effort above any: every candidate is looked at
EXHAUSTIVE = {
    "annoy": Annoy(n_trees=3, search_k=EVERYTHING),
    "annoy shards": Annoy(n_trees=3, search_k=EVERYTHING, shards=4),
    "faiss hnsw": Faiss("hnsw", search_k=EVERYTHING),
    "faiss ivf_flat": Faiss("ivf_flat", search_k=EVERYTHING),
    "faiss ivf_pq": Faiss("ivf_pq", search_k=EVERYTHING),
    "scann": Scann(search_k=EVERYTHING),
}
# Structures that return everything once asked for everything: exact search must not stand in for them here.
WHOLE = ("ivf", "scann")
STORAGES = ("float32", "bfloat16", "int8")


def restored(
    settings: Approximate | None, storage: Storage = "float32"
) -> Callable[[np.ndarray, list[str]], Index]:
    def build(vectors: np.ndarray, ids: list[str]) -> Index:
        with tempfile.TemporaryDirectory() as folder:
            write_bundle(f"{folder}/1", vectors, ids, annoy=settings, storage=storage)
            loaded = load_bundle(f"{folder}/1")
            return by_itself(loaded.index(loaded.names[-1]))

    return build


def by_itself(index: Index) -> Index:
    settings = getattr(index, "settings", None)
    if settings is not None and getattr(settings, "method", settings.name).startswith(WHOLE):
        index.exact_if_exhaustive = False
    return index


def live(settings: Approximate) -> Callable[[np.ndarray, list[str]], Index]:
    return lambda vectors, ids: by_itself(settings.build(vectors, ids))


BUILDERS = {
    **{f"exact {storage}": Exact(storage).build for storage in STORAGES},
    **{name: live(settings) for name, settings in EXHAUSTIVE.items()},
    "exact float32 restored": restored(None),
    "exact int8 restored": restored(None, "int8"),
    "annoy restored": restored(EXHAUSTIVE["annoy"]),
    "annoy over int8 restored": restored(EXHAUSTIVE["annoy"], "int8"),
    "faiss ivf_flat restored": restored(EXHAUSTIVE["faiss ivf_flat"]),
}


# The others differ from these in files that the tests of bundles compare, or in settings.
FAST = ("exact float32", "exact int8", "annoy", "annoy restored", "faiss ivf_flat restored")
WITHOUT_SCANN = pytest.mark.skipif(
    find_spec("scann") is None, reason="the extra scann is not installed"
)


def marks_of(name):
    return [
        *([] if name in FAST else [pytest.mark.slow]),
        *([WITHOUT_SCANN] if "scann" in name else []),
    ]


EVERY_INDEX = [pytest.param(name, marks=marks_of(name)) for name in BUILDERS]


@pytest.fixture(params=EVERY_INDEX)
def build(request):
    return BUILDERS[request.param]


@pytest.mark.parametrize(
    "name", [pytest.param(one, marks=WITHOUT_SCANN if one == "scann" else []) for one in EXHAUSTIVE]
)
def test_an_index_comes_back_from_its_files_as_it_was(name):
    vectors, queries = random_vectors(1200, 6), random_vectors(20, 6, seed=1)
    settings = replace(EXHAUSTIVE[name], search_k=4, tune_k=5)
    with tempfile.TemporaryDirectory() as folder:
        # Not built twice: ScaNN would not be the same again.
        index = settings.build_over(Exact().build(vectors, names(1200)))
        before = index.search(queries, 5)
        index.save(Path(folder))
        opened = type(index).open(
            Path(folder),
            index.facts() | asdict(index.settings),
            index.exact,
            index.settings,
            index.table,
        )
        assert_same(opened.search(queries, 5), before)


def names(count):
    return [f"item {row}" for row in range(count)]


def random_vectors(count, dimension, seed=0):
    return np.random.default_rng(seed).normal(size=(count, dimension)).astype(np.float32)


def argsort_oracle(vectors, queries, k, exclude=None, allow=None):
    """Products of the float32 numbers without error, rounded once; equal scores by row."""
    scores = (queries.astype(np.float64) @ vectors.astype(np.float64).T).astype(np.float32)
    rows = np.full((len(queries), k), -1)
    best = np.full((len(queries), k), -np.inf, dtype=np.float32)
    for i in range(len(queries)):
        hidden = set() if exclude is None else set(exclude[i])
        order = [
            row
            for row in np.argsort(-scores[i], kind="stable")
            if row not in hidden and (allow is None or row in allow)
        ][:k]
        rows[i, : len(order)], best[i, : len(order)] = order, scores[i, order]
    return Hits(rows, best)


def assert_same(hits, expected):
    np.testing.assert_array_equal(hits.rows, expected.rows)
    np.testing.assert_array_equal(hits.scores, expected.scores)
    assert (hits.rows.dtype, hits.scores.dtype) == (np.int32, np.float32)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, np.int64])
@pytest.mark.parametrize("n_queries", [1, 3, 17])
def test_answers_are_those_of_an_argsort_for_every_k(build, n_queries, dtype):
    vectors = (random_vectors(60, 5) * 3).astype(dtype)
    queries = (random_vectors(n_queries, 5, seed=1) * 3).astype(dtype)
    index = build(vectors, names(60))
    for k in (1, 2, 10, 43, 44, 45, 59, 60):
        expected = argsort_oracle(vectors.astype("f4"), queries.astype("f4"), k)
        assert_same(index.search(queries, k), expected)


def test_excluded_rows_are_left_out_query_by_query(build):
    vectors, queries = random_vectors(80, 4), random_vectors(5, 4, seed=1)
    exclude = [np.array([], int), [3], np.arange(40), np.array([-1, 7, 7]), np.arange(75)]
    index = build(vectors, names(80))
    for k in (1, 20, 80):
        assert_same(
            index.search(queries, k, exclude=exclude), argsort_oracle(vectors, queries, k, exclude)
        )


def test_exclusions_may_come_as_an_array_padded_with_minus_one(build):
    vectors, queries = random_vectors(9, 4), random_vectors(2, 4, seed=1)
    exclude = np.array([[3, -1, -1], [0, 1, 2]])
    assert_same(
        build(vectors, names(9)).search(queries, 9, exclude=exclude),
        argsort_oracle(vectors, queries, 9, exclude),
    )


@pytest.mark.parametrize("allowed", [[], [5], [5, 3, 3, -1], range(10), range(5, 75)])
def test_only_allowed_rows_come_back(build, allowed):
    vectors, queries = random_vectors(80, 4), random_vectors(3, 4, seed=1)
    allow, exclude = np.array(allowed, dtype=int), [[5], [], [6, 79]]
    index = build(vectors, names(80))
    for k in (1, 4, 80):
        expected = argsort_oracle(vectors, queries, k, exclude, set(allowed))
        assert_same(index.search(queries, k, exclude=exclude, allow=allow), expected)


def test_excluding_everything_gives_an_empty_list_to_that_query_alone(build):
    vectors, queries = random_vectors(30, 4), random_vectors(2, 4, seed=1)
    hits = build(vectors, names(30)).search(queries, 3, exclude=[np.arange(30), []])
    assert hits.rows[0].tolist() == [-1, -1, -1]
    assert hits.scores[0].tolist() == [-np.inf] * 3
    assert (hits.rows[1] >= 0).all()


def test_equal_vectors_stand_in_catalogue_order(build):
    # 90 copies of one vector between others: more than k, in all places of a matrix product.
    vectors = np.repeat(random_vectors(4, 64), [3, 90, 5, 2], axis=0)
    queries = np.concatenate([vectors[[5]], vectors[[98]], random_vectors(6, 64, seed=1)])
    index = build(vectors, names(100))
    for n in (1, 2, 8):
        for k in (1, 7, 95):
            assert_same(index.search(queries[:n], k), argsort_oracle(vectors, queries[:n], k))


def test_zero_query_scores_zero_and_gets_the_first_rows(build):
    index = build(random_vectors(200, 4), names(200))
    hits = index.search(np.zeros((1, 4)), 3, exclude=[[1]])
    assert hits.rows.tolist() == [[0, 2, 3]]
    assert hits.scores.tolist() == [[0.0, 0.0, 0.0]]


def test_zero_vectors_are_candidates_that_score_zero(build):
    index = build(np.array([[-1.0], [0.0], [2.0], [0.0]]), ["a", "b", "c", "d"])
    hits = index.search(np.array([[3.0], [-3.0]]), 4)
    assert hits.rows.tolist() == [[2, 1, 3, 0], [0, 1, 3, 2]]
    assert hits.scores.tolist() == [[6.0, 0.0, 0.0, -3.0], [3.0, 0.0, 0.0, -6.0]]


def test_a_catalogue_of_zero_vectors_answers_in_order(build):
    hits = build(np.zeros((40, 3)), names(40)).search(random_vectors(1, 3), 2)
    assert (hits.rows.tolist(), hits.scores.tolist()) == ([[0, 1]], [[0.0, 0.0]])


def test_single_item_is_found(build):
    index = build(np.array([[3.0, 4.0]]), ["only"])
    hits = index.search(np.array([[1.0, 1.0]]), 1)
    assert (index.ids[hits.rows].tolist(), hits.scores.tolist()) == ([["only"]], [[7.0]])


def test_no_query_gives_no_answer(build):
    hits = build(random_vectors(5, 4), names(5)).search(np.empty((0, 4)), 2, exclude=[])
    assert hits.rows.shape == hits.scores.shape == (0, 2)
    assert (hits.rows.dtype, hits.scores.dtype) == (np.int32, np.float32)


@pytest.mark.parametrize("scale", [1e-25, 1e-12, 1e12])
def test_very_short_and_very_long_vectors_are_ordered_alike(build, scale):
    vectors, queries = random_vectors(50, 4), random_vectors(2, 4, seed=1)
    hits = build(vectors * np.float32(scale), names(50)).search(queries, 50)
    np.testing.assert_array_equal(hits.rows, argsort_oracle(vectors, queries, 50).rows)


def test_ids_and_dimension_are_told(build):
    index = build(random_vectors(3, 7), ["é", "b", "a"])
    assert (index.ids.tolist(), index.dimension) == (["é", "b", "a"], 7)
    assert index.ids.dtype == object


@pytest.mark.parametrize("k", [0, -1, 6, 2.0, True, None])
def test_impossible_k_is_refused_with_the_size_of_the_catalogue(build, k):
    with pytest.raises(ConfigError, match=r"from 1 to 5, .* Received k="):
        build(random_vectors(5, 4), names(5)).search(random_vectors(1, 4), k)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 1e20, 1e300])
def test_query_that_is_not_finite_is_refused_with_its_row(build, bad):
    queries = random_vectors(3, 4).astype(np.float64)
    queries[1, 2] = bad
    with pytest.raises(DataError, match=r"query vectors must be finite.* in row 1"):
        build(random_vectors(5, 4), names(5)).search(queries, 1)


@pytest.mark.parametrize(
    ("queries", "message"),
    [
        (np.ones((1, 3)), "have 3 numbers each, the candidates 4"),
        (np.ones(4), r"Received shape \(4,\)"),
        (np.ones((1, 1, 1, 4)), r"Received shape \(1, 1, 1, 4\)"),
        (np.array([["1", "2", "3", "4"]]), "not real numbers"),
    ],
)
def test_queries_of_another_form_are_refused(build, queries, message):
    with pytest.raises((ConfigError, DataError), match=message):
        build(random_vectors(5, 4), names(5)).search(queries, 1)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"exclude": [[0]]}, "1 lists for 2 queries"),
        ({"exclude": [[0], [5]]}, "from 0 to 5; rows go from 0 to 4"),
        ({"exclude": [[0], [-2]]}, "`exclude` names a row outside"),
        ({"exclude": [["a"], []]}, "`exclude` takes rows"),
        ({"allow": np.array([5])}, "`allow` names a row outside"),
        ({"allow": np.ones(5, dtype=bool)}, "`allow` takes rows"),
        ({"allow": np.array([0.5])}, "`allow` takes rows"),
    ],
)
def test_impossible_rows_are_refused(build, arguments, message):
    with pytest.raises(ConfigError, match=message):
        build(random_vectors(5, 4), names(5)).search(random_vectors(2, 4), 1, **arguments)


@pytest.mark.parametrize("bad", [np.nan, np.inf, 1e30])
def test_candidate_that_is_not_finite_is_refused_with_row_and_id(build, bad):
    vectors = random_vectors(5, 4)
    vectors[3, 0] = bad
    with pytest.raises(DataError, match=r'in row 3 \(id "item 3"\)'):
        build(vectors, names(5))


@pytest.mark.parametrize(
    ("ids", "message"),
    [
        (["a", "b", "a"], 'Received "a" more than once'),
        (["a", "b"], "3 vectors and 2 ids"),
        (["a", "", "c"], "Received '' in row 1"),
        (["a", "b", None], "Received None in row 2"),
        ([1, 2, 3], "Received 1 in row 0"),
    ],
)
def test_impossible_ids_are_refused(build, ids, message):
    with pytest.raises(DataError, match=message):
        build(random_vectors(3, 4), ids)


def test_an_empty_catalogue_is_refused(build):
    with pytest.raises(DataError, match="at least one candidate"):
        build(np.empty((0, 4)), [])


# Few different values, so that equal scores are common, beside numbers that have to be rounded.
VALUES = st.one_of(st.integers(-2, 2), st.floats(-100, 100, width=16, allow_subnormal=False))


@st.composite
def searches(draw):
    count, dimension = draw(st.integers(1, 40)), draw(st.integers(1, 5))
    n_queries, k = draw(st.integers(1, 3)), draw(st.integers(1, count))
    row = st.lists(VALUES, min_size=dimension, max_size=dimension)
    vectors = np.array(draw(st.lists(row, min_size=count, max_size=count)), dtype=np.float32)
    queries = np.array(draw(st.lists(row, min_size=n_queries, max_size=n_queries)), np.float32)
    rows = st.lists(st.integers(-1, count - 1), max_size=count)
    exclude = draw(st.none() | st.lists(rows, min_size=n_queries, max_size=n_queries))
    return vectors, queries, k, exclude, draw(st.none() | rows)


@pytest.mark.slow
@pytest.mark.parametrize("name", [one for one in EVERY_INDEX if "restored" not in str(one.values[0])])
@examples(25)
@given(search=searches())
def test_any_search_equals_the_argsort(name, search):
    vectors, queries, k, exclude, allow = search
    hits = BUILDERS[name](vectors, names(len(vectors))).search(
        queries, k, exclude=exclude, allow=None if allow is None else np.array(allow, dtype=int)
    )
    assert_same(hits, argsort_oracle(vectors, queries, k, exclude, allow))
