"""A ranker finds what there is to learn beyond biases, and nothing where there is nothing."""

import pytest

from tests.tiny_ratings import rating_interactions, rating_ranker
from tfrecall.data import split_random
from tfrecall.evaluation.ranking import RatingJudge, evaluate_ranking
from tfrecall.schema.labels import Label

JUDGE = RatingJudge("rating", Label("rating", 1, 5))


def judged(shuffled):
    train, test = split_random(rating_interactions(shuffled=shuffled), 0.2, 1)
    model = rating_ranker(train, epochs=10, embedding_regularization=0.05)
    return evaluate_ranking(model, test, JUDGE, known=train)


@pytest.mark.slow
def test_structure_beats_the_biases_by_far():
    found = judged(shuffled=False)
    assert found.test["rmse"] < 0.6 * found.baselines["biases"]["rmse"]


@pytest.mark.slow
def test_shuffled_ratings_teach_nothing():
    found = judged(shuffled=True)
    assert found.test["rmse"] > 0.98 * found.baselines["mean"]["rmse"]
