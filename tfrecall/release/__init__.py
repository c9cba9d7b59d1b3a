"""Releases: exported models with their items, users and index, and their answers."""

from tfrecall.core.results import Explanation, Recommendation, SimilarItems
from tfrecall.release.base import Recommender, Release
from tfrecall.release.loading import load

__all__ = ["Explanation", "Recommendation", "Recommender", "Release", "SimilarItems", "load"]
