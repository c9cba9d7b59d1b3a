"""What export writes and everything that answers reads."""

from tfrecall.release.release import Recommendation, Release, SimilarItems, load

__all__ = ["Recommendation", "Release", "SimilarItems", "load"]
