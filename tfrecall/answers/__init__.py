"""Answers computed from what users had: the same code for a model in memory and for a release on disk."""

from tfrecall.answers.answers import Answers
from tfrecall.answers.constant import Constant
from tfrecall.answers.factors import Factors
from tfrecall.answers.had import Had, HistoryWeights
from tfrecall.answers.lists import Explanation, Reason, Recommendation, SimilarItems
from tfrecall.answers.neighbours import Neighbours
from tfrecall.answers.scorer import Scorer
from tfrecall.answers.user_neighbours import UserNeighbours

__all__ = [
    "Answers",
    "Constant",
    "Explanation",
    "Factors",
    "Had",
    "HistoryWeights",
    "Neighbours",
    "Reason",
    "Recommendation",
    "Scorer",
    "SimilarItems",
    "UserNeighbours",
]
