"""ALS: what the library learns, asked by the user's half of a step."""

import sys

import numpy as np
import pytest

from tests.baselines.helpers import asked, log_of
from tests.retriever_contract import check_learning, check_retriever
from tfrecall.baselines.als import ALS
from tfrecall.data import synthetic
from tfrecall.errors import ConfigError


def test_it_keeps_the_contract():
    pytest.importorskip("implicit")
    check_retriever(lambda train: ALS(4).fit(train))


def test_it_learns_structure_and_nothing_else():
    pytest.importorskip("implicit")
    check_learning(lambda train: ALS(16, alpha=5).fit(train), margin=0.2)


def test_equal_seeds_give_equal_vectors():
    pytest.importorskip("implicit")
    train = synthetic(n_users=30, n_items=20, n_rows=200)
    found = [ALS(4).fit(train).scores(train.queries) for _ in range(2)]
    np.testing.assert_allclose(*found, rtol=1e-4, atol=1e-6)


def test_the_loss_is_least_at_the_vector_of_a_user():
    # Of u, who had a and b: confidence 3 for 1 in these, 1 for 0 elsewhere, plus the squares.
    pytest.importorskip("implicit")
    model = ALS(2, regularization=0.5, alpha=2).fit(log_of(u="ab", v="bcd", w="ae"))
    items = model.answers.scorer.items.astype(float)
    (scores,) = model.scores(asked("u"))
    vector = np.linalg.lstsq(items, scores, rcond=None)[0]

    def loss(x):
        wanted, weight = np.array([1, 1, 0, 0, 0, 0]), np.array([3, 3, 1, 1, 1, 1])
        return (weight * (wanted - items @ x) ** 2).sum() + 0.5 * (x**2).sum()

    for step in np.eye(2) * 0.01:
        assert loss(vector) < min(loss(vector + step), loss(vector - step))


def test_without_the_library_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "implicit.cpu.als", None)
    with pytest.raises(ConfigError, match=r"pip install 'tfrecall\[als\]'"):
        ALS().fit(log_of(u="ab"))


@pytest.mark.parametrize(
    ("option", "value"),
    [("factors", 0), ("regularization", -1), ("alpha", float("nan")), ("iterations", 0)],
)
def test_senseless_options_are_refused(option, value):
    with pytest.raises(ConfigError, match=rf"`{option}` must be .* Received: {value}"):
        ALS(**{option: value})
