"""Jobs over many users of a release: recommendations and vectors to Parquet."""

from tfrecall.batch.recommend import Bulk, recommend_all
from tfrecall.batch.vectors import export_vectors

__all__ = ["Bulk", "export_vectors", "recommend_all"]
