"""Threads of an index: their number, the order of answers, and errors."""

from threading import Barrier

import numpy as np
import pytest

from tfrecall.index import Annoy
from tfrecall.index.threads import in_threads, thread_count


@pytest.fixture
def three(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "3")


@pytest.mark.parametrize(("given", "count"), [("1", 1), ("7", 7)])
def test_the_environment_gives_the_number(monkeypatch, given, count):
    monkeypatch.setenv("OMP_NUM_THREADS", given)
    assert thread_count() == count


@pytest.mark.parametrize("given", ["", "0", "many", "-2"])
def test_nothing_usable_means_all_cores(monkeypatch, given):
    monkeypatch.setenv("OMP_NUM_THREADS", given)
    monkeypatch.setattr("os.cpu_count", lambda: 5)
    assert thread_count() == 5


def test_parts_run_at_the_same_time_and_answers_stand_in_order(three):
    together = Barrier(3, timeout=60)

    def work(part):
        together.wait()  # breaks unless three parts are there at once
        return 10 * part

    assert in_threads(work, range(3)) == [0, 10, 20]


def test_the_error_of_a_part_is_raised_and_the_next_job_runs(three):
    with pytest.raises(ZeroDivisionError):
        in_threads(lambda part: 1 / part, [1, 0, 2])
    assert in_threads(lambda part: 1 / part, [1, 2]) == [1.0, 0.5]


@pytest.mark.parametrize("shards", [1, 2])
def test_queries_of_a_batch_are_searched_at_once_and_forests_of_one_query_are(
    three, monkeypatch, shards
):
    vectors, queries = np.random.default_rng(0).normal(size=(2, 60, 4))
    index = Annoy(n_trees=2, search_k=30, shards=shards).build(vectors, [str(row) for row in range(60)])
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    alone = index.search(queries, 3)
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    together, nearest = Barrier(3, timeout=60), type(index).nearest

    def wait(*args):
        if shards == 1:
            together.wait()  # breaks unless three of the 60 queries are there at once
        return nearest(*args)

    monkeypatch.setattr(type(index), "nearest", wait)
    hits = index.search(queries, 3)
    np.testing.assert_array_equal(hits.rows, alone.rows)
    np.testing.assert_array_equal(hits.scores, alone.scores)
