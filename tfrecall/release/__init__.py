"""What export writes and everything that answers reads."""

from tfrecall.core.results import Explanation, Recommendation, SimilarItems
from tfrecall.release.loading import load
from tfrecall.release.retriever import Release

__all__ = ["Explanation", "Recommendation", "Release", "SimilarItems", "load"]
