"""Search over candidate vectors: exact, approximate, tuned, and kept on disk."""

from tfrecall.index.annoy import Annoy, AnnoyIndex
from tfrecall.index.bundle import Bundle, load_bundle, write_bundle
from tfrecall.index.exact import Exact, ExactIndex
from tfrecall.index.search import Hits, Index
from tfrecall.index.tuning import TuningTable, tune

__all__ = [
    "Annoy",
    "AnnoyIndex",
    "Bundle",
    "Exact",
    "ExactIndex",
    "Hits",
    "Index",
    "TuningTable",
    "load_bundle",
    "tune",
    "write_bundle",
]
