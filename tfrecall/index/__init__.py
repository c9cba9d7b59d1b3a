"""Search of a catalogue for the best items: by vectors, exact or approximate, and by the history of a user."""

from tfrecall.index.annoy import Annoy, AnnoyIndex
from tfrecall.index.bundle import Bundle, load_bundle, write_bundle
from tfrecall.index.exact import Exact, ExactIndex
from tfrecall.index.faiss import Faiss, FaissIndex
from tfrecall.index.history import Answers, HistoryWeights, QueryHistories
from tfrecall.index.scann import Scann, ScannIndex
from tfrecall.index.scorers import Constant, Factors, Neighbours, Own, Scorer, UserNeighbours
from tfrecall.index.search import Hits, Index
from tfrecall.index.shared_users import SharedUsers
from tfrecall.index.tuning import TuningTable, tune

__all__ = [
    "Annoy",
    "AnnoyIndex",
    "Answers",
    "Bundle",
    "Constant",
    "Exact",
    "ExactIndex",
    "Factors",
    "Faiss",
    "FaissIndex",
    "HistoryWeights",
    "Hits",
    "Index",
    "Neighbours",
    "Own",
    "QueryHistories",
    "Scann",
    "ScannIndex",
    "Scorer",
    "SharedUsers",
    "TuningTable",
    "UserNeighbours",
    "load_bundle",
    "tune",
    "write_bundle",
]
