"""What export writes and everything that answers reads."""

from tfrecall.answers.lists import Explanation, Recommendation, SimilarItems
from tfrecall.release.loading import load
from tfrecall.release.release import Release

__all__ = ["Explanation", "Recommendation", "Release", "SimilarItems", "load"]
