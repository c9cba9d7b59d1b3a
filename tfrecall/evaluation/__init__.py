"""Exact evaluation over the whole catalogue, beside baselines.

One pass over the test rows in blocks of bounded memory gives ranks; everything that is reported is
made of those ranks by `tfrecall.metrics`.
"""

from tfrecall.evaluation.blocks import top_k
from tfrecall.evaluation.compare import evaluate
from tfrecall.evaluation.ranks import Ranking, RuleRanks, rank
from tfrecall.evaluation.report import Evaluation
from tfrecall.evaluation.slices import slice_masks

__all__ = ["Evaluation", "Ranking", "RuleRanks", "evaluate", "rank", "slice_masks", "top_k"]
