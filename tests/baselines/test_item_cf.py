"""ItemCF against hand-worked cosines and dense arithmetic."""

from unittest.mock import patch

import numpy as np
import polars as pl
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from tests.retriever_contract import check_learning, check_retriever
from tfrecall.baselines import item_cf
from tfrecall.baselines.item_cf import ItemCF
from tfrecall.data import synthetic
from tfrecall.data.interactions import Interactions
from tfrecall.errors import ConfigError

BINARY = hnp.arrays(
    np.float32, st.tuples(st.integers(1, 6), st.integers(1, 8)), elements=st.sampled_from([0, 1])
)


def make_train(pairs: list[tuple[str, str]], items: str = "abcd") -> Interactions:
    users, chosen = zip(*pairs, strict=True)
    return Interactions(
        log=pl.DataFrame({"user_id": users, "item_id": chosen, "timestamp": [0.0] * len(pairs)}),
        users=pl.DataFrame({"user_id": sorted(set(users))}),
        items=pl.DataFrame({"item_id": list(items)}),
    )


def asked(*users: str) -> pl.DataFrame:
    return pl.DataFrame({"user_id": users})


def cosine_similarity(matrix: np.ndarray, top_n: int | None) -> sp.csr_array:
    """Similarities of the columns, before they are made dense."""
    return item_cf._similarity(sp.csr_array(matrix), None, ItemCF()._measure, top_n)


def test_it_keeps_the_contract() -> None:
    check_retriever(lambda train: ItemCF().fit(train))
    check_retriever(lambda train: ItemCF(top_n=3).fit(train))


def test_it_learns_structure_and_nothing_else() -> None:
    # Measured .64-.69 against popularity's .29-.33 over four seeds.
    check_learning(lambda train: ItemCF().fit(train), margin=0.3)


def test_worked_case() -> None:
    # a: u, v. b: u. c: v, w. Cosines: a-b 1/sqrt(2*1), a-c 1/sqrt(2*2), b-c 0.
    train = make_train([("u", "a"), ("u", "b"), ("v", "a"), ("v", "c"), ("w", "c")])
    scores = ItemCF().fit(train).scores(asked("u", "w", "v"))
    half, root = 0.5, 0.5**0.5
    expected = [[root, root, half, 0], [half, 0, 0, 0], [half, root, half, 0]]
    np.testing.assert_allclose(scores, expected, rtol=1e-6)


def test_a_repeated_row_counts_once() -> None:
    once = make_train([("u", "a"), ("u", "b"), ("v", "a")])
    twice = make_train([("u", "a"), ("u", "a"), ("u", "b"), ("v", "a"), ("u", "b")])
    found = [ItemCF().fit(train).scores(asked("u", "v")) for train in (once, twice)]
    assert (found[0] == found[1]).all()


def test_dense_and_sparse_products_agree() -> None:
    train = synthetic(n_users=30, n_items=40, n_rows=600)
    dense = ItemCF().fit(train)
    with patch.object(item_cf, "_DENSE_ITEMS", 0):
        sparse = ItemCF().fit(train)
    queries = train.queries
    np.testing.assert_allclose(dense.scores(queries), sparse.scores(queries), rtol=1e-5)


def test_users_without_training_rows_get_zeros() -> None:
    train = make_train([("u", "a"), ("u", "b")])
    assert ItemCF().fit(train).scores(asked("stranger", "u")).tolist()[0] == [0, 0, 0, 0]


def test_of_equal_neighbours_the_lower_row_is_kept() -> None:
    # One user has all four items: every cosine is 1.
    train = make_train([("u", item) for item in "abcd"])
    similarity = cosine_similarity(np.ones((1, 4), dtype=np.float32), top_n=2)
    assert similarity.toarray().tolist() == [
        [0, 1, 1, 0],
        [1, 0, 1, 0],
        [1, 1, 0, 0],
        [1, 1, 0, 0],
    ]
    assert ItemCF(top_n=2).fit(train).scores(asked("u")).tolist() == [[3, 3, 2, 0]]


@pytest.mark.slow
@settings(deadline=None)
@given(BINARY, st.one_of(st.none(), st.integers(1, 9)), st.integers(1, 3))
def test_similarity_agrees_with_dense_arithmetic(
    matrix: np.ndarray, top_n: int | None, block_pairs: int
) -> None:
    with patch.object(item_cf, "_BLOCK_PAIRS", block_pairs):
        found = cosine_similarity(matrix, top_n).toarray()
    expected = np.zeros_like(found)
    n_items = matrix.shape[1]
    for i in range(n_items):
        for j in set(range(n_items)) - {i}:
            both = matrix[:, i] @ matrix[:, j]
            if both:
                expected[i, j] = both / np.sqrt(matrix[:, i].sum() * matrix[:, j].sum())
        if top_n is not None:
            # The found values decide, for two equal cosines may differ in their last bit.
            expected[i, np.argsort(-found[i], kind="stable")[top_n:]] = 0
    np.testing.assert_allclose(found, expected, rtol=1e-6)


@pytest.mark.parametrize("top_n", [0, -3])
def test_senseless_top_n_is_refused(top_n: int) -> None:
    with pytest.raises(ConfigError, match=f"Received: {top_n}"):
        ItemCF(top_n=top_n)


def test_unfitted_it_says_what_to_do() -> None:
    with pytest.raises(ConfigError, match=r"Call `fit\(train\)` first"):
        ItemCF().scores(asked("u"))
