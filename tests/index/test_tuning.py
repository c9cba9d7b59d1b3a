"""How the effort is chosen, with an index whose recall is known."""

import json
from dataclasses import replace

import numpy as np
import pytest

from tfrecall.errors import ConfigError, DataError
from tfrecall.index import Exact, Hits, TuningTable, tune
from tfrecall.index.tuning import recall_of, sample_queries

CATALOGUE = Exact().build(np.random.default_rng(0).normal(size=(40, 4)), [str(i) for i in range(40)])
QUERIES = np.random.default_rng(1).normal(size=(10, 4)).astype(np.float32)


class Forgetful:
    """Finds the first `search_k / 10` of the true best `k`, and nothing more."""

    exhaustive = 1000

    def __init__(self, limit=1000):
        self.limit = limit

    def search(self, queries, k, exclude=None, *, search_k=None):
        hits = CATALOGUE.search(queries, k, exclude)
        lost = np.arange(k) >= min(search_k, self.limit) // 10
        return Hits(np.where(lost, -1, hits.rows), np.where(lost, -np.inf, hits.scores))


def tuned(index, k=16, target_recall=0.95):
    return tune(index, CATALOGUE, QUERIES, k, target_recall)


def test_effort_doubles_until_the_target_is_reached():
    # k = 16: 16/10 = 1 of 16 found, then 3, 6, 12 of 16, and all of them from 160 on.
    table = tuned(Forgetful())
    assert [row.search_k for row in table.rows] == [16, 32, 64, 128, 256]
    assert [row.recall for row in table.rows] == [0.0625, 0.1875, 0.375, 0.75, 1.0]
    assert table.chosen.search_k == 256


def test_a_low_target_is_content_with_less():
    assert tuned(Forgetful(), target_recall=0.75).chosen.search_k == 128


def test_without_success_the_exhaustive_effort_is_chosen():
    table = tuned(Forgetful(limit=100))  # never more than 10 of 16
    assert (table.chosen.search_k, table.chosen.recall) == (1000, 0.625)


def test_a_recall_that_reaches_the_target_by_luck_is_not_enough():
    class Lucky(Forgetful):
        def search(self, queries, k, exclude=None, *, search_k=None):
            # Half of the queries find all 16, the others 15: mean .96875, standard error .0099.
            found = 160 if search_k >= 160 or queries[0, 0] > np.median(QUERIES[:, 0]) else 150
            return super().search(queries, k, search_k=found)

    assert tuned(Lucky(), target_recall=0.94).chosen.search_k == 16  # .96875 - .0198 = .949
    assert tuned(Lucky(), target_recall=0.96).chosen.search_k == 256


class Short(Forgetful):
    """Loses a candidate more for each two that are excluded, as the widened search of trees does."""

    def search(self, queries, k, exclude=None, *, search_k=None):
        lost = 0 if exclude is None else 5 * len(exclude[0])
        return super().search(queries, k, exclude, search_k=search_k - lost)


def test_with_exclusions_the_target_is_reached_with_them_and_without():
    # Each query leaves out 16 rows, so 80 less of the effort counts: 16 of 16 take 160, or 240 with them.
    best = CATALOGUE.search(QUERIES, 16).rows
    table = tune(Short(), CATALOGUE, QUERIES, 16, 0.95, exclude=list(best))
    assert [(row.search_k, row.recall, row.recall_excluding) for row in table.rows] == [
        (16, 1 / 16, 0.0),
        (32, 3 / 16, 0.0),
        (64, 6 / 16, 0.0),
        (128, 12 / 16, 4 / 16),  # (128 - 80) / 10 = 4 of 16
        (256, 1.0, 1.0),
    ]
    assert tune(Short(), CATALOGUE, QUERIES, 16, 0.7).chosen.search_k == 128
    assert tune(Short(), CATALOGUE, QUERIES, 16, 0.7, exclude=list(best)).chosen.search_k == 256


def test_without_rows_to_leave_out_nothing_is_measured_twice():
    table = tune(Forgetful(), CATALOGUE, QUERIES, 16, 0.95, exclude=[np.empty(0, int)] * 10)
    assert table == replace(tuned(Forgetful()), rows=table.rows, exact_p50_us=table.exact_p50_us)
    assert {row.recall_excluding for row in table.rows} == {None}


def test_what_is_left_is_all_that_can_be_found():
    nothing, one = np.array([[-1, -1]]), np.array([[3, -1]])
    scores = np.array([[5.0, -np.inf]], np.float32)
    none = np.full((1, 2), -np.inf, np.float32)
    assert recall_of(Hits(one, scores), Hits(one, scores)).tolist() == [1.0]
    assert recall_of(Hits(nothing, none), Hits(one, scores)).tolist() == [0.0]
    assert recall_of(Hits(nothing, none), Hits(nothing, none)).tolist() == [1.0]


def test_k_is_limited_to_the_catalogue():
    assert tuned(Forgetful(), k=100).k == 40


def test_equal_scores_count_as_found():
    # True best two: rows 0 and 1. Row 2 scores what row 1 scores; row 3 scores less.
    truth = Hits(np.array([[0, 1]] * 3), np.array([[9.0, 5.0]] * 3, np.float32))
    hits = Hits(
        np.array([[0, 2], [0, 3], [1, -1]]),
        np.array([[9.0, 5.0], [9.0, 4.0], [5.0, -np.inf]], np.float32),
    )
    assert recall_of(hits, truth).tolist() == [1.0, 0.5, 0.5]


def test_latencies_are_measured_of_the_index_and_of_exact_search():
    table = tuned(Forgetful())
    assert table.exact_p50_us > 0
    assert all(0 < row.p50_us <= row.p95_us for row in table.rows)


def test_a_table_survives_json():
    table = tuned(Forgetful())
    assert TuningTable.from_dict(json.loads(json.dumps(table.to_dict()))) == table


def test_tuning_without_queries_is_refused():
    with pytest.raises(ConfigError, match="at least one query vector"):
        tune(Forgetful(), CATALOGUE, QUERIES[:0], 5, 0.95)


def test_a_sample_is_drawn_by_seed_without_repetition():
    first, again, other = (sample_queries(CATALOGUE, None, seed, 30) for seed in (1, 1, 2))
    assert len(np.unique(first, axis=0)) == 30
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)
    assert {tuple(row) for row in first} <= {tuple(row) for row in CATALOGUE.vectors}


def test_given_queries_are_used_instead_of_the_catalogue():
    np.testing.assert_array_equal(sample_queries(CATALOGUE, QUERIES, 0), QUERIES)
    assert len(sample_queries(CATALOGUE, np.ones((900, 4)), 0)) == 500


def test_zero_vectors_are_no_queries_unless_there_is_nothing_else():
    half = Exact().build([[0.0], [2.0], [0.0]], ["a", "b", "c"])
    assert sample_queries(half, None, 0).tolist() == [[2.0]]
    empty = Exact().build([[0.0]], ["a"])
    assert sample_queries(empty, None, 0).tolist() == [[0.0]]


def test_given_queries_are_checked():
    with pytest.raises(DataError, match="tuning queries must be finite"):
        sample_queries(CATALOGUE, np.full((1, 4), np.nan), 0)
