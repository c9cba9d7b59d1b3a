"""Signatures in sessions compute what the loaded SavedModels compute."""

from concurrent.futures import ThreadPoolExecutor
from functools import cache

import numpy as np
import pytest

from tfrecall._keras import tf
from tfrecall.errors import ReleaseError
from tfrecall.release.signature import load_signatures

loaded = cache(tf.saved_model.load)


def eager(path, name, features):
    """The oracle: the signature as TensorFlow calls it."""
    signature = loaded(str(path)).signatures[name]
    (output,) = signature(**{n: tf.constant(v) for n, v in features.items()}).values()
    return output.numpy()


@pytest.fixture(scope="module")
def queries(history_release):
    users = [*history_release.users.ids, "nobody", "né"]
    return history_release.users.build_queries(users).features


@pytest.fixture(scope="module")
def tower(history_release):
    return load_signatures(history_release.part("query"), ["serving_default"])[0]


def test_a_tower_gives_the_same_bits(history_release, queries, tower):
    expected = eager(history_release.part("query"), "serving_default", queries)
    np.testing.assert_array_equal(tower(queries), expected)
    assert tower(queries).dtype == np.float32


def test_no_queries_give_no_vectors(queries, tower):
    assert tower({name: values[:0] for name, values in queries.items()}).shape == (
        0,
        tower(queries).shape[1],
    )


@pytest.mark.slow
def test_both_signatures_of_a_ranker_give_the_same_bits(rating_release):
    path, ids = rating_release.part("ranker"), rating_release.item_ids[:3]
    features = rating_release.users.build_queries(rating_release.users.ids[:1]).features
    pairs, lists = load_signatures(path, ["rank", "rank_lists"])
    asked = {**features, "candidate_ids": ids}
    np.testing.assert_array_equal(pairs(asked), eager(path, "rank", asked))
    asked = {**features, "candidate_ids": np.array([[*ids, ""]], dtype=object)}
    np.testing.assert_array_equal(lists(asked), eager(path, "rank_lists", asked))


def test_several_threads_may_call(queries, tower):
    expected = tower(queries)
    parts = [{n: v[i : i + 1] for n, v in queries.items()} for i in range(len(expected))] * 5
    with ThreadPoolExecutor(4) as threads:
        found = np.concatenate(list(threads.map(tower, parts)))
    np.testing.assert_allclose(found, np.tile(expected, (5, 1)), rtol=1e-5, atol=1e-7)


def test_a_missing_signature_is_named(history_release):
    with pytest.raises(ReleaseError, match="rank"):
        load_signatures(history_release.part("query"), ["rank"])
