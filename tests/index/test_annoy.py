"""What is particular to Annoy: inner products by angle, equal trees twice, widening."""

import gc
import json
import shutil
from types import SimpleNamespace

import annoy as annoy_module
import numpy as np
import pytest

from tests.index.test_bundle import reseal
from tfrecall.errors import ConfigError, ExportError, ReleaseError
from tfrecall.index import Annoy, AnnoyIndex, Exact, Hits, load_bundle, write_bundle
from tfrecall.index.annoy import forest_bytes
from tfrecall.index.approximate import _exclusions
from tfrecall.index.exact import SLACK
from tfrecall.index.manifest import write_manifest
from tfrecall.index.tuning import recall_of, sample_queries

COUNT, DIMENSION = 2000, 16
IDS = [str(row) for row in range(COUNT)]


def vectors_of(lengths, seed=0):
    vectors = np.random.default_rng(seed).normal(size=(COUNT, DIMENSION))
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True) * lengths


VARIED = vectors_of(np.random.default_rng(5).gamma(2.0, size=(COUNT, 1)))
QUERIES = vectors_of(1.0, seed=1)[:50]


@pytest.fixture(scope="module")
def exact():
    return Exact().build(VARIED, IDS)


@pytest.fixture(scope="module")
def annoy():
    return Annoy(n_trees=10, tune_k=20).build(VARIED, IDS, tuning_queries=QUERIES)


@pytest.mark.slow
def test_vectors_of_equal_length_are_compared_by_angle_as_they_are():
    index = Annoy(n_trees=1).build(vectors_of(3.0), IDS)
    assert (index.augmented, index.forests[0].f) == (False, DIMENSION)


def test_vectors_of_other_lengths_get_one_more_number(annoy):
    assert (annoy.augmented, annoy.forests[0].f) == (True, DIMENSION + 1)
    # All are equally long then, so that the angle alone decides.
    lengths = [np.linalg.norm(annoy.forests[0].get_item_vector(row)) for row in range(0, COUNT, 100)]
    np.testing.assert_allclose(lengths, 1.0, rtol=1e-6)


def test_tuning_reaches_the_target_for_inner_products(annoy, exact):
    assert annoy.table.chosen.recall >= 0.95
    assert annoy.search_k < annoy.exhaustive
    others = vectors_of(1.0, seed=2)[:200]
    assert recall_of(annoy.search(others, 20), exact.search(others, 20)).mean() > 0.93


def test_what_is_found_has_exact_scores_in_exact_order(annoy, exact):
    hits, everything = annoy.search(QUERIES, 20), exact.search(QUERIES, COUNT)
    for i in range(len(QUERIES)):
        places = [everything.rows[i].tolist().index(row) for row in hits.rows[i]]
        assert places == sorted(places)
        np.testing.assert_array_equal(hits.scores[i], everything.scores[i, places])


@pytest.mark.slow
def test_the_same_seed_plants_the_same_trees(tmp_path):
    for name, seed in (("a", 7), ("b", 7), ("c", 8)):
        index = Annoy(n_trees=5, seed=seed).build(VARIED[:500], IDS[:500], QUERIES)
        index.forests[0].save(str(tmp_path / name))
    first, second, other = ((tmp_path / name).read_bytes() for name in "abc")
    assert first == second != other


@pytest.mark.parametrize("power", [-100, 50])
def test_the_length_of_a_query_scales_its_scores_and_nothing_else(annoy, power):
    factor = np.float32(2.0**power)  # the square of the shorter one vanishes in float32
    queries = QUERIES.astype(np.float32)
    plain, scaled = annoy.search(queries, 20), annoy.search(queries * factor, 20)
    np.testing.assert_array_equal(plain.rows, scaled.rows)
    np.testing.assert_array_equal(plain.scores * factor, scaled.scores)


def test_a_query_without_direction_gets_the_first_rows(annoy):
    hits = annoy.search(np.zeros((1, DIMENSION)), 3, exclude=[[1]], search_k=100)
    assert (hits.rows.tolist(), hits.scores.tolist()) == ([[0, 2, 3]], [[0.0, 0.0, 0.0]])


def test_a_short_answer_is_widened_in_the_trees_first(exact, monkeypatch):
    # 20 looks in 10 trees meet the same candidates again, so they give fewer than 20 of them.
    index = Annoy(n_trees=10, search_k=20).build_over(exact)
    monkeypatch.setattr(type(exact), "answer", None)
    assert (index.search(QUERIES, 20).rows >= 0).all()


def test_long_exclusions_still_leave_k_good_answers(annoy, exact):
    # The best 300 are excluded: the trees have to be asked for far more than k.
    exclude = exact.search(QUERIES, 300).rows
    hits, truth = annoy.search(QUERIES, 20, exclude), exact.search(QUERIES, 20, exclude)
    assert (hits.rows >= 0).all()
    assert not any(set(hits.rows[i]) & set(exclude[i]) for i in range(len(QUERIES)))
    assert recall_of(hits, truth).mean() > 0.93


def test_excluded_rows_are_asked_for_at_once(annoy, monkeypatch):
    asked, nearest = [], AnnoyIndex.nearest

    def ask(self, query, n, effort):
        asked.append((n, effort))
        return nearest(self, query, n, effort)

    monkeypatch.setattr(AnnoyIndex, "nearest", ask)
    annoy.search(QUERIES[:1], 20, [range(20)], search_k=200)
    # 20 to give and 20 to leave out, twice as many as the effort was tuned for; a few more for ties.
    assert asked == [(40 + SLACK, 400)]


@pytest.mark.parametrize("allowed", [3, 300, 1500, COUNT])
def test_allowed_rows_alone_come_back_as_many_as_asked(annoy, exact, allowed):
    allow = np.random.default_rng(3).permutation(COUNT)[:allowed]
    hits, truth = annoy.search(QUERIES, 20, allow=allow), exact.search(QUERIES, 20, allow=allow)
    np.testing.assert_array_equal(hits.rows >= 0, truth.rows >= 0)
    assert set(hits.rows.ravel()) <= {-1, *allow}
    k = min(20, allowed)
    found = recall_of(Hits(*(x[:, :k] for x in hits)), Hits(*(x[:, :k] for x in truth)))
    assert found.mean() > 0.93


def test_a_few_allowed_rows_are_answered_without_the_trees(annoy, exact, monkeypatch):
    monkeypatch.setattr(AnnoyIndex, "_candidates", None)
    hits, truth = (x.search(QUERIES, 5, allow=np.arange(30)) for x in (annoy, exact))
    np.testing.assert_array_equal(hits.rows, truth.rows)


@pytest.mark.slow
@pytest.mark.parametrize("k", [1, 100, 1999, COUNT])
def test_no_answer_is_shorter_than_it_has_to_be(exact, k):
    lazy = Annoy(n_trees=1, search_k=1).build_over(exact)
    hits = lazy.search(QUERIES, k, exclude=[[5]] * len(QUERIES))
    assert (hits.rows >= 0).sum(axis=1).tolist() == [min(k, COUNT - 1)] * len(QUERIES)


@pytest.mark.slow
def test_more_effort_for_one_search_finds_more(exact):
    index = Annoy(n_trees=10, search_k=50).build_over(exact)
    truth = exact.search(QUERIES, 20)
    recalls = [
        recall_of(index.search(QUERIES, 20, search_k=effort), truth).mean()
        for effort in (50, 800, index.exhaustive)
    ]
    assert recalls[0] < recalls[1] < recalls[2] == 1.0


def test_a_given_search_k_is_kept_and_measured(exact):
    index = Annoy(n_trees=10, tune_k=20, search_k=60).build_over(exact, QUERIES)
    assert index.search_k == 60
    assert [row.search_k for row in index.table.rows] == [60]
    assert 0 < index.table.chosen.recall < 0.9


@pytest.mark.parametrize(
    "setting",
    [
        {"n_trees": 0},
        {"n_trees": 1.5},
        {"tune_k": 0},
        {"search_k": 0},
        {"search_k": 2**31},
        {"seed": -1},
        {"target_recall": 0},
        {"target_recall": 1.01},
        {"target_recall": float("nan")},
    ],
)
def test_impossible_settings_are_refused_by_name(setting):
    (name,) = setting
    with pytest.raises(ConfigError, match=f"`{name}`.*Received {name}="):
        Annoy(**setting)


def test_an_index_without_effort_is_refused(annoy):
    with pytest.raises(ConfigError, match="needs a `search_k`"):
        AnnoyIndex(annoy.exact, annoy.forests, True, Annoy())


def test_a_forest_that_forgets_its_items_is_refused(monkeypatch):
    class Forgetful:
        def __init__(self, *arguments):
            self.forest = annoy_module.AnnoyIndex(*arguments)

        def __getattr__(self, name):
            return getattr(self.forest, name)

        def get_nns_by_item(self, item, n, effort):
            return self.forest.get_nns_by_item(item, n, effort)[:1]

    monkeypatch.setattr("tfrecall.index.annoy.Forest", Forgetful)
    with pytest.raises(ConfigError, match="of 100 neighbours that every tree holds it returned 1"):
        Annoy(n_trees=3).build(VARIED, IDS)


@pytest.mark.parametrize("count", [1, 2, 7, 130])
@pytest.mark.parametrize("trees", [1, 3])
def test_a_sound_forest_of_any_size_passes_even_where_all_vectors_are_equal(count, trees):
    for vectors in (VARIED[:count], np.ones((count, 4)), np.zeros((count, 4))):
        assert len(Annoy(n_trees=trees).build(vectors, IDS[:count])) == count


def test_the_effort_grows_with_the_share_of_the_catalogue_that_is_not_allowed(exact, monkeypatch):
    index = Annoy(n_trees=10, tune_k=20, search_k=100).build_over(exact)
    efforts = []

    def candidates(self, request, n, effort):
        efforts.append(effort)
        return np.arange(n)

    monkeypatch.setattr(AnnoyIndex, "_candidates", candidates)
    for allowed in (COUNT, 1000, 500):
        efforts.clear()
        index.search(QUERIES[:1], 20, allow=np.arange(allowed))
        # 20 of 1,000 allowed ones lie among the best 40 of 2,000: twice the effort tuned for 20.
        assert efforts[0] == 100 * COUNT // allowed


@pytest.mark.slow
def test_the_effort_is_tuned_for_users_who_exclude_their_own_best():
    """Behind its best a query finds less: .84 of the first 20 with an effort of 80, .76 of the next 20."""
    rng = np.random.default_rng(4)
    vectors, (queries, fresh) = rng.normal(size=(5000, 6)), rng.normal(size=(2, 200, 6))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    exact = Exact().build(vectors, [str(row) for row in range(5000)])
    settings = Annoy(n_trees=10, tune_k=20, target_recall=0.8)

    def recall(index):
        seen = list(exact.search(fresh, 20).rows)
        return recall_of(index.search(fresh, 20, seen), exact.search(fresh, 20, seen)).mean()

    plain = settings.build_over(exact, queries)
    asked = settings.build_over(exact, queries, list(exact.search(queries, 20).rows))
    assert plain.search_k < asked.search_k
    assert recall(plain) < 0.8 < recall(asked)
    assert [row.recall_excluding is None for row in plain.table.rows + asked.table.rows] == [
        *[True] * len(plain.table.rows),
        *[False] * len(asked.table.rows),
    ]


def test_exclusions_to_tune_with_are_those_of_the_sampled_queries():
    # Each query excludes the row of its own number; of 600 queries 500 are sampled, with theirs.
    rows = [np.array([i % len(VARIED)]) for i in range(600)]
    chosen = _exclusions(np.zeros((600, 2)), rows, seed=3)
    sample = sample_queries(Exact().build([[1.0]], ["a"]), np.arange(600.0)[:, np.newaxis], 3)
    assert [row[0] for row in chosen] == [int(query) % len(VARIED) for query in sample[:, 0]]
    with pytest.raises(ConfigError, match=r"1 lists for 2 queries"):
        Annoy(n_trees=2).build(VARIED, IDS, np.ones((2, VARIED.shape[1])), rows[:1])


@pytest.mark.slow
def test_shards_find_what_one_forest_finds_and_score_it_exactly(exact):
    index = Annoy(n_trees=10, tune_k=20, shards=3).build_over(exact, QUERIES)
    assert [forest.get_n_items() for forest in index.forests] == [666, 667, 667]
    others = vectors_of(1.0, seed=2)[:200]
    hits, truth = index.search(others, 20), exact.search(others, 20)
    assert index.search_k < index.exhaustive
    assert recall_of(hits, truth).mean() > 0.93
    everything = exact.search(others[:5], COUNT)
    for i in range(5):
        places = [everything.rows[i].tolist().index(row) for row in hits.rows[i]]
        assert places == sorted(places)


def test_more_trees_than_a_forest_can_hold_are_refused_before_they_are_planted(exact):
    # 2,000 items and 2,500,000 trees: 2,000 x 1,250,001 nodes, above 2**31; half of that in each of two.
    with pytest.raises(ConfigError, match=r"2500000 trees over 2,000 items.*Take more `shards`"):
        Annoy(n_trees=2_500_000).build_over(exact)


@pytest.mark.slow
def test_each_forest_gets_its_share_of_the_effort_and_the_nearest_of_all_are_ranked(exact):
    index = Annoy(n_trees=4, search_k=300, shards=3).build_over(exact)
    asked = []

    class Forest:
        def __init__(self, part):
            self.part = part

        def get_nns_by_vector(self, point, n, effort, include_distances):
            asked.append((self.part, n, effort))
            return [5, 9], [0.1 * (3 - self.part), 0.5 + self.part]

    index.structure = [Forest(part) for part in range(3)]
    # 300 / 3 = 100 each. Rows 5 of the parts, which begin at 0, 666 and 1,333, are nearest: .3, .2, .1.
    rows = index.nearest(np.ones(DIMENSION + 1), 3, 300)
    assert sorted(asked) == [(0, 3, 100), (1, 3, 100), (2, 3, 100)]
    assert sorted(rows) == [5, 671, 1338]


@pytest.mark.slow
def test_shards_are_planted_alike_at_any_number_of_threads(exact, monkeypatch, tmp_path):
    for threads in ("1", "3"):
        monkeypatch.setenv("OMP_NUM_THREADS", threads)
        (tmp_path / threads).mkdir()
        files = Annoy(n_trees=3, search_k=9, shards=3).build_over(exact).save(tmp_path / threads)
    assert files == ["index-0.ann", "index-1.ann", "index-2.ann"]
    for name in files:
        assert (tmp_path / "1" / name).read_bytes() == (tmp_path / "3" / name).read_bytes()


@pytest.mark.slow
def test_a_disk_without_room_for_the_forests_is_told_before_they_are_planted(exact, monkeypatch):
    settings = Annoy(n_trees=20, search_k=9, shards=2)
    index = settings.build_over(exact)
    size = sum(file.stat().st_size for file in index.folder.iterdir())
    wanted = forest_bytes(COUNT, 20, DIMENSION + 1)
    assert size <= wanted <= 1.5 * size
    for free in (wanted - 1, wanted):
        usage = SimpleNamespace(free=free)
        monkeypatch.setattr(shutil, "disk_usage", lambda folder, usage=usage: usage)
        if free < wanted:
            with pytest.raises(ExportError, match=r"about 1 MB.*free space there is 1 MB.*TMPDIR"):
                settings.build_over(exact)
        else:
            settings.build_over(exact)


@pytest.mark.slow
def test_files_of_forests_on_disk_go_with_their_index(exact):
    index = Annoy(n_trees=2, search_k=9, shards=2).build_over(exact)
    folder = index.folder
    assert len(list(folder.iterdir())) == 2
    del index
    gc.collect()
    assert not folder.exists()


def test_a_bundle_of_shards_lists_and_checks_each_forest(tmp_path):
    write_bundle(tmp_path / "1", VARIED[:100], IDS[:100], Annoy(n_trees=2, search_k=9, shards=2))
    loaded = load_bundle(tmp_path / "1")
    assert {"index-0.ann", "index-1.ann"} <= loaded.manifest["files"].keys()
    assert loaded.annoy.settings.shards == 2
    # The second forest in the place of the first: 33 items where 50 belong.
    write_bundle(tmp_path / "2", VARIED[:100], IDS[:100], Annoy(n_trees=2, search_k=9, shards=3))
    shutil.copy(tmp_path / "2" / "index-0.ann", tmp_path / "1" / "index-0.ann")
    reseal(tmp_path / "1")
    with pytest.raises(ReleaseError, match=r"index-0\.ann is foreign: it holds 33 items, .* says 50"):
        load_bundle(tmp_path / "1")


def test_a_bundle_of_an_earlier_version_has_one_forest(tmp_path):
    write_bundle(tmp_path / "1", VARIED[:100], IDS[:100], Annoy(n_trees=2, search_k=9))
    manifest = json.loads((tmp_path / "1" / "manifest.json").read_text())
    files = list(manifest.pop("files"))
    del manifest["annoy"]["shards"], manifest["sha256"]
    write_manifest(tmp_path / "1", manifest, files)
    assert load_bundle(tmp_path / "1").annoy.settings == Annoy(n_trees=2, search_k=9)
