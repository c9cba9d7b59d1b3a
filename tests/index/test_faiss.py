"""What is particular to faiss: graphs and lists, their efforts, equal builds, and files of strangers."""

import sys
from dataclasses import replace

import numpy as np
import pytest

from tests.index.test_bundle import reseal
from tfrecall.errors import ConfigError, ReleaseError
from tfrecall.index import Exact, Faiss, FaissIndex, load_bundle, write_bundle
from tfrecall.index.faiss import FILE, Shape
from tfrecall.index.tuning import recall_of

COUNT, DIMENSION = 2000, 16
IDS = [str(row) for row in range(COUNT)]
METHODS = ("hnsw", "ivf_flat", "ivf_pq")


def vectors_of(count, seed, lengths=1.0):
    vectors = np.random.default_rng(seed).normal(size=(count, DIMENSION))
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True) * lengths


VARIED = vectors_of(COUNT, 0, np.random.default_rng(5).gamma(2.0, size=(COUNT, 1)))
QUERIES, OTHERS = vectors_of(50, 1), vectors_of(100, 2)


@pytest.fixture(scope="module")
def exact():
    return Exact().build(VARIED, IDS)


@pytest.fixture(scope="module")
def built(exact):
    return {method: Faiss(method, tune_k=20).build_over(exact, QUERIES) for method in METHODS}


@pytest.mark.parametrize("method", METHODS)
def test_tuning_reaches_the_target_with_less_than_everything(built, exact, method):
    index = built[method]
    assert index.table.chosen.recall >= 0.95
    assert index.search_k < index.exhaustive
    assert recall_of(index.search(OTHERS, 20), exact.search(OTHERS, 20)).mean() > 0.9


@pytest.mark.slow
def test_codes_propose_more_where_they_tell_items_apart_badly():
    # One byte for an item: 256 codes for 2,000 items, so that some eight have the same.
    settings = Faiss("ivf_pq", lists=10, code_bytes=1, tune_k=20)
    index = settings.build(VARIED, IDS, QUERIES)
    assert index.search_k < index.exhaustive
    assert index.settings.oversampling > 2
    assert index.table.chosen.recall >= 0.95
    fixed = replace(settings, oversampling=2).build(VARIED, IDS, QUERIES)
    assert (fixed.settings.oversampling, fixed.search_k) == (2, fixed.exhaustive)


@pytest.mark.parametrize("method", METHODS)
def test_what_is_found_has_exact_scores_in_exact_order(built, exact, method):
    hits, everything = built[method].search(OTHERS, 20), exact.search(OTHERS, COUNT)
    for i in range(len(OTHERS)):
        places = [everything.rows[i].tolist().index(row) for row in hits.rows[i]]
        assert places == sorted(places)
        np.testing.assert_array_equal(hits.scores[i], everything.scores[i, places])


@pytest.mark.parametrize("method", METHODS)
def test_exclusions_and_allowed_rows_are_kept_and_lists_stay_long(built, exact, method):
    exclude = exact.search(OTHERS, 60).rows
    allow = np.arange(0, COUNT, 2)
    for allowed in (None, allow):
        hits = built[method].search(OTHERS, 20, exclude, allowed)
        truth = exact.search(OTHERS, 20, exclude, allowed)
        assert (hits.rows >= 0).all()
        assert not any(set(hits.rows[i]) & set(exclude[i]) for i in range(len(OTHERS)))
        assert allowed is None or set(hits.rows.ravel()) <= set(allow)
        assert recall_of(hits, truth).mean() > 0.9


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS)
def test_the_same_settings_write_the_same_file(method, tmp_path):
    exact = Exact().build(VARIED[:500], IDS[:500])
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        Faiss(method, search_k=5).build_over(exact, QUERIES).save(tmp_path / name)
    assert (tmp_path / "a" / FILE).read_bytes() == (tmp_path / "b" / FILE).read_bytes()


def test_efforts_of_lists_begin_with_one_list(built):
    assert [row.search_k for row in built["ivf_flat"].table.rows][:3] == [1, 2, 4]
    assert built["hnsw"].table.rows[0].search_k == 20


def test_sizes_follow_from_the_catalogue():
    # 4 sqrt(10,000) = 400 lists, but an item in 39: 256. Codes: 17 numbers and a zero in 9 pieces of 2.
    assert Shape.of(Faiss("ivf_pq"), 10_000, 17) == Shape(width=18, lists=256, code_bytes=9)
    assert Shape.of(Faiss("ivf_flat"), 10_000, 17) == Shape(width=17, lists=256, code_bytes=9)
    assert Shape.of(Faiss("ivf_flat"), 1_000_000, 17).lists == 4000
    assert Shape.of(Faiss("ivf_flat", lists=50), 3, 17).lists == 3


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"method": "hnws"}, r"Received method='hnws'.*Did you mean \"hnsw\""),
        ({"links": 1}, r"Faiss's `links`.*Received links=1"),
        ({"build_effort": 0}, "`build_effort`"),
        ({"lists": 0}, "`lists`"),
        ({"code_bytes": True}, "`code_bytes`"),
        ({"oversampling": 0}, "`oversampling`"),
        ({"target_recall": 0}, "`target_recall`"),
    ],
)
def test_impossible_settings_are_refused_by_name(settings, said):
    with pytest.raises(ConfigError, match=said):
        Faiss(**settings)


@pytest.mark.slow
def test_without_the_library_the_extra_is_named(monkeypatch, exact, tmp_path):
    write_bundle(tmp_path / "1", VARIED, IDS, Faiss("ivf_flat", search_k=3))
    monkeypatch.setitem(sys.modules, "faiss", None)
    with pytest.raises(ConfigError, match=r"faiss-cpu.*pip install 'tfrecall\[ann\]'"):
        Faiss().build_over(exact)
    with pytest.raises(ConfigError, match=r"tfrecall\[ann\].*--index exact"):
        load_bundle(tmp_path / "1")


@pytest.fixture
def written(tmp_path):
    write_bundle(tmp_path / "1", VARIED[:300], IDS[:300], Faiss("ivf_flat", tune_k=10))
    return tmp_path / "1"


def test_a_bundle_comes_back_with_its_settings_and_its_table(written):
    loaded = load_bundle(written)
    assert loaded.names == ["exact", "faiss"]
    assert (loaded.annoy, type(loaded.approximate)) == (None, FaissIndex)
    assert loaded.approximate.settings == Faiss(
        "ivf_flat", tune_k=10, search_k=loaded.approximate.search_k
    )
    assert loaded.summary()["faiss"]["method"] == "ivf_flat"
    assert loaded.index("faiss") is loaded.approximate
    with pytest.raises(ConfigError, match=r'no index "annoy".*exact, faiss'):
        loaded.index("annoy")


@pytest.mark.parametrize(
    ("settings", "rows", "said"),
    [
        (Faiss("hnsw", search_k=9), 300, "it holds a IndexHNSWFlat, the manifest says ivf_flat"),
        (Faiss("ivf_flat", search_k=9), 200, "it holds 200 points of 17 numbers"),
        (Faiss("ivf_flat", search_k=9, lists=3), 300, "it has 3 lists, the manifest says 7"),
    ],
)
def test_a_file_of_another_index_is_refused_though_its_checksum_fits(
    written, tmp_path, settings, rows, said
):
    write_bundle(tmp_path / "other", VARIED[:rows], IDS[:rows], settings)
    (written / FILE).write_bytes((tmp_path / "other" / FILE).read_bytes())
    reseal(written)
    with pytest.raises(ReleaseError, match=rf"index\.faiss is foreign: {said}"):
        load_bundle(written)


@pytest.mark.parametrize("share", [0.0, 0.001, 0.5, 0.99])
def test_half_a_file_and_no_index_are_refused(written, share):
    whole = (written / FILE).read_bytes()
    for data in (whole[: int(len(whole) * share)], b"x" * 200):
        (written / FILE).write_bytes(data)
        reseal(written)
        with pytest.raises(ReleaseError, match=r"index\.faiss cannot be opened"):
            load_bundle(written)


def test_lists_that_hold_an_item_twice_are_refused(written):
    import faiss

    structure = faiss.read_index(str(written / FILE))
    lists = structure.invlists
    place = next(i for i in range(lists.nlist) if lists.list_size(i) > 1)
    rows = faiss.rev_swig_ptr(lists.get_ids(place), lists.list_size(place))
    rows[0] = rows[1]
    faiss.write_index(structure, str(written / FILE))
    reseal(written)
    with pytest.raises(ReleaseError, match="its lists do not hold each item once"):
        load_bundle(written)


def broken_graph(path, broken):
    """Writes a graph whose links, or whose entry, were changed by `broken(structure, links)`."""
    import faiss

    structure = faiss.read_index(str(path))
    links = faiss.vector_to_array(structure.hnsw.neighbors)
    broken(structure.hnsw, links)
    faiss.copy_array_to_vector(links, structure.hnsw.neighbors)
    faiss.write_index(structure, str(path))
    reseal(path.parent)


def to_nowhere(graph, links):
    links[5] = 300


def to_another_floor(graph, links):
    import faiss

    levels = faiss.vector_to_array(graph.levels)
    offsets = faiss.vector_to_array(graph.offsets)
    places = faiss.vector_to_array(graph.cum_nneighbor_per_level)
    upper = np.flatnonzero(levels > 1)[0]
    links[int(offsets[upper]) + places[1]] = np.flatnonzero(levels == 1)[0]


def in_at_nowhere(graph, links):
    graph.entry_point = 10**6


@pytest.mark.parametrize("broken", [to_nowhere, to_another_floor, in_at_nowhere])
def test_a_graph_whose_links_lead_elsewhere_is_refused(tmp_path, broken):
    write_bundle(tmp_path / "1", VARIED[:300], IDS[:300], Faiss("hnsw", search_k=9))
    load_bundle(tmp_path / "1")
    broken_graph(tmp_path / "1" / FILE, broken)
    with pytest.raises(ReleaseError, match=r"index\.faiss (cannot be opened|is foreign)"):
        load_bundle(tmp_path / "1")


@pytest.mark.parametrize("method", METHODS)
def test_where_everything_has_to_be_looked_at_exact_search_answers(built, exact, method, monkeypatch):
    monkeypatch.setattr(FaissIndex, "nearest", None)
    hits = built[method].search(OTHERS, 20, search_k=2**30)
    np.testing.assert_array_equal(hits.rows, exact.search(OTHERS, 20).rows)


def test_a_graph_is_left_to_exact_search_from_as_many_looks_as_there_are_items(
    built, exact, monkeypatch
):
    monkeypatch.setattr(FaissIndex, "nearest", None)
    # 16 links of 125 candidates are 2,000 looks, one for each item; of 124 they are fewer.
    hits = built["hnsw"].search(OTHERS, 20, search_k=125)
    np.testing.assert_array_equal(hits.rows, exact.search(OTHERS, 20).rows)
    with pytest.raises(TypeError):
        built["hnsw"].search(OTHERS, 20, search_k=124)


@pytest.mark.parametrize("method", METHODS)
def test_catalogues_of_a_few_items_are_answered(method):
    for count in (1, 2, 5):
        index = Faiss(method).build(VARIED[:count], IDS[:count])
        hits = index.search(QUERIES[:3], count)
        truth = Exact().build(VARIED[:count], IDS[:count]).search(QUERIES[:3], count)
        np.testing.assert_array_equal(hits.rows, truth.rows)
